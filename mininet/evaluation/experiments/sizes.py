"""Configuration sizes: what more nodes cost.

Clusters of 1, 3, 5, 7 and 9 nodes with ten commands outstanding: once unshaped, where processors are the limit, and
once with 10 Mbit/s on every link, where the bytes that the leader sends are the limit. Beside latency and throughput:
messages, bytes and processor time for each command.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from evaluation import curves, estimates
from evaluation.experiments import Experiment, Scale
from evaluation.experiments.steady import MICROSECONDS, interval
from evaluation.figures import points_with_intervals
from evaluation.model import Spec, Topology, Workload
from evaluation.report import Report, busy_words
from evaluation.runs import (
    Run,
    busiest_bytes_per_operation,
    cpu_us_per_operation,
    mean_latency_us,
    over_runs,
    packets_per_operation,
    throughput_per_s,
)
from evaluation.systems import system
from evaluation.tables import LATENCY, THROUGHPUT, Column, Quantity, Table

SIZES, SIZES_QUICK = (1, 3, 5, 7, 9), (1, 3)
RATES_MBIT: tuple[float | None, ...] = (None, 10.0)
OUTSTANDING = 10
NODES = Quantity("cluster size", "nodes")
BYTES = Quantity("sent by the busiest node, for each command", "bytes")
PACKETS = Quantity("sent by all nodes, for each command", "packets")
PROCESSOR = Quantity("processor time of all nodes, for each command", "us")


MESSAGES = ("phase2a", "phase2b", "decision", "all")


def messages_of(run: Run, kind: str) -> float | None:
    """Messages of a kind between nodes, for each decided slot; 0 for a kind that was not sent."""
    counted = run.result["trace"]["between_nodes"]
    return float(counted[kind]["messages_per_slot"]) if kind in counted else 0.0


def network_words(rate_mbit: float | None) -> str:
    """A network in a word or two."""
    return "unshaped" if rate_mbit is None else f"{rate_mbit:g} Mbit/s"


class Sizes(Experiment):
    """See the module."""

    name = "sizes"
    title = "Configuration sizes"
    order = 2

    def points(self, scale: Scale) -> list[Spec]:
        """Every size on both networks; and traced, to count messages."""
        sizes = SIZES_QUICK if scale.quick else SIZES
        traced = [
            Spec(
                experiment=self.name,
                system=name,
                topology=Topology(nodes=nodes, rate_mbit=RATES_MBIT[-1]),
                workload=Workload(outstanding=OUTSTANDING, warm_up_s=0.2, duration_s=0.5),
                trace=True,
            )
            for name in scale.on("memory")
            if system(name).traces
            for nodes in sizes
        ]
        return traced + [
            Spec(
                experiment=self.name,
                system=name,
                topology=Topology(nodes=nodes, rate_mbit=rate),
                workload=Workload(outstanding=OUTSTANDING, **scale.times),
            )
            for name in scale.on("memory")
            for nodes in sizes
            for rate in RATES_MBIT
        ]

    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds a part for each network."""
        measured = [run for run in runs if not run.spec.trace] or list(runs)
        for rate, of in curves.groups(measured, lambda spec: spec.topology.rate_mbit or 0).items():
            self.network(of, rate or None, report)
        self.messages([run for run in runs if run.spec.trace], report)
        report.heading("What this does not show")
        report.text(
            "Unshaped, a larger cluster shares the same processors with more processes: how throughput falls there is "
            "this machine's doing as much as the protocol's. With 10 Mbit/s the processors are idle, and bytes decide."
        )

    def network(self, runs: Sequence[Run], rate_mbit: float | None, report: Report) -> None:
        """Adds the figures and the table of one network."""
        words = network_words(rate_mbit)
        slug = "unshaped" if rate_mbit is None else f"{rate_mbit:g}_mbit"
        report.heading(words[0].upper() + words[1:])
        tail = f"{words}, {OUTSTANDING} outstanding, 64-byte values; 95 % intervals over runs; {busy_words(runs)}."
        for quantity, number, name in (
            (THROUGHPUT, throughput_per_s, "throughput"),
            (LATENCY, mean_latency_us, "latency"),
            (BYTES, busiest_bytes_per_operation, "bytes"),
        ):
            drawn = curves.curves(runs, lambda spec: spec.topology.nodes, number)
            caption = f"{quantity.name[0].upper()}{quantity.name[1:]} against the size of the cluster: {tail}"
            report.figure(points_with_intervals(drawn, NODES, quantity), f"{slug}_{name}", caption)
        report.table(self.table(runs), slug)
        self.ratios(runs, report)

    @staticmethod
    def table(runs: Sequence[Run]) -> Table:
        """A row for each system and size."""
        rows = [
            (
                label,
                str(nodes),
                over_runs(of, throughput_per_s),
                over_runs(of, mean_latency_us),
                over_runs(of, packets_per_operation),
                over_runs(of, busiest_bytes_per_operation),
                over_runs(of, cpu_us_per_operation),
            )
            for label, of_system in curves.by_system(runs).items()
            for nodes, of in curves.groups(of_system, lambda spec: spec.topology.nodes).items()
        ]
        columns = (
            Column("system"),
            Column("nodes"),
            Column("throughput", THROUGHPUT),
            Column("mean latency", MICROSECONDS),
            Column("packets, all nodes", Quantity("packets", "per command")),
            Column("bytes, busiest node", Quantity("bytes", "per command")),
            Column("processor, all nodes", Quantity("processor", "us per command")),
        )
        return Table(columns, tuple(rows))

    @staticmethod
    def messages(runs: Sequence[Run], report: Report) -> None:
        """Adds messages by kind, from the nodes' own traces."""
        if not runs:
            return
        report.heading("Messages")
        report.text(
            f"What nodes send to one another for each slot that is decided, by kind; {OUTSTANDING} outstanding, which "
            "share messages. Counted on traces of the nodes, in runs of their own, because tracing takes time."
        )
        rows = [
            (str(nodes), *(over_runs(of, partial(messages_of, kind=kind)) for kind in MESSAGES))
            for nodes, of in curves.groups(runs, lambda spec: spec.topology.nodes).items()
        ]
        per_slot = [Column(kind, Quantity("messages", "per slot")) for kind in MESSAGES]
        report.table(Table((Column("nodes"), *per_slot), tuple(rows)), "messages")

    @staticmethod
    def ratios(runs: Sequence[Run], report: Report) -> None:
        """The ratio of our number to LibPaxos's, at each size."""
        lines = []
        for nodes, of in curves.groups(runs, lambda spec: spec.topology.nodes).items():
            ours = [throughput_per_s(run) for run in of if run.spec.system == "multipaxos"]
            theirs = [throughput_per_s(run) for run in of if run.spec.system == "libpaxos"]
            if ours and theirs and not any(theirs):
                lines.append(f"n={nodes}: LibPaxos has done nothing, so there is no ratio")
            elif ours and theirs:
                lines.append(f"n={nodes}: {interval(estimates.ratio(ours, theirs))} times LibPaxos's throughput")
        if lines:
            report.items(lines)
