"""Outages: for how long is no client served when the leader crashes?

The nodes run on LMDB, so that a killed leader votes again when it is back, at several election time-outs, with many
crashes of each. An outage lasts from the last answer before the crash to the first answer of a command that was sent
after it.
"""

from __future__ import annotations

from collections.abc import Sequence

from evaluation import curves, estimates, series
from evaluation.experiments import Experiment, Scale
from evaluation.figures import Cdf, Strip, cdfs, strips
from evaluation.model import Fault, Spec, Topology, Workload
from evaluation.report import Report
from evaluation.runs import Run
from evaluation.tables import Column, Quantity, Table

TIMEOUTS_MS, TIMEOUTS_MS_QUICK = (100, 200, 500, 1000), (200,)
CRASHES, CRASHES_QUICK = 5, 1
AT_LEAST = 30  # crashes of each time-out in all
APART_S = 4.0
DOWN_S = 2.5
OUTAGE = Quantity("time without service", "ms", 1000)
TIMEOUT = Quantity("election time-out", "ms")


class Outages(Experiment):
    """See the module."""

    name = "outages"
    title = "Time without service when the leader crashes"
    order = 5

    def points(self, scale: Scale) -> list[Spec]:
        """Several crashes in each run; more of them in each run if there are few runs, so that AT_LEAST are reached."""
        crashes = CRASHES_QUICK if scale.quick else max(CRASHES, -(-AT_LEAST // scale.runs))
        faults: list[Fault] = []
        for number in range(crashes):
            faults.append(Fault(kind="kill", target="leader", at_s=1.0 + APART_S * number))
            faults.append(Fault(kind="restart", at_s=1.0 + APART_S * number + (1.0 if scale.quick else DOWN_S)))
        duration_s = 3.5 if scale.quick else 1.0 + APART_S * crashes
        return [
            Spec(
                experiment=self.name,
                system="multipaxos",
                storage="lmdb",
                topology=Topology(nodes=3),
                workload=Workload(outstanding=10, warm_up_s=0.5, duration_s=duration_s),
                faults=tuple(faults),
                options=(("election_timeout_ms", timeout_ms), ("ping_interval_ms", max(10, timeout_ms // 5))),
            )
            for timeout_ms in (TIMEOUTS_MS_QUICK if scale.quick else TIMEOUTS_MS)
            if "multipaxos" in scale.systems
        ]

    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds every crash."""
        found = {
            timeout_ms: [one for run in of for one in outages_of(run)]
            for timeout_ms, of in curves.groups(runs, lambda spec: spec.option("election_timeout_ms")).items()
        }
        groups = []
        rows = []
        for timeout_ms, gaps in found.items():
            whole = tuple(gap.seconds for gap in gaps if gap.ended_ns is not None)
            bounds = tuple(gap.seconds for gap in gaps if gap.ended_ns is None)
            middle = estimates.median(whole) if whole and not bounds else None
            groups.append(Strip(f"{timeout_ms}", whole, bounds, middle))
            rows.append((str(timeout_ms), len(gaps), middle, max((*whole, *bounds), default=None), len(bounds)))
        report.figure(
            strips(groups, TIMEOUT, OUTAGE),
            "outages",
            "Time without service for every crash of a leader (SIGKILL, ten commands outstanding, LMDB), by the "
            "election time-out; the median with its 95 % interval. Hollow: not over when the next crash came.",
        )
        drawn = [
            Cdf(f"{timeout_ms} ms", estimates.distribution([gap.seconds for gap in gaps]))
            for timeout_ms, gaps in found.items()
            if gaps
        ]
        report.figure(
            cdfs(drawn, OUTAGE, share=Quantity("share of crashes", "1 = all"), log_x=False),
            "outages_cdf",
            "The same as distribution functions.",
        )
        columns = (
            Column("election time-out (ms)"),
            Column("crashes"),
            Column("median", OUTAGE),
            Column("longest", OUTAGE),
            Column("not over"),
        )
        report.table(Table(columns, tuple(rows)), "outages")
        report.heading("What this does not show")
        report.text(
            "A killed process closes its connections, and the others see that at once: they need not wait for the "
            "time-out. A leader that falls silent is in the failure traces."
        )


def outages_of(run: Run) -> list[series.Gap]:
    """The outage of each kill in a run, until the next kill or the end."""
    times = [each["took_effect_ns"] for each in run.result["faults"]]
    kinds = [each["kind"] for each in run.result["faults"]]
    kills = [place for place, kind in enumerate(kinds) if kind == "kill"]
    ends = {place: next((times[later] for later in kills if later > place), run.ended_ns) for place in kills}
    return [series.outage(run.operations, times[place], ends[place]).service for place in kills]
