"""Hostile bytes for a node: `receive` in each of its states.

The first byte of an input chooses the state that the node is brought to (states.py), the others are steps: frames of
peers and clients whose fields the input chooses, what a leader sends, frames as they stand in the input, frames with a
change, raw bytes, ticks, syncs, reads with damaged records, answers of a machine, links that break and come up. Peers
may send anything here; fuzz_cluster.py is for honest ones.

Properties, after every step.
- Nothing raises, except what STOPS lists after a peer has sent something: that is how a node stops when peers lie, and
  peers are assumed not to lie. Clients and admins alone can never make a node stop.
- Answers of a machine that are none, or more than its job has commands, stop the node. An end of a job that has ended
  changes nothing.
- The invariants hold, whatever peers send. The node writes whole frames that decode; a batch holds runs with the slots
  that it names.
- Holes only shrink, and no vote or promise covers one. Nothing is applied from the first command of an outstanding job
  on. A node that differs from a majority neither leads nor answers a client.
- A link that the node closed is gone: the node sends and receives nothing more on it.
- The memory of a node is in proportion to the bytes that it has received.
And AddressSanitizer watches that the node reads and writes only its own bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from multipaxos.errors import InvariantViolation, LogTooNew, MachineTooOld
from multipaxos.machine.user_machine import ANSWER_COST
from multipaxos.node.output import Batch
from multipaxos.paxos.settings import encode_setting
from multipaxos.storage.records import Record, by_key, cut
from multipaxos.wire import codec
from multipaxos.wire.record import parts_of_batch
from tests.fuzz.harness import Program, chunk, main
from tests.fuzz.states import CLIENT, COMMANDS, STATES
from tests.support.one_node import NONCE, OneNode, ballot, command
from tests.support.records import flipped

STEPS_MAX = 60
LAST = codec.SLOTS_END
STOPS = (InvariantViolation, LogTooNew, MachineTooOld)
MEMORY_MIN, MEMORY_TIMES = 64 << 10, 8
PEER_KINDS = (
    "phase1a",
    "phase1b",
    "phase2a",
    "phase2b",
    "decision",
    "fetch",
    "fetched",
    "ping",
    "pong",
    "founding",
    "request",
    "response",
    "leading",
)


class Fields:
    """Values that mean something to this node, or nothing, as the input chooses."""

    def __init__(self, program: Program, one: OneNode) -> None:
        self.program = program
        self.one = one

    def slot(self) -> int:
        """Mostly near the slots in motion."""
        chosen = self.program.byte()
        return self.program.number() if chosen >= 250 else chosen % 80

    def ballot(self) -> int:
        """Often the node's own."""
        chosen = self.program.byte()
        if chosen >= 250:
            return self.program.number()
        return self.one.core.leader.ballot if chosen % 3 == 0 else ballot(chosen // 3 % 14, chosen % 4)

    def end(self) -> int:
        """The end of a range, often an open one."""
        return self.slot() if self.program.below(2) else LAST

    def commands(self) -> list[tuple[Any, ...]]:
        """A few."""
        program = self.program
        return [
            command(
                program.below(4),
                program.below(5),
                encode_setting(program.below(4), program.below(4)) if size == 12 else program.read(size),
                program.below(7),
                program.below(4),
                NONCE + program.below(3) % 2,
            )
            for size in (program.below(13) for _ in range(program.below(7)))
        ]

    def run(self) -> bytes:
        """A run, as pvalues carry it; sometimes not a run at all."""
        if self.program.below(10) == 9:
            return self.program.read(40)
        commands = self.commands() or [command(1, 1)]
        return codec.run_frame(codec.encode_phase2a(self.ballot(), self.slot(), 5, (0, 1, 1), commands)) or b"?"

    def pvalues(self) -> list[dict[str, object]]:
        """A few."""
        return [{"first": self.slot(), "end": self.slot(), "run": self.run()} for _ in range(self.program.below(4))]

    def of(self, kind: str) -> dict[str, Any]:
        """All fields of a message of this kind."""
        make: dict[str, Callable[[], object]] = {
            "ballot": self.ballot,
            "decided_ballot": self.ballot,
            "end": self.end,
            "nonce": self.program.byte,
            "time_ns": self.program.byte,
            "incarnation": lambda: 1000 + self.program.below(4),
            "incarnations": lambda: [1000 + i for i in range(self.program.below(6))],
            "processes": lambda: [self.program.byte() for _ in range(self.program.below(6))],
            "state_hash": self.program.byte,
            "session": self.program.byte,
            "commands": lambda: [dict(zip(codec.ELEMENTS["commands"], one, strict=True)) for one in self.commands()],
            "pvalues": self.pvalues,
            "replies": lambda: [{"sequence": 1, "slot": self.slot(), "status": 0, "data": b"answer"}],
        } | dict.fromkeys(("voting", "leading", "quorum", "fresh"), lambda: bool(self.program.below(2)))
        return {name: make.get(name, self.slot)() for name in codec.FIELDS[kind]}


class Attack:
    """One input, run against one node."""

    def __init__(self, data: bytes) -> None:
        self.program = Program(data)
        self.one = STATES[self.program.below(len(STATES))]()
        self.fields = Fields(self.program, self.one)
        self.one.sent.clear()
        self.links = {CLIENT: -1} | {100 + peer: peer for peer in range(1, self.one.nodes)}
        self.next_link = 1000
        self.received = 0
        self.lied = False  # a peer has sent something
        self.answered = 0  # the token of the job that was answered last
        self.over = False  # the node has stopped, as it should
        self.holes = self.one.core.acceptor.holes.spans_list()

    def run(self) -> None:
        """Does its steps."""
        steps = (self.message, self.request, self.frames, self.changed, self.tick, self.sync, self.read, self.relink,
                 self.client, self.leave, self.answer, self.admin, self.led)  # fmt: skip
        for _ in range(STEPS_MAX):
            if not self.program.more():
                return
            steps[self.program.below(len(steps))]()
            if self.over:
                return
            self.check()

    # -- steps
    def peer(self) -> int:
        """The link of a peer; 0 if none is up."""
        return self.some([link for link, node in self.links.items() if node >= 0])

    def some(self, links: list[int]) -> int:
        """One of these."""
        return links[self.program.below(len(links))] if links else 0

    def message(self) -> None:
        """A peer sends a well-formed message of any meaning."""
        self.receive(self.peer(), self.encoded(PEER_KINDS[self.program.below(len(PEER_KINDS))]))

    def request(self) -> None:
        """A client sends a request."""
        self.receive(self.some([link for link, node in self.links.items() if node < 0]), self.encoded("request"))

    def encoded(self, kind: str) -> bytes:
        """A message; empty if the codec refuses to encode it."""
        try:
            return codec.encode(kind, **self.fields.of(kind))
        except (ValueError, OverflowError):
            return b""

    def led(self) -> None:
        """A peer sends what a leader sends, at the ballot of the node's acceptor or the next, about slots in motion;
        often the disk is then quick."""
        link, program = self.peer(), self.program
        at = ballot((self.one.core.acceptor.ballot_num >> 24) + program.below(2), max(self.links.get(link, 0), 0))
        first = 1 + program.below(12)
        end = first + 1 + program.below(4)
        commands = [command(1, slot) for slot in range(first, end)]
        run = codec.run_frame(codec.encode_phase2a(at, first, 5, (0, 1, 1), commands))
        pvalues = [{"first": first, "end": end, "run": run}]
        kinds: tuple[Callable[[], bytes], ...] = (
            lambda: codec.encode("phase1a", ballot=at, first=first),
            lambda: codec.encode_phase2a(at, first, 5, (at, first, end) if program.below(2) else (0, 1, 1), commands),
            lambda: codec.encode("decision", ballot=at, first=first, end=end),
            lambda: codec.encode("fetched", first=first, end=end, mark=1, pvalues=pvalues),
        )
        self.receive(link, kinds[program.below(4)]())
        if program.below(3):
            self.one.sync()

    def frames(self) -> None:
        """Bytes arrive as they stand in the input, on any link, in two chunks."""
        link, data = self.some(list(self.links)), self.program.chunk()
        cut = self.program.byte() * len(data) // 256
        self.receive(link, data[:cut])
        self.receive(link, data[cut:])

    def changed(self) -> None:
        """A message arrives of which one byte was changed or the end cut off."""
        link = self.some(list(self.links))
        kind = PEER_KINDS[self.program.below(len(PEER_KINDS))]
        data = bytearray(self.encoded(kind) or b"?")
        data[self.program.byte() * len(data) // 256] = self.program.byte()
        self.receive(link, bytes(data[: 1 + self.program.byte() * len(data) // 256]))

    def receive(self, link: int, data: bytes) -> None:
        """Bytes arrive on a link that is up, or was."""
        self.received += len(data)
        self.lied = self.lied or self.links.get(link, -1) >= 0
        self.one.core.receive(link, data)

    def tick(self) -> None:
        """Time passes."""
        self.one.tick(self.program.byte() * 8)

    def sync(self) -> None:
        """The disk has made the batches durable, or has failed."""
        self.one.sync(self.program.below(20) < 19)

    def read(self) -> None:
        """The disk gives the records that the node wanted, or none, or fewer, or damaged ones."""
        reads, self.one.reads = self.one.reads, []
        for read in reads:
            end = max(read.first + 1, read.end - self.program.below(4))
            damage = self.program.byte(), self.program.byte()
            found = cut(damaged(sorted(self.one.records, key=by_key), *damage), read.first, end, 1 << 60)
            self.one.core.done(read.token, self.program.below(8) < 7, found)

    def answer(self) -> None:
        """The machine answers the first commands of its job, as `user_machine.run` does; or more than there are, or
        none; or it stops. Without a job, the last one ends once more."""
        job, self.one.job = self.one.job, None
        if job is None:
            if self.answered:
                self.one.core.done(self.answered, True, [(False, b"again")])
            return
        self.answered, chosen = job.token, self.program.byte()
        if chosen >= 250:
            self.one.core.done(job.token, False)
            return
        answers: list[tuple[bool, bytes]] = []
        size = 0
        while size <= job.answer_bytes_max and len(answers) < min(len(job.commands), 1 + chosen % 8):
            answers.append((self.program.below(4) == 3, self.program.read(self.program.below(40))))
            size += len(answers[-1][1]) + ANSWER_COST
        if chosen >= 240:
            wrong = [] if chosen % 2 else answers + [(False, b"more")] * len(job.commands)
            try:
                self.one.core.done(job.token, True, wrong)
            except InvariantViolation:
                self.over = True
                return
            assert self.one.failed, "as many answers as no job has were taken"
            return
        self.received += size
        self.one.core.done(job.token, True, answers)

    def relink(self) -> None:
        """A peer gets another link, sometimes another incarnation."""
        if self.one.nodes == 1:
            return
        peer = 1 + self.program.below(self.one.nodes - 1)
        self.links = {link: node for link, node in self.links.items() if node != peer}
        self.next_link += 1
        self.links[self.next_link] = peer
        knows = {"semantics_max": 1 + self.program.below(3), "machine_version": 1 + self.program.below(3)}
        self.one.link(peer, incarnation=1000 + peer + self.program.below(2) * 7, number=self.next_link, **knows)

    def client(self) -> None:
        """One more client."""
        self.next_link += 1
        self.links[self.next_link] = -1
        self.one.client(self.next_link)

    def admin(self) -> None:
        """One more admin."""
        self.next_link += 1
        self.links[self.next_link] = -1
        self.one.admin(self.next_link)

    def leave(self) -> None:
        """A link breaks."""
        link = self.some(list(self.links))
        self.links.pop(link, None)
        self.one.core.link_down(link)

    # -- properties
    def check(self) -> None:
        """What holds after every step."""
        node, one = self.one.core, self.one
        try:
            node.invariants()
        except InvariantViolation as error:  # the node itself has not seen it
            raise AssertionError("a rule does not hold") from error
        before = one.batch
        one.collect()  # every write: whole frames, each of which decodes
        if one.batch is not None and one.batch is not before:
            check_batch(one.batch)
        for link in one.closed:
            self.links.pop(link, None)
        assert one.sent.keys() <= self.links.keys(), "written to a link that is gone"
        self.check_holes()
        assert one.job is None or node.slot_out <= one.job.commands[0][0], "applied without the machine's answer"
        if node.status()["differs"] == "minority":
            assert not node.status()["leading"]
            assert all(message["kind"] != "response" for sent in one.sent.values() for message in sent)
        one.sent.clear()
        peers = sorted(node for node in self.links.values() if node >= 0)
        status = node.status()
        assert one.failed or status["peers"] == peers, (status["peers"], peers)
        assert status["memory_bytes"] <= MEMORY_MIN + MEMORY_TIMES * self.received, status
        assert node.next_tick_ns() >= 0

    def check_holes(self) -> None:
        """None grew, and what was sent covers none."""
        before, self.holes = self.holes, self.one.core.acceptor.holes.spans_list()
        for first, end in self.holes:
            assert any(old <= first and end <= old_end for old, old_end in before), (before, self.holes)
            for message in (each for sent in self.one.sent.values() for each in sent):
                if message["kind"] in ("phase1b", "phase2b") and message["first"] < message["end"]:
                    assert message["end"] <= first or end <= message["first"], (message, self.holes)


def damaged(records: list[Record], which: int, at: int) -> list[Record]:
    """The records, of which one has a flipped bit if there are more than `which`."""
    if which < len(records):
        first, index, value = records[which]
        records[which] = first, index, flipped(value, at)
    return records


def check_batch(batch: Batch) -> None:
    """Every record is a run that holds the slots that the record names."""
    for first, end, _, frame in parts_of_batch(batch.records):
        _, run_first, _, _, commands = codec.decode_phase2a(frame)
        assert run_first <= first < end <= run_first + len(commands)


def run_one(data: bytes) -> None:
    """Runs one input. A node may stop only if a peer has sent something."""
    attack = Attack(data)
    try:
        attack.run()
    except STOPS:
        if not attack.lied:
            raise


def seeds() -> list[bytes]:
    """In each state: frames of every kind, on the link of a peer and of a client; then some of each other step."""
    from tests.fuzz.fuzz_codec import seeds as frames

    stand = [bytes([2, link]) + chunk(frame) + b"\x80" for frame in frames() for link in (0, 2)]
    requests = [bytes([1, 0, len(COMMANDS)]) + b"\1\1\1a\1\0\0" * len(COMMANDS)]
    requests += [bytes([1, 0, 1, 12, 1, 2, name, value, 5, 1, 0, 5, 0]) for name in (1, 2) for value in (2, 3)]
    jobs = [bytes([10, chosen, 0, 3, 65, 66, 67, 4]) + b"\x0a" for chosen in (0, 2, 241, 242, 250)]
    led = [bytes([12, 0, higher, slot, 2, kind, 1, 1]) for higher in (0, 1) for slot in (0, 6) for kind in range(4)]
    others = [
        *jobs,
        *led,
        bytes([11, 1, 3, 3]),
        bytes([4, 100, 5, 0]),
        bytes([6, 0, 7]),
        bytes([7, 0, 0, 8, 9, 1]),
        bytes([4, 200, 5, 0, 4, 200, 5, 0]),
    ]
    return [bytes([state]) + step for state in range(len(STATES)) for step in (*stand, *requests, *others)]


if __name__ == "__main__":
    main(run_one, seeds())
