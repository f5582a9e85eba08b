"""Hostile bytes for a node: `receive` in each of its states.

The input is a program: its first byte chooses the state that the node is brought to, the others are steps - frames of
peers and clients with fields that the input chooses, raw bytes, ticks, syncs, links that go and come. Nothing that comes
on a link may end in another exception than InvariantViolation, which is how a node stops when peers lie (they are assumed
not to), and no byte may be read or written that is not the node's own (AddressSanitizer).
"""

import sys
from collections.abc import Callable

import atheris

from multipaxos import codec
from multipaxos.errors import InvariantViolation
from multipaxos.schema import flatten
from tests.rig import OPEN_SESSION, Rig, ballot, command

STEPS_MAX = 60
COMMANDS = [command(0, 77, b"", OPEN_SESSION), command(1, 1, b"a"), command(1, 2, b"b"), command(9, 1, b"c")]


def fresh() -> Rig:
    """Not founded."""
    return Rig(founded=False, window=8)


def following() -> Rig:
    """Accepts what node 1 proposes."""
    rig = Rig(window=8)
    rig.phase2a(1, ballot(5, 1), 1, COMMANDS[:2])
    rig.sync()
    rig.send(1, "decision", ballot=ballot(5, 1), first=1, end=3)
    return rig


def scouting() -> Rig:
    """Asks for promises; its ballot is durable."""
    rig = Rig(window=8)
    rig.begin_scout()
    return rig


def leading() -> Rig:
    """Has proposals in flight, and a client."""
    rig = Rig(window=8)
    rig.lead()
    rig.client(1)
    rig.request(1, *COMMANDS[:3])
    return rig


def catching_up() -> Rig:
    """Knows of slots that it lacks."""
    rig = Rig(window=8)
    rig.send(1, "decision", ballot=ballot(5, 1), first=30, end=40)
    return rig


def syncing() -> Rig:
    """A batch is on its way to the disk, promises and votes wait."""
    rig = Rig(window=8)
    rig.phase2a(1, ballot(5, 1), 1, COMMANDS[:2])
    rig.send(2, "phase1a", ballot=ballot(6, 2), first=1)
    return rig


def apart() -> Rig:
    """A leader that is neither replica nor acceptor."""
    rig = Rig(roles=[2, 5, 5], window=8)
    rig.begin_scout()
    for peer in (1, 2):
        rig.promise(peer, rig.node.leader.ballot)
    return rig


def restarted() -> Rig:
    """Comes back with a log."""
    rig = following()
    rig.sync()
    return rig.restart()


STATES: list[Callable[[], Rig]] = [fresh, following, scouting, leading, catching_up, syncing, apart, restarted]


