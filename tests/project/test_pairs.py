"""tools/pairs.py: what is compared, and how a ratio becomes an interval."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from click.testing import CliRunner

from tests.support.places import ROOT


@pytest.fixture
def tool(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The program as a module."""
    monkeypatch.syspath_prepend(str(ROOT / "tools"))
    import pairs

    yield pairs
    sys.modules.pop("pairs")


def test_checkouts_take_turns_in_beginning(tool: ModuleType) -> None:
    old, new = Path("old"), Path("new")
    asked = []

    def run(checkout: Path) -> tuple[float, float]:
        asked.append(checkout)
        return (100.0, 10.0) if checkout == old else (150.0, 12.0)

    assert tool.pairs(old, new, 3, run) == [((100.0, 10.0), (150.0, 12.0))] * 3
    assert asked == [old, new, new, old, old, new]


def test_an_interval_holds_the_median_and_is_as_wide_as_the_ratios_differ(tool: ModuleType) -> None:
    assert tool.interval([1.1] * 10) == (1.1, 1.1, 1.1)
    median, low, high = tool.interval([0.8, 0.9, 1.0, 1.1, 1.2])
    assert 0.8 <= low < median == 1.0 < high <= 1.2


def test_this_process_has_used_cpu(tool: ModuleType) -> None:
    assert 0 < tool.cpu_s(os.getpid()) < 1e6
    assert tool.children_s() >= 0


@pytest.mark.parametrize(("words", "message"), [(["."], "Missing argument 'NEW'"), ([".", "."], "same directory")])
def test_wrong_use_is_reported(tool: ModuleType, words: list[str], message: str) -> None:
    done = CliRunner().invoke(tool.main, words)
    assert done.exit_code == 2
    assert message in done.output


def test_a_checkout_without_a_command_is_reported(tool: ModuleType, tmp_path: Path) -> None:
    """Before anything runs."""
    (tmp_path / "other").mkdir()
    done = CliRunner().invoke(tool.main, [str(tmp_path), str(tmp_path / "other"), "--pairs", "2"])
    assert done.exit_code == 1
    assert "make setup" in done.output
