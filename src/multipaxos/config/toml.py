"""TOML files."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from multipaxos.errors import ConfigurationError


class Place(NamedTuple):
    """Where an entry stands; `nth` of the tables of its name, from 0; an empty key means the table itself."""

    table: str
    nth: int = 0
    key: str = ""


class Misfit(ConfigurationError):
    """A wrong entry and its place; `Config.parse` turns the place into file and line."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place


def known_only(name: object, known: Collection[str], what: str, place: Place) -> None:
    """Refuses a `name` that is not `known`, with the nearest that is."""
    if name in known:
        return
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise Misfit(place, f"unknown {what} {name!r}; {hint}")


def toml_fault(message: str, text: str) -> tuple[str, int]:
    """tomllib's message as (reason, line)."""
    match = re.fullmatch(r"(?P<reason>.*) \(at line (?P<line>\d+), column \d+\)", message, re.DOTALL)
    if match is not None:
        return match["reason"], int(match["line"])
    return message.removesuffix(" (at end of document)"), text.count("\n") + 1


def line_of(text: str, place: Place) -> int:
    """The line of an entry, from 1: that of its key, else of its table's header, else 0."""
    table, index, key = place
    header = 0
    for number, current, count, stripped in tables_by_line(text.splitlines()):
        if current.split(".")[0] != table or count != index:
            continue
        if stripped.startswith("["):
            header = header or number
            if current == f"{table}.{key}":
                return number
        elif key and re.match(rf"(?:{re.escape(key)}|\"{re.escape(key)}\")\s*[.=]", stripped):
            return number
    return header


def tables_by_line(lines: Sequence[str]) -> Iterable[tuple[int, str, int, str]]:
    """Of each line: its number, its table, how many tables of that name came before, and its text."""
    current, counts = "", dict[str, int]()
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        match = re.match(r"\[{1,2}\s*([A-Za-z0-9_.\-]+)\s*\]{1,2}\s*(#.*)?$", stripped)
        if match is not None:
            current = match[1]
            counts[current] = counts.get(current, -1) + 1
        yield number, current, counts.get(current, 0), stripped


def toml_string(text: str) -> str:
    """A TOML basic string of printable text: JSON's escapes are TOML's."""
    return json.dumps(text, ensure_ascii=False)
