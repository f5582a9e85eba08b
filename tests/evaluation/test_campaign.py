"""Campaigns and single runs: their order, which of them are repeated, and what is reported of failures."""

from __future__ import annotations

import collections
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")
pytest.importorskip("matplotlib", reason="matplotlib is of the extra `evaluation`")

import evaluate
from evaluation import campaign, run
from evaluation.campaign import AROUND_RUN_S, Planned
from evaluation.errors import EvaluationError, NetworkRefused, SystemFailed
from evaluation.experiments import Experiment, Scale
from evaluation.model import Spec, Workload
from evaluation.report import Report
from evaluation.runs import Run, load_runs, unfinished
from evaluation.systems import Settings

POINTS = [
    Spec(experiment="made_up", system="multipaxos", workload=Workload(outstanding=count, warm_up_s=1.0, duration_s=4.0))
    for count in range(1, 9)
]
SETTINGS = Settings()


def result(failures: Sequence[str] = ()) -> dict[str, Any]:
    """The result of a run."""
    return {"checks": {"failures": list(failures)}}


class Pretended:
    """Stands in for `run.carry_out`: makes the folder, and nothing else. `raises` and `broken`: by number
    outstanding."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[Planned] = []
        self.raises: dict[int, BaseException] = {}
        self.broken: dict[int, list[str]] = {}
        monkeypatch.setattr(run, "carry_out", self)

    def __call__(self, out: Path, spec: Spec, repetition: int, settings: Settings) -> dict[str, Any]:
        assert settings is SETTINGS
        self.done.append(Planned(spec, repetition))
        if spec.workload.outstanding in self.raises:
            raise self.raises[spec.workload.outstanding]
        run.folder_of(out, spec, repetition).mkdir(parents=True)
        return result(self.broken.get(spec.workload.outstanding, ()))


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> Pretended:
    return Pretended(monkeypatch)


def silent(each: Planned, left_s: float) -> None:
    """Ignores what a campaign says."""


# -- the order


def rounds(planned: Sequence[Planned], size: int) -> list[list[Planned]]:
    """Successive parts of a plan."""
    return [list(planned[at : at + size]) for at in range(0, len(planned), size)]


def test_every_round_is_complete_and_of_one_repetition() -> None:
    planned = campaign.plan(POINTS, 10, 1)
    assert len(planned) == 80
    for repetition, one in enumerate(rounds(planned, 8)):
        assert {each.repetition for each in one} == {repetition}
        assert sorted(each.spec.workload.outstanding for each in one) == list(range(1, 9))


def test_the_order_within_rounds_is_drawn() -> None:
    """No round equals another, no point keeps its place, and no point is in the first half too often for chance."""
    orders = [[each.spec.workload.outstanding for each in one] for one in rounds(campaign.plan(POINTS, 200, 1), 8)]
    assert len({tuple(order) for order in orders[:20]}) == 20
    for point in range(1, 9):
        first_half = sum(order.index(point) < 4 for order in orders)
        assert 70 <= first_half <= 130  # of 200: more than four deviations
        assert {order.index(point) for order in orders} == set(range(8))


def test_the_same_seed_is_the_same_order_and_another_one_another() -> None:
    assert campaign.plan(POINTS, 3, 7) == campaign.plan(POINTS, 3, 7)
    assert campaign.plan(POINTS, 3, 7) != campaign.plan(POINTS, 3, 8)
    assert campaign.plan(POINTS, 3, 7)[:8] == campaign.plan(POINTS, 1, 7)  # more runs later leave the first as they are


def test_a_plan_of_nothing() -> None:
    assert campaign.plan([], 5, 1) == []


# -- carrying it out


def test_all_is_done_in_the_order_of_the_plan(tmp_path: Path, pretended: Pretended) -> None:
    planned = campaign.plan(POINTS, 2, 1)
    outcome = campaign.carry_out(planned, tmp_path, SETTINGS, silent)
    assert pretended.done == planned
    assert outcome == campaign.Outcome(done=16)


def test_what_is_there_is_not_done_again(tmp_path: Path, pretended: Pretended) -> None:
    planned = campaign.plan(POINTS, 2, 1)
    campaign.carry_out(planned[:5], tmp_path, SETTINGS, silent)
    outcome = campaign.carry_out(planned, tmp_path, SETTINGS, silent)
    assert outcome == campaign.Outcome(done=11, were_there=5)
    assert pretended.done == planned  # the second campaign went on where the first one ended
    assert campaign.carry_out(planned, tmp_path, SETTINGS, silent) == campaign.Outcome(were_there=16)
    assert len(pretended.done) == 16


def test_runs_that_were_cut_off_or_failed_are_not_there(tmp_path: Path, pretended: Pretended) -> None:
    (planned,) = campaign.plan(POINTS[:1], 1, 1)
    for ending in (".part", ".failed1"):
        whole = run.folder_of(tmp_path, planned.spec, 0)
        whole.with_name(whole.name + ending).mkdir(parents=True)
    assert campaign.left([planned], tmp_path) == [planned]


def test_a_run_that_fails_ends_nothing_and_is_done_again(tmp_path: Path, pretended: Pretended) -> None:
    planned = campaign.plan(POINTS, 1, 1)
    pretended.raises = {3: NetworkRefused("8 Mbit/s; asked for 10"), 5: SystemFailed("node 1 ended: no disk")}
    outcome = campaign.carry_out(planned, tmp_path, SETTINGS, silent)
    assert (outcome.done, outcome.were_there) == (6, 0)
    assert sorted(outcome.failed) == [
        "made_up, multipaxos: 8 Mbit/s; asked for 10",
        "made_up, multipaxos: node 1 ended: no disk",
    ]
    pretended.raises = {}
    assert campaign.carry_out(planned, tmp_path, SETTINGS, silent) == campaign.Outcome(done=2, were_there=6)
    assert sorted(each.spec.workload.outstanding for each in pretended.done[8:]) == [3, 5]


def test_broken_promises_are_reported_of_runs_that_are_done(tmp_path: Path, pretended: Pretended) -> None:
    pretended.broken = {2: ["3 acknowledged writes are not in the log", "the log of node 1 has holes"]}
    outcome = campaign.carry_out(campaign.plan(POINTS, 1, 1), tmp_path, SETTINGS, silent)
    assert outcome.done == 8
    assert outcome.failed == []
    assert outcome.broken == [
        "made_up, multipaxos: 3 acknowledged writes are not in the log",
        "made_up, multipaxos: the log of node 1 has holes",
    ]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ZeroDivisionError("of ours")], ids=["Ctrl-C", "a defect"])
def test_what_is_no_failure_of_a_run_ends_the_campaign(
    tmp_path: Path, pretended: Pretended, error: BaseException
) -> None:
    planned = campaign.plan(POINTS, 1, 1)
    pretended.raises = {planned[3].spec.workload.outstanding: error}
    with pytest.raises(type(error)):
        campaign.carry_out(planned, tmp_path, SETTINGS, silent)
    assert len(pretended.done) == 4
    assert campaign.left(planned, tmp_path) == planned[3:]


def test_time_left_counts_down_to_the_last_run(tmp_path: Path, pretended: Pretended) -> None:
    """It also counts a run that fails."""
    one_s = AROUND_RUN_S + 1.0 + 4.0
    pretended.raises = {4: EvaluationError("no")}
    told: list[tuple[Planned, float]] = []
    planned = campaign.plan(POINTS, 1, 1)
    campaign.carry_out(planned[:2], tmp_path, SETTINGS, silent)
    there = len(pretended.done) - len(campaign.left(planned[:2], tmp_path))
    campaign.carry_out(planned, tmp_path, SETTINGS, lambda each, left_s: told.append((each, left_s)))
    todo = 8 - there
    assert [left_s for _, left_s in told] == pytest.approx([one_s * left for left in range(todo, 0, -1)])
    assert [each for each, _ in told] == pretended.done[2:]


def test_outcomes_of_two_rounds_are_one() -> None:
    one, other = campaign.Outcome(1, 2, ["a"], ["b"]), campaign.Outcome(10, 20, ["c"], ["d"])
    assert one + other == campaign.Outcome(11, 22, ["a", "c"], ["b", "d"])


# -- one run, without a network


@pytest.fixture
def spec() -> Spec:
    return POINTS[0]


def test_a_run_that_is_whole_has_its_name_and_no_disks(
    tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Path] = []

    def pretend(folder: Path, asked: Spec, settings: Settings) -> dict[str, Any]:
        assert asked == spec
        assert not (folder / "old").exists()
        assert sorted((tmp_path / "made_up" / "runs").iterdir()) == [failed, folder]
        (folder / "data" / "node0").mkdir(parents=True)
        (folder / "operations-0.npy").write_bytes(b"rows")
        seen.append(folder)
        return result()

    whole = run.folder_of(tmp_path, spec, 3)
    old, failed = (whole.with_name(f"{whole.name}.{ending}") for ending in ("part", "failed1"))  # of this run
    for path in (old, failed):
        path.mkdir(parents=True)
        (path / "old").touch()
    monkeypatch.setattr(run, "on_network", pretend)
    found = run.carry_out(tmp_path, spec, 3, SETTINGS)
    assert seen[0].name == f"{whole.name}.part"
    assert sorted((tmp_path / "made_up" / "runs").iterdir()) == [whole, failed]
    assert sorted(path.name for path in whole.iterdir()) == ["operations-0.npy", "run.json"]
    written = json.loads((whole / "run.json").read_text())
    assert written == json.loads(json.dumps(found))
    assert (written["complete"], written["repetition"]) == (True, 3)
    assert Spec.from_json(written["spec"]) == spec
    assert written["began_at"].endswith("+00:00")


def test_a_run_that_failed_is_kept_with_what_was_said(
    tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch
) -> None:
    def pretend(folder: Path, asked: Spec, settings: Settings) -> dict[str, Any]:
        (folder / "node0.log").write_text("what a pity")
        raise SystemFailed(f"node 0 ended: what a pity, see {folder}/node0.log")

    monkeypatch.setattr(run, "on_network", pretend)
    for _ in range(2):  # the second attempt does not hide the first
        with pytest.raises(SystemFailed, match="what a pity"):
            run.carry_out(tmp_path, spec, 0, SETTINGS)
    folder, other = sorted((tmp_path / "made_up" / "runs").iterdir())
    assert (folder.name, other.name) == (f"{spec.digest()}-0.failed1", f"{spec.digest()}-0.failed2")
    assert (folder / "node0.log").read_text() == "what a pity"
    told = json.loads((folder / "run.json").read_text())
    assert (told["complete"], told["error"]) == (False, "SystemFailed: node 0 ended: what a pity, see node0.log")
    assert load_runs(tmp_path / "made_up") == []
    assert unfinished(tmp_path / "made_up") == {folder: told, other: told}


def test_a_run_that_was_interrupted_is_cut_off(tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch) -> None:
    def pretend(folder: Path, asked: Spec, settings: Settings) -> dict[str, Any]:
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "on_network", pretend)
    with pytest.raises(KeyboardInterrupt):
        run.carry_out(tmp_path, spec, 0, SETTINGS)
    (folder,) = (tmp_path / "made_up" / "runs").iterdir()
    assert folder.suffix == ".part"
    assert not run.folder_of(tmp_path, spec, 0).exists()


@pytest.mark.parametrize("when", ["while the disks go", "before it gets its name"])
def test_a_run_that_was_interrupted_at_its_very_end_is_cut_off_too(
    tmp_path: Path, spec: Spec, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Its run.json may say that it is complete, but the folder's name decides, and nothing is damaged."""
    monkeypatch.setattr(run, "on_network", lambda folder, asked, settings: result())

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    if when == "before it gets its name":
        monkeypatch.setattr(Path, "rename", interrupt)
    else:
        original = run.shutil.rmtree
        monkeypatch.setattr(
            run.shutil,
            "rmtree",
            lambda path, **options: interrupt() if path.name == "data" else original(path, **options),
        )
    with pytest.raises(KeyboardInterrupt):
        run.carry_out(tmp_path, spec, 0, SETTINGS)
    monkeypatch.undo()
    (folder,) = (tmp_path / "made_up" / "runs").iterdir()
    assert folder.suffix == ".part"
    assert load_runs(tmp_path / "made_up") == []
    assert unfinished(tmp_path / "made_up") == {folder: None}


