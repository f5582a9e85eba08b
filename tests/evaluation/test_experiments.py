"""Experiments: what they ask for can be run, and their reports of made-up runs say what those runs were."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest

pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")
pytest.importorskip("scipy", reason="scipy is of the extra `evaluation`")
pytest.importorskip("matplotlib", reason="matplotlib is of the extra `evaluation`")

from matplotlib.figure import Figure

from evaluation import figures, shaping
from evaluation.experiments import Experiment, Scale, experiments, outages, steady, traces
from evaluation.experiments.quorums import KINDS, QuorumSizes, around
from evaluation.model import Spec, Topology, Workload
from evaluation.runs import load_runs, throughput_per_s
from evaluation.systems import libpaxos, multipaxos, system, systems
from tests.evaluation.made_up import cut_off, make_run

ALL = ("multipaxos", "libpaxos", "etcd")
NAMES = ("steady", "sizes", "values", "traces", "outages", "quorums", "durability")
RATE = {"multipaxos": 3000.0, "libpaxos": 1000.0, "etcd": 500.0}


def scale(quick: bool = True, names: Sequence[str] = ALL, runs: int = 10) -> Scale:
    """A scale, of all systems by default."""
    return Scale(tuple(names), quick, runs)


def short(spec: Spec) -> Spec:
    """The spec with a run of a few seconds and no faults."""
    if spec.faults:
        return spec
    return dataclasses.replace(spec, workload=dataclasses.replace(spec.workload, duration_s=2.0))


def test_experiments_are_found_by_their_files_in_their_order() -> None:
    found = experiments()
    assert tuple(found) == NAMES
    assert all(found[name].name == name for name in NAMES)
    assert all(each.title for each in found.values())
    assert len({each.order for each in found.values()}) == len(found)


@pytest.mark.parametrize("quick", [True, False], ids=["quick", "full"])
@pytest.mark.parametrize("name", NAMES)
def test_points_are_distinct_and_can_be_run(name: str, quick: bool) -> None:
    points = experiments()[name].points(scale(quick))
    assert points
    assert len({point.digest() for point in points}) == len(points)
    for point in points:
        assert point.experiment == name
        kind = system(point.system)
        assert point.storage in kind.storages, point
        assert point.quorum.split()[0] in kind.quorums, point
        assert point.workload.rate_per_s is None or kind.open_loop
        shaping.refuse(point.topology)
        if point.system == "multipaxos":
            multipaxos.quorum_of(point.quorum)
        if point.system == "libpaxos":
            phase1, phase2 = libpaxos.quorums_of(point.quorum, point.topology.nodes)
            assert phase1 + phase2 > point.topology.nodes
        assert all(0 <= fault.at_s < point.workload.duration_s for fault in point.faults), point


@pytest.mark.parametrize("name", NAMES)
def test_a_quick_scale_has_every_kind_of_point_and_is_small(name: str) -> None:
    each = experiments()[name]
    quick, full = each.points(scale(True)), each.points(scale(False))
    assert len(quick) < len(full) or name == "traces"
    assert sum(point.workload.duration_s for point in quick) < sum(point.workload.duration_s for point in full) / 2
    assert {point.system for point in quick} <= {point.system for point in full}
    assert {bool(point.faults) for point in quick} == {bool(point.faults) for point in full}
    assert {point.storage for point in quick} == {point.storage for point in full}
    assert {bool(point.topology.sites) for point in quick} == {bool(point.topology.sites) for point in full}


def test_the_whole_of_it_small_is_short_for_multipaxos_alone() -> None:
    """All of it takes five minutes if a run takes about three seconds around its measurement."""
    points = [point for each in experiments().values() for point in each.points(scale(names=("multipaxos",)))]
    assert sum(3.0 + point.workload.warm_up_s + point.workload.duration_s for point in points) < 240


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alone", ALL)
def test_each_system_can_be_alone(name: str, alone: str) -> None:
    assert {point.system for point in experiments()[name].points(scale(names=(alone,)))} <= {alone}


def test_a_new_system_is_one_file(monkeypatch: pytest.MonkeyPatch) -> None:
    """No experiment needs to know of it."""

    class Another(multipaxos.Multipaxos):
        name, title, open_loop = "another", "Another", False

    monkeypatch.setattr("evaluation.systems.systems", lambda: {**known, "another": Another})
    points = [point for each in experiments().values() for point in each.points(scale(names=("another",)))]
    assert {point.system for point in points} == {"another"}
    assert {point.experiment for point in points} == {"steady", "sizes", "values", "durability"}


known = systems()


@pytest.mark.parametrize(("runs", "crashes"), [(10, 5), (1, 30), (4, 8), (100, 5)])
def test_outages_are_of_thirty_crashes_at_least(runs: int, crashes: int) -> None:
    points = outages.Outages().points(scale(False, runs=runs))
    for point in points:
        assert [fault.kind for fault in point.faults] == ["kill", "restart"] * crashes
        assert runs * crashes >= 30
        times = [fault.at_s for fault in point.faults]
        assert times == sorted(times)
        assert times[-1] + 1 < point.workload.duration_s
    assert {point.option("election_timeout_ms") for point in points} == set(outages.TIMEOUTS_MS)


# -- reports


@pytest.fixture
def unsaved(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are drawn, but not written into files, which would take most of the time."""

    def save(figure: Figure, folder: Path, name: str, png: bool = True) -> tuple[Path, Path]:
        return folder / f"{name}.svg", folder / f"{name}.png"

    monkeypatch.setattr(figures, "save", save)


