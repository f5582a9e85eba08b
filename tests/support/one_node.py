"""One node's core alone: the test is every other node, the network, the disk and the clock.

``send`` hands the core a message from a peer; ``take`` gives what the core has sent on a link since, decoded; nothing
is durable until ``sync``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from multipaxos.machine.machine import Machine
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.semantics import VERSIONS, Semantics
from multipaxos.machine.state_machine import StateMachine
from multipaxos.machine.user_machine import runner_of
from multipaxos.node.node import Node
from multipaxos.node.output import ApplyJob, Batch, Event, Read
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ACCEPTOR, ALL_ROLES
from multipaxos.simulation.shell import carry_out
from multipaxos.simulation.timeline import MS as MS
from multipaxos.storage.records import Record, by_key
from multipaxos.wire import codec
from multipaxos.wire.record import BatchRecords
from multipaxos.wire.schema import flatten
from tests.support.founders import founders_meta
from tests.support.journal import Journal

NOOP, APPLY, OPEN_SESSION = codec.CommandKind.NOOP, codec.CommandKind.APPLY, codec.CommandKind.OPEN_SESSION
CLOSE_SESSION = codec.CommandKind.CLOSE_SESSION
NONCE = 77  # of a session, where a test does not say another
NO_WATERMARK = {"decided_ballot": 0, "decided_first": 1, "decided_end": 1}


def ballot(round: int, leader: int) -> int:
    """A ballot as the wire has it."""
    return round << 24 | leader


def command(
    session: int, sequence: int, payload: bytes = b"x", kind: int = APPLY, unacknowledged: int = 0, nonce: int = NONCE
) -> tuple[Any, ...]:
    """A command as ``encode_phase2a`` and ``encode_request`` take it; of a session with that nonce."""
    return session, sequence, kind, unacknowledged, payload, 0 if kind in (NOOP, OPEN_SESSION) else nonce


def run_with(one: OneNode, at: int, payloads: list[bytes]) -> None:
    """The node holds these commands, accepted at a peer's ballot from slot 1 on, and all is durable."""
    for slot, payload in enumerate(payloads, 1):
        one.phase2a(at & 0xFFFFFF, at, slot, [command(9, slot, payload)])
    one.sync()


