"""When an answer may leave: a machine's disk (an amendment: PMMC only says, in section 4.3, that there may be one).

- What an acceptor says rests on all its state when it says it; what a scout asks rests on its ballot. Neither leaves
  before that state is on the disk: it waits for the newest write that has begun, and for the next one if that state
  was changed since. What a commander asks leaves at once.
- A ballot is written when it is promised, or scouted for: one that came with a 2a is known by the pvalue it left.
- A write takes the state as it is then; one write at a time, and when it ends all that it took is stable.
- A crash takes back everything that is not stable. What was held is gone, and was never said.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.specification.terms import Ballot, Pvalue


class Stable(NamedTuple):
    """What the disk holds of a machine: the ballot promised, what was accepted, how far the replica was."""

    promised: Ballot
    accepted: frozenset[Pvalue]
    slot_out: int

    def ballot_num(self) -> Ballot:
        """As it comes back after a crash."""
        return max([self.promised, *(p.ballot for p in self.accepted)])

    def covers(self, rests: Stable) -> bool:
        """Would a crash leave at least this? A pvalue of a higher ballot in its slot is more."""
        held = {p.slot: p.ballot for p in self.accepted}
        return rests.promised <= self.promised and all(
            p.slot in held and held[p.slot] >= p.ballot for p in rests.accepted
        )


class Disk:
    """A disk. `state` gives what a write takes. Writes are numbered; `durable` is the newest one that has ended."""

    def __init__(self, state: Callable[[], Stable]) -> None:
        self.state = state
        self.stable = self.taken = state()
        self.begun = self.durable = 0
        self.held: list[tuple[int, Stable, Callable[[], None]]] = []

    def hold(self, leave: Callable[[], None]) -> None:
        """Something rests on the state as it is now: it waits for the newest write that has anything of it to take, or
        the newest that has begun. `leave` lets it go."""
        state = self.state()
        is_taken = state[:2] == self.taken[:2]
        self.held.append((self.begun if is_taken else self.begun + 1, state, leave))

    def write(self) -> None:
        """A write begins."""
        self.taken = self.state()
        self.begun += 1

    def synced(self) -> None:
        """It ends."""
        self.stable = self.taken
        self.durable = self.begun

    def release(self) -> None:
        """Lets go all that rests on nothing that could still be lost."""
        held, self.held = self.held, []
        for write, rests, leave in held:
            if write <= self.durable:
                assert self.stable.covers(rests), f"{rests} could still be lost, {self.stable} not"
                leave()
            else:
                self.held.append((write, rests, leave))

    def crash(self) -> Stable:
        """What comes back."""
        self.held = []
        self.taken = self.stable
        self.durable = self.begun
        return self.stable
