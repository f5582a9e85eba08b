"""`python -m multipaxos.demo`: how it ends, and how it fails."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from multipaxos import demo
from multipaxos.demo import PromiseBroken

pytestmark = pytest.mark.timeout(180)


def test_the_demo_ends_well() -> None:
    """Without a terminal its output has no escape sequences; nothing is left behind."""
    result = subprocess.run(
        [sys.executable, "-m", "multipaxos.demo"], capture_output=True, text=True, timeout=170, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "none was applied twice" in result.stdout
    assert "\x1b" not in result.stdout
    place = re.search(r"in (\S*multipaxos-demo-\S*)", result.stdout)
    assert place is not None
    assert not Path(place[1]).exists()


def test_a_broken_promise_ends_the_demo(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 1, and the reason."""

    async def broken(*_: object) -> None:
        raise PromiseBroken("two replicas differ")

    monkeypatch.setattr(demo, "demo", broken)
    result = CliRunner().invoke(demo.main)
    assert result.exit_code == 1
    assert "two replicas differ" in result.output