class OneNode:
    """A core with `nodes` - 1 peers, all linked, founded unless `founded` is false. `slow`: a job of the machine waits
    for `finish`; else it is done at once. `inside`: there are no jobs, see `PythonMachine`."""

    def __init__(
        self,
        node: int = 0,
        nodes: int = 3,
        *,
        roles: list[int] | None = None,
        founded: bool = True,
        quorums: QuorumSystem | None = None,
        window: int = 64,
        versions: tuple[Semantics, ...] = VERSIONS,
        meta: dict[bytes, bytes] | None = None,
        records: list[Record] | None = None,
        linked: bool = True,
        journal: StateMachine | None = None,
        slow: bool = False,
        inside: bool = False,
        in_flight_bytes: int = 8 << 20,
        ring_bytes: int = 256 << 20,
    ) -> None:
        self.id = node
        self.nodes = nodes
        self.keeps_bulk = False  # the network takes what is handed out only when a test says so, with `left`
        self.incarnations = [1000 + i for i in range(nodes)]
        self.now_ns = 1000 * MS
        self.meta = dict(meta or {})
        self.records = list(records or [])
        if founded:
            self.meta = founders_meta(self.incarnations) | self.meta
        self.machine = journal or Journal()
        self.run = runner_of(self.machine)
        self.slow, self.inside = slow, inside
        self.job: ApplyJob | None = None
        self.roles = roles or [ALL_ROLES] * nodes
        voters = [i for i, role in enumerate(self.roles) if role & ACCEPTOR]
        self.in_flight_bytes, self.ring_bytes = in_flight_bytes, ring_bytes
        self.core = self.new_core(quorums or QuorumSystem.majority(voters), window, versions)
        self.batch: Batch | None = None
        self.reads: list[Read] = []
        self.sent: dict[int, list[dict[str, Any]]] = {}
        self.closed: dict[int, str] = {}
        self.events: list[Event] = []
        self.failed = ""
        self.tick(0)
        if linked:
            for peer in range(nodes):
                if peer != node:
                    self.link(peer)
        self.sent.clear()

    def new_machine(self) -> Machine:
        """What the replica applies commands to."""
        return PythonMachine(self.run, self.machine.version, inside=self.inside)

    def new_core(self, quorums: QuorumSystem, window: int, versions: tuple[Semantics, ...]) -> Node:
        """The core, from what the disk holds."""
        return Node(
            node_id=self.id,
            roles=self.roles,
            quorums=quorums,
            incarnation=self.incarnations[self.id],
            seed=7,
            machine=self.new_machine(),
            meta=self.meta,
            records=sorted(self.records, key=by_key),
            flatten=flatten,
            window=window,
            versions=versions,
            in_flight_bytes=self.in_flight_bytes,
            ring_bytes=self.ring_bytes,
        )

    # -- inputs; a peer's link has the number 100 + its id, a client's the number that the test gives
    def link(self, peer: int, incarnation: int | None = None, number: int | None = None, **hello: int) -> None:
        """A handshake with a peer is done; `hello`: what it tells besides."""
        self.core.link_up(number or 100 + peer, peer, incarnation or self.incarnations[peer], **hello)
        self.collect()

    def client(self, number: int = 1) -> None:
        """A client connects."""
        self.core.link_up(number, -1, 0)
        self.collect()

    def admin(self, number: int = 1) -> None:
        """An admin connects."""
        self.core.link_up(number, -1, 0, admin=True)
        self.collect()

    def tick(self, ms: float) -> None:
        """Time passes."""
        self.now_ns += int(ms * MS)
        self.core.tick(self.now_ns, self.now_ns)
        self.collect()

    def receive(self, link: int, data: bytes) -> None:
        """Bytes on a link."""
        self.core.receive(link, data)
        self.collect()
        self.core.invariants()

    def send(self, peer: int, kind: str, **fields: Any) -> None:
        """One message from a peer; pvalues may be given as (first, end, run)."""
        if "pvalues" in fields:
            names = codec.ELEMENTS["pvalues"]
            fields["pvalues"] = [
                one if isinstance(one, dict) else dict(zip(names, one, strict=True)) for one in fields["pvalues"]
            ]
        self.receive(100 + peer, codec.encode(kind, **fields))

    def answer_ping(self, peer: int) -> None:
        """A peer answers a ping that it got just now: all that was sent to it has arrived."""
        self.send(peer, "pong", nonce=self.now_ns, slot_out=1)

    def wait_for_repeats(self) -> None:
        """Lets time pass in which all peers answer pings: what they have not answered is sent again."""
        for _ in range(4):
            self.tick(110)
            for peer in range(self.nodes):
                if peer != self.id:
                    self.answer_ping(peer)

    def phase2a(
        self,
        peer: int,
        at: int,
        first: int,
        commands: list[tuple[Any, ...]],
        time_ns: int = 5,
        decided: tuple[int, int, int] = (0, 1, 1),
    ) -> bytes:
        """A peer's phase 2a; returns the frame."""
        frame = codec.encode_phase2a(at, first, time_ns, decided, commands)
        self.receive(100 + peer, frame)
        return frame

    def request(self, link: int, *commands: tuple[Any, ...]) -> None:
        """A client's (or a peer's) request."""
        self.receive(link, codec.encode_request(list(commands)))

    def collect(self) -> None:
        """Takes one output of the core."""
        carry_out(self.core, self, self.keep_bulk if self.keeps_bulk else None)

    def left(self, link: int, backlog: int = 0) -> None:
        """All but so many bytes have left on a link."""
        self.core.link_backlog(link, backlog)
        self.collect()

    def keep_bulk(self, link: int, frames: list[bytes]) -> None:
        """Bulk that leaves when the test says so."""
        self.on_frames(link, codec.uncut(frames)[0])

    # -- the effects of the core
    def on_events(self, events: Sequence[Event]) -> None:
        """Kept, until a test clears them."""
        self.events += events

    def on_close(self, link: int, reason: str) -> None:
        """The link stays; that the core closed it is kept."""
        self.closed[link] = reason

    def on_frames(self, link: int, frames: list[bytes]) -> None:
        """Decoded, and kept until a test takes them."""
        self.sent.setdefault(link, []).extend(codec.decode_message(frame) for frame in frames)

    def on_read(self, read: Read) -> None:
        """Kept, until the test answers it."""
        self.reads.append(read)

    def on_batch(self, batch: Batch) -> None:
        """Kept, until `sync`."""
        assert self.batch is None, "a second batch while one is outstanding"
        self.batch = batch

    def on_job(self, job: ApplyJob) -> None:
        """Done at once, or kept until `finish`."""
        assert self.job is None, "a second job while one is outstanding"
        self.job = job
        if not self.slow:
            self.finish()

    def on_failed(self, why: str) -> None:
        """Kept."""
        self.failed = why

    # -- the machine
    @property
    def journal(self) -> Journal:
        """The machine, where it is a journal."""
        assert isinstance(self.machine, Journal)
        return self.machine

    def finish(self, at_most: int = 1 << 20) -> None:
        """The machine applies `at_most` commands of the outstanding job, and answers."""
        assert self.job is not None, "no job is outstanding"
        job, self.job = self.job, None
        answers = self.run(job.commands[:at_most], job.answer_bytes_max)
        self.core.done(job.token, True, answers)
        self.collect()

    # -- the disk
    def sync(self, ok: bool = True) -> None:
        """The outstanding batch becomes durable, and those that gather meanwhile; not `ok`: its sync fails."""
        while self.batch is not None:
            batch, self.batch = self.batch, None
            if ok:
                self.commit(batch)
            self.core.done(batch.token, ok)
            self.collect()

    def commit(self, batch: Batch) -> None:
        """The disk keeps a batch."""
        self.meta.update(batch.meta)
        self.records += BatchRecords(batch.records)

    def take(self, link: int, kind: str | None = None) -> list[dict[str, Any]]:
        """The messages that were sent on a link since the last call; with `kind`, only those of that kind (the others
        are dropped too)."""
        messages = self.sent.pop(link, [])
        return [message for message in messages if kind is None or message["kind"] == kind]

    def from_peer(self, peer: int, kind: str) -> list[dict[str, Any]]:
        """The messages of one kind that were sent to a peer since the last call."""
        return self.take(100 + peer, kind)

    # -- short ways to a state
    def begin_scout(self) -> int:
        """Lets time pass until the core scouts; makes its ballot durable; returns the ballot."""
        while not any(event.kind == "scouting" for event in self.events):
            self.tick(50)
        self.events.clear()
        self.sync()
        return self.core.leader.ballot

    def promise(
        self,
        peer: int,
        at: int,
        *,
        first: int = 1,
        pvalues: tuple[Any, ...] = (),
        mark: int = 1,
        end: int = codec.SLOTS_END,
    ) -> None:
        """A peer's phase 1b."""
        self.send(peer, "phase1b", ballot=at, first=first, end=end, mark=mark, pvalues=pvalues)

    def lead(self) -> int:
        """The core becomes the active leader of an empty log, with the promises of all peers; returns the ballot."""
        at = self.begin_scout()
        for peer in range(self.nodes):
            if peer != self.id:
                self.promise(peer, at)
        self.sync()
        assert self.core.status()["leading"]
        self.sent.clear()
        return at

    def accept(self, peer: int, at: int, first: int, end: int, mark: int = 1) -> None:
        """A peer's phase 2b."""
        self.send(peer, "phase2b", ballot=at, first=first, end=end, mark=mark)

    def restart(self) -> OneNode:
        """The same disk, a new process."""
        return OneNode(self.id, self.nodes, roles=self.roles, founded=False, meta=self.meta, records=self.records)

    def restart_with(self, journal: StateMachine) -> OneNode:
        """The same disk, a new process with that machine."""
        return OneNode(
            self.id, self.nodes, roles=self.roles, founded=False, meta=self.meta, records=self.records, journal=journal
        )

    def decided(self) -> list[bytes | None]:
        """The payloads of all slots that are applied."""
        return [(self.core.command_at(slot) or (0, 0, 0, None))[3] for slot in range(1, self.core.slot_out)]
