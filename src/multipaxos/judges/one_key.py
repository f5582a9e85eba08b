"""One key of the key-value store: what a command does to it, and which answers are possible.

Rules. The version of a key is the slot of its last write. The version of an unanswered write is unknown, but above all
versions before it. `step` returns all states that may follow, so a judge may keep a set of possible states. Commands on
several keys are in `store`, which takes them apart into these.
"""

from __future__ import annotations

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
NOTHING: State = (None, 0)


@dataclass(frozen=True, slots=True)
class Parsed:
    """A command on one key, taken apart."""

    op: int
    key: bytes
    value: bytes = b""
    expected: bytes = b""
    version: int = 0

    def words(self) -> str:
        """The command in words, without its key."""
        if self.op in (GET, REMOVE):
            return NAMES[self.op]
        if self.op == CAS_VALUE:
            return f"cas {self.expected!r} to {self.value!r}"
        if self.op == CAS_VERSION:
            return f"cas version {self.version} to {self.value!r}"
        return f"{NAMES[self.op]} {self.value!r}"


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


def step(command: Parsed, answer: Answer | None, state: State, slot: int = 0) -> Iterator[State]:
    """The states that may follow if the command is done now and answered so; none: that is impossible. `slot`: of the
    transaction that the command is part of, which may have written to the key before."""
    value, version = state
    left = None if command.op == REMOVE else command.value
    for written in writes(command, state):
        if answer is None:
            yield (left, -abs(version)) if written else state
        elif written:
            if isinstance(answer, Written) and (answer.version > abs(version) or answer.version == version == slot):
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