# -- the command line around it


class MadeUp(Experiment):
    """An experiment with one point of two systems."""

    name, title, order = "made_up", "Made up", 1

    def points(self, scale: Scale) -> list[Spec]:
        return POINTS[:2]

    def more_points(self, scale: Scale, runs: Sequence[Run]) -> list[Spec]:
        return POINTS[2:3]

    def report(self, runs: Sequence[Run], report: Report) -> None:
        raise AssertionError("nothing is drawn here")

    def analyse(self, out: Path, to: Path, png: bool = True) -> Path | None:
        return to / self.name


class Unreadable(MadeUp):
    """An experiment whose records cannot be read; it has no points, so no folder."""

    name, order = "unreadable", 0

    def points(self, scale: Scale) -> list[Spec]:
        return []

    def more_points(self, scale: Scale, runs: Sequence[Run]) -> list[Spec]:
        raise AssertionError("there are no runs to ask")

    def analyse(self, out: Path, to: Path, png: bool = True) -> Path | None:
        raise EvaluationError("a client fell silent")


@pytest.fixture
def command_line(monkeypatch: pytest.MonkeyPatch, pretended: Pretended, tmp_path: Path) -> Pretended:
    """The program with that experiment, on a machine that lacks nothing."""
    monkeypatch.setattr(evaluate.experiments, "experiments", lambda: {"made_up": MadeUp()})
    monkeypatch.setattr(evaluate.machine, "missing", lambda: None)
    monkeypatch.setattr(evaluate, "settings_of", lambda libpaxos_bin, names: SETTINGS)
    monkeypatch.setattr(evaluate, "load_runs", lambda folder: [])
    return pretended


