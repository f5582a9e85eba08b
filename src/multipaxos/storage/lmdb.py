"""What survives a crash: the acceptor's memory, behind one small interface.

Theory. The core appends *records* - runs of slots - and puts a few keys of *meta*, in batches; a batch is
durable as a whole when `commit` returns. Records never hide one another by key: the append index is part of
the key, and for a slot the record with the greatest index holds. They are found by their first slot; since a
record spans at most RUN_SLOTS_MAX slots, all records over a slot begin in a short range below it.

Rules.
- A data directory remembers its cluster, node and format, and refuses another's. It gets a random
  incarnation when it is made; memory gets one at every start.
- One process holds a directory: a lock of our own (LMDB would let a second one in).
- A commit that fails makes the storage fail for good, with every later one: what a disk did with a failed
  sync cannot be known.
"""

from __future__ import annotations

import fcntl
import os
import struct
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import lmdb

from multipaxos.errors import DirectoryInUse, DirectoryMismatch, StorageError
from multipaxos.storage.directory import make_durably, sync_names
from multipaxos.storage.interface import new_incarnation
from multipaxos.storage.records import Record, cut, lowest_first, split

FORMAT = 1
MAP_BYTES = 1 << 36
KEY = struct.Struct(">QQ")  # first, index
END = struct.Struct("<Q")


class LmdbStorage:
    """A data directory. `sync` False leaves out the sync: for tests that must show what it is for."""

    kind = "lmdb"
    immediate = False

    def __init__(
        self, directory: str | Path, cluster: str, node: int, *, map_bytes: int = MAP_BYTES, sync: bool = True
    ) -> None:
        self.directory = Path(directory)
        self._failed = ""
        self._map_lock = threading.Lock()  # the map must not move under a reader
        self._environment: Any = None
        self._lock = self._take_lock()
        try:
            self._open(cluster, node, map_bytes, sync)
        except (lmdb.Error, OSError) as error:
            self.close()
            raise StorageError(
                f"{self.directory}: {error}: is it a data directory of multipaxos, on a disk with room?"
            ) from error
        except BaseException:
            self.close()
            raise

    def _open(self, cluster: str, node: int, map_bytes: int, sync: bool) -> None:
        path = str(self.directory)
        self._environment = lmdb.open(
            path, map_size=map_bytes, max_dbs=3, sync=sync, metasync=sync, lock=True, max_readers=16
        )
        self._meta = self._environment.open_db(b"meta")
        self._log = self._environment.open_db(b"log")
        self._own = self._environment.open_db(b"storage")
        self.incarnation = self._identify(cluster, node)
        sync_names(self.directory)  # of the files that LMDB has made
        self._count = self._last_index()

    def _take_lock(self) -> int:
        """Makes the directory if need be, and holds it: its file `owner` is locked and names the process."""
        lock = -1
        try:
            make_durably(self.directory.absolute())
            lock = os.open(self.directory / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(lock, 0)
            os.pwrite(lock, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
            os.close(lock)
            raise DirectoryInUse(
                f"{self.directory} is in use by the living process {owner}: end it, or choose another directory"
            ) from None
        except OSError as error:
            if lock >= 0:
                os.close(lock)
            raise StorageError(f"{self.directory}: {error.strerror}; choose a directory that can be written") from error
        return lock

    def _identify(self, cluster: str, node: int) -> int:
        """Reads whose directory it is, or makes it ours; identity and incarnation are one transaction."""
        with self._environment.begin(write=True, db=self._own) as transaction:
            known = transaction.get(b"format")
            if known is None:
                incarnation = new_incarnation()
                transaction.put(b"format", str(FORMAT).encode())
                transaction.put(b"cluster", cluster.encode())
                transaction.put(b"node", str(node).encode())
                transaction.put(b"incarnation", END.pack(incarnation))
                return incarnation
            if known != str(FORMAT).encode():
                raise DirectoryMismatch(f"{self.directory} has format {known.decode()}, this version writes {FORMAT}")
            for key, mine in ((b"cluster", cluster), (b"node", str(node))):
                theirs = transaction.get(key).decode()
                if theirs != mine:
                    raise DirectoryMismatch(
                        f"{self.directory} belongs to {key.decode()} {theirs!r}, not {mine!r}: "
                        "give this node the directory that it had, or an empty one"
                    )
            (incarnation,) = END.unpack(transaction.get(b"incarnation"))
            return int(incarnation)

    def _last_index(self) -> int:
        with self._environment.begin(db=self._own) as transaction:
            data = transaction.get(b"last")
            return END.unpack(data)[0] if data else 0

    def meta(self) -> dict[bytes, bytes]:
        """The core's keys."""
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
        (end,) = END.unpack_from(value)
        return index, first, end, value[END.size :]

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        """One transaction, synced."""
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
        """Doubles the map, while nobody reads."""
        with self._map_lock:
            self._environment.set_mapsize(self._environment.info()["map_size"] * 2)

    def _commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        count = self._count
        with self._environment.begin(write=True) as transaction:
            for key, value in meta.items():
                transaction.put(key, value, db=self._meta)
            for first, end, frame in split(records):
                count += 1
                transaction.put(KEY.pack(first, count), END.pack(end) + frame, db=self._log)
            transaction.put(b"last", END.pack(count), db=self._own)
        self._count = count

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        """All records over [first, covered_end). Thread-safe."""
        with self._map_lock, self._environment.begin(db=self._log) as transaction:
            cursor = transaction.cursor()
            if not cursor.set_range(KEY.pack(lowest_first(first), 0)):
                return end, []
            return cut((self._record(key, value) for key, value in cursor), first, end, max_bytes)

    def close(self) -> None:
        """Closes the environment and lets go of the directory. May be called again."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1
