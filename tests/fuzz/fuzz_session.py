"""Hostile bytes for a client: what a node, or an impostor in its place, may answer.

The input is a program: commands are submitted, links change, responses arrive - well-formed with chosen fields, as they
stand in the input, or raw bytes.

Properties. `receive` raises nothing but CodecError, and then the link is dropped. A command is answered at most once,
and only if it was submitted. The session writes whole frames of commands without an answer, in order.
"""

from __future__ import annotations

from multipaxos.client.session import Session
from multipaxos.load.load import Load
from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError
from tests.fuzz.harness import Program, chunk, main

NONCE = 77
CAPACITY = 8
STEPS_MAX = 100
OPENED, AHEAD = codec.ReplyStatus.OPENED, codec.ReplyStatus.AHEAD


class Client:
    """One session under attack, and sometimes a load generator that receives the same."""

    def __init__(self, data: bytes) -> None:
        self.program = Program(data)
        self.session = Session(NONCE, CAPACITY)
        self.others = [Load(NONCE, outstanding=4)] if self.program.below(8) == 7 else []  # its histogram is large
        self.answered: set[int] = set()
        self.now_ns = 1

    def run(self) -> None:
        """Does its steps."""
        steps = (self.submit, self.respond, self.frames, self.connect, self.session.rewind, self.open)
        for _ in range(STEPS_MAX):
            if not self.program.more():
                return
            steps[self.program.below(len(steps))]()
            self.check()

    def submit(self) -> None:
        """A command is submitted."""
        self.session.submit(self.program.read(self.program.below(32)))

    def connect(self) -> None:
        """There is a new link."""
        for session in (self.session, *self.others):
            session.connected()

    def open(self) -> None:
        """A node opens the session."""
        self.receive(codec.encode_response(5, [(NONCE, 5, OPENED, b"")]))

    def respond(self) -> None:
        """Answers arrive, to any sequences."""
        program = self.program
        session = 5 if program.below(4) else program.byte()
        replies = [
            (
                program.byte() if program.below(16) else program.number(),
                program.byte(),
                program.below(9),
                program.read(3),
            )
            for _ in range(program.below(5))
        ]
        self.receive(codec.encode_response(session, replies))

    def frames(self) -> None:
        """Bytes arrive as they stand in the input, in two chunks."""
        data = self.program.chunk()
        cut = self.program.byte() * len(data) // 256
        self.receive(data[:cut])
        self.receive(data[cut:])

    def receive(self, data: bytes) -> None:
        """Bytes arrive on the link; after nonsense the link is dropped."""
        self.now_ns += 1000
        try:
            answers = self.session.receive(data)
        except CodecError:
            self.session.connected()
            answers = self.session.receive(b"")  # answers before the nonsense count, and are returned next time
        for sequence, *_ in answers:
            assert 1 <= sequence <= self.session.last
            assert sequence not in self.answered, f"{sequence} is answered twice"
            self.answered.add(sequence)
        for load in self.others:
            try:
                load.pump(self.now_ns, data)
            except CodecError:
                load.connected()

    def check(self) -> None:
        """Properties of what the session keeps and writes."""
        session = self.session
        assert session.acknowledged <= session.last <= session.acknowledged + CAPACITY
        assert session.unanswered == session.last - len(self.answered)
        frames, rest = codec.split(session.output())
        assert rest == b""
        wanted = [command for frame in frames for command in codec.decode_request(frame)]
        sequences = [sequence for id, sequence, *_ in wanted if id == session.id and session.id]
        assert sequences == sorted(set(sequences) - self.answered)


def run_one(data: bytes) -> None:
    """Runs one input."""
    Client(data).run()


def seeds() -> list[bytes]:
    """Submit, open, answer; links that change; whole frames."""
    submit = bytes([0, 3]) + b"abc"
    answer = bytes([1, 1, 2, 1, 1, 9, 0]) + b"ok!" + bytes([1, 2, 9, 0]) + b"ok!"
    response = codec.encode_response(5, [(1, 9, 0, b"answer"), (2, 10, AHEAD, b"")])
    leading = codec.encode("leading", ballot=1 << 24)
    ways = (
        submit * 2 + bytes([5]) + answer,
        submit * 3 + bytes([5, 3]) + answer + bytes([4]) + answer,
        submit * 2 + bytes([5, 2]) + chunk(response) + b"\x80" + bytes([2]) + chunk(leading + response) + b"\x40",
    )
    return [bytes([others]) + way for others in (0, 7) for way in ways]


if __name__ == "__main__":
    main(run_one, seeds())