def test_the_command_does_all_and_what_depends_on_it(command_line: Pretended, tmp_path: Path) -> None:
    out = str(tmp_path / "out")
    told = CliRunner().invoke(evaluate.main, ["made_up", "--runs", "3", "--seed", "5", "--out", out])
    assert told.exit_code == 0, told.output
    assert "9 runs done, 0 existed before" in told.output
    assert f"made_up: {out}/made_up" in told.output
    of_spec = collections.Counter(each.spec.workload.outstanding for each in command_line.done)
    assert of_spec == {1: 3, 2: 3, 3: 3}
    assert [each.spec for each in command_line.done[6:]] == [POINTS[2]] * 3  # after the others
    rounds = (tmp_path / "out" / "campaigns.jsonl").read_text().splitlines()
    assert len(rounds) == 2  # the points, then those that depend on their runs
    assert json.loads(rounds[0]).items() >= {"seed": 5, "runs": 3, "quick": False}.items()
    assert "time left" not in told.output
    assert "[1/6, about 1.0 min left] made_up: multipaxos memory, n=3, " in told.output
    again = CliRunner().invoke(evaluate.main, ["made_up", "--runs", "3", "--seed", "5", "--out", out])
    assert "0 runs done, 9 existed before" in again.output
    assert (tmp_path / "out" / "campaigns.jsonl").read_text().splitlines() == rounds  # there was nothing to do


