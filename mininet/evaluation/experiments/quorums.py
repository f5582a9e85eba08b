"""Quorum sizes: majority, flexible sizes, grid, and sending to few; on a star and over a wide area; and the cost of
each when a member dies.

A smaller phase-2 quorum waits for fewer acceptors, and over a wide area for nearer ones. It costs phase 1, because a
new leader needs more acceptors: the table shows which nodes must be alive to elect one. LibPaxos3 can send to groups
that are no larger than the quorum ("thrifty"): that saves bytes, but a member that dies stops it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from evaluation import estimates
from evaluation.experiments import Experiment, Scale
from evaluation.experiments.steady import MICROSECONDS
from evaluation.experiments.traces import marks_of
from evaluation.figures import Bars, Trace, grouped_bars, over_time
from evaluation.model import Fault, Spec, Topology, Workload
from evaluation.report import Report, busy_words
from evaluation.runs import (
    Run,
    busiest_bytes_per_operation,
    mean_latency_us,
    over_runs,
    percentile_us,
    series_of,
    throughput_per_s,
)
from evaluation.systems import system
from evaluation.tables import LATENCY, THROUGHPUT, Column, Quantity, Table

OUTSTANDING = 10
SITES = ("a", "a", "b", "b", "c", "c")
AT_THE_FIRST = (("leaders", 1),)  # over a wide area the leader is at the client's site, like LibPaxos's proposer
SITE_DELAYS_MS = (("a-b", 5.0), ("a-c", 20.0), ("b-c", 20.0))


@dataclass(frozen=True)
class Kind:
    """A quorum system of one system under test."""

    label: str
    system: str
    nodes: int
    quorum: str
    options: tuple[tuple[str, int], ...] = ()
    quick: bool = False

    @property
    def title(self) -> str:
        """The label, and its system."""
        return self.label if self.system == "multipaxos" else f"{system(self.system).title}: {self.label}"


KINDS = (
    Kind("majority of 5", "multipaxos", 5, "majority", quick=True),
    Kind("4 and 2 of 5", "multipaxos", 5, "sizes 4 2", quick=True),
    Kind("5 and 1 of 5", "multipaxos", 5, "sizes 5 1"),
    Kind("majority of 6", "multipaxos", 6, "majority"),
    Kind("grid of 2 x 3", "multipaxos", 6, "grid 2 3", quick=True),
    Kind("majority of 5", "libpaxos", 5, "majority"),
    Kind("4 and 2 of 5", "libpaxos", 5, "sizes 4 2"),
    Kind("majority of 5, thrifty", "libpaxos", 5, "majority", (("group1", 3), ("group2", 3))),
    Kind("4 and 2 of 5, thrifty", "libpaxos", 5, "sizes 4 2", (("group1", 4), ("group2", 2))),
)


def star(nodes: int) -> Topology:
    """A network in which bytes decide."""
    return Topology(nodes=nodes, rate_mbit=10.0)


def wide(nodes: int) -> Topology:
    """Two nodes at each of three sites (with five nodes, one at the last), the client at the first."""
    return Topology(nodes=nodes, sites=(*SITES[:nodes], "a"), site_delays_ms=SITE_DELAYS_MS)


def label_of(spec: Spec) -> str:
    """The kind's label, and its system."""
    for kind in KINDS:
        if (kind.system, kind.nodes, kind.quorum, kind.options) == (
            spec.system,
            spec.topology.nodes,
            spec.quorum,
            tuple(option for option in spec.options if option not in AT_THE_FIRST),
        ):
            return kind.title
    return f"{spec.system}: {spec.quorum} of {spec.topology.nodes}"


