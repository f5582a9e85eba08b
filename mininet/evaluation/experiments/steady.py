"""Steady state: latency against throughput.

A closed loop of 1 to 1,000 outstanding commands, and an open loop (Poisson arrivals) at 10 to 110 % of the closed
loop's best throughput. The network is unshaped, so that processors decide: all nodes and the client share those of one
machine.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation import curves, estimates
from evaluation.experiments import Experiment, Scale
from evaluation.figures import Cdf, cdfs, latency_against_throughput
from evaluation.model import Spec, Topology, Workload
from evaluation.report import Report, busy_words, idle_share
from evaluation.runs import Run, latencies_us, mean_latency_us, over_runs, percentile_us, throughput_per_s
from evaluation.systems import system
from evaluation.tables import LATENCY, THROUGHPUT, Column, Quantity, Table

OUTSTANDING = (1, 3, 10, 30, 100, 300, 1000)
OUTSTANDING_LIBPAXOS = (1, 3, 10, 30, 100, 300)  # above that it stalls
OUTSTANDING_QUICK = (1, 100)
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9, 1.0, 1.1)
SHARES_QUICK = (0.5,)
RATE_STEP = 100.0  # per second
IDLE = Quantity("processors idle", "%", 100)
MICROSECONDS = Quantity("latency", "us")


def load_of(spec: Spec) -> float:
    """The load of a point: commands outstanding, or a rate."""
    return spec.workload.rate_per_s or spec.workload.outstanding


def is_open(run: Run) -> bool:
    """Is its loop open?"""
    return run.spec.workload.rate_per_s is not None


class Steady(Experiment):
    """See the module."""

    name = "steady"
    title = "Steady state: latency against throughput"
    order = 1

    def points(self, scale: Scale) -> list[Spec]:
        """The closed loop."""
        specs = []
        for name in scale.on("memory"):
            outstanding = OUTSTANDING_LIBPAXOS if name == "libpaxos" else OUTSTANDING
            for count in OUTSTANDING_QUICK if scale.quick else outstanding:
                specs.append(self.spec(name, scale, Workload(outstanding=count, **scale.times)))
        return specs

    @staticmethod
    def spec(name: str, scale: Scale, workload: Workload) -> Spec:
        """A point on a star of three, unshaped."""
        return Spec(experiment="steady", system=name, topology=Topology(nodes=3), workload=workload)

    def more_points(self, scale: Scale, runs: Sequence[Run]) -> list[Spec]:
        """The open loop, of the systems that have one, at shares of the closed loop's best. Rates that were run
        before stay, so that a campaign which was cut off goes on with them."""
        specs = []
        for name in scale.on("memory"):
            own = [run for run in runs if run.spec.system == name]
            closed = [run for run in own if not is_open(run)]
            if not system(name).open_loop or not closed:
                continue
            rates = sorted({run.spec.workload.rate_per_s for run in own if run.spec.workload.rate_per_s})
            if not rates:
                _, best = curves.best(closed, load_of)
                top = sum(map(throughput_per_s, best)) / len(best)
                shares = SHARES_QUICK if scale.quick else SHARES
                rates = sorted({max(RATE_STEP, round(top * share / RATE_STEP) * RATE_STEP) for share in shares})
            specs += [self.spec(name, scale, Workload(rate_per_s=rate, **scale.times)) for rate in rates]
        return specs

    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds curves, distributions and a table."""
        closed = [run for run in runs if not is_open(run)]
        opened = [run for run in runs if is_open(run)]
        drawn = [curves.load_curve(of, load_of, label) for label, of in curves.by_system(closed).items()]
        report.heading("Closed loop")
        report.figure(
            latency_against_throughput(drawn),
            "closed_loop",
            "Mean latency against throughput, star of 3, 64-byte values, unshaped; the numbers are commands "
            f"outstanding. 95 % intervals over runs. While it was measured: {busy_words(closed)}.",
        )
        report.table(self.table(closed, "outstanding"), "closed_loop")
        self.distributions(closed, report)
        self.ratios(closed, report)
        if opened:
            self.open_loop(opened, report)
        report.heading("What this does not show")
        report.text(
            "All hosts share this machine's processors, so the highest throughput is that of so many processors "
            "together and not of machines of their own. Latencies are those of virtual links without delay."
        )

    @staticmethod
    def table(runs: Sequence[Run], load: str) -> Table:
        """A row for each system and load."""
        rows = []
        for label, of_system in curves.by_system(runs).items():
            for at, of in curves.groups(of_system, load_of).items():
                rows.append(
                    (
                        label,
                        f"{at:,.0f}",
                        over_runs(of, throughput_per_s),
                        over_runs(of, mean_latency_us),
                        over_runs(of, lambda run: percentile_us(run, 50)),
                        over_runs(of, lambda run: percentile_us(run, 99)),
                        over_runs(of, idle_share),
                    )
                )
        columns = (
            Column("system"),
            Column(load),
            Column("throughput", THROUGHPUT),
            Column("mean", MICROSECONDS),
            Column("p50", MICROSECONDS),
            Column("p99", MICROSECONDS),
            Column("processors idle", IDLE),
        )
        return Table(columns, tuple(rows))

    @staticmethod
    def distributions(runs: Sequence[Run], report: Report) -> None:
        """Distributions of the first run of some loads, for systems whose records have operations."""
        drawn = []
        for count in (1, 10, 100, 1000):
            of = [run for run in runs if load_of(run.spec) == count and not run.seconds_only]
            if of:
                found = latencies_us(of[0])
                label = f"{curves.label_of(of[0].spec)}, {count} outstanding"
                drawn.append(Cdf(label, estimates.distribution(found.us, found.censored)))
        if drawn:
            report.figure(
                cdfs(drawn, LATENCY),
                "closed_loop_cdf",
                "Distribution of the latencies of all commands of one run each. LibPaxos's client reports seconds, "
                "not of commands, so it has no distribution.",
            )

    @staticmethod
    def ratios(runs: Sequence[Run], report: Report) -> None:
        """The ratio of our number to LibPaxos's, each at its best, and at one outstanding."""
        ours = [run for run in runs if run.spec.system == "multipaxos"]
        theirs = [run for run in runs if run.spec.system == "libpaxos"]
        if not ours or not theirs:
            return
        (our_load, our_best), (their_load, their_best) = curves.best(ours, load_of), curves.best(theirs, load_of)
        ratio = estimates.ratio([throughput_per_s(r) for r in our_best], [throughput_per_s(r) for r in their_best])
        report.text(
            f"Each at its best number outstanding ({our_load:,.0f} and {their_load:,.0f}), multipaxos has "
            f"**{interval(ratio)} times** LibPaxos's throughput; {busy_words([*our_best, *their_best])}."
        )
        one = [over_runs([r for r in ours if load_of(r.spec) == 1], lambda run: percentile_us(run, 50))]
        other = [over_runs([r for r in theirs if load_of(r.spec) == 1], mean_latency_us)]
        if one[0] and other[0]:
            report.text(
                f"At one outstanding the p50 of multipaxos is **{one[0].value:,.0f} us**, LibPaxos's mean "
                f"**{other[0].value:,.0f} us** (four and three message delays)."
            )

    def open_loop(self, runs: Sequence[Run], report: Report) -> None:
        """Adds latency by the planned times."""
        report.heading("Open loop")
        drawn = [
            curves.load_curve(of, load_of, f"{label}, {name}", number)
            for label, of in curves.by_system(runs).items()
            for name, number in (
                ("p50", lambda run: percentile_us(run, 50)),
                ("p99", lambda run: percentile_us(run, 99)),
            )
        ]
        report.figure(
            latency_against_throughput(drawn),
            "open_loop",
            "Latency from the planned time of each command against throughput, Poisson arrivals; the numbers are the "
            f"rates asked for. {busy_words(runs)}.",
        )
        report.table(self.table(runs, "rate asked for, /s"), "open_loop")


def interval(estimate: estimates.Estimate) -> str:
    """A ratio with its interval, as text."""
    if estimate.low is None or estimate.high is None:
        return f"{estimate.value:.2f}"
    return f"{estimate.value:.2f} ({estimate.low:.2f} to {estimate.high:.2f})"
