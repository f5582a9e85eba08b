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
import re
import secrets
import struct
import threading
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import lmdb

from multipaxos.errors import DirectoryInUse, DirectoryMismatch, StorageError
from multipaxos.wire.codec import RUN_SLOTS_MAX

Record = tuple[int, int, int, bytes]  # index, first, end, frame

FORMAT = 1
MAP_BYTES = 1 << 36
HEADER = struct.Struct("<QQQ")  # of a record in a batch: first, end, size of the frame
KEY = struct.Struct(">QQ")  # first, index
END = struct.Struct("<Q")
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "rootfs"}


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


def split(batch: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(first, end, frame) of each record in a batch."""
    at, length = 0, len(batch)
    while at < length:
        first, end, size = HEADER.unpack_from(batch, at)
        at += HEADER.size
        yield first, end, batch[at : at + size]
        at += size


def by_slot(record: Record) -> tuple[int, int]:
    """Records are sorted by (first, index)."""
    return record[1], record[0]


def lowest_first(slot: int) -> int:
    """No record over `slot` begins below this."""
    return max(0, slot + 1 - RUN_SLOTS_MAX)


def cut(records: Iterable[Record], first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
    """Of records sorted by (first, index): those over [first, end), up to about max_bytes."""
    taken: list[Record] = []
    size = 0
    for record in records:
        if record[1] >= end:
            break
        if record[2] <= first:
            continue
        if size >= max_bytes and record[1] > first:
            return record[1], taken
        taken.append(record)
        size += len(record[3])
    return end, taken


class MemoryStorage:
    """Nothing survives: a node that restarts has a new incarnation and does not vote."""

    kind = "memory"
    immediate = True

    def __init__(self) -> None:
        self.incarnation = new_incarnation()
        self._meta: dict[bytes, bytes] = {}
        self._batches: list[bytes] = []  # as they came: indexed only when somebody reads
        self._indexed: list[Record] = []
        self._count = 0

    def meta(self) -> dict[bytes, bytes]:
        """The core's keys."""
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
        """All records over [first, covered_end)."""
        self._index()
        at = bisect_left(self._indexed, lowest_first(first), key=lambda record: record[1])
        return cut((self._indexed[i] for i in range(at, len(self._indexed))), first, end, max_bytes)

    def _index(self) -> None:
        """Sorts in what came; mostly it lies above all else, so only the tail that it touches is sorted."""
        batches, self._batches = self._batches, []
        new: list[Record] = []
        for batch in batches:
            for first, end, frame in split(batch):
                self._count += 1
                new.append((self._count, first, end, frame))
        if not new:
            return
        lowest = min(record[1] for record in new)
        at = bisect_left(self._indexed, lowest, key=lambda record: record[1])
        tail = self._indexed[at:] + new
        tail.sort(key=by_slot)
        self._indexed[at:] = tail

    def close(self) -> None:
        """Nothing to let go of."""


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


def sync_names(directory: Path) -> None:
    """Makes the names in a directory durable: LMDB syncs what is in its files, but a file whose name the disk
    never saw is lost with all that was synced into it."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def make_durably(directory: Path) -> None:
    """Makes a directory, and those above it that are missing; the names of all that it made are durable."""
    if directory.is_dir():
        return
    make_durably(directory.parent)
    directory.mkdir(exist_ok=True)
    sync_names(directory.parent)


def is_memory_filesystem(path: str | Path) -> bool:
    """Does the path lie on a file system in memory, where a sync means nothing?"""
    found, kind = "", ""
    where = os.path.realpath(path)
    with open("/proc/self/mounts", encoding="utf-8", errors="surrogateescape") as mounts:
        for line in mounts:
            _, escaped, file_system, *_ = line.split(" ")
            mount = re.sub(r"\\([0-7]{3})", lambda octal: chr(int(octal[1], 8)), escaped)
            inside = where == mount or where.startswith(mount.rstrip("/") + "/")
            if inside and len(mount) >= len(found):
                found, kind = mount, file_system
    return kind in MEMORY_FILE_SYSTEMS
