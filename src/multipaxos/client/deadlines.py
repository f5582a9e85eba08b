"""When those calls end whose callers said for how long they wait: no IO, no clock of its own.

Rules. A call may end before its time, and lies here for a while then: those that ended are taken out when as many calls
have come as there were.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from heapq import heapify, heappop, heappush
from typing import Any

from multipaxos.client.call import Call

PURGE_MIN = 1024


class Deadlines:
    """Calls, by `due_s`."""

    def __init__(self) -> None:
        self._heap: list[Call[Any]] = []
        self._purge_in = PURGE_MIN  # calls

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def next_s(self) -> float:
        """The earliest; infinite if there is none."""
        return self._heap[0].due_s if self._heap else math.inf

    def add(self, call: Call[Any]) -> None:
        """A call whose `due_s` is set."""
        self._purge_in -= 1
        if self._purge_in <= 0:
            self._heap = [each for each in self._heap if not each.done()]
            heapify(self._heap)
            self._purge_in = max(PURGE_MIN, len(self))
        heappush(self._heap, call)

    def due(self, now_s: float) -> Iterator[Call[Any]]:
        """Takes out the calls whose time has come, and those at the front that have ended; gives the former."""
        heap = self._heap
        while heap and (heap[0].done() or heap[0].due_s <= now_s):
            call = heappop(heap)
            if not call.done():
                yield call
