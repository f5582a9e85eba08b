"""A core beside the specification's node: the same inputs to both, and after every step the same state and outputs.

A `Pair` is the core of one node (`tests/support/one_node.py`) and a `specification.node.Node`. Every frame for the core
is translated for the specification's node: a phase 2a that carries a run is a 2a per slot, a watermark is a watermark.
The core begins a scout and steps down by its clock; the specification's node may do both at any time, and does so when
the core does. After every step `check` compares all that can be seen of the acceptor, the leader with its scout and
commanders, and the replica; and every frame that left:

- 1b's and 2b's: exactly those that the specification releases in this step, so not before the sync, and not later;
- 1a's, 2a's: only those of a scout or commander of the specification (the core may send them again);
- watermarks, fetched slots, answers and forwarded requests: only facts that the specification's node knows.

A difference raises `Mismatch`, which names it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from multipaxos.node.node import Node as CoreNode
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.storage.records import by_key, cut
from multipaxos.wire import codec
from tests.specification.amended import NOOP, NOWHERE
from tests.specification.amended_replica import Open
from tests.specification.network import Envelope
from tests.specification.node import Node, machine_of
from tests.specification.terms import (
    BOTTOM,
    Ballot,
    Command,
    Id,
    P1a,
    P1b,
    P2a,
    P2b,
    Pvalue,
    Quorums,
    Request,
    columns,
    holds,
    majority,
    of_size,
    rows,
)
from tests.support.journal import Journal
from tests.support.one_node import APPLY, MS, OPEN_SESSION, OneNode

LAST = codec.SLOTS_END
PASSIVE, SCOUTING, ACTIVE = range(3)
STATUSES = {status: status.name.lower() for status in codec.ReplyStatus}
CLIENT = 1


class Mismatch(AssertionError):
    """The core does not do what the specification does."""


# -- from the core's terms to the specification's, and back


def to_wire(b: Ballot) -> int:
    """A ballot as the core has it."""
    return 0 if b == BOTTOM else b.round << 24 | b.leader


def from_wire(number: int) -> Ballot:
    """A ballot as the specification has it."""
    return Ballot(number >> 24, number & 0xFFFFFF) if number else BOTTOM


def command_of(fields: dict[str, Any], time: int = 0) -> Command:
    """A command of a decoded message; a no-op has no time."""
    if fields["kind"] == codec.CommandKind.NOOP:
        return NOOP
    op = Open() if fields["kind"] == OPEN_SESSION else fields["payload"]
    return Command(fields["session"], fields["sequence"], op, time, fields["nonce"])


def fields_of(c: Command) -> tuple[int, int, int, int, bytes, int]:
    """A command as the codec takes it; nothing is ever acknowledged here, so every answer is kept."""
    if c.client is None:
        return 0, 0, 0, 0, b"", 0
    if isinstance(c.op, Open):
        return c.client, c.cid, OPEN_SESSION, 0, b"", 0
    return c.client, c.cid, APPLY, c.cid - 1, c.op, c.nonce


def frame_of(b: Ballot, first: int, commands: Sequence[Command], decided: tuple[int, int, int] = (0, 1, 1)) -> bytes:
    """A phase 2a frame; the commands are of one time (no-ops have any)."""
    (time,) = {c.time for c in commands if c.client is not None} or {0}
    return codec.encode_phase2a(to_wire(b), first, time, decided, [fields_of(c) for c in commands])


def pvalues_of(message: dict[str, Any]) -> list[Pvalue]:
    """The pvalues of a decoded phase 2a."""
    b, first = from_wire(message["ballot"]), message["first"]
    return [Pvalue(b, first + i, command_of(c, message["time_ns"])) for i, c in enumerate(message["commands"])]


def runs_of(entries: Iterable[dict[str, Any]]) -> Iterator[list[Pvalue]]:
    """The pvalues that the entries of a phase 1b or fetched name."""
    for entry in entries:
        run = pvalues_of(codec.decode_message(entry["run"]))
        yield [p for p in run if entry["first"] <= p.slot < entry["end"]]


def p1b_of(acceptor: int, message: dict[str, Any]) -> P1b:
    """A decoded phase 1b, or a part of one."""
    pvalues = frozenset(p for run in runs_of(message["pvalues"]) for p in run)
    first, end = (NOWHERE if message[name] == LAST else message[name] for name in ("first", "end"))
    return P1b(("acceptor", acceptor), from_wire(message["ballot"]), pvalues, first, end, message["mark"])


def refused_once(answers: set[Any]) -> set[Any]:
    """A refusal only reports ballot_num. A vote for that ballot to the same leader reports it too, and replaces it."""
    return {
        a
        for a in answers
        if a[1] != "refused" or not any(o[1] == "vote" and (o[0], o[2]) == (a[0], a[2]) for o in answers)
    }


class System:
    """A quorum system, as the core has it and as sets of sets."""

    def __init__(self, core: QuorumSystem, phase1: Callable[..., Quorums], phase2: Callable[..., Quorums], n: int):
        self.core = core
        self.nodes = n
        self.acceptors: list[Id] = [("acceptor", i) for i in range(n)]
        self.phase1, self.phase2 = phase1(self.acceptors), phase2(self.acceptors)


SYSTEMS = {
    "majority of 3": System(QuorumSystem.majority(range(3)), majority, majority, 3),
    "majority of 4": System(QuorumSystem.majority(range(4)), majority, majority, 4),
    "majority of 5": System(QuorumSystem.majority(range(5)), majority, majority, 5),
    "3 and 2 of 4": System(
        QuorumSystem.sizes(range(4), 3, 2), lambda ids: of_size(ids, 3), lambda ids: of_size(ids, 2), 4
    ),
    "grid of 2 x 2": System(
        QuorumSystem.grid(range(4), 2, 2), lambda ids: rows(ids, 2), lambda ids: columns(ids, 2), 4
    ),
}


class Bare(OneNode):
    """A core whose frames are kept as they left, and whose calendar is another clock than that of its timers."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self.frames: list[tuple[int, bytes]] = []
        self.utc_ns = 1000
        super().__init__(*arguments, inside=True, **options)

    def tick(self, ms: float) -> None:
        """Time passes; the calendar is slow, so that no request grows old."""
        self.now_ns += int(ms * MS)
        self.utc_ns += 1
        self.core.tick(self.now_ns, self.utc_ns)
        self.collect()

    def on_frames(self, link: int, frames: list[bytes]) -> None:
        """Kept as they are."""
        self.frames += [(link, frame) for frame in frames]


