"""One key of the key-value store: what a command does to it, and which answers are possible.

Rules. The version of a key is the slot of its last write. The version of an unanswered write is unknown, but above all
versions before it. `step` returns all states that may follow, so a judge may keep a set of possible states.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from multipaxos.commands import (
    CAS_VALUE,
    CAS_VERSION,
    CREATE,
    GET,
    PUT,
    REMOVE,
    UPDATE,
    Answer,
    Exists,
    Mismatch,
    NotFound,
    Value,
    Written,
)

NAMES = {
    PUT: "put",
    CREATE: "create",
    UPDATE: "update",
    GET: "get",
    REMOVE: "remove",
    CAS_VALUE: "cas",
    CAS_VERSION: "cas",
}


# (value, version) of one key; value None: it does not exist; version -v: unknown, but above v.
State = tuple[bytes | None, int]
States = frozenset[State]
NOTHING: State = (None, 0)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command on one key, taken apart."""

    op: int
    value: bytes = b""
    expected: bytes = b""
    version: int = 0


def parse(command: bytes) -> Parsed:
    """Takes a command apart. Raises ValueError if it is not one on one key (a scan, a transaction, other bytes)."""
    if not command or command[0] not in NAMES:
        raise ValueError(f"not a command on one key: {command[:20]!r}")
    op = command[0]
    (size,) = struct.unpack_from("<H", command, 1)
    rest = command[3 + size :]
    if op == CAS_VALUE:
        (size,) = struct.unpack_from("<I", rest)
        return Parsed(op, rest[4 + size :], rest[4 : 4 + size])
    if op == CAS_VERSION:
        return Parsed(op, rest[8:], version=struct.unpack_from("<Q", rest)[0])
    return Parsed(op, rest)


def words(command: bytes) -> str:
    """A command in words."""
    parsed = parse(command)
    if parsed.op in (GET, REMOVE):
        return NAMES[parsed.op]
    if parsed.op == CAS_VALUE:
        return f"cas {parsed.expected!r} to {parsed.value!r}"
    if parsed.op == CAS_VERSION:
        return f"cas version {parsed.version} to {parsed.value!r}"
    return f"{NAMES[parsed.op]} {parsed.value!r}"


def version_in(answer: Answer | None) -> int:
    """The version that an answer names; 0: none."""
    return answer.version if isinstance(answer, Written | Value | Mismatch) else 0


def value_in(answer: Answer | None) -> bytes:
    """The value that an answer names; empty: none."""
    return answer.value if isinstance(answer, Value | Mismatch) else b""


def may_be(known: int, version: int) -> bool:
    """Can the version `known` of a state be this one?"""
    return known == version if known > 0 else version > -known


def writes(command: Parsed, state: State) -> Iterator[bool]:
    """Would the command write to this state? Yields both if that depends on a version that is unknown."""
    value, version = state
    if command.op == PUT:
        yield True
    elif command.op == GET:
        yield False
    elif command.op == CREATE:
        yield value is None
    elif value is None:
        yield False
    elif command.op in (UPDATE, REMOVE):
        yield True
    elif command.op == CAS_VALUE:
        yield value == command.expected
    else:
        if may_be(version, command.version):
            yield True
        if version != command.version:
            yield False


def step(command: Parsed, answer: Answer | None, state: State) -> Iterator[State]:
    """The states that may follow if the command is done now and answered so; none: that is impossible."""
    value, version = state
    left = None if command.op == REMOVE else command.value
    for written in writes(command, state):
        if answer is None:
            yield (left, -abs(version)) if written else state
        elif written:
            if isinstance(answer, Written) and answer.version > abs(version):
                yield (left, answer.version)
        elif value is None:
            if isinstance(answer, NotFound):
                yield state
        elif command.op == CREATE:
            if isinstance(answer, Exists):
                yield state
        elif (
            isinstance(answer, Value if command.op == GET else Mismatch)
            and answer.value == value
            and may_be(version, answer.version)
            and not (command.op == CAS_VERSION and answer.version == command.version)
        ):
            yield (value, answer.version)