def made_up(out: Path, each: Experiment, repetitions: int = 2, names: Sequence[str] = ALL) -> list[Spec]:
    """Runs of all points of an experiment, the second of each a hundredth slower."""
    points = [short(point) for point in each.points(scale(names=names))]
    for point in points:
        for repetition in range(repetitions):
            make_run(out, point, repetition, RATE[point.system] * (1 - 0.01 * repetition))
    return points


@pytest.mark.parametrize("name", NAMES)
def test_every_report_is_written_with_all_that_it_names(name: str, tmp_path: Path) -> None:
    each = experiments()[name]
    points = made_up(tmp_path / "out", each)
    path = each.analyse(tmp_path / "out", tmp_path / "to")
    assert path == tmp_path / "to" / name / "report.md"
    text = path.read_text()
    assert text.startswith(
        f"# {each.title}\n\n{2 * len(points)} runs of {len(points)} points, 2 of each, every one on a fresh network."
    )
    assert "multipaxos at 0123456789ab; Python 3.11.7; Linux 6.18.0; 2 of Some processor, 8 GiB" in text
    for used in {point.system for point in points}:
        assert system(used).differences in text
    named = set(re.findall(r"\]\(([^)]+)\)", text))
    assert named == {path.name for path in (tmp_path / "to" / name).iterdir()} - {"report.md"}
    assert any(file.endswith(".svg") for file in named)
    assert any(file.endswith(".csv") for file in named)
    assert "## What this does not show" in text or name == "quorums"
    assert "nan" not in text.lower().replace("nano", "")
    assert not (tmp_path / "out" / name / "report.md").exists()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("alone", ALL)
@pytest.mark.usefixtures("unsaved")
def test_every_report_of_one_system_and_one_run(name: str, alone: str, tmp_path: Path) -> None:
    each = experiments()[name]
    points = made_up(tmp_path, each, 1, (alone,))
    path = each.analyse(tmp_path, tmp_path)
    assert (path is None) == (not points)


def test_a_report_is_the_same_when_it_is_written_again(tmp_path: Path) -> None:
    each = experiments()["values"]
    made_up(tmp_path, each)
    each.analyse(tmp_path, tmp_path / "one")
    each.analyse(tmp_path, tmp_path / "other")
    one, other = (
        {file.name: file.read_bytes() for file in (tmp_path / to / "values").iterdir()} for to in ("one", "other")
    )
    assert one == other


def test_nothing_is_written_where_there_are_no_runs(tmp_path: Path) -> None:
    for each in experiments().values():
        assert each.analyse(tmp_path, tmp_path / "to") is None
    (tmp_path / "values" / "runs").mkdir(parents=True)
    assert experiments()["values"].analyse(tmp_path, tmp_path / "to") is None
    assert not (tmp_path / "to").exists()


