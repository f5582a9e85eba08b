"""When an answer may leave: a machine's disk (an amendment: PMMC only says, in section 4.3, that there may be one).

- An acceptor's answer rests on all its state at that moment; a scout's question rests on its ballot. Neither leaves
  before that state is on the disk: it waits for the newest write that has begun, and for the next one if the state has
  changed since. A commander's 2a leaves at once.
- A ballot is written when it is promised or scouted for; a ballot that came with a 2a is known by the pvalue it left.
- An acceptor's answer to a leader's newest 1a replaces one that waits.
- A write takes the state as it is when the write begins. There is one write at a time; when it ends, all that it took
  is stable.
- A crash takes back everything that is not stable. Answers that were held are gone, and were never sent.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from tests.specification.terms import Ballot, Pvalue


class Stable(NamedTuple):
    """The part of a machine that its disk holds: the promised ballot, the accepted pvalues, how far the replica was."""

    promised: Ballot
    accepted: frozenset[Pvalue]
    slot_out: int

    def ballot_num(self) -> Ballot:
        """ballot_num after a crash."""
        return max([self.promised, *(p.ballot for p in self.accepted)])

    def covers(self, rests: Stable) -> bool:
        """Would a crash leave at least `rests`? A pvalue of a higher ballot in its slot counts as more."""
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
        self.held: list[tuple[int, Stable, Callable[[], None], object]] = []

    def hold(self, leave: Callable[[], None], key: object = None) -> None:
        """Something that rests on the present state waits: for the newest write that has begun, or, if the state has
        changed since, for the next one. Then `leave` is called. It replaces what waits with the same `key`."""
        if key is not None:
            self.held = [one for one in self.held if one[3] != key]
        state = self.state()
        is_taken = state[:2] == self.taken[:2]
        self.held.append((self.begun if is_taken else self.begun + 1, state, leave, key))

    def write(self) -> None:
        """A write begins."""
        self.taken = self.state()
        self.begun += 1

    def synced(self) -> None:
        """The write ends."""
        self.stable = self.taken
        self.durable = self.begun

    def release(self) -> None:
        """Everything leaves that rests only on what a crash cannot lose."""
        held, self.held = self.held, []
        for write, rests, leave, key in held:
            if write <= self.durable:
                assert self.stable.covers(rests), f"{rests} could still be lost, {self.stable} not"
                leave()
            else:
                self.held.append((write, rests, leave, key))

    def crash(self) -> Stable:
        """A crash; returns what the machine begins with again."""
        self.held = []
        self.taken = self.stable
        self.durable = self.begun
        return self.stable
