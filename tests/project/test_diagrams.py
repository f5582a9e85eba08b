"""The pictures of docs/diagrams are those of the transcripts: none is stale, missing, left over, or too large."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest

from tests.support.places import ROOT, TOOLS
from tests.transcripts.transcript import paths, picture

PICTURES = ROOT / "docs" / "diagrams"
TOOL = TOOLS / "diagrams.py"
WIDTH_MAX, HEIGHT_MAX = 1060, 1600  # of what a page shows without making it small


@pytest.fixture
def tool(tools: Callable[[str], ModuleType]) -> ModuleType:
    """tools/diagrams.py"""
    return tools("diagrams")


@pytest.mark.parametrize("path", paths(), ids=lambda path: path.stem)
def test_the_picture_is_current_and_of_a_size_that_can_be_read(path: Path) -> None:
    kept = PICTURES / f"{path.stem}.svg"
    assert kept.is_file(), "missing: run 'python tools/diagrams.py'"
    assert kept.read_text(encoding="utf-8") == picture(path), "stale: run 'python tools/diagrams.py'"
    root = ElementTree.parse(kept).getroot()
    assert float(root.get("width", "inf")) <= WIDTH_MAX
    assert float(root.get("height", "inf")) <= HEIGHT_MAX


def test_no_picture_is_left_over() -> None:
    assert {path.stem for path in PICTURES.glob("*.svg")} == {path.stem for path in paths()}


def test_the_check_passes_on_what_is_kept() -> None:
    done = subprocess.run([sys.executable, TOOL, "--check"], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_check_names_what_is_stale_missing_or_left_over(tool, tmp_path: Path, monkeypatch, capsys) -> None:
    wanted = {"one.svg": "1", "two.svg": "2", "three.svg": "3"}
    monkeypatch.setattr(tool, "PICTURES", tmp_path)
    monkeypatch.setattr(tool, "pictures", lambda: wanted)
    (tmp_path / "one.svg").write_text("1")
    (tmp_path / "two.svg").write_text("of yesterday")
    (tmp_path / "four.svg").write_text("4")
    assert tool.main(["--check"]) == 1
    assert "four.svg, three.svg, two.svg" in capsys.readouterr().out
    assert (tmp_path / "two.svg").read_text() == "of yesterday"
    assert tool.main([]) == 0
    assert capsys.readouterr().out == "removed four.svg\nwrote three.svg\nwrote two.svg\n"
    assert {path.name: path.read_text() for path in tmp_path.iterdir()} == wanted
    assert tool.main(["--check"]) == 0
