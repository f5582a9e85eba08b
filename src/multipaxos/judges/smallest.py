"""The smallest part of a history that still is not linearizable.

Rules. The part is proof of the failure: an operation is left out, or taken as unanswered, only if the remaining history
still fails; both can only make a history easier to explain.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from multipaxos.judges.history import Operation, observable, unanswered, until
from multipaxos.judges.search import is_linearizable
from multipaxos.judges.store import slot_of

EFFORT = 20_000  # steps of a search; an operation is kept if they do not decide that it can be left out


def smallest(history: Sequence[Operation], keys: Collection[bytes], effort: int | None = None) -> list[Operation]:
    """A failing history on these keys in which every answer matters."""
    needed = observable(shortest_prefix(history, keys, effort))
    at = len(needed)
    while at:
        at -= 1
        operation = needed[at]
        if operation.answer is None:
            continue
        rest = needed[:at] + needed[at + 1 :]
        if slot_of(operation.answer):
            rest.insert(at, unanswered(operation))
            rest = observable(rest)
        if not is_linearizable(rest, EFFORT, keys):
            needed = rest
            at = min(at, len(needed))
    return needed


def shortest_prefix(history: Sequence[Operation], keys: Collection[bytes], effort: int | None) -> list[Operation]:
    """The history up to the first answer with which it fails."""
    ends = sorted({operation.answered_ns for operation in history if operation.answer is not None})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if is_linearizable(until(history, ends[middle]), effort, keys):
            low = middle + 1
        else:
            high = middle
    return until(history, ends[low])
