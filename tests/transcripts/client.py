"""A client of a transcript: the shipped session, on one link at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from multipaxos.client.session import Session
from multipaxos.simulation.shell import whole_frames
from multipaxos.wire import codec
from tests.transcripts.trace import Trace

STATUSES: dict[int, str] = {status: status.name.lower() for status in codec.ReplyStatus}
CAPACITY = 64  # unanswered commands


class Client:
    """One client. `send`: called with the client's name, its node's name and a frame."""

    def __init__(self, name: str, nonce: int, trace: Trace, send: Callable[[str, str, bytes], None]) -> None:
        self.name = name
        self.session = Session(nonce, CAPACITY)
        self.trace = trace
        self.send = send
        self.node = ""  # the name of the node that it is linked to

    def flush(self) -> None:
        """Sends what the session wants to send."""
        for frame in whole_frames(self.session.output()):
            self.send(self.name, self.node, frame)

    def submit(self, commands: Iterable[str]) -> None:
        """New commands, in one request."""
        for command in commands:
            self.session.submit(command.encode())
        self.flush()

    def on_frame(self, frame: bytes) -> None:
        """Answers arrive."""
        for sequence, status, slot, _ in self.session.receive(frame):
            self.trace.say("answered", self.name, f"has the answer to {sequence}: {STATUSES[status]}, slot {slot}")
        self.flush()
