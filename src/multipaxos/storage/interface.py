"""What a server needs of its disk."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Protocol

from multipaxos.storage.records import Record


class Storage(Protocol):
    """What a server needs of its disk."""

    kind: str
    incarnation: int
    immediate: bool

    def meta(self) -> dict[bytes, bytes]:
        """The core's keys."""

    def records(self) -> Iterator[Record]:
        """All records, sorted by (first, index)."""

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Makes a batch durable; returns when it is. Thread-safe. Raises StorageError."""

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """(covered_end, records): all over [first, covered_end), covered_end > first, about max_bytes."""

    def close(self) -> None:
        """Lets go of the directory."""


def new_incarnation() -> int:
    """A random number that no other life of any disk has; never 0."""
    return secrets.randbits(63) | 1
