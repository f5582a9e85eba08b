"""Why lines of the core are not reached: reads tools/unreached.txt and compares it with the lines that were missed.

Rules of the file. A block is one or more rows `file function: text of the line, or its beginning` (`*` stands for
every file; the function may be left out), then a row `= why`, or `~ why` for lines that are reached by chance: tests
draw at random. A row that begins with spaces continues the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from instrumented import CORE, ROOT

REASONS = ROOT / "tools" / "unreached.txt"
HEAD = re.compile(r"\s*(?:cp?def|def)\s(?:[^=(]*[\s*])?(\w+)\(")


@dataclass(frozen=True, order=True)
class Line:
    """A line of a source of the core."""

    file: str  # its place in ext/multipaxos
    number: int


@dataclass(frozen=True)
class Reason:
    """Why the lines of `file` (`*`: of every file) whose text begins with `text` are not reached; only those of
    `function`, if it is given."""

    file: str
    function: str
    text: str
    why: str
    by_chance: bool = False  # some runs reach them

    def covers(self, line: Line, function: str, text: str) -> bool:
        """Is this the reason for a line with that text, in that function?"""
        return self.file in ("*", line.file) and self.function in ("", function) and text.startswith(self.text)


def read_reasons(text: str) -> list[Reason]:
    """All reasons of the file, one for each row that names lines."""
    reasons: list[Reason] = []
    open_lines: list[tuple[str, str, str]] = []
    joined = re.sub(r"\n +", " ", text)
    for row in joined.splitlines():
        if row.startswith(("=", "~")):
            reasons += [Reason(*one, row[1:].strip(), row[0] == "~") for one in open_lines]
            open_lines = []
        elif row.strip() and not row.startswith("#"):
            where, _, code = row.partition(": ")
            file, _, function = where.partition(" ")
            open_lines.append((file, function, code.strip()))
    if open_lines:
        raise SystemExit(f"{REASONS.name}: these lines have no reason (= why): {open_lines}")
    return reasons


def functions_of(text: str) -> list[str]:
    """For each line of a source the name of the function that it is in."""
    names, current = [], ""
    for row in text.splitlines():
        head = HEAD.match(row)
        current = head[1] if head else current
        names.append(current)
    return names


def explain(missed: Iterable[Line], reasons: list[Reason]) -> tuple[dict[Line, str], list[Line], list[Reason]]:
    """({line: why it is not reached}, lines without a reason, reasons without a line)."""
    texts = {str(path.relative_to(CORE)): path.read_text(encoding="utf-8") for path in CORE.rglob("*.p[yx][xd]")}
    rows = {name: list(zip(functions_of(text), text.splitlines(), strict=True)) for name, text in texts.items()}
    explained: dict[Line, str] = {}
    bare: list[Line] = []
    used: set[Reason] = set()
    for line in sorted(missed):
        function, text = rows[line.file][line.number - 1]
        found = [reason for reason in reasons if reason.covers(line, function, text.strip())]
        used |= set(found)
        if found:
            explained[line] = found[0].why
        else:
            bare.append(line)
    return explained, bare, [reason for reason in reasons if reason not in used and not reason.by_chance]
