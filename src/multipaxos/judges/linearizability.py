"""Is a history of the key-value store linearizable? If not, its smallest failing part.

Theory. A history is linearizable if every operation can be given one instant between its call and its answer, so that
the operations, done one after another at those instants, give the answers that they gave (Herlihy, Wing 1990). That is
so if the operations on each key alone are linearizable (locality). Operations that name several keys join these, so
what is searched alone is a group of keys that no operation joins to another one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from multipaxos.judges.history import Operation, observable, with_known_versions
from multipaxos.judges.search import is_linearizable
from multipaxos.judges.smallest import smallest
from multipaxos.judges.store import Scan, keys_of, parse


@dataclass(frozen=True, slots=True)
class Failure:
    """Keys whose history is not linearizable, and the operations that show it."""

    keys: tuple[bytes, ...]
    operations: tuple[Operation, ...]

    def describe(self) -> str:
        """The smallest failing history, one operation a line."""
        names = ", ".join(map(repr, self.keys))
        lines = [f"not linearizable, key {names}; no order of these operations explains their answers:"]
        return "\n".join(lines + [operation.describe() for operation in self.operations])


@dataclass(slots=True)
class Group:
    """Keys that operations join, and the operations on them."""

    keys: set[bytes]
    operations: list[Operation]


def check(history: Iterable[Operation], effort: int | None = None) -> Failure | None:
    """Returns None if the history is linearizable, else its smallest failing part. No key exists at first. A group of
    keys that `effort` steps do not decide passes."""
    for group in groups_of(list(history)):
        relevant = observable(with_known_versions(group.operations))
        if not is_linearizable(relevant, effort, group.keys):
            names = sorted({key for operation in relevant for key in operation.keys})
            return Failure(tuple(names), tuple(smallest(relevant, group.keys, effort)))
    return None


def groups_of(history: list[Operation]) -> list[Group]:
    """The groups of keys, in the order of their first operations; the operations of each in their order."""
    commands = [parse(operation.command) for operation in history]
    keys = set().union(*map(keys_of, commands))
    named = [
        {key for key in keys if key.startswith(command.prefix)} | {command.prefix}
        if isinstance(command, Scan)
        else keys_of(command)
        for command in commands
    ]
    groups: dict[bytes, Group] = {}  # key -> its group
    for joined in named:
        met = {id(groups[key]): groups[key] for key in joined if key in groups}
        group = Group(joined.union(*(one.keys for one in met.values())), [])
        groups.update(dict.fromkeys(group.keys, group))
    for operation, joined in zip(history, named, strict=True):
        groups[min(joined)].operations.append(operation)
    return [group for group in {id(group): group for group in groups.values()}.values() if group.operations]
