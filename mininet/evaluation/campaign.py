"""A campaign: every point of some experiments, several times, each run only once.

Theory. Machines drift: the first run finds a machine in another state than the last one. So the repetitions are carried
out round by round. A round has all points once, in an order that is drawn from a recorded seed, so that a drift affects
all points alike (randomised complete blocks).

Rules. A run whose folder exists is not carried out again, so a campaign that was cut off goes on where it ended. A run
that fails does not end the campaign: it is reported at the end and in the report, and carried out again the next time.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from evaluation import run
from evaluation.errors import EvaluationError
from evaluation.model import Spec
from evaluation.systems import Settings

AROUND_RUN_S = 5.0  # for the network, the start and the checks; only used for the time left


@dataclass(frozen=True)
class Planned:
    """One run to be carried out."""

    spec: Spec
    repetition: int

    @property
    def expected_s(self) -> float:
        """About how long the run takes, in seconds."""
        return AROUND_RUN_S + self.spec.workload.warm_up_s + self.spec.workload.duration_s


@dataclass
class Outcome:
    """The result of a campaign."""

    done: int = 0
    were_there: int = 0
    failed: list[str] = field(default_factory=list)  # one sentence each
    broken: list[str] = field(default_factory=list)  # one sentence for each promise that a run found broken

    def __add__(self, other: Outcome) -> Outcome:
        """The outcome of one round after another."""
        return Outcome(
            self.done + other.done,
            self.were_there + other.were_there,
            self.failed + other.failed,
            self.broken + other.broken,
        )


def plan(points: Sequence[Spec], repetitions: int, seed: int) -> list[Planned]:
    """All runs, in rounds; the order within a round is drawn from the seed."""
    chance = random.Random(f"order {seed}")
    return [
        Planned(spec, repetition)
        for repetition in range(repetitions)
        for spec in chance.sample(list(points), len(points))
    ]


def left(planned: Sequence[Planned], out: Path) -> list[Planned]:
    """The runs whose folders do not exist yet."""
    return [each for each in planned if not run.folder_of(out, each.spec, each.repetition).exists()]


def carry_out(
    planned: Sequence[Planned], out: Path, settings: Settings, say: Callable[[Planned, float], None]
) -> Outcome:
    """Carries out the runs that are left. `say` is called before each run, with about how many seconds are left."""
    todo = left(planned, out)
    outcome = Outcome(were_there=len(planned) - len(todo))
    for each, left_s in with_time_left(todo):
        say(each, left_s)
        try:
            found = run.carry_out(out, each.spec, each.repetition, settings)
        except EvaluationError as error:
            outcome.failed.append(f"{each.spec.experiment}, {each.spec.system}: {error}")
            continue
        outcome.done += 1
        outcome.broken += [
            f"{each.spec.experiment}, {each.spec.system}: {what}" for what in found["checks"]["failures"]
        ]
    return outcome


def with_time_left(todo: Sequence[Planned]) -> Iterator[tuple[Planned, float]]:
    """Each run with the seconds that it and all later runs should take."""
    left_s = sum(each.expected_s for each in todo)
    for each in todo:
        yield each, left_s
        left_s -= each.expected_s
