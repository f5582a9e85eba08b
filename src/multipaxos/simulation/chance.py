"""Chance: the one source of random numbers of a run, what becomes of frames and syncs, and the count of each fault.

Rules. Nothing in a run is random except through `random`; the order of the draws is part of what a seed means. Frames
fare badly only while the world is hostile. A fault is counted where it takes effect.
"""

from __future__ import annotations

import random

from multipaxos.simulation.scenario import EVENTS, Faults
from multipaxos.simulation.timeline import MS

OTHERS = (
    "lost",
    "repeated",
    "reordered",
    "delayed",
    "skewed_clocks",
    "suspensions",
    "foundings_under_faults",
    "sessions_expired",
    "disks_refused",
    "holes",
    "holes_filled",
    "replicas_that_differ",
    "replicas_divided",
    "jobs",
    "clusters_outlived",
    "links_refused",
    "opinions_that_differ",
    "short_sessions",
)
SLOW_JOBS = 0.05
VICTIM_LOST, VICTIM_DELAYED = 0.4, 0.5  # shares of the frames of kinds that are victims


class Chance:
    """The dice of one run."""

    def __init__(self, seed: int, faults: Faults) -> None:
        self.random = random.Random(seed)
        self.faults = faults
        self.delays_ns = faults.delay_ns[0], faults.delay_ns[1] + 1
        self.hostile = False
        self.counts = dict.fromkeys((*OTHERS, *EVENTS), 0)  # kind of fault -> how often it took effect

    def copies(self, kind: str) -> int:
        """How many times a frame of this kind arrives: 0, 1 or 2."""
        lost = VICTIM_LOST if kind in self.faults.victims else self.faults.lost
        if self.hostile and self.random.random() < lost:
            self.counts["lost"] += 1
            return 0
        if self.hostile and self.random.random() < self.faults.repeated:
            self.counts["repeated"] += 1
            return 2
        return 1

    def delay_ns(self, kind: str, late: bool = False) -> int:
        """How long a frame of this kind travels. `late`: it is certainly one of those that are delayed."""
        delay_ns = self.random.randrange(*self.delays_ns)
        delayed = VICTIM_DELAYED if kind in self.faults.victims else self.faults.delayed
        if self.hostile and (late or self.random.random() < delayed):
            self.counts["delayed"] += 1
            delay_ns += self.random.randint(0, self.faults.delayed_ns)
        return delay_ns

    def sync_ns(self) -> int:
        """How long a sync takes."""
        return self.random.randint(*self.faults.sync_ns)

    def apply_ns(self) -> int:
        """How long a user's machine runs a job: most take less than a millisecond, some up to two seconds."""
        slow = self.random.random() < SLOW_JOBS
        return self.random.randint(0, 2000 * MS if slow else MS)

    def notice_ns(self) -> int:
        """How long the other side of a broken link does not notice."""
        return self.random.randint(MS // 10, self.faults.notice_ns)

    def down_ns(self) -> int:
        """How long a crash, a cut, a pause lasts."""
        return self.random.randint(*self.faults.down_ns)

    def number(self) -> int:
        """63 random bits: a seed, an incarnation, a nonce."""
        return self.random.getrandbits(63)
