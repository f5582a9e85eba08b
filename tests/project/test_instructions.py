"""The gate on instruction counts: it fails on 3 % more, on made-up counts; the runs that it counts do their work."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
from bench.runs import RUNS

from tests.support.places import ROOT

PACKAGE = "/home/user/src/multipaxos"
PART = """# callgrind format
desc: Trigger: Client Request: a run
events: Ir
ob=(1) /home/user/src/multipaxos/node/node.so
fl=(1) node.c
fn=(1) receive
12 100
+3 20
cob=(2) /lib/libc.so
cfi=(2) string.c
cfn=(2) memcpy
calls=7 12
* 7000
cob=(3) /home/user/src/multipaxos/wire/codec.so
cfn=(3) read
calls=5 9
14 5000
cfn=(4) dispatch
calls=2 9
-2 90
* 3
ob=(2)
fn=(2)
10 7000
cob=(1)
cfn=(1)
calls=1 12
* 4000
ob=(3)
fn=(3)
9 5000
"""


@pytest.fixture
def gate(tools: Callable[[str], ModuleType]) -> ModuleType:
    """tools/instructions.py"""
    return tools("instructions")


class Present:
    """What a machine counts, and where; with a file of kept counts."""

    def __init__(self, gate: ModuleType, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.gate = gate
        self.kept = place / "instructions.json"
        self.counts = {"leader": gate.Counts(100_000, 1_000, 300_000), "follower": gate.Counts(50_000, 200, 90_000)}
        self.where = {"architecture": "made up", "compiler": "gcc 1"}
        monkeypatch.setattr(gate, "KEPT", self.kept)
        monkeypatch.setattr(gate, "ROOT", place)
        monkeypatch.setattr(gate, "count", lambda: self.counts)
        monkeypatch.setattr(gate, "environment", lambda: self.where)

    def count(self, name: str, instructions: int, calls: int) -> None:
        """From now on this run takes so many."""
        self.counts[name] = self.gate.Counts(instructions, calls, 3 * instructions)


@pytest.fixture
def present(gate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Present:
    """Counts that were recorded just now."""
    made_up = Present(gate, tmp_path, monkeypatch)
    gate.main(["--record"])
    return made_up


# The leader's cost: 100,000 instructions and 1,000 calls of 100 each.
@pytest.mark.parametrize(
    ("instructions", "calls"),
    [(106_001, 1_000), (100_000, 1_061), (103_001, 1_030)],
    ids=["instructions", "calls", "both"],
)
def test_more_than_three_percent_fails_and_is_named(present: Present, instructions: int, calls: int) -> None:
    present.count("leader", instructions, calls)
    with pytest.raises(
        SystemExit, match=rf"leader: costs .* \(limit \+3%\): {instructions:,} inst.* {calls:,} calls"
    ) as failure:
        present.gate.main([])
    assert "follower" not in str(failure.value)


@pytest.mark.parametrize(
    ("instructions", "calls"),
    [(100_000, 1_000), (106_000, 1_000), (100_000, 1_060), (50_000, 1_500), (150_000, 500), (50_000, 10)],
)
def test_up_to_three_percent_passes_and_work_may_move(present: Present, instructions: int, calls: int) -> None:
    """From the core to the interpreter, and back."""
    present.count("leader", instructions, calls)
    present.gate.main([])


def test_recording_makes_the_present_counts_the_kept_ones(present: Present) -> None:
    present.count("leader", 200_000, 2_000)
    present.gate.main(["--record"])
    present.gate.main([])
    assert json.loads(present.kept.read_text())["runs"]["leader"] == {"instructions": 200_000, "calls": 2_000}


def test_what_the_interpreter_executes_is_not_judged(present: Present) -> None:
    present.counts["leader"] = present.gate.Counts(100_000, 1_000, 10**9)
    present.gate.main([])


def test_a_run_that_is_new_or_gone_fails(present: Present) -> None:
    present.counts["elections"] = present.counts.pop("follower")
    with pytest.raises(SystemExit, match="elections, follower"):
        present.gate.main([])


def test_an_unknown_environment_is_reported_and_does_not_fail(
    present: Present, capsys: pytest.CaptureFixture[str]
) -> None:
    present.where = {"architecture": "made up", "compiler": "gcc 2"}
    present.count("leader", 200_000, 2_000)
    present.gate.main([])
    shown = capsys.readouterr().out
    assert "NOT JUDGED" in shown
    assert "compiler: 'gcc 2', kept for 'gcc 1'" in shown
    assert "architecture" not in shown
    assert "make bench-record" in shown


def test_callgrinds_costs_are_added_up(gate: ModuleType) -> None:
    """Self costs of the core and of all, its calls into others; not what callees cost, nor calls back into the core."""
    assert gate.read_part(PART, PACKAGE) == ("a run", gate.Counts(100 + 20 + 3 + 5000, 7, 100 + 20 + 3 + 7000 + 5000))


def test_flags_that_change_code_are_told_from_others(gate: ModuleType) -> None:
    flags = [
        "-Wall",
        "-g",
        "-O2",
        "-DNDEBUG",
        "-fwrapv",
        "-ffile-prefix-map=/a=.",
        "-g",
        "-fwrapv",
        "-fstack-protector-strong",
        "-O3",
        "-g0",
    ]
    assert gate.flags_that_matter(flags) == "-DNDEBUG -fwrapv -fstack-protector-strong -O3"


def test_the_compiler_is_read_from_what_it_built(gate: ModuleType, tmp_path: Path) -> None:
    built = tmp_path / "node.so"
    for left, named in (
        (b"\0GCC: (Debian 12.2.0-14) 12.2.0\0", "gcc 12.2.0"),
        (b"\0Debian clang version 14.0.6\0", "clang 14.0.6"),
        (b"\0", "unknown"),
    ):
        built.write_bytes(left)
        assert gate.compiler_that_built(built) == named


def test_valgrind_is_named_where_it_is_missing(
    gate: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SystemExit, match="apt-get install -y valgrind"):
        gate.main([])


def test_counts_are_kept_of_every_run() -> None:
    kept = json.loads((ROOT / "bench" / "instructions.json").read_text(encoding="utf-8"))
    assert kept["runs"].keys() == RUNS.keys()


@pytest.mark.parametrize("name", RUNS)
def test_a_run_prepares_and_then_works(name: str) -> None:
    """Its own checks come after the second yield."""
    assert len(list(RUNS[name]())) == 2
