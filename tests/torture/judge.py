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
from dataclasses import fields, is_dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, get_args

from multipaxos.commands import GET, Answer
from multipaxos.judges.history import Operation
from multipaxos.judges.linearizability import check
from multipaxos.judges.store import slot_of

KINDS = {kind.__name__: kind for kind in (Operation, *get_args(Answer))}


def judge(history: Sequence[Operation]) -> list[str]:
    """The failures of a history; an empty list if there is none."""
    failure = check(history)
    return ([] if failure is None else [failure.describe()]) + one_log(history)


def one_log(history: Sequence[Operation]) -> list[str]:
    """The first pair of writes whose slots cannot be of one log, if there is one."""
    writes = [operation for operation in history if slot_of(operation.answer)]
    writes.sort(key=lambda operation: slot_of(operation.answer), reverse=True)
    earliest: Operation | None = None  # the first answered, of the writes with a higher slot
    for operation, higher in zip(writes, [None, *writes], strict=False):
        if higher is not None and slot_of(operation.answer) == slot_of(higher.answer):
            return pair("two writes were done in one slot:", operation, higher)
        if earliest is not None and earliest.answered_ns < operation.invoked_ns:
            return pair("a write has a higher slot than one that was called after its answer:", earliest, operation)
        if earliest is None or operation.answered_ns < earliest.answered_ns:
            earliest = operation
    return []


def pair(what: str, one: Operation, other: Operation) -> list[str]:
    """The failure that two operations contradict each other."""
    return ["\n".join([what, one.describe(), other.describe()])]


def never_read(history: Iterable[Operation], since_ns: int) -> list[str]:
    """The failure that there are keys without an answered read that was called after `since_ns`."""
    history = list(history)
    read = {
        key
        for operation in history
        if operation.command[0] == GET and operation.answer is not None and operation.invoked_ns >= since_ns
        for key in operation.keys
    }
    missing = sorted({key for operation in history for key in operation.keys} - read)
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


def to_json(value: Any) -> Any:
    """An operation or an answer as JSON's types: bytes become text as Latin-1, tuples lists."""
    if is_dataclass(value):
        return {"kind": type(value).__name__, **{one.name: to_json(getattr(value, one.name)) for one in fields(value)}}
    if isinstance(value, tuple):
        return [to_json(part) for part in value]
    return value.decode("latin-1") if isinstance(value, bytes) else value


def from_json(value: Any) -> Any:
    """The inverse of `to_json`."""
    if isinstance(value, dict):
        parts = {name: from_json(part) for name, part in value.items() if name != "kind"}
        return KINDS[value["kind"]](**parts)
    if isinstance(value, list):
        return tuple(from_json(part) for part in value)
    return value.encode("latin-1") if isinstance(value, str) else value