def test_the_command_ends_with_1_and_reports_what_failed(command_line: Pretended, tmp_path: Path) -> None:
    command_line.raises = {1: SystemFailed("node 1 ended: no disk")}
    command_line.broken = {2: ["one lost"]}
    told = CliRunner().invoke(evaluate.main, ["all", "--quick", "--out", str(tmp_path / "out")])
    assert told.exit_code == 1
    assert "FAILED made_up, multipaxos: node 1 ended: no disk" in told.output
    assert "FAILED made_up, multipaxos: one lost" in told.output
    assert "2 runs done" in told.output


def test_what_cannot_be_drawn_keeps_nothing_else_from_it(
    command_line: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    both = {"unreadable": Unreadable(), "made_up": MadeUp()}
    monkeypatch.setattr(evaluate.experiments, "experiments", lambda: both)
    command_line.raises = {1: SystemFailed("node 1 ended: no disk")}
    told = CliRunner().invoke(evaluate.main, ["all", "--quick", "--out", str(tmp_path / "out")])
    assert told.exit_code == 1
    assert "FAILED unreadable: a client fell silent" in told.output
    assert "FAILED made_up, multipaxos: node 1 ended: no disk" in told.output
    assert f"made_up: {tmp_path}/out/made_up" in told.output


def test_the_command_ends_with_130_when_it_is_interrupted(command_line: Pretended, tmp_path: Path) -> None:
    command_line.raises = {1: KeyboardInterrupt()}
    out = str(tmp_path / "out")
    told = CliRunner().invoke(evaluate.main, ["made_up", "--out", out])
    assert told.exit_code == 130
    assert f"complete runs are in {out}; the same command goes on from there" in told.output


def test_a_machine_that_lacks_something_is_reported_and_nothing_is_begun(
    command_line: Pretended, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluate.machine, "missing", lambda: "no mnexec: apt-get install mininet")
    told = CliRunner().invoke(evaluate.main, ["made_up", "--out", str(tmp_path / "out")])
    assert told.exit_code == 3
    assert "no mnexec: apt-get install mininet" in told.output
    assert command_line.done == []
    assert not (tmp_path / "out").exists()
