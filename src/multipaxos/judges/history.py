"""Histories of the store: operations with their calls and answers, and what of a history can be left out.

Rules. An operation without an answer may take effect at any instant after its call, or never. It may be left out if no
answer can show whether it was done. It gets an answer if another operation's answer names its version.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from multipaxos.commands import (
    CAS_VERSION,
    CREATE,
    GET,
    REMOVE,
    UPDATE,
    Answer,
    Exists,
    Mismatch,
    NotFound,
    Value,
    Written,
)
from multipaxos.judges.one_key import Parsed, parse, value_in, version_in, words

FOREVER_NS = 2**63


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation on one key. `answer` None: its outcome is unknown, and `answered_ns` has no meaning."""

    client: int
    key: bytes
    command: bytes
    answer: Answer | None
    invoked_ns: int
    answered_ns: int

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


def values_named(history: Sequence[Operation], commands: Sequence[Parsed]) -> set[bytes]:
    """The values that answers name, or that answered commands expect."""
    values = set()
    for operation, command in zip(history, commands, strict=True):
        if operation.answer is not None:
            values.update({command.expected, value_in(operation.answer)})
    return values


def with_known_versions(history: Sequence[Operation]) -> list[Operation]:
    """If one answer names the version of a value that only one command writes, that command was done: it gets the
    answer that it would have had, at no particular time."""
    versions = {
        value_in(operation.answer): version_in(operation.answer)
        for operation in history
        if isinstance(operation.answer, Value | Mismatch)
    }
    writers = Counter(parse(operation.command).value for operation in history)
    return [
        replace(operation, answer=Written(versions[value]), answered_ns=FOREVER_NS)
        if operation.answer is None and (value := parse(operation.command).value) in versions and writers[value] == 1
        else operation
        for operation in history
    ]


def observable(history: Sequence[Operation]) -> list[Operation]:
    """The history without the unanswered operations of which no answer can show whether they were done: they explain
    nothing."""
    commands = [parse(operation.command) for operation in history]
    values = values_named(history, commands)
    there = missing = False
    for operation, command in zip(history, commands, strict=True):
        written = isinstance(operation.answer, Written)
        there |= isinstance(operation.answer, Exists) or (written and command.op in (UPDATE, REMOVE, CAS_VERSION))
        missing |= isinstance(operation.answer, NotFound) or (written and command.op == CREATE)
    return [
        operation
        for operation, command in zip(history, commands, strict=True)
        if operation.answer is not None
        or (command.op != GET and (missing if command.op == REMOVE else there or command.value in values))
    ]