def runs_of(out: Path, specs: dict[Spec, Sequence[float]]) -> None:
    """Runs with these throughputs."""
    for spec, rates in specs.items():
        for repetition, rate in enumerate(rates):
            make_run(out, spec, repetition, rate)


def closed(name: str, count: int) -> Spec:
    """A point of the steady state."""
    return Spec(experiment="steady", system=name, workload=Workload(outstanding=count, duration_s=2.0))


def test_the_ratio_at_the_best_loads_is_reported(tmp_path: Path) -> None:
    """Ours is best at 100 outstanding, theirs at 10: 6,000 by 1,500."""
    runs_of(
        tmp_path,
        {
            closed("multipaxos", 1): (500, 500),
            closed("multipaxos", 100): (6000, 6000),
            closed("libpaxos", 1): (400, 400),
            closed("libpaxos", 10): (1500, 1500),
            closed("libpaxos", 100): (1000, 1000),
        },
    )
    steady.Steady().analyse(tmp_path, tmp_path)
    text = (tmp_path / "steady" / "report.md").read_text()
    assert (
        "Each at its best number outstanding (100 and 10), multipaxos has **4.00 (4.00 to 4.00) times** LibPaxos's "
        "throughput; processors idle 50 to 50 % (they are not the limit)." in text
    )
    # one outstanding: 1 / 500 s, and 1 / 400 s by Little's law
    assert "the p50 of multipaxos is **2,000 us**, LibPaxos's mean **2,500 us** (four and three message delays)" in text


def test_the_ratio_of_one_run_has_no_interval(tmp_path: Path) -> None:
    runs_of(tmp_path, {closed("multipaxos", 10): (2500,), closed("libpaxos", 10): (1000,)})
    steady.Steady().analyse(tmp_path, tmp_path)
    assert "has **2.50 times** LibPaxos's throughput" in (tmp_path / "steady" / "report.md").read_text()


def test_the_ratio_of_each_size_and_network_is_reported(tmp_path: Path) -> None:
    def point(name: str, nodes: int, rate_mbit: float | None) -> Spec:
        topology = Topology(nodes=nodes, rate_mbit=rate_mbit)
        return Spec(experiment="sizes", system=name, topology=topology, workload=Workload(outstanding=10, duration_s=2))

    runs_of(
        tmp_path,
        {
            point("multipaxos", 3, 10.0): (1800, 1800),
            point("libpaxos", 3, 10.0): (1000, 1000),
            point("multipaxos", 5, 10.0): (900, 900),
            point("libpaxos", 5, 10.0): (750, 750),
            point("multipaxos", 3, None): (4000, 4000),
            point("libpaxos", 3, None): (0, 0),
        },
    )
    experiments()["sizes"].analyse(tmp_path, tmp_path)
    unshaped, shaped = (tmp_path / "sizes" / "report.md").read_text().split("## 10 Mbit/s")
    assert "- n=3: 1.80 (1.80 to 1.80) times LibPaxos's throughput\n- n=5: 1.20 (1.20 to 1.20) times" in shaped
    assert "- n=3: LibPaxos has done nothing, so there is no ratio" in unshaped


def test_rates_of_the_open_loop_are_shares_of_the_best_and_stay(tmp_path: Path) -> None:
    runs_of(tmp_path, {closed("multipaxos", 1): (500, 500), closed("multipaxos", 100): (9000, 11000)})
    runs_of(tmp_path, {closed("libpaxos", 1): (800,), closed("etcd", 1): (800,)})
    found = load_runs(tmp_path / "steady")
    more = steady.Steady().more_points(scale(False), found)
    assert {spec.system for spec in more} == {"multipaxos"}
    rates = [1000.0, 3000.0, 5000.0, 7000.0, 9000.0, 10000.0, 11000.0]
    assert [spec.workload.rate_per_s for spec in more] == rates
    make_run(tmp_path, more[0], 0, 1000.0)
    make_run(tmp_path, closed("multipaxos", 300), 0, 99_000.0)  # a better run comes later
    again = steady.Steady().more_points(scale(False), load_runs(tmp_path / "steady"))
    assert again == more[:1]


