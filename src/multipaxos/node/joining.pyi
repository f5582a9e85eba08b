from typing import final

from multipaxos.membership.founding import Founding
from multipaxos.node.context import Context
from multipaxos.node.election import Election
from multipaxos.node.journal import Journal
from multipaxos.node.links import Links
from multipaxos.paxos.acceptor import Acceptor

OTHER_CLUSTER: str
NO_FOUNDER: str
OTHER_SLOTS: str

@final
class Joining:
    @property
    def founding(self) -> Founding: ...
    @property
    def is_founded(self) -> bool: ...
    @property
    def cluster_id(self) -> int: ...
    @property
    def refused_slots(self) -> tuple[int, ...]: ...
    def __new__(
        cls,
        context: Context,
        links: Links,
        journal: Journal,
        acceptor: Acceptor,
        election: Election,
        founders: tuple[int, ...] | None,
        cluster_id: int,
        refused_slots: tuple[int, ...],
        ping_interval_ns: int,
    ) -> Joining: ...
    def invariants(self) -> None: ...
