"""Whose bytes are handled next, without IO: clients that send much share what there is time for.

Theory. Every chunk is a wake-up of the core, and while it lasts all others wait. So in one turn of the loop all long
chunks together bring a bounded number of bytes. What is beyond that waits, its link is not read from meanwhile, and
each following turn gives the links that wait equal shares. So one that sends at full speed costs the others a share,
and not the time of all that it sends, and many such links cost no more than one.

Bytes may be a large value, which is copied in no time, or a thousand commands, which take milliseconds. So the bound
follows the clock while bytes wait: where turns take longer than TURN_S it halves, where they take much less it doubles.

Rules.
- A chunk of at most SHORT_BYTES is handled at once: who sends little waits for nobody's turn.
- A link's bytes keep their order. While some of them wait, more of them wait too.
- Those that wait are served in the order in which they came, and again behind the others.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

TURN_BYTES = 128 << 10  # the most that a turn brings, and as many as 1,000 small commands have
TURN_S = 0.002  # a command that others wait for needs a few turns
SHORT_BYTES = 16 << 10  # some 150 small commands: the core's work for a wake-up is then little beside that for them

T = TypeVar("T", bound=Hashable)


class Turns(Generic[T]):
    """The turns of all links of clients."""

    def __init__(self) -> None:
        self.waiting_bytes = 0
        self.turn_bytes = TURN_BYTES
        self._began_s: float | None = None  # the turn, if it served some of those that wait
        self._waiting: dict[T, memoryview] = {}  # in the order of the next turn
        self._taken_bytes = 0  # of long chunks in this turn

    def __contains__(self, link: T) -> bool:
        """Do bytes of this link wait?"""
        return link in self._waiting

    @property
    def goes_on(self) -> bool:
        """Has `next_turn` to be called in the next turn of the loop?"""
        return bool(self._waiting or self._taken_bytes)

    def arrive(self, link: T, chunk: bytes) -> bytes:
        """A chunk has come. Returns what of it is handled now; the rest waits."""
        before = self._waiting.get(link)
        if before is not None:
            self._waiting[link] = memoryview(bytes(before) + chunk)
            self.waiting_bytes += len(chunk)
            return b""
        room = 0 if self._waiting else self.turn_bytes - self._taken_bytes
        now = chunk[:room]
        self._taken_bytes += len(now)
        if len(chunk) > len(now):
            self._waiting[link] = memoryview(chunk)[len(now) :]
            self.waiting_bytes += len(chunk) - len(now)
        return now

    def next_turn(self, now_s: float) -> list[tuple[T, bytes]]:
        """Another turn has begun. Returns what is handled now of those that wait."""
        if not self._waiting:
            self.turn_bytes, self._began_s = TURN_BYTES, None
        else:
            self._follow_clock(now_s)
        self._taken_bytes = 0
        share = max(SHORT_BYTES, self.turn_bytes // max(1, len(self._waiting)))
        served = []
        for link in list(self._waiting)[: self.turn_bytes // share]:
            rest = self._waiting.pop(link)
            served.append((link, bytes(rest[:share])))
            self._taken_bytes += len(served[-1][1])
            if len(rest) > share:
                self._waiting[link] = rest[share:]
        self.waiting_bytes -= self._taken_bytes
        return served

    def _follow_clock(self, now_s: float) -> None:
        took_s = TURN_S if self._began_s is None else now_s - self._began_s
        if took_s > TURN_S:
            self.turn_bytes = max(SHORT_BYTES, self.turn_bytes // 2)
        elif took_s < TURN_S / 4:
            self.turn_bytes = min(TURN_BYTES, 2 * self.turn_bytes)
        self._began_s = now_s

    def forget(self, link: T) -> None:
        """A link is gone."""
        self.waiting_bytes -= len(self._waiting.pop(link, b""))

    def greatest(self) -> T:
        """Of whom most bytes wait; there is one."""
        return max(self._waiting, key=lambda link: len(self._waiting[link]))