def test_rates_of_a_slow_machine_are_distinct_and_above_nothing(tmp_path: Path) -> None:
    runs_of(tmp_path, {closed("multipaxos", 1): (240,)})
    more = steady.Steady().more_points(scale(False), load_runs(tmp_path / "steady"))
    assert [spec.workload.rate_per_s for spec in more] == [100.0, 200.0, 300.0]
    assert len({spec.digest() for spec in more}) == len(more)


@pytest.mark.parametrize(
    ("idle", "words"),
    [
        (0.05, "processors idle 5 to 5 % (they are the limit)"),
        (0.4, "processors idle 40 to 40 % (they are not the limit)"),
    ],
)
def test_whether_processors_are_the_limit_is_reported(tmp_path: Path, idle: float, words: str) -> None:
    make_run(tmp_path, closed("multipaxos", 10), 0, 1000.0, idle_share=idle)
    steady.Steady().analyse(tmp_path, tmp_path)
    assert words in (tmp_path / "steady" / "report.md").read_text()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.usefixtures("unsaved")
def test_what_went_wrong_stands_at_the_top(name: str, tmp_path: Path) -> None:
    """It stands before any part, figure or table; and a run with a broken promise is still in all of them."""
    each = experiments()[name]
    point, *_ = points = [short(point) for point in each.points(scale(names=("multipaxos",)))]
    for other in points:
        make_run(tmp_path, other, 0, 1000.0)
    broken = make_run(tmp_path, point, 1, 1000.0, failures=["3 acknowledged writes are not in the log", "a hole"])
    for repetition, ending in ((2, ".part"), (3, ".failed1"), (3, ".failed2")):
        cut_off(tmp_path, point, repetition, ending)
    path = each.analyse(tmp_path, tmp_path)
    assert path is not None
    text = path.read_text()
    top = text[: min(text.index(mark) for mark in ("\n## ", "![", "| --") if mark in text)]
    assert "**Attempts that failed, or were cut off, and are in no figure" in top
    assert f"\n- cut off\n- {point.words()}: no: 2 times\n" in top
    assert (
        f"**Broken promises:**\n\n- {broken.name}: 3 acknowledged writes are not in the log\n- {broken.name}: a hole\n"
        in top
    )
    assert f"{len(points) + 1} runs of {len(points)} points, " in top
    assert "1 to 2 of each" in top if len(points) > 1 else "2 of each" in top


def test_nothing_went_wrong_and_nothing_is_said_of_it(tmp_path: Path) -> None:
    make_run(tmp_path, closed("multipaxos", 10), 0, 1000.0)
    steady.Steady().analyse(tmp_path, tmp_path)
    text = (tmp_path / "steady" / "report.md").read_text()
    assert "cut off" not in text
    assert "Broken" not in text


def test_messages_are_counted_on_traced_runs(tmp_path: Path) -> None:
    """They have a table of their own: tracing takes time, so these runs are in no other number."""
    for point in experiments()["sizes"].points(scale(True, ("multipaxos",))):
        make_run(tmp_path, point, 0, 10.0 if point.trace else 1000.0)
    experiments()["sizes"].analyse(tmp_path, tmp_path)
    text = (tmp_path / "sizes" / "report.md").read_text()
    rows = [row for row in rows_of(text.partition("## Messages")[2]) if row[0].isdigit()]
    assert [[row[0], *map(float, row[1:])] for row in rows] == [
        ["1", 0.25, 0.125, 0.0, 0.5],
        ["3", 0.75, 0.375, 0.0, 1.5],
    ]
    measured = [row for row in rows_of(text.partition("## Messages")[0]) if row[0].startswith("multipaxos")]
    assert {row[2] for row in measured} == {"1.00"}, "thousands in a second, of the runs that were not traced"


def story(name: str) -> list[Spec]:
    """A failure trace of multipaxos and of LibPaxos, of ten seconds."""
    (found,) = [each for each in traces.STORIES if each.name == name]
    return [
        dataclasses.replace(point, workload=dataclasses.replace(point.workload, duration_s=10.0))
        for point in traces.Traces().points(scale(False, ("multipaxos", "libpaxos")))
        if traces.is_of(found, point)
    ]


