"""What waits for one link, without IO: control ahead of bulk.

Theory. A link has two queues. Control (pings, votes, small runs) is the queue of the transport itself: it is written at
once, and the transport holds what the kernel does not take. Bulk waits here, in pieces of at most CUT_BYTES, and a
piece is handed on to the transport only while the transport holds little. So a frame of control waits for at most one
cut of bulk, however much bulk there is.

`buffered`: the bytes that the transport holds at that moment and the kernel has not taken.

Rules.
- Pieces leave in the order in which they came: the pieces of one frame follow one another.
- A piece is handed on if the transport holds nothing, or no more than CUT_BYTES together with it.
- The *backlog* is what the kernel has not taken: the bulk that waits here, and what the transport holds.
- The owner adds the bulk that it gives to the backlog that it knows. So it is told of falls, and only of falls.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from multipaxos.wire.codec import CUT_BYTES


class Outbox:
    """The bulk of one link."""

    __slots__ = ("_known_bytes", "_pieces", "waiting_bytes")

    def __init__(self) -> None:
        self.waiting_bytes = 0  # not handed on
        self._pieces: deque[bytes] = deque()
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
        if not self._pieces or (buffered and buffered + len(self._pieces[0]) > CUT_BYTES):
            return None
        piece = self._pieces.popleft()
        self.waiting_bytes -= len(piece)
        return piece

    def backlog(self, buffered: int) -> int:
        """Bytes that the kernel has not taken. The owner is told of it now, whether it has fallen or risen."""
        self._known_bytes = self.waiting_bytes + buffered
        return self._known_bytes

    def fallen(self, buffered: int) -> int | None:
        """The backlog if it is less than the owner knows, who is told of it now; else None."""
        return self.backlog(buffered) if self.waiting_bytes + buffered < self._known_bytes else None
