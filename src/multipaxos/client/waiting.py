"""The calls of a client that wait for room: first in, first out. No IO, no clock of its own.

Rules.
- A call that comes while others wait for room waits behind them, also if it would fit.
- A call that ended before it got room is never sent. It may lie here for a while: those that ended are taken out when
  as many calls have come as there were.
- The garbage collector does not see what waits here (`Call.hide`), or a million calls would cost it their number again
  and again.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from multipaxos.client.call import Call

PURGE_MIN = 1024


class Queue:
    """Calls without room. Those with an infinite `since_s` are not ended by `end_before`."""

    def __init__(self) -> None:
        self._calls: deque[Call[Any]] = deque()
        self._purge_in = PURGE_MIN  # calls

    def __len__(self) -> int:
        return len(self._calls)

    def next(self) -> Call[Any] | None:
        """The call whose turn it is; it stays here until `pop`."""
        calls = self._calls
        while calls and calls[0].done():
            calls.popleft()
        return calls[0] if calls else None

    def add(self, call: Call[Any]) -> None:
        """A call begins to wait."""
        self._purge_in -= 1
        if self._purge_in <= 0:
            self._calls = deque(each for each in self._calls if not each.done())
            self._purge_in = max(PURGE_MIN, len(self))
        self._calls.append(call)
        call.hide()

    def pop(self) -> Call[Any]:
        """Takes out the first call, which may have ended."""
        return self._calls.popleft()

    def fail(self, error: Exception) -> None:
        """Ends all calls."""
        while self:
            self.pop().fail(error)

    def end_before(self, since_s: float, error: Exception) -> None:
        """Ends the calls that have waited since then or longer."""
        for call in self._calls:
            if call.since_s <= since_s:
                call.fail(error)
        self._calls = deque(each for each in self._calls if not each.done())
