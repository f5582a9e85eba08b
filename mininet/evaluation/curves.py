"""From runs to curves: repetitions become an estimate, points become a line.

Rules. The repetitions of a point are one estimate, whose interval is over these runs. A point in which some runs lack a
number is there, but empty. Points stand in the order of the values that they are drawn against.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from evaluation.estimates import Estimate
from evaluation.figures import Curve, Point
from evaluation.model import Spec
from evaluation.runs import Run, mean_latency_us, over_runs, throughput_per_s
from evaluation.systems import system

Number = Callable[[Run], float | None]
STORAGES = {"memory": "memory", "lmdb": "LMDB", "disk": "its own log"}


def groups(runs: Iterable[Run], key: Callable[[Spec], Any]) -> dict[Any, list[Run]]:
    """Runs grouped by a value of their specs, in the order of that value."""
    found: dict[Any, list[Run]] = {}
    for run in runs:
        found.setdefault(key(run.spec), []).append(run)
    return dict(sorted(found.items(), key=lambda item: item[0]))


def label_of(spec: Spec) -> str:
    """The name of a system in figures."""
    synced = ""
    if spec.system == "libpaxos" and spec.storage == "lmdb":
        synced = ", synced" if spec.option("sync", False) else ", not synced"
    return f"{system(spec.system).title}, {STORAGES.get(spec.storage, spec.storage)}{synced}"


def by_system(runs: Iterable[Run]) -> dict[str, list[Run]]:
    """Runs by the names of their systems in figures, multipaxos first."""
    found: dict[str, list[Run]] = {}
    for run in sorted(
        runs, key=lambda run: (run.spec.system != "multipaxos", run.spec.system, run.spec.storage != "memory")
    ):
        found.setdefault(label_of(run.spec), []).append(run)
    return found


def curve(runs: Sequence[Run], x: Callable[[Spec], float | str], y: Number, label: str) -> Curve:
    """A number against a value of the specs."""
    points = tuple(Point(at, over_runs(of, y)) for at, of in groups(runs, x).items())
    return Curve(label, points, runs[0].spec.system)


def curves(runs: Sequence[Run], x: Callable[[Spec], float | str], y: Number) -> list[Curve]:
    """One curve for each system."""
    return [curve(of, x, y, label) for label, of in by_system(runs).items()]


def load_curve(runs: Sequence[Run], load: Callable[[Spec], float], label: str, y: Number = mean_latency_us) -> Curve:
    """Latency against throughput, driven by the load; the first and the last point show their loads."""
    points = []
    of_load = groups(runs, load)
    for place, (at, of) in enumerate(of_load.items()):
        throughput = over_runs(of, throughput_per_s)
        note = f"{at:,.0f}" if place in (0, len(of_load) - 1) else ""
        points.append(Point(throughput or Estimate(0, 0.0), over_runs(of, y), note))
    return Curve(label, tuple(points), runs[0].spec.system)


def best(runs: Sequence[Run], load: Callable[[Spec], float]) -> tuple[float, list[Run]]:
    """The load with the highest mean throughput, and its runs."""
    means = {at: sum(throughput_per_s(run) for run in of) / len(of) for at, of in groups(runs, load).items()}
    at = max(means, key=lambda each: means[each])
    return at, groups(runs, load)[at]
