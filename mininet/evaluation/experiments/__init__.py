"""Experiments: one file each. Every `Experiment` that this package's modules define is found by its name.

Theory. An experiment asks one question. It names the points that answer the question, and turns the runs of these
points into figures, a table, and a text that says what they show and what they do not show.

Rules. `points` depends on the scale alone, `report` on the runs alone. Points of one experiment differ only in what the
question is about. A quick scale has every kind of point, and takes a few seconds for each.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, TypedDict

from evaluation.discovery import classes_in
from evaluation.model import Spec
from evaluation.report import Report
from evaluation.runs import Run, load_runs
from evaluation.systems import system


class Times(TypedDict):
    """The times of a workload."""

    warm_up_s: float
    duration_s: float


@dataclass(frozen=True)
class Scale:
    """How much is done: by which systems, small or not, and how many runs of each point."""

    systems: tuple[str, ...]
    quick: bool
    runs: int
    trace: bool = False

    def on(self, storage: str) -> list[str]:
        """The systems that have a storage."""
        return [name for name in self.systems if storage in system(name).storages]

    @property
    def times(self) -> Times:
        """The times of a workload without faults."""
        return {"warm_up_s": 0.3, "duration_s": 1.0} if self.quick else {"warm_up_s": 0.5, "duration_s": 3.0}


class Experiment(ABC):
    """One question."""

    name: ClassVar[str]
    title: ClassVar[str]
    order: ClassVar[int]  # among all experiments

    @abstractmethod
    def points(self, scale: Scale) -> list[Spec]:
        """The points to run."""

    @abstractmethod
    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds figures, tables and words about the runs."""

    def more_points(self, scale: Scale, runs: Sequence[Run]) -> list[Spec]:
        """The points to run after `points`, if they depend on what those found."""
        return []

    def analyse(self, out: Path, to: Path, png: bool = True) -> Path | None:
        """Draws everything about the runs in a folder, and returns where to. None if there are no runs."""
        folder = out / self.name
        if not (folder / "runs").is_dir():
            return None
        runs = load_runs(folder)
        if not runs:
            return None
        report = Report(folder, self.title, to / self.name, png)
        report.setup(runs)
        self.report(runs, report)
        return report.write()


def experiments() -> dict[str, Experiment]:
    """All experiments by name, in their order."""
    classes = classes_in(__name__, Experiment)  # type: ignore[type-abstract]
    found = sorted(classes, key=lambda each: each.order)
    return {experiment.name: experiment() for experiment in found}
