"""A storage in a data directory, on LMDB.

Theory. LMDB keeps three databases in one environment, so that a transaction over all of them is a batch: `meta` has the
core's keys as they come; `log` has the records as the core makes them, with key (first, index), both uint64 big-endian
so that LMDB sorts by them; `storage` has the directory's identity (see `directory`) and `sum`, the CRC32C of all other
keys and values of `storage` and `meta`.

Rules.
- The file's map doubles when it is full; while it moves no reader may be inside.
- A transaction that changes a key of `storage` or `meta` checks the sum of all of them and puts the new one. A
  directory whose sum is wrong, or that holds anything and no format, may have lost what its node promised: it is
  refused. A damaged record is the core's matter.
"""

from __future__ import annotations

import os
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb

from multipaxos.errors import CorruptLog, DamagedDirectory, StorageError
from multipaxos.storage import directory as data_directory
from multipaxos.storage.keys import check_keys, sum_of_keys
from multipaxos.storage.records import Record, cut, lowest_first
from multipaxos.wire.record import BatchRecords

MAP_BYTES = 1 << 36
KEY = struct.Struct(">QQ")  # first, index
NAMES = (b"meta", b"log", b"storage")
SUM = b"sum"


class _Own:
    """The database of the directory's identity, inside a transaction."""

    def __init__(self, transaction: Any, own: Any) -> None:
        self.transaction = transaction
        self.own = own

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, if it has one."""
        value: bytes | None = self.transaction.get(key, db=self.own)
        return value

    def put(self, key: bytes, value: bytes) -> None:
        """Sets the value of a key."""
        self.transaction.put(key, value, db=self.own)


class LmdbStorage:
    """A storage that survives crashes; see `Storage`.

    `map_bytes`: the map's size at first. `sync` False leaves out the syncs, for tests that show what they are for.
    Raises DirectoryInUse, DirectoryMismatch, DamagedDirectory, StorageError.
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
        with self._environment.begin(write=True) as transaction:
            known = {name for name, _ in transaction.cursor()}
            self._meta, self._log, self._own = (self._environment.open_db(name, transaction) for name in NAMES)
            self._check(transaction, known)
            self.incarnation = data_directory.identify(self.directory, _Own(transaction, self._own), cluster, node_id)
            if transaction.get(SUM, db=self._own) is None:  # it is new
                self._put_sum(transaction)
        data_directory.sync_names(self.directory)  # of the files that LMDB has made

    # -- the sum of all keys

    def _check(self, transaction: Any, known: set[bytes]) -> None:
        """Raises DamagedDirectory if the keys are not those that were put. `known`: the databases that were there."""
        form = transaction.get(b"format", db=self._own)
        if form is None:
            if known - {*NAMES} or any(transaction.stat(db)["entries"] for db in (self._meta, self._log, self._own)):
                raise DamagedDirectory(f"{self.directory}: it holds a log and no format")
            return
        if form != str(data_directory.FORMAT).encode():
            return  # `identify` refuses it by name
        if not known.issuperset(NAMES):
            raise DamagedDirectory(f"{self.directory}: a database of it is missing")
        self._check_sum(transaction)

    def _check_sum(self, transaction: Any) -> None:
        check_keys(self.directory, self._pairs(transaction), transaction.get(SUM, db=self._own))

    def _pairs(self, transaction: Any) -> list[tuple[bytes, bytes]]:
        """All keys and values, but that of the sum itself."""
        return [pair for db in (self._own, self._meta) for pair in transaction.cursor(db) if pair[0] != SUM]

    def _put_sum(self, transaction: Any) -> None:
        transaction.put(SUM, sum_of_keys(self._pairs(transaction)), db=self._own)

    # -- what it holds

    def meta(self) -> dict[bytes, bytes]:
        """The keys that the core has put."""
        with self._environment.begin(db=self._meta) as transaction:
            return {bytes(key): bytes(value) for key, value in transaction.cursor()}

    def records(self) -> Iterator[Record]:
        """All records, sorted by (first, index)."""
        try:
            with self._environment.begin(db=self._log) as transaction:
                for key, value in transaction.cursor():
                    yield *self._slots(key), value
        except lmdb.Error as error:
            raise CorruptLog(f"{self.directory}: {error}") from error

    def _slots(self, key: bytes) -> tuple[int, int]:
        """(first, index) of a key of the log."""
        if len(key) != KEY.size:
            raise CorruptLog(f"{self.directory}: a key of the log has {len(key)} bytes")
        first, index = KEY.unpack(key)
        return first, index

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """Makes a batch durable in one transaction, synced. Thread-safe. Raises StorageError."""
        if self._failed:
            raise StorageError(self._failed)
        try:
            while not self._fits(meta, records):
                self._grow()
        except DamagedDirectory as error:
            self._failed = str(error)
            raise
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
        with self._environment.begin(write=True) as transaction:
            if meta:
                self._check_sum(transaction)  # or a key that rotted meanwhile would get a right one
            for key, value in meta.items():
                transaction.put(key, value, db=self._meta)
            for first, index, record in BatchRecords(records):
                transaction.put(KEY.pack(first, index), record, db=self._log)
            if meta:
                self._put_sum(transaction)

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """(covered_end, records), see `Storage.read`. Thread-safe."""
        with self._map_lock, self._environment.begin(db=self._log, buffers=True) as transaction:
            cursor = transaction.cursor()
            if not cursor.set_range(KEY.pack(lowest_first(first), 0)):
                return end, []
            return cut(((*self._slots(key), value) for key, value in cursor), first, end, max_bytes)

    def close(self) -> None:
        """Closes the environment and releases the directory. Closing twice is harmless."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
