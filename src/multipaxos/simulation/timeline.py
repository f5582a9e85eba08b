"""Virtual time: planned events, in order, and notes of what happened.

Theory. A simulation needs no clock: the earliest planned event is the next one, and time is the moment of that event.

Rules. Events of one instant happen in the order in which they were planned. Time moves only here.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import dataclass

MS = 1_000_000  # nanoseconds


@dataclass(frozen=True, slots=True)
class Note:
    """One line of what happened. `node_id`: at which node, -1: at none. `kind`: of the core's event, else empty."""

    at_ns: int
    node_id: int
    text: str
    kind: str = ""


class Timeline:
    """The time of one run, in nanoseconds."""

    def __init__(self, now_ns: int = 0) -> None:
        self.now_ns = now_ns
        self.steps = 0  # events that have happened
        self.notes: list[Note] = []
        self._events: list[tuple[int, int, Callable[[], object]]] = []  # (when, number, what)
        self._planned = 0

    def after(self, delay_ns: int, act: Callable[[], object]) -> None:
        """Plans `act` for `delay_ns` from now."""
        self._planned += 1
        heapq.heappush(self._events, (self.now_ns + delay_ns, self._planned, act))

    def next_ns(self) -> int | None:
        """The time of the next event; None if nothing is planned."""
        return self._events[0][0] if self._events else None

    def move_to(self, now_ns: int) -> None:
        """Moves time without an event; nothing may be planned for a moment before that."""
        self.now_ns = now_ns

    def step(self) -> None:
        """The next event happens. Raises IndexError if nothing is planned."""
        self.now_ns, _, act = heapq.heappop(self._events)
        self.steps += 1
        act()

    def run_until(self, done: Callable[[], bool], limit_ns: int) -> bool:
        """Events happen until `done`, or for `limit_ns`, the first one after that included. Returns `done()`."""
        end_ns = self.now_ns + limit_ns
        while self.now_ns < end_ns:
            if done():
                return True
            if not self._events:
                self.now_ns = end_ns
                break
            self.step()
        return done()

    def run_for(self, limit_ns: int) -> None:
        """Events happen for `limit_ns`, the first one after that included."""
        self.run_until(lambda: False, limit_ns)

    def note(self, node_id: int, text: str, kind: str = "") -> None:
        """Writes down what happens now."""
        self.notes.append(Note(self.now_ns, node_id, text, kind))
