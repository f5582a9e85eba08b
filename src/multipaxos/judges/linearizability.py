"""Is a history of the key-value store linearizable? If not, its smallest failing part.

Theory. A history is linearizable if every operation can be given one instant between its call and its answer, so that
the operations, done one after another at those instants, give the answers that they gave (Herlihy, Wing 1990). That is
so if the operations on each key alone are linearizable (locality), so each key is searched alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from multipaxos.judges.history import Operation, observable, with_known_versions
from multipaxos.judges.search import is_linearizable
from multipaxos.judges.smallest import smallest


@dataclass(frozen=True, slots=True)
class Failure:
    """A key whose history is not linearizable, and the operations that show it."""

    key: bytes
    operations: tuple[Operation, ...]

    def describe(self) -> str:
        """The smallest failing history, one operation a line."""
        lines = [f"not linearizable, key {self.key!r}; no order of these operations explains their answers:"]
        return "\n".join(lines + [operation.describe() for operation in self.operations])


def check(history: Iterable[Operation]) -> Failure | None:
    """Returns None if the history is linearizable, else its smallest failing part. No key exists at first."""
    by_key: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in history:
        by_key[operation.key].append(operation)
    for key, operations in by_key.items():
        relevant = observable(with_known_versions(operations))
        if not is_linearizable(relevant):
            return Failure(key, tuple(smallest(relevant)))
    return None
