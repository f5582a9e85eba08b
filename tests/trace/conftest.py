"""The file of a trace."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """The file of a trace."""
    return tmp_path / "trace.jsonl"
