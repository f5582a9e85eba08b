"""What a server needs of its disk: the acceptor's memory, behind one small interface.

Theory. The core appends *records* (runs of slots, see `records`) and puts a few keys of *meta*, in batches. A batch
survives a crash as a whole, or not at all, once `commit` has returned.

Rules.
- A storage has an incarnation: a random number that is made with it and that no other storage has. A node whose
  incarnation is new has forgotten what its predecessor promised.
- A storage keeps a record as it came and hands it out as it lies there; the core judges whether it is damaged.
- A commit that fails makes every later commit fail: what a disk did with a failed sync cannot be known.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping
from typing import Protocol

from multipaxos.storage.records import Record


class Storage(Protocol):
    """What a server needs of its disk."""

    kind: str
    """What a node's status calls it: "lmdb" or "memory"."""
    incarnation: int
    """The storage's random number, never 0; see `new_incarnation`."""
    immediate: bool
    """True if `commit` takes no time, so that the caller need not leave it to a thread."""

    def meta(self) -> dict[bytes, bytes]:
        """The keys that the core has put, and no others."""

    def records(self) -> Iterator[Record]:
        """All records as they were committed, sorted by their keys (first, index); they may be damaged."""

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Makes a batch durable, and returns when it is; `records` are laid out one after another, see `wire.record`.

        Thread-safe. Raises StorageError.
        """

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """(covered_end, records): every record that may have slots in [first, covered_end), sorted by (first, index).

        covered_end is above `first`; it is below `end` if the records would have more than about `max_bytes`. A record
        whose header is damaged may cover any slots from its key's on. Thread-safe.
        """

    def close(self) -> None:
        """Releases the data directory. Closing twice is harmless."""


def new_incarnation() -> int:
    """A random number that no other storage has; never 0."""
    return secrets.randbits(63) | 1
