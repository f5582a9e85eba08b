"""What a network of the evaluation must not leave behind."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from evaluation import machine

REASON = machine.missing()
needs_namespaces = pytest.mark.skipif(REASON is not None, reason=str(REASON))


def children() -> set[int]:
    """The processes that this one has started and not yet waited for."""
    found = set()
    for task in Path(f"/proc/{os.getpid()}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the thread has ended meanwhile: its children are another one's
            found |= {int(pid) for pid in (task / "children").read_text().split()}
    return found


def interfaces_of(tag: str) -> list[str]:
    """The machine's interfaces whose names begin with a text."""
    return [entry.name for entry in Path("/sys/class/net").iterdir() if entry.name.startswith(tag)]
