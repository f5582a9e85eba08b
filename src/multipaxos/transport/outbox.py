"""What waits for one link, without IO: control ahead of bulk.

Theory. A link has two queues. Control (pings, votes, small runs) is the queue of the transport itself: it is written at
once, and the transport holds what the kernel does not take. Bulk waits here, in pieces of at most CUT_BYTES, and a
piece is handed on to the transport only while the transport holds little. So a frame of control waits for at most one
cut of bulk, however much bulk there is.

`buffered`: the bytes that the transport holds at that moment and the kernel has not taken.

Rules.
- Pieces leave in the order in which they came: the pieces of one frame follow one another.
- A piece is handed on if the transport holds nothing, or no more than CUT_BYTES together with it.
- The *backlog* is the bulk that the kernel has not taken: what waits here, and what of it the transport still holds.
  Control that the transport holds behind bulk is counted with it until the transport is empty. So the backlog is never
  too small, and 0 is exact.
- The owner adds what it gives to the backlog that it knows; so it is told only of falls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

CUT_BYTES = 64 << 10


class Outbox:
    """The bulk of one link."""

    __slots__ = ("_handed_bytes", "_known_bytes", "_pieces", "waiting_bytes")

    def __init__(self) -> None:
        self.waiting_bytes = 0  # not handed on
        self._pieces: deque[bytes] = deque()
        self._handed_bytes = 0  # handed on since the transport was empty
        self._known_bytes = 0  # the backlog as the owner knows it

    def put(self, pieces: Iterable[bytes]) -> int:
        """Takes pieces of bulk, each of at most CUT_BYTES; returns their bytes."""
        before = self.waiting_bytes
        for piece in pieces:
            self._pieces.append(piece)
            self.waiting_bytes += len(piece)
        taken = self.waiting_bytes - before
        self._known_bytes += taken
        return taken

    def next(self, buffered: int) -> bytes | None:
        """The next piece for the transport, which must take it now; None if there is none, or if it has to wait."""
        if not buffered:
            self._handed_bytes = 0
        if not self._pieces or (buffered and buffered + len(self._pieces[0]) > CUT_BYTES):
            return None
        piece = self._pieces.popleft()
        self.waiting_bytes -= len(piece)
        self._handed_bytes += len(piece)
        return piece

    def backlog(self, buffered: int) -> int:
        """Bytes of bulk that the kernel has not taken."""
        self._handed_bytes = min(self._handed_bytes, buffered)
        return self.waiting_bytes + self._handed_bytes

    def fallen(self, buffered: int) -> int | None:
        """The backlog if it is less than the owner knows, who is told of it now; else None."""
        backlog = self.backlog(buffered)
        if backlog >= self._known_bytes:
            return None
        self._known_bytes = backlog
        return backlog
