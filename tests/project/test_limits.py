"""Limits of size: lines of a file and of a function of the package, columns of a line of code and of a document."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.places import EXT, PACKAGE, ROOT

FILE_LINES_MAX = 450
FUNCTION_LINES_MAX = 60
COLUMNS_MAX = 120

SOURCES = [*sorted(EXT.rglob("*.p[yx][xd]")), *sorted(PACKAGE.rglob("*.py"))]
FOLDERS = ("ext", "src", "tests", "bench", "tools", "mininet", "docs", ".ci")
TEXTS = {".py", ".pyi", ".pyx", ".pxd", ".capnp", ".md", ".txt", ".toml", ""}
LINES = [
    *(
        path
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*"))
        if path.is_file() and path.parent.suffix != ".egg-info"  # which pip writes
    ),
    *(
        ROOT / name
        for name in (
            "README.md",
            "CHANGELOG.md",
            "CONTRIBUTING.md",
            "SECURITY.md",
            "Makefile",
            "setup.py",
            "pyproject.toml",
        )
    ),
]
WRITTEN_BY_PROGRAMS = {"report.md"}  # what experiments showed
PRAGMA = re.compile(r"\s+# (type: ignore|noqa).*")
HEAD = re.compile(r"(\s*)(?:async def|def|cdef|cpdef)\s(?!class\s)(?:[^=(]*[\s*])?(\w+)\(")


def functions(text: str) -> Iterator[tuple[str, int]]:
    """(name, lines) of every function of a Python or Cython source; a function ends before the next line that is not
    indented more than its head. Inner functions count themselves and in what they are in."""
    rows = text.splitlines()
    for first, row in enumerate(rows):
        if head := HEAD.match(row):
            end = last = first + 1
            while end < len(rows) and not ends(rows[end], len(head[1])):
                end += 1
                last = end if rows[end - 1].strip() else last
            yield head[2], last - first


def ends(row: str, indent: int) -> bool:
    """Is the row outside of a function whose head has this indentation? A head's last bracket is not."""
    return bool(row.strip()) and len(row) - len(row.lstrip()) <= indent and not row.lstrip().startswith(")")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_file_is_not_too_long(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").count("\n")
    assert lines <= FILE_LINES_MAX


@pytest.mark.parametrize("path", SOURCES, ids=label)
def test_a_function_is_not_too_long(path: Path) -> None:
    long = [each for each in functions(path.read_text(encoding="utf-8")) if each[1] > FUNCTION_LINES_MAX]
    assert long == []


def test_no_line_is_too_wide() -> None:
    wide = [
        f"{label(path)}:{number}"
        for path in LINES
        if path.suffix in TEXTS and path.name not in WRITTEN_BY_PROGRAMS
        for number, row in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if len(PRAGMA.sub("", row)) > COLUMNS_MAX
    ]
    assert wide == []


def test_functions_are_measured() -> None:
    text = """cdef class Leader:
    cdef inline int take(self, int x) except -1:
        return x

    def get(
        self,
    ):
        def inner():
            pass

        return inner


async def last():
    pass
x = 1
"""
    assert list(functions(text)) == [("take", 2), ("get", 7), ("inner", 2), ("last", 2)]