class QuorumSizes(Experiment):
    """See the module."""

    name = "quorums"
    title = "Quorum sizes"
    order = 6

    def points(self, scale: Scale) -> list[Spec]:
        """Every kind on both networks, and with a member killed."""
        specs = []
        for kind in KINDS:
            if kind.system not in scale.systems or (scale.quick and not kind.quick):
                continue
            calm = Workload(outstanding=OUTSTANDING, **scale.times)
            specs += [self.spec(kind, star(kind.nodes), calm), self.spec(kind, wide(kind.nodes), calm)]
            hostile = Workload(outstanding=OUTSTANDING, warm_up_s=0.5, duration_s=3.0 if scale.quick else 8.0)
            killed = Fault(kind="kill", target="follower", at_s=1.0 if scale.quick else 3.0)
            specs.append(self.spec(kind, star(kind.nodes), hostile, (killed,)))
        return specs

    def spec(self, kind: Kind, topology: Topology, workload: Workload, faults: tuple[Fault, ...] = ()) -> Spec:
        """One point."""
        return Spec(
            experiment=self.name,
            system=kind.system,
            topology=topology,
            workload=workload,
            quorum=kind.quorum,
            options=kind.options + (AT_THE_FIRST if topology.sites and kind.system == "multipaxos" else ()),
            faults=faults,
        )

    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds the networks, then the deaths."""
        whole = [run for run in runs if not run.spec.faults]
        self.network([r for r in whole if not r.spec.topology.sites], "star", "Star, 10 Mbit/s", THROUGHPUT, report)
        self.network([r for r in whole if r.spec.topology.sites], "wide", "Wide area", LATENCY, report)
        self.deaths([run for run in runs if run.spec.faults], report)
        report.heading("What this does not show")
        report.text(
            "What an election costs: with a small phase-2 quorum a new leader needs a large phase-1 quorum, and "
            "without it no node leads. Nor what thrifty sending would gain in multipaxos, which has none: its replicas "
            "need every command anyway. Over the wide area links are not shaped, and the leader is where the client is."
        )

    def network(self, runs: Sequence[Run], slug: str, title: str, quantity: Quantity, report: Report) -> None:
        """Adds bars and a table."""
        if not runs:
            return
        report.heading(title)
        if slug == "wide":
            delays = ", ".join(f"{name} {delay:g} ms" for name, delay in SITE_DELAYS_MS)
            report.text(f"One-way delays between sites: {delays}. Two nodes at each site, the client at site a.")
        of_label = {label: list(of) for label, of in self.by_label(runs).items()}
        number = throughput_per_s if quantity is THROUGHPUT else mean_latency_us
        bars = [Bars("mean over runs", tuple(over_runs(of, number) for of in of_label.values()))]
        figure = grouped_bars(
            [label.replace(": ", ":\n").replace(" of ", "\nof ") for label in of_label],
            bars,
            Quantity("quorum system", "phase 1 and phase 2"),
            quantity,
        )
        report.figure(
            figure,
            slug,
            f"{quantity.name.capitalize()} by quorum system: {title[0].lower()}{title[1:]}, {OUTSTANDING} outstanding, "
            f"64-byte values; 95 % intervals over runs; {busy_words(runs)}.",
        )
        rows = [
            (
                label,
                over_runs(of, throughput_per_s),
                over_runs(of, mean_latency_us),
                None if of[0].seconds_only else over_runs(of, lambda run: percentile_us(run, 99)),
                over_runs(of, busiest_bytes_per_operation),
            )
            for label, of in of_label.items()
        ]
        columns = (
            Column("quorum system"),
            Column("throughput", THROUGHPUT),
            Column("mean latency", MICROSECONDS),
            Column("p99", MICROSECONDS),
            Column("bytes, busiest node", Quantity("bytes", "per command")),
        )
        report.table(Table(columns, tuple(rows)), slug)

    @staticmethod
    def by_label(runs: Sequence[Run]) -> dict[str, list[Run]]:
        """The runs by label, in the order of KINDS."""
        found: dict[str, list[Run]] = {}
        order = {title: place for place, title in enumerate(kind.title for kind in KINDS)}
        for run in sorted(runs, key=lambda run: order.get(label_of(run.spec), len(order))):
            found.setdefault(label_of(run.spec), []).append(run)
        return found

    def deaths(self, runs: Sequence[Run], report: Report) -> None:
        """Adds throughput before and after a follower was killed."""
        if not runs:
            return
        report.heading("A member dies")
        report.text("A follower is killed, and stays dead. Star, 10 Mbit/s.")
        rows = [
            (
                label,
                over_runs(of, lambda run: around(run)[0]),
                over_runs(of, lambda run: around(run)[1]),
                self.ratio(of),
            )
            for label, of in self.by_label(runs).items()
        ]
        columns = (
            Column("quorum system"),
            Column("before", THROUGHPUT),
            Column("after", THROUGHPUT),
            Column("after / before", Quantity("ratio", "1")),
        )
        report.table(Table(columns, tuple(rows)), "deaths")
        for label, of in self.by_label(runs).items():
            trace = Trace(label, series_of(of[0]), marks_of(of[0]), of[0].spec.system)
            slug = "".join(c if c.isalnum() else "_" for c in label.lower())
            report.figure(over_time([trace]), f"death_{slug}", f"{label}: throughput and latency over time of one run.")

    @staticmethod
    def ratio(runs: Sequence[Run]) -> estimates.Estimate | None:
        """The ratio of each run, then its mean over runs."""
        pairs = [around(run) for run in runs]
        ratios = [after / before for before, after in pairs if before and after is not None]
        return estimates.mean(ratios) if len(ratios) == len(pairs) else None


def around(run: Run) -> tuple[float | None, float | None]:
    """Throughput in whole bins before the fault, and from a second after it to the end; None if no bin has it."""
    fault_s = run.at_s(run.result["faults"][0]["took_effect_ns"])
    series = series_of(run)
    begins, ends = series.at_s - series.bin_s / 2, series.at_s + series.bin_s / 2
    # a second that such a client reports may reach over the fault, and so into the bins up to a second before it
    until_s = fault_s - 1.0 if run.seconds_only else fault_s
    told = ~np.isnan(series.throughput_per_s)  # bins at the ends may be missing
    before, after = (series.throughput_per_s[told & place] for place in (ends <= until_s, begins >= fault_s + 1.0))
    return (float(before.mean()) if len(before) else None), (float(after.mean()) if len(after) else None)
