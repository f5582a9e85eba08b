"""Histories of the store: operations with their calls and answers, and what of a history can be left out.

Rules. An operation without an answer may take effect at any instant after its call, or never. It may be left out if no
answer can show whether it was done. A write on one key gets an answer if another operation's answer names its version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from multipaxos.commands import (
    CAS_VERSION,
    CREATE,
    GET,
    IS_MISSING,
    IS_THERE,
    REMOVE,
    UPDATE,
    VALUE_EQUALS,
    VERSION_EQUALS,
    Answer,
    Exists,
    NotFound,
    Pairs,
    Transacted,
    Written,
)
from multipaxos.judges.one_key import Parsed
from multipaxos.judges.store import (
    AnyCommand,
    Transaction,
    answered_parts,
    is_read,
    keys_of,
    named_in,
    parse,
    parts_of,
    words,
)

FOREVER_NS = 2**63

KeyValue = tuple[bytes, bytes]  # a value at a key


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation. `answer` None: its outcome is unknown, and `answered_ns` has no meaning. `slots`: the first and
    the last slot in which it can have taken effect without an answer, None if that is not known."""

    client: int
    command: bytes
    answer: Answer | None
    invoked_ns: int
    answered_ns: int
    slots: tuple[int, int] | None = None

    @property
    def keys(self) -> set[bytes]:
        """The keys that the command names; a scan names none."""
        return keys_of(parse(self.command))

    def describe(self) -> str:
        """The operation in one line."""
        until = "?" if self.answer is None or self.answered_ns == FOREVER_NS else f"{self.answered_ns / 1e6:.3f}"
        return (
            f"{self.invoked_ns / 1e6:12.3f} .. {until:>12} ms  client {self.client}: "
            f"{words(self.command)} -> {'no answer' if self.answer is None else self.answer}"
        )


def unanswered(operation: Operation) -> Operation:
    """The same operation, as if no answer had arrived."""
    return replace(operation, answer=None)


def until(history: Sequence[Operation], end_ns: int) -> list[Operation]:
    """The history as it was known at an instant."""
    return [
        operation if operation.answered_ns <= end_ns else unanswered(operation)
        for operation in history
        if operation.invoked_ns <= end_ns
    ]


def expected_by(command: AnyCommand) -> set[KeyValue]:
    """The values that a command compares with."""
    compared = command.compares if isinstance(command, Transaction) else ()
    expected = {(one.key, one.value) for one in compared if one.kind == VALUE_EQUALS}
    return expected | {(part.key, part.expected) for part in parts_of(command)}


def values_named(history: Sequence[Operation], commands: Sequence[AnyCommand]) -> set[KeyValue]:
    """The values that answers name, or that answered commands expect."""
    values: set[KeyValue] = set()
    for operation, command in zip(history, commands, strict=True):
        if operation.answer is not None:
            values |= expected_by(command)
            values |= {(key, value) for key, value, _ in named_in(command, operation.answer)}
    return values


def with_known_versions(history: Sequence[Operation]) -> list[Operation]:
    """If one answer names the version of a value that only one command writes, that command was done: it gets the
    answer that it would have had, at no particular time."""
    commands = [parse(operation.command) for operation in history]
    versions = {
        (key, value): version
        for operation, command in zip(history, commands, strict=True)
        for key, value, version in named_in(command, operation.answer)
    }
    writers = Counter((part.key, part.value) for command in commands for part in parts_of(command))
    known = []
    for operation, command in zip(history, commands, strict=True):
        written = (command.key, command.value) if isinstance(command, Parsed) else None
        if operation.answer is None and written in versions and writers[written] == 1:
            operation = replace(operation, answer=Written(versions[written]), answered_ns=FOREVER_NS)
        known.append(operation)
    return known


def observable(history: Sequence[Operation]) -> list[Operation]:
    """The history without the unanswered operations of which no answer can show whether they were done: they explain
    nothing."""
    commands = [parse(operation.command) for operation in history]
    values = values_named(history, commands)
    there, missing = existence_shown(history, commands)

    def shows(part: Parsed) -> bool:
        """Can an answer show whether this write was done?"""
        if part.op == GET:
            return False
        return part.key in missing if part.op == REMOVE else part.key in there or (part.key, part.value) in values

    return [
        operation
        for operation, command in zip(history, commands, strict=True)
        if operation.answer is not None or (not is_read(command) and any(map(shows, parts_of(command))))
    ]


def existence_shown(history: Sequence[Operation], commands: Sequence[AnyCommand]) -> tuple[set[bytes], set[bytes]]:
    """The keys of which answers show that they existed, if not with a value that is named; and those of which answers
    show that they did not exist."""
    there: set[bytes] = set()
    missing: set[bytes] = set()
    keys = set().union(*map(keys_of, commands))
    for operation, command in zip(history, commands, strict=True):
        if isinstance(operation.answer, Pairs):
            missing |= keys - {key for key, _, _ in operation.answer.pairs}
        if isinstance(command, Transaction) and isinstance(operation.answer, Transacted):
            holds = operation.answer.succeeded
            there |= {one.key for one in command.compares if not holds or one.kind in (IS_THERE, VERSION_EQUALS)}
            missing |= {one.key for one in command.compares if not holds or one.kind == IS_MISSING}
        for part, answer in answered_parts(command, operation.answer):
            written = isinstance(answer, Written)
            if isinstance(answer, Exists) or (written and part.op in (UPDATE, REMOVE, CAS_VERSION)):
                there.add(part.key)
            if isinstance(answer, NotFound) or (written and part.op == CREATE):
                missing.add(part.key)
    return there, missing
