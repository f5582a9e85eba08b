"""A slip: one rule that a mutant breaks (`mutants.py`, `mutants_of_cost.py`)."""

from __future__ import annotations

from dataclasses import dataclass

from multipaxos.simulation.drawing import SLOW_SEED

ALL = range(1000)
SLOW = range(SLOW_SEED, 1000, 8)


@dataclass(frozen=True, slots=True)
class Slip:
    """One broken rule: `old` becomes `new` in `module`."""

    name: str
    module: str  # such as paxos/quorum, or storage/keys.py
    old: str
    new: str
    seeds: range = ALL
    more: tuple[tuple[str, str, str], ...] = ()  # (module, old, new) of other changes, if two places hold the rule
