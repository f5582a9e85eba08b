"""The evaluation by its command line, in real namespaces: from nothing to figures, cut off, continued, refused.

The experiment is a made-up one with short runs, which a small program adds to the real ones; everything else is as a
user has it. The tests search for leftovers of a run by what it had: its processes, its namespaces, its network's names.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

# ruff: noqa: E402
np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")
pytest.importorskip("scipy", reason="scipy is of the extra `evaluation`")
pytest.importorskip("matplotlib", reason="matplotlib is of the extra `evaluation`")

from evaluation import machine, measure, namespaces, records
from evaluation.model import Topology
from evaluation.network import Network
from evaluation.runs import load_runs
from evaluation.shaping import ELEMENTS
from tests.evaluation.left import interfaces_of, needs_namespaces
from tests.evaluation.standins import libpaxos_programs

pytestmark = needs_namespaces
PATIENCE_S = 60.0

PROGRAM = """
import sys
import evaluate
from evaluation import experiments
from evaluation.experiments.steady import Steady
from evaluation.model import Spec, Topology, Workload

class Tiny(experiments.Experiment):
    name, title, order = "tiny", "Tiny", 1
    def points(self, scale):
        return [{points}]
    def report(self, runs, report):
        report.table(Steady.table(runs, "outstanding"), "tiny")

{more}
experiments.experiments = lambda: {{"tiny": Tiny()}}
sys.argv[0] = "evaluate.py"
evaluate.main()
"""
POINT = (
    "Spec(experiment='tiny', system='multipaxos', topology=Topology(nodes=1), "
    "workload=Workload(outstanding={outstanding}, warm_up_s=0.1, duration_s={duration_s}))"
)
SHORT = POINT.format(outstanding=1, duration_s=0.3)
SHIFTED = """
import dataclasses
from evaluation import shaping
right = shaping._discipline
def wrong(topology, *more, **options):
    return right(dataclasses.replace(topology, rate_mbit=5.0), *more, **options)
shaping._discipline = wrong
"""


def environment(folder: Path) -> dict[str, str]:
    """The environment of a user, whose temporary files go to a folder that the tests can look at."""
    folder.mkdir(exist_ok=True)
    paths = [str(ELEMENTS), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "TMPDIR": str(folder)}


@dataclass
class Harness:
    """One program that evaluates, with its output in a file."""

    folder: Path
    points: str = SHORT
    more: str = ""  # other acts of the program before it begins
    process: subprocess.Popen[bytes] | None = None
    seen: set[int] = field(default_factory=set)  # the processes that it had when `look` was called
    namespaces: set[str] = field(default_factory=set)
    tags: set[str] = field(default_factory=set)

    @property
    def out(self) -> Path:
        return self.folder / "out"

    @property
    def words(self) -> str:
        return (self.folder / "words.txt").read_text()

    def begin(self, *arguments: str) -> None:
        """Starts the program in the background."""
        command = [sys.executable, "-c", PROGRAM.format(points=self.points, more=self.more), *arguments]
        with (self.folder / "words.txt").open("wb") as file:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=environment(self.folder / "temporary"),
                start_new_session=True,  # Ctrl-C in the terminal of these tests is not for it
            )

    def end(self, timeout_s: float = PATIENCE_S) -> int:
        """Waits for the program; returns its exit code."""
        assert self.process is not None
        return self.process.wait(timeout_s)

    def run(self, *arguments: str) -> int:
        """Runs the program to its end, with the experiment and the folder."""
        self.begin("tiny", "--quick", "--out", str(self.out), *arguments)
        return self.end()

    def wait_for_load(self) -> Path:
        """Waits until a run is under way and its client has answers; returns the run's folder."""
        assert self.process is not None
        deadline = time.monotonic() + PATIENCE_S
        while True:
            for path in self.out.glob("tiny/runs/*.part/operations-0.npy"):
                if path.stat().st_size > 256:
                    return path.parent
            assert self.process.poll() is None, self.words
            assert time.monotonic() < deadline, self.words
            time.sleep(0.01)

    def look(self) -> None:
        """Notes everything that the run has now."""
        assert self.process is not None
        own = namespaces.namespace_of(os.getpid())
        self.seen = descendants(self.process.pid)
        self.namespaces = {name for pid in self.seen if (name := namespaces.namespace_of(pid)) not in (None, own)}
        for pid in self.seen:
            for word in words_of(pid):
                if word.startswith("mininet:"):
                    self.tags.add(word.removeprefix("mininet:").rstrip("0123456789").rstrip("hs"))

    def assert_nothing_left(self) -> None:
        """Nothing that was noted is left, and no temporary files."""
        assert self.seen
        assert self.namespaces
        assert self.tags
        alive = {pid for pid in self.seen if namespaces.namespace_of(pid) in self.namespaces}
        assert alive == set()
        assert namespaces.processes_in(self.namespaces) == []
        assert [name for tag in self.tags for name in interfaces_of(tag)] == []
        self.assert_no_temporary_files()

    def assert_no_temporary_files(self) -> None:
        """No temporary files are left, above all no folders of networks."""
        left = [path.name for path in (self.folder / "temporary").iterdir()]
        assert [name for name in left if name.startswith("evaluation")] == []


