"""A disk for tests that keeps nothing that was not synced.

Theory. SIGKILL alone cannot show that a sync is missing, because the kernel's page cache survives the process. This
storage buffers writes in its process's memory, as a disk's cache does, and hands them to the real storage in its sync:
a SIGKILL then loses exactly what was not synced.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.records import Record, by_key, cut
from multipaxos.wire.record import BatchRecords


class DroppingStorage:
    """An LmdbStorage that loses unsynced writes in a crash; `broken` leaves out the sync in `commit`."""

    kind = "lmdb"
    immediate = False

    def __init__(self, directory: str | Path, cluster: str, node_id: int, *, broken: bool = False) -> None:
        self._disk = LmdbStorage(directory, cluster, node_id)
        self.incarnation = self._disk.incarnation
        self._broken = broken
        self._unsynced: list[tuple[dict[bytes, bytes], bytes]] = []

    def meta(self) -> dict[bytes, bytes]:
        """The keys that are synced."""
        return self._disk.meta()

    def records(self) -> Iterator[Record]:
        """The records that are synced."""
        return self._disk.records()

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Writes, and syncs unless the disk is `broken`."""
        self._unsynced.append((dict(meta), records))
        if not self._broken:
            self.sync()

    def sync(self) -> None:
        """Makes durable what was written so far."""
        writes, self._unsynced = self._unsynced, []
        for meta, records in writes:
            self._disk.commit(meta, records)

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """(covered_end, records), see `Storage.read`; unsynced records are among them."""
        unsynced = [record for _, batch in list(self._unsynced) for record in BatchRecords(batch)]
        covered, records = self._disk.read(first, end, max_bytes)
        return cut(sorted([*records, *unsynced], key=by_key), first, covered, max_bytes)

    def close(self) -> None:
        """Releases the directory; what was not synced is lost."""
        self._disk.close()
