"""Durability: what a disk costs.

multipaxos runs on memory and on LMDB, which it always syncs; LibPaxos3 on memory, on LMDB synced, and on LMDB with its
default, which is not synced, so a power cut may take back what it has acknowledged. etcd, which is always on disk and
synced, runs beside them.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation import curves
from evaluation.experiments import Experiment, Scale
from evaluation.experiments.steady import Steady, load_of
from evaluation.figures import Bars, grouped_bars, latency_against_throughput
from evaluation.model import Spec, Topology, Workload
from evaluation.report import Report, busy_words
from evaluation.runs import Run, over_runs, throughput_per_s
from evaluation.systems import system
from evaluation.tables import THROUGHPUT, Quantity

OUTSTANDING, OUTSTANDING_QUICK = (1, 10, 100), (10,)
Options = tuple[tuple[str, bool], ...]
KINDS: dict[str, tuple[tuple[str, Options], ...]] = {
    "multipaxos": (("memory", ()), ("lmdb", ())),
    "libpaxos": (("memory", ()), ("lmdb", (("sync", True),)), ("lmdb", (("sync", False),))),
    "etcd": (("disk", ()),),
}


def kinds_of(name: str) -> tuple[tuple[str, Options], ...]:
    """The storages of a system; for a system that is not named above, all that it has."""
    return KINDS.get(name) or tuple((storage, ()) for storage in system(name).storages)


class Durability(Experiment):
    """See the module."""

    name = "durability"
    title = "Durability"
    order = 7

    def points(self, scale: Scale) -> list[Spec]:
        """Every storage of every system."""
        return [
            Spec(
                experiment=self.name,
                system=name,
                storage=storage,
                topology=Topology(nodes=3),
                workload=Workload(outstanding=count, **scale.times),
                options=options,
            )
            for name in scale.systems
            for storage, options in kinds_of(name)
            for count in (OUTSTANDING_QUICK if scale.quick else OUTSTANDING)
        ]

    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds bars, curves and a table."""
        loads = list(curves.groups(runs, load_of))
        bars = []
        for label, of_system in curves.by_system(runs).items():
            of_load = curves.groups(of_system, load_of)
            values = tuple(over_runs(of_load[at], throughput_per_s) if at in of_load else None for at in loads)
            bars.append(Bars(label, values, of_system[0].spec.system))
        figure = grouped_bars([f"{at:g}" for at in loads], bars, Quantity("outstanding", "commands"), THROUGHPUT)
        tail = f"star of 3, unshaped, 64-byte values; 95 % intervals over runs; {busy_words(runs)}."
        report.figure(figure, "throughput", f"Throughput by storage and commands outstanding: {tail}")
        drawn = [curves.load_curve(of, load_of, label) for label, of in curves.by_system(runs).items()]
        report.figure(latency_against_throughput(drawn), "latency", f"Mean latency against throughput: {tail}")
        report.table(Steady.table(runs, "outstanding"), "durability")
        report.heading("What this does not show")
        report.text(
            "All nodes sync to one disk, which serves them in turn, and whose cache may answer before its medium does: "
            "machines with disks of their own would wait less, or longer."
        )
