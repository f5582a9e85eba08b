"""Damaged directories: none is believed, most repair themselves, and each refusal says what to do.

`python -m tests.storage.campaign 200` does the same for more of them.
"""

from __future__ import annotations

from pathlib import Path

from tests.storage.campaign import Case, run

DIRECTORIES = 60


def test_damaged_directories(tmp_path: Path) -> None:
    """The oracle raises Violation if one serves, teaches, promises or votes with what it cannot prove."""
    cases: list[Case] = [run(seed, tmp_path / str(seed)) for seed in range(DIRECTORIES)]
    below = [case for case in cases if case.below]
    assert len(below) > DIRECTORIES // 3
    assert sum(case.repaired for case in below) >= 0.9 * len(below)
    keys = [case for case in cases if case.what == "key"]
    assert len(keys) > 10
    assert all(case.refused for case in keys)
    for case in cases:
        assert "\n" not in case.refused
        advice = ("start the node with an empty one", "give this node", "start the version that wrote it")
        assert not case.refused or any(text in case.refused for text in advice)
