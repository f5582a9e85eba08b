from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, final

from multipaxos.machine.machine import Machine
from multipaxos.machine.semantics import Semantics
from multipaxos.node.catch_up import CatchUp
from multipaxos.node.comparing import Comparing
from multipaxos.node.context import Context
from multipaxos.node.election import Election
from multipaxos.node.foreign import Foreign
from multipaxos.node.joining import Joining
from multipaxos.node.journal import Journal
from multipaxos.node.leading import Leading
from multipaxos.node.links import Links
from multipaxos.node.output import Output
from multipaxos.node.pings import Pings
from multipaxos.node.serving import Serving
from multipaxos.node.voting import Voting
from multipaxos.paxos.acceptor import Acceptor
from multipaxos.paxos.leader import Leader
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.replica import Replica

COPIED: Final[str]

@final
class Node:
    @property
    def acceptor(self) -> Acceptor: ...
    @property
    def leader(self) -> Leader: ...
    @property
    def replica(self) -> Replica: ...
    @property
    def election(self) -> Election: ...
    @property
    def context(self) -> Context: ...
    @property
    def foreign(self) -> Foreign: ...
    @property
    def links(self) -> Links: ...
    @property
    def journal(self) -> Journal: ...
    @property
    def joining(self) -> Joining: ...
    @property
    def leading(self) -> Leading: ...
    @property
    def catch_up(self) -> CatchUp: ...
    @property
    def pings(self) -> Pings: ...
    @property
    def voter(self) -> Voting: ...
    @property
    def serving(self) -> Serving: ...
    @property
    def comparing(self) -> Comparing: ...
    @property
    def failed(self) -> str: ...
    @property
    def node_id(self) -> int: ...
    @property
    def cluster_id(self) -> int: ...
    @property
    def refused_slots(self) -> tuple[int, ...]: ...
    @property
    def slot_out(self) -> int: ...
    @property
    def voting(self) -> bool: ...
    def __init__(
        self,
        *,
        node_id: int,
        roles: Sequence[int],
        quorums: QuorumSystem,
        incarnation: int,
        seed: int,
        machine: Machine,
        meta: Mapping[bytes, bytes],
        records: Iterable[tuple[int, int, bytes]],
        flatten: Callable[[bytes], bytes],
        cluster: str = "",
        window: int = 8192,
        ring_bytes: int = ...,
        in_flight_bytes: int = ...,
        part_bytes: int = ...,
        election_timeout_ns: int = ...,
        ping_interval_ns: int = ...,
        versions: tuple[Semantics, ...] = ...,
    ) -> None: ...
    def receive(self, link: int, data: bytes) -> None: ...
    def tick(self, now_ns: int, utc_ns: int) -> None: ...
    def output(self) -> Output: ...
    def done(self, token: int, ok: bool, data: object = None) -> None: ...
    def link_up(
        self,
        link: int,
        node_id: int,
        incarnation: int,
        *,
        process: int = 0,
        admin: bool = False,
        semantics_max: int = 1,
        machine_version: int = 1,
        cluster_id: int = 0,
        refused_slots: tuple[int, ...] = (),
    ) -> None: ...
    def link_down(self, link: int) -> None: ...
    def link_backlog(self, link: int, backlog: int) -> None: ...
    def next_tick_ns(self) -> int: ...
    def command_at(self, slot: int) -> tuple[int, int, int, bytes] | None: ...
    def status(self) -> dict[str, object]: ...
    def invariants(self) -> None: ...
