"""Memory that somebody made the node hold goes back to the system when it is free.

Theory. malloc gives back what is free at the end of its heap. What a client made the node hold lies between what stays,
the answers that sessions keep say, so it would stay resident, and the next such client would find it in pieces that are
too small. `malloc_trim` gives back free pages wherever they lie.

Rules. Only after links of clients are gone that left much unread, or sent more than there was time for; TRIM_S later,
and for all of them at once: it takes a millisecond for some MiB, and longer for more. A C library without `malloc_trim`
is left alone.
"""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Callable

TRIM_S = 0.5


def trim() -> None:
    """Gives free pages back to the system."""
    try:
        ctypes.CDLL(None).malloc_trim(0)
    except AttributeError:  # not glibc
        return


class Memory:
    """When to trim. `give_back`: `trim`, or a test's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, give_back: Callable[[], None] = trim) -> None:
        self.trims = 0
        self._loop = loop
        self._give_back = give_back
        self._timer: asyncio.TimerHandle | None = None

    def heavy_link_gone(self) -> None:
        """A client is gone that made the node hold much."""
        if self._timer is None:
            self._timer = self._loop.call_later(TRIM_S, self._trim)

    def _trim(self) -> None:
        self._timer = None
        self.trims += 1
        self._give_back()

    def stop(self) -> None:
        """Nothing is given back any more."""
        if self._timer is not None:
            self._timer.cancel()
