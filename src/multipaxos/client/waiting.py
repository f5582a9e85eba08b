"""The calls of a client that wait for room: first in, first out. No IO, no clock of its own.

Theory. Somebody may make a million calls at once. Each costs memory, and the garbage collector's time while it waits;
so a call that waits is a future and the bytes of its command, and nothing else.

Rules.
- A call that comes while others wait for room waits behind them, also if it would fit.
- A call that ended before it got room is never sent. It may lie here for a while: those that ended are taken out when
  as many calls have come as there were.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque

Reply = tuple[int, int, int, bytes]  # sequence, status, slot, answer
PURGE_MIN = 1024


class Queue:
    """Calls without room."""

    def __init__(self) -> None:
        self._futures: deque[asyncio.Future[Reply]] = deque()
        self._commands: deque[bytes] = deque()
        self._since_s: deque[float] = deque()
        self._purge_in = PURGE_MIN  # calls

    def __len__(self) -> int:
        return len(self._futures)

    @property
    def next_command(self) -> bytes:
        """The command whose turn it is."""
        return self._commands[0]

    def add(self, future: asyncio.Future[Reply], command: bytes, since_s: float = math.inf) -> None:
        """A call begins to wait. `since_s`: the time, if the call may be ended by `end_before`."""
        self._purge_in -= 1
        if self._purge_in <= 0:
            self._keep([i for i, each in enumerate(self._futures) if not each.done()])
            self._purge_in = max(PURGE_MIN, len(self))
        self._futures.append(future)
        self._commands.append(command)
        self._since_s.append(since_s)

    def pop(self) -> tuple[asyncio.Future[Reply], bytes, bool]:
        """Takes out the first call: its future, which may be done, its command, and whether it came with `since_s`."""
        return self._futures.popleft(), self._commands.popleft(), self._since_s.popleft() < math.inf

    def fail(self, error: Exception) -> None:
        """Ends all calls."""
        while self:
            future = self.pop()[0]
            if not future.done():
                future.set_exception(error)

    def end_before(self, since_s: float, error: Exception) -> None:
        """Ends the calls that have waited since then or longer."""
        kept = []
        for i, (future, began_s) in enumerate(zip(self._futures, self._since_s, strict=True)):
            if began_s > since_s:
                kept.append(i)
            elif not future.done():
                future.set_exception(error)
        self._keep(kept)

    def _keep(self, places: list[int]) -> None:
        futures, commands, since_s = list(self._futures), list(self._commands), list(self._since_s)
        self._futures = deque(futures[i] for i in places)
        self._commands = deque(commands[i] for i in places)
        self._since_s = deque(since_s[i] for i in places)