class Pair:
    """The core and the specification's node number `number`. `sent`: (peer, frame) that left, until they are taken."""

    def __init__(self, number: int = 0, system: str = "majority of 3", window: int = 16) -> None:
        self.number = number
        self.system = SYSTEMS[system]
        self.window = window
        self.spec = Node(number, self.system.acceptors, self.system.phase1, self.system.phase2, window)
        self.spec.choose = self.chosen
        self.sent: list[tuple[int, bytes]] = []
        self.asked: set[tuple[Any, int]] = set()
        self.boot({}, [])

    def boot(self, meta: dict[bytes, bytes], records: list[Any]) -> None:
        """A process begins."""
        self.one = Bare(
            self.number,
            self.system.nodes,
            quorums=self.system.core,
            window=self.window,
            meta=meta,
            records=records,
            journal=Journal(),
        )
        self.one.client(CLIENT)
        self.asked.clear()
        self.writing = False
        self.finish()

    @property
    def core(self) -> CoreNode:
        """The core."""
        return self.one.core

    # -- steps

    def receive(self, peer: int, frame: bytes) -> None:
        """A frame from another node."""
        message = codec.decode_message(frame)
        self.one.receive(100 + peer, frame)
        self.spec.now = self.one.utc_ns
        self.tell_spec(peer, message)
        self.finish()

    def send(self, peer: int, kind: str, **fields: Any) -> None:
        """A message from another node."""
        self.receive(peer, codec.encode(kind, **fields))

    def request(self, *commands: Command) -> None:
        """A client's request."""
        self.one.receive(CLIENT, codec.encode_request([fields_of(c) for c in commands]))
        self.spec.now = self.one.utc_ns
        for c in commands:
            self.asked.add((c.client, c.cid))
            self.spec.replica.receive(Request(c))
        self.finish()

    def tick(self, ms: float) -> None:
        """Time passes. If a timer was due, this is a wake-up; the events say what the timers did."""
        wakes = self.one.now_ns + int(ms * MS) >= self.core.next_tick_ns()
        self.one.tick(ms)
        self.spec.now = self.one.utc_ns
        for event in self.one.events:
            if event.kind == "scouting":
                self.spec.scout()
            elif event.kind == "stepped_down":
                self.spec.step_down()
        self.finish(wakes)

    def sync(self) -> bool:
        """The outstanding batch becomes durable; false if there is none."""
        batch, self.one.batch = self.one.batch, None
        if batch is None:
            return False
        self.one.commit(batch)
        self.core.done(batch.token, True)
        self.one.collect()
        self.writing = False
        self.spec.disk.synced()
        self.spec.disk.release()
        self.finish()
        return True

    def settle(self) -> None:
        """All batches become durable, and all reads are answered."""
        while self.sync():
            pass
        while self.read():
            pass

    def read(self) -> bool:
        """One read of the disk is answered; false if none is wanted."""
        if not self.one.reads:
            return False
        wanted = self.one.reads.pop(0)
        found = cut(sorted(self.one.records, key=by_key), wanted.first, wanted.end, 1 << 60)
        self.core.done(wanted.token, True, found)
        self.one.collect()
        self.finish(wakes=False)
        return True

    def crash(self) -> None:
        """The process crashes, and begins again with what is on the disk."""
        self.spec.crash()
        self.boot(self.one.meta, self.one.records)

    def relink(self, peer: int) -> None:
        """The link to a peer breaks, and there is a new one."""
        self.core.link_down(100 + peer)
        self.one.link(peer)
        self.finish(wakes=False)

    def take(self, kind: str | None = None) -> list[tuple[int, dict[str, Any]]]:
        """The messages that left since the last call, decoded."""
        sent, self.sent = self.sent, []
        messages = [(peer, codec.decode_message(frame)) for peer, frame in sent]
        return [(peer, message) for peer, message in messages if kind is None or message["kind"] == kind]

    # -- the specification's turn

    def tell_spec(self, peer: int, m: dict[str, Any]) -> None:
        """Gives the specification's node the message that arrived at the core."""
        spec = self.spec
        match m["kind"]:
            case "phase1a":
                spec.on_p1a(peer, from_wire(m["ballot"]), m["first"])
            case "phase1b":
                spec.on_p1b(p1b_of(peer, m))
            case "phase2a":
                spec.on_p2a(peer, pvalues_of(m))
                spec.on_watermark(from_wire(m["decided_ballot"]), m["decided_first"], m["decided_end"])
            case "phase2b":
                spec.on_p2b(("acceptor", peer), from_wire(m["ballot"]), range(m["first"], m["end"]), m["mark"])
            case "decision":
                spec.on_watermark(from_wire(m["ballot"]), m["first"], m["end"])
            case "fetched":
                spec.on_fetched(runs_of(m["pvalues"]))
            case "request":
                spec.on_forwarded([command_of(c) for c in m["commands"]])
            case "ping":
                spec.see(from_wire(m["ballot"]))
            case "pong":
                spec.see(from_wire(m["ballot"]))
                if m["leading"]:
                    spec.on_watermark(from_wire(m["decided_ballot"]), m["decided_first"], m["decided_end"])

    def finish(self, wakes: bool = True) -> None:
        """The end of a step: the specification's wake-up, the disk, and the comparison."""
        if wakes:
            self.spec.finish()
        if self.one.batch is not None and not self.writing:
            self.spec.disk.write()
            self.writing = True
        self.one.events.clear()
        ring = self.core.acceptor.accepted
        self.spec.acceptor.memory = range(ring.base, ring.base + ring.capacity)
        self.check()

    def chosen(self, slot: int, waiting: Sequence[Command]) -> int:
        """Which of the requests that wait the core has proposed in a slot: the first of its session among them."""
        proposed = self.core.replica.proposal_at(slot)
        for place, c in enumerate(waiting):
            session, sequence, kind, _, payload, nonce = fields_of(c)
            if proposed == (kind, session, nonce, sequence, payload):
                if any((other.client, other.nonce) == (c.client, c.nonce) for other in waiting[:place]):
                    raise Mismatch(f"node {self.number}: {c} came before others of its session")
                return place
        raise Mismatch(f"node {self.number}: slot {slot} has {proposed}, which does not wait in the specification")

    # -- the comparison

    def check(self) -> None:
        """Compares everything."""
        if self.one.failed or self.one.closed:
            raise Mismatch(f"the core gave up: {self.one.failed} {self.one.closed}")
        self.core.invariants()
        self.check_acceptor()
        self.check_leader()
        self.check_replica()
        frames, self.one.frames = self.one.frames, []
        self.sent += [(link - 100, frame) for link, frame in frames if link > CLIENT]
        self.check_frames([(link, codec.decode_message(frame)) for link, frame in frames])

    def same(self, what: str, core: object, spec: object) -> None:
        """They have to be equal."""
        if core != spec:
            raise Mismatch(f"node {self.number}, {what}: the core has {core}, the specification {spec}")

    def check_acceptor(self) -> None:
        """ballot_num and accepted; slots that the core dropped from memory are decided, and on disk."""
        core, spec = self.core.acceptor, self.spec.acceptor
        self.same("ballot_num", from_wire(core.ballot_num), spec.ballot_num)
        held = sorted((p.slot, to_wire(p.ballot)) for p in spec.accepted if p.slot >= core.accepted.base)
        self.same("accepted", core.pvalues(), held)

    def check_leader(self) -> None:
        """Its state; a scout's answers, or the commanders' votes."""
        core, spec = self.core.leader, self.spec.leader
        state = ACTIVE if spec.active else SCOUTING if spec.scouting else PASSIVE
        self.same("leader's state", core.state, state)
        self.same("known ballot", from_wire(self.core.leading.known_ballot), max(spec.seen, spec.ballot_num))
        if state == SCOUTING:
            self.check_scout()
        if state == ACTIVE:
            self.same("leader's ballot", from_wire(core.ballot), spec.ballot_num)
            commanders = core.commanders
            reign = commanders.start, commanders.decided_end, commanders.slot_end
            self.same("start, told and next slot", reign, (spec.start_slot, spec.told, spec.next_slot()))
            for slot in range(commanders.decided_end, commanders.slot_end):
                self.check_commander(slot)

    def check_scout(self) -> None:
        """Which acceptors have answered in full, and the greatest mark."""
        core, leader = self.core.leader.scout, self.spec.leader
        spec = self.spec.processes[("scout", leader.id, leader.ballot_num)]
        assert core is not None
        self.same("scout", (from_wire(core.ballot), core.first, core.mark), (spec.b, spec.first, spec.mark))
        self.same("scout's answers", self.ids(core.answered), set(self.system.acceptors) - spec.waitfor)

    def check_commander(self, slot: int) -> None:
        """The votes of a commander. One that knows its slot to be chosen has ended, and counts no more."""
        row = self.core.leader.commanders.proposals.row(slot)
        if row is None:
            raise Mismatch(f"node {self.number}: slot {slot} has no commander")
        votes = self.ids(row[1])
        spec = self.spec.processes.get(("commander", self.spec.leader.id, self.spec.leader.ballot_num, slot))
        self.same(f"slot {slot} chosen", holds(self.system.phase2, votes), spec is None)
        if spec is not None:
            self.same(f"votes for slot {slot}", votes, set(self.system.acceptors) - spec.waitfor)

    def ids(self, mask: int) -> set[Id]:
        """The acceptors of a vote mask."""
        return {("acceptor", i) for i in range(64) if mask >> i & 1}

    def check_replica(self) -> None:
        """slot_in, slot_out, requests, proposals, decisions, and the state."""
        core, spec = self.core.replica, self.spec.replica
        self.same("slot_in, slot_out", (core.slot_in, core.slot_out), (spec.slot_in, spec.slot_out))
        self.same("number of requests", len(core.requests), len(spec.requests))
        self.same("proposals", core.proposals.slots(), sorted(spec.proposals))
        self.same("re-proposals", core.reproposals, spec.reproposals)
        decided = {s: fields_of(c) for s, c in spec.decisions}
        for slot in range(core.decisions.base, core.slot_out + 2 * self.window):
            found, expected = self.core.command_at(slot), decided.get(slot)
            if expected is not None:
                session, sequence, kind, _, payload, _ = expected
                self.same(f"decision of slot {slot}", found, (kind, session, sequence, payload))
            else:
                self.same(f"decision of slot {slot}", found, None)
        self.same("state", tuple(self.one.journal.entries), spec.state)

    # -- what left

    def check_frames(self, frames: list[tuple[int, dict[str, Any]]]) -> None:
        """All that left in this step."""
        answers: set[Any] = set()
        for link, m in frames:
            peer = link - 100
            match m["kind"]:
                case "phase1b":
                    answers.add((peer, p1b_of(self.number, m)))
                case "phase2b" if m["first"] < m["end"]:
                    answers |= {(peer, "vote", from_wire(m["ballot"]), s) for s in range(m["first"], m["end"])}
                case "phase2b":
                    answers.add((peer, "refused", from_wire(m["ballot"])))
                case "phase1a":
                    self.check_sent(
                        peer,
                        P1a(("scout", self.spec.leader.id, from_wire(m["ballot"])), from_wire(m["ballot"]), m["first"]),
                    )
                case "phase2a":
                    for p in pvalues_of(m):
                        self.check_sent(peer, P2a(("commander", self.spec.leader.id, p.ballot, p.slot), p))
                    self.check_watermark(m["decided_ballot"], m["decided_first"], m["decided_end"])
                case "decision":
                    self.check_watermark(m["ballot"], m["first"], m["end"])
                case "pong" if m["leading"]:
                    self.check_watermark(m["decided_ballot"], m["decided_first"], m["decided_end"])
                case "fetched":
                    self.check_fetched(m)
                case "request":
                    self.check_forwarded(m)
                case "response":
                    self.check_response(m)
        outbox, self.spec.outbox = self.spec.outbox, []
        self.same("answers that leave", refused_once(answers), refused_once(self.expected_answers(outbox)))
        late = {key for key in self.asked if key in self.spec.replica.results}
        self.same("answers owed", late, set())

    def expected_answers(self, outbox: Iterable[Any]) -> set[Any]:
        """The 1b's and 2b's that the specification has released."""
        answers: set[Any] = set()
        for to, message, _ in outbox:
            peer = machine_of(to)
            match message:
                case P1b():
                    answers.add((peer, message))
                case P2b(_, b, True) if b == to[2]:
                    answers.add((peer, "vote", b, to[3]))
                case P2b(_, b):
                    answers.add((peer, "refused", b))
        return answers

    def check_sent(self, peer: int, message: Any) -> None:
        """A scout or a commander of the specification has sent this message, to that acceptor."""
        if Envelope(("acceptor", peer), message, message.asker) not in self.spec.sent:
            raise Mismatch(f"node {self.number} sent {message}, which the specification did not")

    def check_watermark(self, b: int, first: int, end: int) -> None:
        """A watermark is of the present reign, from its `start`, and no further than the reign has reported."""
        leader = self.spec.leader
        fine = leader.active and from_wire(b) == leader.ballot_num
        if not (fine and first == leader.start_slot and end <= leader.told):
            raise Mismatch(f"node {self.number}, watermark {from_wire(b)} {first} {end}: {vars(leader)}")

    def check_fetched(self, m: dict[str, Any]) -> None:
        """Only decided slots, at a ballot that the acceptor here held; by now it may hold a higher one."""
        for run in runs_of(m["pvalues"]):
            for b, s, c in run:
                self.same(f"fetched slot {s}", c, self.spec.replica.decision(s))
                self.same(f"fetched slot {s} performed", s < self.spec.replica.slot_out, True)
                held = self.spec.acceptor.at(s)
                self.same(f"fetched slot {s} held at {b} or above", held is not None and held.ballot >= b, True)

    def check_forwarded(self, m: dict[str, Any]) -> None:
        """Only requests that wait here, and only while the leader here is not active."""
        self.same("forwarding while leading", self.spec.leader.active, False)
        for fields in m["commands"]:
            c = command_of(fields)
            self.same(f"{c} waits", any(c.same(other) for other in self.spec.replica.requests), True)

    def check_response(self, m: dict[str, Any]) -> None:
        """Only results. Every client that is owed one receives it."""
        for reply in m["replies"]:
            status = STATUSES[reply["status"]]
            data = int.from_bytes(reply["data"], "little") if status == "ok" else None
            told = reply["sequence"], (m["session"], status, reply["slot"], data)
            self.same(f"told {told}", told in self.spec.replica.told, True)
            self.asked.discard((0 if status == "opened" else m["session"], reply["sequence"]))
