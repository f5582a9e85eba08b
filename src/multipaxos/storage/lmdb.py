"""A storage in a data directory, on LMDB.

Theory. LMDB keeps three databases in one environment, so that a transaction over all of them is a batch: `meta` has the
core's keys as they come; `log` has the records, with key (first, index), both uint64 big-endian so that LMDB sorts by
them, and value end (uint64, little-endian) followed by the frame; `storage` has the directory's identity (see
`directory`) and `last`, the greatest index so far.

Rules. The file's map doubles when it is full; while it moves no reader may be inside.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb

from multipaxos.errors import StorageError
from multipaxos.storage import directory as data_directory
from multipaxos.storage.records import Record, cut, lowest_first, split

MAP_BYTES = 1 << 36
KEY = struct.Struct(">QQ")  # first, index
NUMBER = struct.Struct("<Q")


class LmdbStorage:
    """A storage that survives crashes; see `Storage`.

    `map_bytes`: the map's size at first. `sync` False leaves out the syncs, for tests that show what they are for.
    Raises DirectoryInUse, DirectoryMismatch, StorageError.
    """

    kind = "lmdb"
    immediate = False

    def __init__(
        self, directory: str | Path, cluster: str, node_id: int, *, map_bytes: int = MAP_BYTES, sync: bool = True
    ) -> None:
        self.directory = Path(directory)
        self._failed = ""
        self._map_lock = threading.Lock()  # the map must not move under a reader
        self._environment: Any = None
        self._lock = data_directory.hold(self.directory)
        try:
            self._open(cluster, node_id, map_bytes, sync)
        except (lmdb.Error, OSError) as error:
            self.close()
            raise StorageError(
                f"{self.directory}: {error}: is it a data directory of multipaxos, on a disk with room?"
            ) from error
        except BaseException:
            self.close()
            raise

    def _open(self, cluster: str, node_id: int, map_bytes: int, sync: bool) -> None:
        path = str(self.directory)
        self._environment = lmdb.open(
            path, map_size=map_bytes, max_dbs=3, sync=sync, metasync=sync, lock=True, max_readers=16
        )
        self._meta = self._environment.open_db(b"meta")
        self._log = self._environment.open_db(b"log")
        self._own = self._environment.open_db(b"storage")
        with self._environment.begin(write=True, db=self._own) as transaction:
            self.incarnation = data_directory.identify(self.directory, transaction, cluster, node_id)
        data_directory.sync_names(self.directory)  # of the files that LMDB has made
        self._count = self._last_index()

    def _last_index(self) -> int:
        with self._environment.begin(db=self._own) as transaction:
            data = transaction.get(b"last")
            return NUMBER.unpack(data)[0] if data else 0

    def meta(self) -> dict[bytes, bytes]:
        """The keys that the core has put."""
        with self._environment.begin(db=self._meta) as transaction:
            return {bytes(key): bytes(value) for key, value in transaction.cursor()}

    def records(self) -> Iterator[Record]:
        """All records, sorted by (first, index)."""
        with self._environment.begin(db=self._log) as transaction:
            for key, value in transaction.cursor():
                yield self._record(key, value)

    @staticmethod
    def _record(key: bytes, value: bytes) -> Record:
        first, index = KEY.unpack(key)
        (end,) = NUMBER.unpack_from(value)
        return index, first, end, value[NUMBER.size :]

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Makes a batch durable in one transaction, synced. Thread-safe. Raises StorageError."""
        if self._failed:
            raise StorageError(self._failed)
        try:
            while not self._fits(meta, records):
                self._grow()
        except (lmdb.Error, OSError, MemoryError) as error:
            self._failed = f"{self.directory}: a commit failed ({error}): mend the disk, then start this node again"
            raise StorageError(self._failed) from error

    def _fits(self, meta: Mapping[bytes, bytes], records: bytes) -> bool:
        """Commits, unless the map is too small."""
        try:
            self._commit(meta, records)
        except lmdb.MapFullError:
            return False
        return True

    def _grow(self) -> None:
        """Doubles the map, while no reader is inside."""
        with self._map_lock:
            self._environment.set_mapsize(self._environment.info()["map_size"] * 2)

    def _commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        count = self._count
        with self._environment.begin(write=True) as transaction:
            for key, value in meta.items():
                transaction.put(key, value, db=self._meta)
            for first, end, frame in split(records):
                count += 1
                transaction.put(KEY.pack(first, count), NUMBER.pack(end) + frame, db=self._log)
            transaction.put(b"last", NUMBER.pack(count), db=self._own)
        self._count = count

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """(covered_end, records), see `Storage.read`. Thread-safe."""
        with self._map_lock, self._environment.begin(db=self._log) as transaction:
            cursor = transaction.cursor()
            if not cursor.set_range(KEY.pack(lowest_first(first), 0)):
                return end, []
            return cut((self._record(key, value) for key, value in cursor), first, end, max_bytes)

    def close(self) -> None:
        """Closes the environment and releases the directory. Closing twice is harmless."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
