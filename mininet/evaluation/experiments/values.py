"""Value sizes: from 16 bytes to 64 KiB, ten commands outstanding, three nodes."""

from __future__ import annotations

from collections.abc import Sequence

from evaluation import curves
from evaluation.experiments import Experiment, Scale
from evaluation.experiments.steady import MICROSECONDS
from evaluation.figures import points_with_intervals
from evaluation.model import Spec, Topology, Workload
from evaluation.report import Report, busy_words
from evaluation.runs import Run, busiest_bytes_per_operation, mean_latency_us, over_runs, throughput_per_s
from evaluation.tables import LATENCY, THROUGHPUT, Column, Quantity, Table

VALUE_SIZES = (16, 64, 256, 1024, 4096, 16384, 65536)
VALUE_SIZES_QUICK = (16, 65536)
OUTSTANDING = 10
VALUE_SIZE = Quantity("value size", "bytes")
GOODPUT = Quantity("values written", "MB/s", 1e-6)


def goodput(run: Run) -> float:
    """Bytes of values in a second."""
    return throughput_per_s(run) * run.spec.workload.value_size


class Values(Experiment):
    """See the module."""

    name = "values"
    title = "Value sizes"
    order = 3

    def points(self, scale: Scale) -> list[Spec]:
        """Every size."""
        return [
            Spec(
                experiment=self.name,
                system=name,
                topology=Topology(nodes=3),
                workload=Workload(outstanding=OUTSTANDING, value_size=size, **scale.times),
            )
            for name in scale.on("memory")
            for size in (VALUE_SIZES_QUICK if scale.quick else VALUE_SIZES)
        ]

    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds throughput in commands and in bytes, latency, and a table."""
        tail = f"unshaped star of 3, {OUTSTANDING} outstanding; 95 % intervals over runs; {busy_words(runs)}."
        for quantity, number, name, log in (
            (THROUGHPUT, throughput_per_s, "throughput", False),
            (GOODPUT, goodput, "goodput", False),
            (LATENCY, mean_latency_us, "latency", True),
        ):
            drawn = curves.curves(runs, lambda spec: spec.workload.value_size, number)
            figure = points_with_intervals(drawn, VALUE_SIZE, quantity, log_x=True, log_y=log)
            report.figure(
                figure, name, f"{quantity.name[0].upper()}{quantity.name[1:]} against the size of values: {tail}"
            )
        rows = [
            (
                label,
                f"{size:,}",
                over_runs(of, throughput_per_s),
                over_runs(of, goodput),
                over_runs(of, mean_latency_us),
                over_runs(of, busiest_bytes_per_operation),
            )
            for label, of_system in curves.by_system(runs).items()
            for size, of in curves.groups(of_system, lambda spec: spec.workload.value_size).items()
        ]
        columns = (
            Column("system"),
            Column("value, bytes"),
            Column("throughput", THROUGHPUT),
            Column("values", GOODPUT),
            Column("mean latency", MICROSECONDS),
            Column("bytes, busiest node", Quantity("bytes", "per command")),
        )
        report.table(Table(columns, tuple(rows)), "values")
        report.heading("What this does not show")
        report.text(
            "A large value is copied by kernel and program on every host, and all hosts share this machine's memory "
            "and processors: the highest rate of bytes is the machine's."
        )