def rows_of(text: str) -> list[list[str]]:
    """The cells of a report's tables."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")]


def test_a_trace_shows_the_gap_and_what_became_of_the_log(tmp_path: Path) -> None:
    """0.8 s without service at 5 s: one client reports operations, the other whole seconds."""
    for point in story("leader"):
        point = dataclasses.replace(point, faults=traces.at_times(traces.STORIES[1], 10.0))
        make_run(tmp_path, point, 0, 1000.0, outage_s=0.8)
        make_run(tmp_path, point, 1, 1000.0, outage_s=0.8, failures=["one is lost"])
    traces.Traces().analyse(tmp_path, tmp_path)
    text = (tmp_path / "traces" / "report.md").read_text()
    assert "## The leader is killed, and restored" in text
    rows = {(row[0], row[1]): row[2:] for row in rows_of(text)}
    gap, lost, again, prefix, slots = rows["multipaxos", "0"]
    assert float(gap) == pytest.approx(0.8, abs=0.02)
    assert (lost, again, prefix, slots) == ("0", "0", "equal", "9 9 9")
    assert rows["multipaxos", "1"][3] == "**not equal**"
    gap, *others = rows["libpaxos", "0"]
    assert float(gap) == 1.0
    assert others == ["cannot be told"] * 4


def test_a_trace_of_a_node_that_never_comes_back_is_a_lower_bound(tmp_path: Path) -> None:
    for point in story("leader"):
        make_run(tmp_path, point, 0, 1000.0, outage_s=100.0)
    traces.Traces().analyse(tmp_path, tmp_path)
    rows = {row[0]: row for row in rows_of((tmp_path / "traces" / "report.md").read_text())}
    assert rows["multipaxos"][2].startswith("at least ")
    assert rows["libpaxos"][2].startswith("at least ")


def test_outages_are_of_each_crash(tmp_path: Path) -> None:
    (point,) = outages.Outages().points(scale(names=("multipaxos",)))
    make_run(tmp_path, point, 0, 1000.0, outage_s=0.25)
    make_run(tmp_path, point, 1, 1000.0, outage_s=0.35)
    make_run(tmp_path, point, 2, 1000.0, outage_s=0.45)
    (run, *_) = load_runs(tmp_path / "outages")
    (gap,) = outages.outages_of(run)
    assert gap.seconds == pytest.approx(0.25, abs=0.02)
    outages.Outages().analyse(tmp_path, tmp_path)
    (row,) = [row for row in rows_of((tmp_path / "outages" / "report.md").read_text()) if row[0] == "200"]
    assert row[1] == "3"
    assert float(row[2].split()[0]) == pytest.approx(350, abs=20)
    assert float(row[3]) == pytest.approx(450, abs=20)
    assert row[4] == "0"


@pytest.mark.parametrize("name", ["multipaxos", "libpaxos"])
def test_what_a_death_costs_is_reported_before_and_after(tmp_path: Path, name: str) -> None:
    """A client whose seconds do not cover the ends of the measurement reports it too."""
    each = QuorumSizes()
    (kind,) = [kind for kind in KINDS if kind.system == name and kind.label == "majority of 5"]
    (point,) = [
        point
        for point in each.points(scale(False, (name,)))
        if point.faults and (point.quorum, point.options) == (kind.quorum, kind.options) and point.topology.nodes == 5
    ]
    make_run(tmp_path, point, 0, 1000.0, outage_s=100.0)
    make_run(tmp_path, point, 1, 1000.0, outage_s=0.0)
    stopped, unhurt = load_runs(tmp_path / "quorums")
    assert around(stopped)[0] == pytest.approx(1000, rel=0.02)
    assert around(stopped)[1] == 0.0
    assert around(unhurt) == pytest.approx((1000, 1000), rel=0.02)
    each.analyse(tmp_path, tmp_path)
    (row,) = [row for row in rows_of((tmp_path / "quorums" / "report.md").read_text()) if "majority of 5" in row[0]]
    assert row[0] == ("majority of 5" if name == "multipaxos" else "LibPaxos3: majority of 5")
    assert float(row[3].split()[0]) == pytest.approx(0.5, abs=0.02)


def test_the_made_up_runs_are_what_they_should_be(tmp_path: Path) -> None:
    for name in ALL:
        make_run(tmp_path, closed(name, 10), 0, 1234.0)
    for run in load_runs(tmp_path / "steady"):
        assert throughput_per_s(run) == pytest.approx(1234, rel=0.01)
