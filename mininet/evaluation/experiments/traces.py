"""Failure traces: throughput and latency over time, while something fails and comes back.

All systems are on disk and synced. A replica is killed and started again; so is the leader; the leader is cut off,
fully, one way, and so that each side sees another majority; it is slow; it loses packets. LibPaxos3 has no election:
after its proposer is killed its client stays at zero for ever, and the figure shows that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluation import series
from evaluation.experiments import Experiment, Scale
from evaluation.figures import Mark, Trace, over_time
from evaluation.model import Fault, Spec, Topology, Workload
from evaluation.report import Report, busy_words
from evaluation.runs import Run, series_of
from evaluation.systems import system
from evaluation.tables import Column, Quantity, Table

OUTSTANDING = 10
SECONDS = Quantity("time", "s")


@dataclass(frozen=True)
class Story:
    """What happens, at shares of the run's duration."""

    name: str
    title: str
    faults: tuple[tuple[float, Fault], ...]
    systems: tuple[str, ...] = ("multipaxos", "libpaxos", "etcd")
    kernel_defaults: bool = False  # TCP's patience as the kernel has it


def fault(**values: object) -> Fault:
    """A fault whose time is set later."""
    return Fault(at_s=0.0, **values)  # type: ignore[arg-type]


STORIES = (
    Story(
        "replica",
        "A replica is killed, and restored",
        ((0.25, fault(kind="kill", target="follower")), (0.55, fault(kind="restart", target="follower"))),
    ),
    Story(
        "leader",
        "The leader is killed, and restored",
        ((0.25, fault(kind="kill", target="leader")), (0.55, fault(kind="restart", target="leader"))),
    ),
    Story(
        "isolated",
        "The leader is cut off from everybody",
        ((0.25, fault(kind="partition", target="leader")), (0.6, fault(kind="heal"))),
        ("multipaxos", "etcd"),
    ),
    Story(
        "one_way",
        "The leader no longer hears the other nodes, which hear it",
        ((0.25, fault(kind="partition", target="leader", mode="one_way")), (0.6, fault(kind="heal"))),
        ("multipaxos", "etcd"),
    ),
    Story(
        "bridge",
        "The leader and another node no longer hear each other; the third hears both",
        ((0.25, fault(kind="partition", target="leader", mode="bridge")), (0.6, fault(kind="heal"))),
        ("multipaxos", "etcd"),
    ),
    Story(
        "patient",
        "The leader is cut off from everybody, with the kernel's own patience in TCP",
        ((0.25, fault(kind="partition", target="leader")), (0.6, fault(kind="heal"))),
        ("multipaxos", "etcd"),
        kernel_defaults=True,
    ),
    Story(
        "slow",
        "The leader gets a twentieth of a processor, until the end",
        ((0.25, fault(kind="slow", target="leader", amount=0.05)),),
        ("multipaxos", "etcd"),
    ),
    Story(
        "lossy",
        "The leader loses a twentieth of what is sent to it",
        ((0.25, fault(kind="loss", target="leader", amount=0.05)), (0.6, fault(kind="heal"))),
        ("multipaxos", "etcd"),
    ),
)

PATIENT = (("kernel_defaults", True),)


def at_times(story: Story, duration_s: float) -> tuple[Fault, ...]:
    """The story's faults with times in seconds."""
    return tuple(
        Fault(
            **{
                **{name: getattr(each, name) for name in each.__dataclass_fields__},
                "at_s": round(share * duration_s, 2),
            }
        )
        for share, each in story.faults
    )


def marks_of(run: Run) -> tuple[Mark, ...]:
    """The time when each fault took effect."""
    return tuple(
        Mark(
            run.at_s(each["took_effect_ns"]),
            each["kind"] + (f" {each['target']}" if each["target"] is not None else ""),
        )
        for each in run.result["faults"]
    )


OPTIONS: dict[str, tuple[tuple[str, object], ...]] = {"libpaxos": (("sync", True),)}


