"""A disk for tests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.records import Record, by_slot, cut, split


class DroppingStorage:
    """A disk that keeps nothing that was not synced: SIGKILL alone cannot show a missing sync, for the page
    cache survives it.

    It buffers writes in memory, as a disk's cache does, and writes them down in its sync. `broken` leaves
    out the sync in `commit`.
    """

    kind = "lmdb"
    immediate = False

    def __init__(self, directory: str | Path, cluster: str, node: int, *, broken: bool = False) -> None:
        self._disk = LmdbStorage(directory, cluster, node)
        self.incarnation = self._disk.incarnation
        self._broken = broken
        self._unsynced: list[tuple[dict[bytes, bytes], bytes]] = []

    def meta(self) -> dict[bytes, bytes]:
        """What was synced when the process started."""
        return self._disk.meta()

    def records(self) -> Iterator[Record]:
        """What was synced when the process started."""
        return self._disk.records()

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Writes, and syncs as it must."""
        self._unsynced.append((dict(meta), records))
        if not self._broken:
            self.sync()

    def sync(self) -> None:
        """Only now is anything on the disk."""
        writes, self._unsynced = self._unsynced, []
        for meta, records in writes:
            self._disk.commit(meta, records)

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """From the disk and from what it has not yet synced."""
        waiting = [record for _, batch in list(self._unsynced) for record in split(batch)]
        unsynced = [((1 << 62) + place, *record) for place, record in enumerate(waiting)]
        covered, records = self._disk.read(first, end, max_bytes)
        return cut(sorted([*records, *unsynced], key=by_slot), first, covered, max_bytes)

    def close(self) -> None:
        """Lets go of the directory."""
        self._disk.close()
