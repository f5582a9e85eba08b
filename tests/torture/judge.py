"""Did the cluster keep every promise? The history of a torture is judged here, and saved.

Rules.
- For each key some order of its operations explains every answer (`multipaxos.judges.linearizability`, without a bound
  on effort). Every key is read after the last fault, so a history that lost an acknowledged write has no such order.
- One log explains the writes of all keys: no two writes were done in one slot, and a write that was answered before
  another one was called has the lower slot. This finds a log that forgot or forked even if a later write hides that
  from reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from itertools import pairwise
from pathlib import Path
from typing import Any

from multipaxos.commands import GET, Answer, Exists, Mismatch, NotFound, Value, Written
from multipaxos.judges.history import Operation
from multipaxos.judges.linearizability import check

ANSWERS = {kind.__name__: kind for kind in (Exists, Mismatch, NotFound, Value, Written)}


def judge(history: Sequence[Operation]) -> list[str]:
    """The failures of a history; an empty list if there is none."""
    failure = check(history)
    return ([] if failure is None else [failure.describe()]) + one_log(history)


def one_log(history: Sequence[Operation]) -> list[str]:
    """The first pair of writes whose slots cannot be of one log, if there is one."""
    writes = [operation for operation in history if isinstance(operation.answer, Written)]
    writes.sort(key=slot_of, reverse=True)
    earliest: Operation | None = None  # the first answered, of the writes with a higher slot
    for operation, higher in zip(writes, [None, *writes], strict=False):
        if higher is not None and slot_of(operation) == slot_of(higher):
            return pair("two writes were done in one slot:", operation, higher)
        if earliest is not None and earliest.answered_ns < operation.invoked_ns:
            return pair("a write has a higher slot than one that was called after its answer:", earliest, operation)
        if earliest is None or operation.answered_ns < earliest.answered_ns:
            earliest = operation
    return []


def slot_of(operation: Operation) -> int:
    """The slot in which a write was done."""
    assert isinstance(operation.answer, Written)
    return operation.answer.version


def pair(what: str, one: Operation, other: Operation) -> list[str]:
    """The failure that two operations contradict each other."""
    return ["\n".join([what, *(f"{each.key!r} {each.describe()}" for each in (one, other))])]


def never_read(history: Iterable[Operation], since_ns: int) -> list[str]:
    """The failure that there are keys without an answered read that was called after `since_ns`."""
    history = list(history)
    read = {
        operation.key
        for operation in history
        if operation.command[0] == GET and operation.answer is not None and operation.invoked_ns >= since_ns
    }
    missing = sorted({operation.key for operation in history} - read)
    return [f"{len(missing)} keys could not be read in the end, {missing[0]!r} among them"] if missing else []


def longest_gap_s(history: Iterable[Operation]) -> float:
    """The longest time without any answer, in seconds."""
    times = sorted(operation.answered_ns for operation in history if operation.answer is not None)
    return max((later - time for time, later in pairwise(times)), default=0) / 1e9


# -- files


def save(history: Iterable[Operation], path: Path) -> None:
    """Writes a line of JSON for each operation."""
    with path.open("w", encoding="utf-8") as file:
        for operation in history:
            file.write(json.dumps(to_json(operation)) + "\n")


def load(path: Path) -> list[Operation]:
    """The history that `save` wrote."""
    return [from_json(json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]


def to_json(operation: Operation) -> dict[str, Any]:
    """An operation as JSON's types, with bytes as Latin-1."""
    answer = operation.answer
    answered = None if answer is None else {"kind": type(answer).__name__, **asdict(answer)}
    return {name: plain(value) for name, value in {**asdict(operation), "answer": answered}.items()}


def plain(value: Any) -> Any:
    """A value as JSON's types."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    return value.decode("latin-1") if isinstance(value, bytes) else value


def from_json(line: dict[str, Any]) -> Operation:
    """The inverse of `to_json`."""
    answered = line["answer"]
    answer: Answer | None = None
    if answered is not None:
        fields = {name: value.encode("latin-1") if name == "value" else value for name, value in answered.items()}
        answer = ANSWERS[fields.pop("kind")](**fields)
    key, command = line["key"].encode("latin-1"), line["command"].encode("latin-1")
    return Operation(line["client"], key, command, answer, line["invoked_ns"], line["answered_ns"])
