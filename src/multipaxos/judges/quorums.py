"""Quorum systems as plain sets: the judges count by them, so that they do not trust the core's arithmetic.

The systems and their names are those of `multipaxos.paxos.quorum`.
"""

from __future__ import annotations

from dataclasses import dataclass

from multipaxos.paxos.quorum import QuorumSystem


@dataclass(frozen=True, slots=True)
class Quorums:
    """`kind`: majority; sizes: any `one` acceptors for phase 1, any `two` for phase 2; grid: `one` rows of `two`."""

    acceptors: tuple[int, ...]
    kind: str = "majority"
    one: int = 0
    two: int = 0

    def system(self) -> QuorumSystem:
        """The same quorum system, as the core has it."""
        if self.kind == "sizes":
            return QuorumSystem.sizes(self.acceptors, self.one, self.two)
        if self.kind == "grid":
            return QuorumSystem.grid(self.acceptors, self.one, self.two)
        return QuorumSystem.majority(self.acceptors)

    def is_phase1(self, nodes: set[int]) -> bool:
        """Do these nodes hold a phase-1 quorum?"""
        there = nodes & set(self.acceptors)
        if self.kind == "grid":
            rows = [self.acceptors[i * self.two : (i + 1) * self.two] for i in range(self.one)]
            return any(there.issuperset(row) for row in rows)
        return len(there) >= self.one if self.kind == "sizes" else 2 * len(there) > len(self.acceptors)

    def is_phase2(self, nodes: set[int]) -> bool:
        """Do these nodes hold a phase-2 quorum?"""
        there = nodes & set(self.acceptors)
        if self.kind == "grid":
            return any(there.issuperset(self.acceptors[i :: self.two]) for i in range(self.two))
        return len(there) >= self.two if self.kind == "sizes" else 2 * len(there) > len(self.acceptors)

    def describe(self) -> str:
        """The quorum system in a few words."""
        numbers = {"majority": "", "sizes": f" {self.one} and {self.two}", "grid": f" {self.one} x {self.two}"}
        return f"{self.kind}{numbers[self.kind]} of {list(self.acceptors)}"