class Traces(Experiment):
    """See the module."""

    name = "traces"
    title = "Failure traces"
    order = 4

    def points(self, scale: Scale) -> list[Spec]:
        """Every story."""
        duration_s = 4.0 if scale.quick else 20.0
        return [
            Spec(
                experiment=self.name,
                system=name,
                storage="disk" if name == "etcd" else "lmdb",
                topology=Topology(nodes=3),
                workload=Workload(
                    outstanding=OUTSTANDING, warm_up_s=0.5 if scale.quick else 2.0, duration_s=duration_s
                ),
                faults=at_times(story, duration_s),
                options=OPTIONS.get(name, ()) + (PATIENT if story.kernel_defaults else ()),
            )
            for story in STORIES
            for name in scale.systems
            if name in story.systems
        ]

    def report(self, runs: Sequence[Run], report: Report) -> None:
        """Adds a part for each story."""
        for story in STORIES:
            of = [run for run in runs if is_of(story, run.spec)]
            if of:
                self.story(story, of, report)
        report.heading("What this does not show")
        report.text(
            "A node that is killed here loses its process, not its machine: the kernel keeps what was written, and "
            "answers a connection to a dead process at once. Links that fall silent are in the stories of partitions."
        )

    def story(self, story: Story, runs: Sequence[Run], report: Report) -> None:
        """Adds the first run of each system, all together and each alone; the table has all runs."""
        report.heading(story.title)
        first = {run.spec.system: run for run in sorted(runs, key=lambda run: run.repetition, reverse=True)}
        shown = sorted(first.values(), key=lambda run: run.spec.system != "multipaxos")
        drawn = [Trace(system(r.spec.system).title, series_of(r), marks_of(r), r.spec.system) for r in shown]
        if len(shown) > 1:
            report.figure(
                over_time(drawn, overlay=True),
                f"{story.name}_together",
                f"{story.title}: all systems on the same axes, {OUTSTANDING} outstanding, on disk and synced, a run of "
                "each; the instants are those of the first one, of the others within a few milliseconds.",
            )
        for run, trace in zip(shown, drawn, strict=True):
            derived = " Its latencies are derived by Little's law from whole seconds." if run.seconds_only else ""
            report.figure(
                over_time([trace]),
                f"{story.name}_{run.spec.system}",
                f"{story.title}: {trace.label}, {OUTSTANDING} outstanding, on disk and synced. Points: bins of "
                f"{trace.series.bin_s:g} s; line: EWMA with a time constant of {trace.series.tau_s:g} s, which bridges "
                f"no empty bin; dotted: the mean of the whole run.{derived} {busy_words([run])}.",
            )
        report.table(self.table(runs), story.name)

    @staticmethod
    def table(runs: Sequence[Run]) -> Table:
        """A row for each run: what was lost, and for how long no client was served."""
        rows = []
        for run in sorted(runs, key=lambda run: (run.spec.system, run.repetition)):
            checks = run.result["checks"]
            if run.seconds_only:
                gap = series.longest_gap_of_seconds(run.seconds[0], run.began_ns, run.ended_ns)
            else:
                gap = series.longest_gap(run.operations, run.began_ns, run.ended_ns)
            slots = checks.get("log_slots")
            rows.append(
                (
                    run.spec.system,
                    str(run.repetition),
                    f"at least {gap.seconds:.3f}" if gap.ended_ns is None else f"{gap.seconds:.3f}",
                    str(checks.get("lost_writes", "cannot be told")),
                    str(checks.get("proposed_again", "cannot be told")),
                    "cannot be told" if slots is None else "equal" if not checks["failures"] else "**not equal**",
                    "cannot be told" if slots is None else " ".join(map(str, slots.values())),
                )
            )
        columns = (
            "system",
            "run",
            "longest gap, s",
            "acknowledged and lost",
            "proposed again",
            "log prefix",
            "slots of each node",
        )
        return Table(tuple(Column(name) for name in columns), tuple(rows))


def is_of(story: Story, spec: Spec) -> bool:
    """Is it a run of the story?"""
    told = tuple((each.kind, each.target, each.mode) for each in spec.faults)
    wanted = tuple((each.kind, each.target, each.mode) for _, each in story.faults)
    return told == wanted and spec.option("kernel_defaults", False) == story.kernel_defaults
