"""The smallest part of a history of one key that still is not linearizable.

Rules. The part is proof of the failure: an operation is left out, or taken as unanswered, only if the remaining history
still fails; both can only make a history easier to explain.
"""

from __future__ import annotations

from collections.abc import Sequence

from multipaxos.commands import Written
from multipaxos.judges.history import Operation, observable, unanswered, until
from multipaxos.judges.search import is_linearizable

EFFORT = 20_000  # steps of a search; an operation is kept if they do not decide that it can be left out


def smallest(history: Sequence[Operation]) -> list[Operation]:
    """A failing history in which every answer matters."""
    needed = observable(shortest_prefix(history))
    at = len(needed)
    while at:
        at -= 1
        operation = needed[at]
        if operation.answer is None:
            continue
        rest = needed[:at] + needed[at + 1 :]
        if isinstance(operation.answer, Written):
            rest.insert(at, unanswered(operation))
            rest = observable(rest)
        if not is_linearizable(rest, EFFORT):
            needed = rest
            at = min(at, len(needed))
    return needed


def shortest_prefix(history: Sequence[Operation]) -> list[Operation]:
    """The history up to the first answer with which it fails."""
    ends = sorted({operation.answered_ns for operation in history if operation.answer is not None})
    low, high = 0, len(ends) - 1
    while low < high:
        middle = (low + high) // 2
        if is_linearizable(until(history, ends[middle])):
            low = middle + 1
        else:
            high = middle
    return until(history, ends[low])
