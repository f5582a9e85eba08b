"""A storage in memory: nothing survives, so a node that restarts has a new incarnation and does not vote.

Theory. Records are rarely read: only when a peer lags. So batches are kept as they come, and are sorted in when a
reader asks. Most new records lie above all others, so sorting only touches the tail that they overlap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Mapping

from multipaxos.storage.interface import new_incarnation
from multipaxos.storage.records import Record, by_key, cut, lowest_first
from multipaxos.wire.record import BatchRecords


class MemoryStorage:
    """A storage that forgets everything when its process ends; see `Storage`."""

    kind = "memory"
    immediate = True

    def __init__(self) -> None:
        self.incarnation = new_incarnation()
        self._meta: dict[bytes, bytes] = {}
        self._batches: list[bytes] = []  # as they came, not yet sorted in
        self._indexed: list[Record] = []

    def meta(self) -> dict[bytes, bytes]:
        """The keys that the core has put."""
        return dict(self._meta)

    def records(self) -> Iterator[Record]:
        """All records, sorted by (first, index)."""
        self._index()
        return iter(self._indexed)

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Keeps the batch."""
        if meta:
            self._meta.update(meta)
        if records:
            self._batches.append(records)

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """(covered_end, records), see `Storage.read`."""
        self._index()
        at = bisect_left(self._indexed, lowest_first(first), key=lambda record: record[0])
        return cut((self._indexed[i] for i in range(at, len(self._indexed))), first, end, max_bytes)

    def _index(self) -> None:
        """Sorts in the batches that came since the last reader."""
        batches, self._batches = self._batches, []
        new: list[Record] = [record for batch in batches for record in BatchRecords(batch)]
        if not new:
            return
        lowest = min(record[0] for record in new)
        at = bisect_left(self._indexed, lowest, key=lambda record: record[0])
        tail = self._indexed[at:] + new
        tail.sort(key=by_key)
        self._indexed[at:] = tail

    def close(self) -> None:
        """Does nothing: memory storage holds no directory."""
