"""One direction of a link that has a rate: bytes take time, in the order in which they were written.

Theory. It is what a TCP connection is for the process that writes to it: a buffer of the transport, from which the
kernel takes as much as it keeps unsent (CHUNK_BYTES), and a wire that carries so many bytes a second. Bulk waits before
that, in the outbox that the shipped transport uses: control overtakes it there.

Rules.
- Nothing is lost, repeated or overtaken on the way: what is late holds up all that comes after it.
- While the two ends cannot reach each other bytes wait. If that lasts DEAF_NS the link is closed, as the kernel does it
  where nothing is acknowledged (TCP_USER_TIMEOUT); never because of how much waits.
- The owner learns of each fall of what waits.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Protocol

from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.transport.connection import PEER_DEAF_MS
from multipaxos.transport.outbox import Outbox

CHUNK_BYTES = 16 << 10
DEAF_NS = PEER_DEAF_MS * MS
HELD_NS = 5 * MS  # how often one looks whether the ends reach each other again
SECOND_NS = 1000 * MS


@dataclass(slots=True)
class Sent:
    """One frame on its way, for the diagram of a failure."""

    sent_ns: int
    source: str
    target: str
    frame: bytes
    kind: str
    arrived_ns: int | None = None


class PipeEnd(Protocol):
    """What a pipe needs of the network."""

    def is_held(self) -> bool:
        """Can the other side not be reached now?"""

    def on_chunk(self, chunk: bytes, ended: list[Sent]) -> None:
        """Bytes have left; these frames end in them."""

    def on_fallen(self, backlog: int) -> None:
        """So much bulk waits, less than before."""

    def on_deaf(self) -> None:
        """Nothing could be sent for DEAF_NS."""


class Pipe:
    """One direction of one link. `rate`: bytes a second, which may be changed at any time."""

    def __init__(self, timeline: Timeline, rate: int, end: PipeEnd) -> None:
        self.timeline = timeline
        self.rate = rate
        self.end = end
        self.box = Outbox()
        self.bulk: deque[Sent] = deque()  # the pieces in the box
        self.buffer: deque[Sent] = deque()  # what the transport holds
        self.begun = 0  # bytes of the first of them that the kernel has
        self.buffered = 0
        self.carried = 0  # bytes that have left
        self.held_ns: int | None = None  # since when nothing can be sent
        self.busy = False

    @property
    def waiting_bytes(self) -> int:
        """What the process holds for this link."""
        return self.box.waiting_bytes + self.buffered

    def write(self, sent: Sent) -> None:
        """Control: it waits only for what the transport holds."""
        self.take_in(sent)
        self.pump()

    def write_bulk(self, pieces: list[Sent]) -> None:
        """Bulk: it waits until the transport holds little."""
        self.bulk.extend(pieces)
        self.box.put(piece.frame for piece in pieces)
        self.refill()
        self.pump()

    def stop(self) -> None:
        """The link is gone, and what waited for it."""
        self.box = Outbox()
        self.bulk.clear()
        self.buffer.clear()
        self.begun = self.buffered = 0

    def take_in(self, sent: Sent) -> None:
        """The transport has this frame now."""
        self.buffer.append(sent)
        self.buffered += len(sent.frame)

    def refill(self) -> None:
        """The transport gets as much bulk as it may, and the owner is told how much waits."""
        while self.box.next(self.buffered) is not None:
            self.take_in(self.bulk.popleft())
        backlog = self.box.fallen(self.buffered)
        if backlog is not None:
            self.end.on_fallen(backlog)

    def pump(self) -> None:
        """The kernel takes the next bytes, if the wire is free."""
        if self.busy or not self.buffer:
            return
        self.busy = True
        if self.end.is_held():
            self.hold()
            return
        self.held_ns = None
        chunk, ended = self.next_chunk()
        self.timeline.after(len(chunk) * SECOND_NS // self.rate + 1, lambda: self.leave(chunk, ended))
        self.refill()

    def hold(self) -> None:
        """Nothing can be sent now."""
        now_ns = self.timeline.now_ns
        if self.held_ns is None:
            self.held_ns = now_ns
        if now_ns - self.held_ns >= DEAF_NS:
            self.end.on_deaf()
        else:
            self.timeline.after(HELD_NS, self.go_on)

    def go_on(self) -> None:
        """The wire is free."""
        self.busy = False
        self.pump()

    def next_chunk(self) -> tuple[bytes, list[Sent]]:
        """What the kernel takes at once, and the frames that end in it."""
        parts: list[bytes] = []
        ended: list[Sent] = []
        room = CHUNK_BYTES
        while self.buffer and room:
            part = self.buffer[0].frame[self.begun : self.begun + room]
            parts.append(part)
            room -= len(part)
            self.begun += len(part)
            if self.begun == len(self.buffer[0].frame):
                ended.append(self.buffer.popleft())
                self.begun = 0
        chunk = b"".join(parts)
        self.buffered -= len(chunk)
        return chunk, ended

    def leave(self, chunk: bytes, ended: list[Sent]) -> None:
        """The wire has carried these bytes away."""
        self.carried += len(chunk)
        self.end.on_chunk(chunk, ended)
        self.go_on()
