"""A timer that is exact to microseconds, as an open loop of load needs it.

Theory. Event loops keep their timers in milliseconds, which is longer than a command takes. The kernel's timerfd is
exact, and an event loop can wait for it as for any file. `os` has timerfd only since Python 3.13, so the C library is
called.

Rules. Times are nanoseconds of CLOCK_MONOTONIC. A timer never fires before its time; for a time in the past it fires at
once. `arm` replaces the time that was armed before.
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
SECOND_NS = 1_000_000_000

_Timerspec = ctypes.c_long * 4  # the interval as seconds and nanoseconds, then the time likewise


class Timer:
    """Calls `on_due` in the event loop when the armed time has come. Raises OSError if the kernel has no timerfd."""

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
        """Fires once, at `at_ns` or as soon as possible after it."""
        at_ns = max(at_ns, 1)  # 0 would disarm it
        spec = _Timerspec(0, 0, at_ns // SECOND_NS, at_ns % SECOND_NS)
        self._check(self._libc.timerfd_settime(self._file, TFD_TIMER_ABSTIME, ctypes.byref(spec), None))

    def _fire(self) -> None:
        try:
            os.read(self._file, 8)
        except BlockingIOError:
            return  # it was armed again in the meantime
        self._on_due()

    def close(self) -> None:
        """Ends the timer: it does not fire again. Closing twice is harmless."""
        if self._file >= 0:
            self._loop.remove_reader(self._file)
            os.close(self._file)
            self._file = -1