def words_of(pid: int) -> list[str]:
    """The command line of a process."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except OSError:
        return []


def descendants(pid: int) -> set[int]:
    """All processes below one."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


@pytest.fixture
def harness(tmp_path: Path) -> Iterator[Harness]:
    made = Harness(tmp_path)
    yield made
    if made.process is not None and made.process.poll() is None:
        made.process.terminate()
        made.process.wait(PATIENCE_S)


def test_an_experiment_from_nothing_to_figures(tmp_path: Path) -> None:
    """The command is the one that a user types."""
    out, temporary = tmp_path / "out", tmp_path / "temporary"
    command = [sys.executable, str(ELEMENTS / "evaluate.py"), "values", "--quick", "--out", str(out)]

    def typed(*words: str) -> str:
        done = subprocess.run(
            [*command[:2], *words], capture_output=True, text=True, env=environment(temporary), timeout=PATIENCE_S
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "2 runs done, 0 existed before" in typed(*command[2:])
    assert list(temporary.glob("evaluation*")) == []
    runs = load_runs(out / "values")
    assert len(runs) == 2
    for run in runs:
        look_at(run.result, run.folder)
        rows = run.operations
        inside = (rows["answered_ns"] >= run.began_ns) & (rows["answered_ns"] < run.ended_ns)
        assert inside.sum() > 20
        assert not (run.folder / "data").exists()
    names = {path.name for path in (out / "values").iterdir()}
    assert names >= {"report.md", "values.csv"}
    assert names >= {f"{name}.{kind}" for name in ("throughput", "goodput", "latency") for kind in ("svg", "png")}
    report = (out / "values" / "report.md").read_text()
    assert report.startswith("# Value sizes\n\n2 runs of 2 points, 1 of each, every one on a fresh network.\n")
    assert "](throughput.svg)" in report

    # the same command again does nothing new, and writes the same
    files = contents(out)
    assert "0 runs done, 2 existed before" in typed(*command[2:])
    assert contents(out) == files

    # into another folder, from the records alone
    (out / "campaigns.jsonl").unlink()
    for path in (out / "values").iterdir():
        if path.is_file():
            path.unlink()
    typed("analyse", str(out), "--to", str(tmp_path / "elsewhere"))
    drawn = {name: data for name, data in files.items() if name.startswith("values/") and "/runs/" not in name}
    assert contents(tmp_path / "elsewhere") == drawn
    assert sorted(path.name for path in (out / "values").iterdir()) == ["runs"]


def look_at(result: dict[str, Any], folder: Path) -> None:
    """Checks that a run.json is complete and says where it comes from."""
    assert result["complete"] is True
    assert set(result["usage"]["links"]) == {"node0", "node1", "node2", "client0"}
    assert set(result["usage"]["cpu"]["processes"]) == {"node0", "node1", "node2"}
    assert all(used > 0 for used in result["usage"]["cpu"]["processes"].values())
    assert result["usage"]["seconds"] == pytest.approx(1.0, abs=0.5)
    assert result["checks"]["failures"] == []
    assert result["checks"]["slot_out"] > 20
    origin = result["provenance"]
    assert origin["compiled"]["paxos/acceptor"]
    assert len(origin["commit"]) == 40
    assert isinstance(origin["dirty"], bool)
    assert origin["kernel"] == os.uname().release
    assert origin["processors"] >= 1
    assert origin["packages"]["numpy"] == np.__version__
    assert "version" in origin["system"]
    assert len(result["network"]["hosts"]) == len(result["network"]["tc"]) == 4
    assert result["network"]["verified"]["delay_ms"]
    assert result["network"]["sysctls"]["net.ipv6.conf.all.disable_ipv6"] == "1"
    marks = result["marks"]
    assert marks["load_began_ns"] < marks["measure_began_ns"] < marks["measure_ended_ns"]
    rows = records.read(folder / result["load"][0]["records"])
    assert rows["sent_ns"].min() > marks["load_began_ns"]
    assert rows["sent_ns"].max() > marks["measure_ended_ns"] - 10**8


def contents(folder: Path) -> dict[str, bytes]:
    """All files below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"])
def test_a_run_that_is_cut_off_leaves_nothing(harness: Harness, number: signal.Signals, code: int) -> None:
    harness.points = POINT.format(outstanding=2, duration_s=600).replace("nodes=1", "nodes=3")
    harness.begin("tiny", "--quick", "--out", str(harness.out))
    part = harness.wait_for_load()
    harness.look()
    assert len(harness.seen) >= 5 + 3 + 1  # the shells of hosts and switch, nodes, a client
    assert harness.process is not None
    harness.process.send_signal(number)
    assert harness.end() == code, harness.words  # the run itself would last longer than the test waits
    assert f"complete runs are in {harness.out}; the same command goes on from there" in harness.words
    assert "Traceback" not in harness.words
    harness.assert_nothing_left()
    assert [path.name for path in (harness.out / "tiny" / "runs").iterdir()] == [part.name]


def test_the_same_command_goes_on_where_it_was_cut_off(harness: Harness) -> None:
    """An impatient user cuts off the second of two runs: the first stays as it is, the second is repeated."""
    assert harness.run() == 0, harness.words
    runs = harness.out / "tiny" / "runs"
    whole = contents(runs)
    harness.points += ", " + POINT.format(outstanding=2, duration_s=1.5)
    harness.begin("tiny", "--quick", "--out", str(harness.out))
    part = harness.wait_for_load()
    harness.look()
    assert harness.process is not None
    harness.process.send_signal(signal.SIGINT)
    harness.process.send_signal(signal.SIGINT)
    assert harness.end() == 130, harness.words
    harness.assert_nothing_left()
    assert {name: data for name, data in contents(runs).items() if part.name not in name} == whole

    assert harness.run() == 0, harness.words
    assert "1 runs done, 1 existed before" in harness.words
    assert {path.name for path in runs.iterdir()} == {part.stem, *(path.parts[0] for path in map(Path, whole))}
    assert {name: data for name, data in contents(runs).items() if part.stem not in name} == whole
    assert "cut off" not in (harness.out / "tiny" / "report.md").read_text()


def test_ctrl_c_while_rates_are_measured_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The program ends, even if Ctrl-C comes while it waits for the end of a transfer."""

    def interrupted(transfer: object) -> None:
        raise KeyboardInterrupt

    before = set(threading.enumerate())
    monkeypatch.setattr(measure._Transfer, "end", interrupted)
    with pytest.raises(KeyboardInterrupt), Network(Topology(nodes=2, clients=1)) as network:
        measure.rates_mbit(network.hosts, measure.ring(3), 10.0, 0.0, 0.0)
    left = set(threading.enumerate()) - before
    assert all(thread.daemon for thread in left)
    for thread in left:
        thread.join(10)
        assert not thread.is_alive()


@pytest.mark.parametrize(
    ("topology", "words"),
    [
        ("nodes=1, rate_mbit=2000", "2000.0 Mbit/s: ask for up to 1000"),
        ("nodes=1, loss=1.0", "a loss of 1.0: ask for a share from 0 to below 1"),
        ("nodes=2, sites=('a', 'b', 'b'), site_delays_ms=(('a-c', 5.0),)", "delays of ['a-c'] for the sites"),
    ],
)
def test_a_network_that_cannot_be_is_refused_before_any_system_starts(
    harness: Harness, topology: str, words: str
) -> None:
    harness.points = f"Spec(experiment='tiny', system='multipaxos', topology=Topology({topology}))"
    assert harness.run() == 1
    assert f"FAILED tiny, multipaxos: {words}" in harness.words
    (folder,) = (harness.out / "tiny" / "runs").iterdir()
    assert folder.suffix == ".failed1"
    assert [path.name for path in folder.iterdir()] == ["run.json"]  # no configuration, no log of any node
    told = json.loads((folder / "run.json").read_text())
    assert told["error"].startswith("Unsupported: ")
    harness.assert_no_temporary_files()


def test_a_network_that_is_not_as_asked_is_refused(harness: Harness) -> None:
    """The kernel has 5 Mbit/s where 10 were asked for: it reads back so, and nothing is measured on it."""
    harness.points = SHORT.replace("nodes=1", "nodes=1, rate_mbit=10.0")
    harness.more = SHIFTED
    if not machine.can_shape_htb():
        pytest.skip("this kernel has no HTB")
    assert harness.run() == 1
    assert harness.words.count("by tc; the topology asks for 10000000") == 1, harness.words
    assert {path.suffix for path in (harness.out / "tiny" / "runs").iterdir()} == {".failed1"}
    assert list((harness.out / "tiny" / "runs").glob("*/node*.log")) == []


def test_a_node_that_dies_at_its_start_is_reported_with_its_last_words(harness: Harness) -> None:
    harness.points = (
        "Spec(experiment='tiny', system='multipaxos', storage='no such storage', topology=Topology(nodes=1))"
    )
    assert harness.run() == 1
    assert "FAILED tiny, multipaxos: multipaxos has no storage 'no such storage'" in harness.words
    harness.more = (
        "from evaluation.systems.multipaxos import Multipaxos\nMultipaxos.storages += ('no such storage',)"  # it thinks
    )
    assert harness.run() == 1
    assert "FAILED tiny, multipaxos: node 0 of multipaxos ended: " in harness.words
    assert "no such storage" in harness.words.partition(" ended: ")[2]
    folders = sorted((harness.out / "tiny" / "runs").iterdir())
    assert [folder.suffix for folder in folders] == [".failed1", ".failed2"]
    harness.assert_no_temporary_files()


def test_libpaxos_by_its_stand_in(harness: Harness) -> None:
    """It is found by its folder, run in hosts, and drawn from its lines of seconds."""
    programs = libpaxos_programs(harness.folder / "bin")
    harness.points = (
        "Spec(experiment='tiny', system='libpaxos', topology=Topology(nodes=3), "
        "workload=Workload(outstanding=7, warm_up_s=0.1, duration_s=1.5))"
    )
    assert harness.run("--systems", "libpaxos", "--libpaxos-bin", str(programs)) == 0, harness.words
    (run,) = load_runs(harness.out / "tiny")
    assert run.seconds_only
    assert set(run.seconds[0]["completed"].tolist()) == {7000}
    assert run.seconds[0]["at_ns"][-1] >= run.ended_ns  # the rows cover the whole measurement
    assert set(run.result["provenance"]["system"]) == {"replica", "client"}
    report = (harness.out / "tiny" / "report.md").read_text()
    assert "message delays from a command to its answer: LibPaxos3 3" in report
    assert "LibPaxos3: its own sample client, which learns from the acceptors by itself" in report
    assert "7.00" in report
