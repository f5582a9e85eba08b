"""TOML text, so that a wrong entry can be refused with its file and line.

Theory. Python's `tomllib` reads TOML, but forgets where an entry stood. So checks name the `Place` of a wrong entry
(table, how many tables of that name come before, key), and only when an entry is refused is its line searched for in
the text.

Rules. A `Misfit` is raised by checks that know no text; `located` turns it into the error that the user reads.
"""

from __future__ import annotations

import difflib
import json
import re
import tomllib
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from multipaxos.errors import ConfigurationError


class Place(NamedTuple):
    """Where an entry stands: in the `nth` table of that name, from 0; an empty key means the table itself."""

    table: str
    nth: int = 0
    key: str = ""


class Misfit(ConfigurationError):
    """A wrong entry, with its place; `located` adds the line."""

    def __init__(self, place: Place, reason: str) -> None:
        super().__init__(reason)
        self.place = place


def parse_document(text: str, source: str) -> dict[str, Any]:
    """The tables of a TOML text; `source` names the text in errors. Raises ConfigurationError."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        reason, line = _fault(str(error), text)
        raise ConfigurationError(f"{source}:{line}: not valid TOML: {reason}") from error


def _fault(message: str, text: str) -> tuple[str, int]:
    """The reason and the line of tomllib's message about `text`."""
    match = re.fullmatch(r"(?P<reason>.*) \(at line (?P<line>\d+), column \d+\)", message, re.DOTALL)
    if match is not None:
        return match["reason"], int(match["line"])
    return message.removesuffix(" (at end of document)"), text.count("\n") + 1


def require_known(name: object, known: Collection[str], what: str, place: Place) -> None:
    """Raises a Misfit that suggests the nearest known name, unless `name` is known; `what` says what is named."""
    if name in known:
        return
    near = difflib.get_close_matches(str(name).lower(), known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(known)}"
    raise Misfit(place, f"unknown {what} {name!r}; {hint}")


def located(misfit: Misfit, text: str, source: str) -> ConfigurationError:
    """The error that names the line of `text` in which the entry stands."""
    line = _line_of(text, misfit.place)
    return ConfigurationError(f"{source}:{line}: {misfit}" if line else f"{source}: {misfit}")


def _line_of(text: str, place: Place) -> int:
    """The line of an entry, from 1: the line of its key, else of its table's header, else 0."""
    table, nth, key = place
    header = 0
    for number, current, count, stripped in _tables_by_line(text.splitlines()):
        if current.split(".")[0] != table or count != nth:
            continue
        if stripped.startswith("["):
            header = header or number
            if current == f"{table}.{key}":
                return number
        elif key and re.match(rf"(?:{re.escape(key)}|\"{re.escape(key)}\")\s*[.=]", stripped):
            return number
    return header


def _tables_by_line(lines: Sequence[str]) -> Iterable[tuple[int, str, int, str]]:
    """For each line: its number, its table, how many tables of that name come before, and its text."""
    current, counts = "", dict[str, int]()
    for number, line in enumerate(lines, start=1):
        stripped = line.strip()
        match = re.match(r"\[{1,2}\s*([A-Za-z0-9_.\-]+)\s*\]{1,2}\s*(#.*)?$", stripped)
        if match is not None:
            current = match[1]
            counts[current] = counts.get(current, -1) + 1
        yield number, current, counts.get(current, 0), stripped


def toml_string(text: str) -> str:
    """Printable text as a TOML basic string: JSON's escapes are also TOML's."""
    return json.dumps(text, ensure_ascii=False)


def toml_strings(texts: Iterable[str]) -> str:
    """Printable texts as a TOML list of strings."""
    return f"[{', '.join(map(toml_string, texts))}]"