class Program:
    """One input, run."""

    def __init__(self, data: bytes) -> None:
        self.input = atheris.FuzzedDataProvider(data)
        self.rig = STATES[self.input.ConsumeIntInRange(0, len(STATES) - 1)]()
        self.links = {101: 1, 102: 2}
        self.next_link = 1000

    def run(self) -> None:
        """Its steps."""
        steps = [self.frame] * 6 + [self.raw, self.changed, self.tick, self.sync, self.relink, self.client]
        for _ in range(STEPS_MAX):
            if not self.input.remaining_bytes():
                return
            steps[self.input.ConsumeIntInRange(0, len(steps) - 1)]()
            for link in self.rig.closed:
                self.links.pop(link, None)

    # -- values that mean something, or nothing
    def slot(self) -> int:
        """Mostly near the slots in motion."""
        if self.input.ConsumeIntInRange(0, 9):
            return self.input.ConsumeIntInRange(0, 60)
        return self.input.ConsumeIntInRange(0, 2**64 - 1)

    def at(self) -> int:
        """A ballot."""
        kind = self.input.ConsumeIntInRange(0, 9)
        if kind < 3:
            return self.rig.node.leader.ballot
        if kind < 9:
            return ballot(self.input.ConsumeIntInRange(0, 12), self.input.ConsumeIntInRange(0, 3))
        return self.input.ConsumeIntInRange(0, 2**64 - 1)

    def commands(self) -> list[tuple]:
        """Some."""
        return [
            command(
                self.input.ConsumeIntInRange(0, 3),
                self.input.ConsumeIntInRange(0, 4),
                self.input.ConsumeBytes(self.input.ConsumeIntInRange(0, 12)),
                self.input.ConsumeIntInRange(0, 3),
                self.input.ConsumeIntInRange(0, 3),
            )
            for _ in range(self.input.ConsumeIntInRange(0, 6))
        ]

    def run_frame(self) -> bytes:
        """A run, as pvalues carry it; now and then no run at all."""
        if not self.input.ConsumeIntInRange(0, 9):
            return self.input.ConsumeBytes(40)
        frame = codec.encode_phase2a(self.at(), self.slot(), 5, (0, 1, 1), self.commands() or [command(1, 1)])
        return codec.run_frame(frame) or b"?"

    def pvalues(self) -> list[dict[str, object]]:
        """Some."""
        return [
            {"first": self.slot(), "end": self.slot(), "run": self.run_frame()}
            for _ in range(self.input.ConsumeIntInRange(0, 3))
        ]

    def message(self) -> bytes:
        """A well-formed frame that may mean anything."""
        make = [
            lambda: codec.encode("phase1a", ballot=self.at(), first=self.slot()),
            lambda: codec.encode(
                "phase1b",
                ballot=self.at(),
                first=self.slot(),
                end=self.slot() if self.input.ConsumeBool() else 2**64 - 1,
                mark=self.slot(),
                incarnation=1000 + self.input.ConsumeIntInRange(0, 3),
                number=-1,
                rejoins=(),
                pvalues=self.pvalues(),
            ),
            lambda: codec.encode_phase2a(
                self.at(), self.slot(), self.slot(), (self.at(), self.slot(), self.slot()), self.commands()
            ),
            lambda: codec.encode("phase2b", ballot=self.at(), first=self.slot(), end=self.slot(), mark=self.slot()),
            lambda: codec.encode("decision", ballot=self.at(), first=self.slot(), end=self.slot()),
            lambda: codec.encode("fetch", first=self.slot(), end=self.slot()),
            lambda: codec.encode(
                "fetched", first=self.slot(), end=self.slot(), mark=self.slot(), pvalues=self.pvalues()
            ),
            lambda: codec.encode(
                "ping", ballot=self.at(), nonce=1, slot_out=self.slot(), voting=self.input.ConsumeBool()
            ),
            lambda: codec.encode(
                "pong",
                ballot=self.at(),
                nonce=1,
                slot_out=self.slot(),
                leading=self.input.ConsumeBool(),
                quorum=self.input.ConsumeBool(),
                decided_ballot=self.at(),
                decided_first=self.slot(),
                decided_end=self.slot(),
            ),
            lambda: codec.encode(
                "founding",
                incarnation=1000 + self.input.ConsumeIntInRange(0, 3),
                fresh=self.input.ConsumeBool(),
                incarnations=[1000 + i for i in range(self.input.ConsumeIntInRange(0, 5))],
            ),
            lambda: codec.encode_request(self.commands()),
            lambda: codec.encode_response(1, [(1, 5, 0, b"answer")]),
        ]
        return make[self.input.ConsumeIntInRange(0, len(make) - 1)]()

    # -- steps
    def link(self) -> int:
        """One that is up, if any is."""
        return self.input.PickValueInList(sorted(self.links)) if self.links else 0

    def frame(self) -> None:
        """A message, unless the codec itself would not send it."""
        data = self.sendable()
        if data:
            self.receive(data)

    def sendable(self) -> bytes:
        """A message; empty where the codec refuses to make it."""
        try:
            return self.message()
        except (ValueError, OverflowError):
            return b""

    def raw(self) -> None:
        """Bytes."""
        self.receive(self.input.ConsumeBytes(self.input.ConsumeIntInRange(0, 200)))

    def changed(self) -> None:
        """A message of which one byte is another, or its end is missing."""
        data = bytearray(self.sendable() or b"?")
        data[self.input.ConsumeIntInRange(0, len(data) - 1)] = self.input.ConsumeIntInRange(0, 255)
        self.receive(bytes(data[: self.input.ConsumeIntInRange(1, len(data))]))

    def receive(self, data: bytes) -> None:
        """On some link."""
        self.rig.node.receive(self.link(), data)
        self.rig.collect()

    def tick(self) -> None:
        """Time passes."""
        self.rig.tick(self.input.ConsumeIntInRange(0, 1200))

    def sync(self) -> None:
        """The disk has done its work, or has not."""
        self.rig.sync(self.input.ConsumeIntInRange(0, 20) > 0)
        for read in self.rig.reads:
            held = sorted(self.rig.records, key=lambda record: (record[1], record[0]))
            found = [record for record in held if record[1] < read.end and record[2] > read.first]
            self.rig.node.done(read.token, True, (read.end, found))
        self.rig.reads.clear()
        self.rig.collect()

    def relink(self) -> None:
        """A peer's link breaks, and another comes."""
        peer = self.input.ConsumeIntInRange(1, 2)
        for link in [link for link, node in self.links.items() if node == peer]:
            self.rig.node.link_down(link)
            del self.links[link]
        self.next_link += 1
        self.links[self.next_link] = peer
        self.rig.link(peer, incarnation=1000 + peer + self.input.ConsumeIntInRange(0, 1) * 7, number=self.next_link)

    def client(self) -> None:
        """A client comes."""
        self.next_link += 1
        self.links[self.next_link] = -1
        self.rig.client(self.next_link)


def run_one(data: bytes) -> None:
    """One input."""
    program = Program(data)
    try:
        program.run()
    except InvariantViolation:
        pass


def main() -> None:
    """Runs until libFuzzer ends it."""
    assert flatten  # the bench reads foreign layouts by it
    atheris.Setup(sys.argv, run_one)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
