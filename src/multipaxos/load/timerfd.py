"""A timer of an event loop that is exact to microseconds: what an open loop of load needs.

Theory. Event loops keep timers in milliseconds, which is longer than a command takes. The kernel's timerfd is exact,
and a loop can wait for it as for any file. Before Python 3.13 `os` does not have it, so it is called in the C library.

Rules. `arm` replaces what was armed. Times are of CLOCK_MONOTONIC, in nanoseconds; one in the past fires at once.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from collections.abc import Callable

TFD_NONBLOCK = os.O_NONBLOCK
TFD_CLOEXEC = os.O_CLOEXEC
TFD_TIMER_ABSTIME = 1
BILLION = 1_000_000_000


_Timerspec = ctypes.c_long * 4  # the interval in seconds and nanoseconds, then the time


class PreciseTimer:
    """Calls `on_due` in the loop. Raises OSError where the kernel has no timerfd."""

    def __init__(self, loop: asyncio.AbstractEventLoop, on_due: Callable[[], None]) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._loop = loop
        self._on_due = on_due
        self._file = self._check(self._libc.timerfd_create(time.CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC))
        loop.add_reader(self._file, self._fire)

    @staticmethod
    def _check(result: int) -> int:
        if result < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return result

    def arm(self, at_ns: int) -> None:
        """Fires once, at that time or as soon after it as can be."""
        at_ns = max(at_ns, 1)  # 0 would disarm it
        spec = _Timerspec(0, 0, at_ns // BILLION, at_ns % BILLION)
        self._check(self._libc.timerfd_settime(self._file, TFD_TIMER_ABSTIME, ctypes.byref(spec), None))

    def _fire(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return  # it was armed anew in the meantime
        self._on_due()

    def close(self) -> None:
        """Never fires again."""
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1
