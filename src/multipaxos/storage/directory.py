"""What a data directory is, whichever storage fills it: made durably, held by one process, and a known node's.

Rules.
- A directory remembers its format, cluster, node and incarnation from the moment when it is made, and refuses every
  other format, cluster and node.
- One living process holds a directory: it locks the file `owner`, which names the process. LMDB's own locks would let a
  second process in.
- A name in a directory is durable only when the directory is synced: a file whose name the disk never received is lost
  with all that was synced into it.
"""

from __future__ import annotations

import fcntl
import os
import re
import struct
from pathlib import Path
from typing import Protocol

from multipaxos.errors import DamagedDirectory, DirectoryInUse, DirectoryMismatch, StorageError
from multipaxos.storage.interface import new_incarnation

FORMAT = 2
MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "rootfs"}

_INCARNATION = struct.Struct("<Q")


# -- one process at a time


def hold(directory: Path) -> int:
    """Makes the directory if need be, locks it for this process, and returns the descriptor that holds the lock.

    Closing the descriptor releases the directory. Raises DirectoryInUse, StorageError.
    """
    lock = -1
    try:
        make_durably(directory.absolute())
        lock = os.open(directory / "owner", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
    except BlockingIOError:
        owner = os.pread(lock, 32, 0).decode(errors="replace").strip()
        os.close(lock)
        raise DirectoryInUse(
            f"{directory} is in use by the living process {owner}: end it, or choose another directory"
        ) from None
    except OSError as error:
        if lock >= 0:
            os.close(lock)
        raise StorageError(f"{directory}: {error.strerror}; choose a directory that can be written") from error
    return lock


# -- whose directory it is


class Transaction(Protocol):
    """What `identify` needs of a transaction of the directory's database; either all puts are durable or none."""

    def get(self, key: bytes) -> bytes | None:
        """The value of a key, if it has one."""

    def put(self, key: bytes, value: bytes) -> object:
        """Sets the value of a key."""


def identify(directory: Path, transaction: Transaction, cluster: str, node_id: int) -> int:
    """The directory's incarnation; a new directory becomes that of node `node_id` of `cluster` here.

    Raises DirectoryMismatch if the directory has another format or belongs to another cluster or node,
    DamagedDirectory if its format is no number.
    """
    known = transaction.get(b"format")
    if known is None:
        incarnation = new_incarnation()
        transaction.put(b"format", str(FORMAT).encode())
        transaction.put(b"cluster", cluster.encode())
        transaction.put(b"node", str(node_id).encode())
        transaction.put(b"incarnation", _INCARNATION.pack(incarnation))
        return incarnation
    if not known.isdigit():
        raise DamagedDirectory(f"{directory}: its format is no number")
    if known != str(FORMAT).encode():
        raise DirectoryMismatch(
            f"{directory} has format {known.decode()}, this version writes {FORMAT}: start the version "
            "that wrote it; to change the version, found a new cluster and copy keys and values with clients of both"
        )
    for key, ours in ((b"cluster", cluster), (b"node", str(node_id))):
        theirs = (transaction.get(key) or b"").decode(errors="replace")
        if theirs != ours:
            raise DirectoryMismatch(
                f"{directory} belongs to {key.decode()} {theirs!r}, not {ours!r}: "
                "give this node the directory that it had"
            )
    return int(_INCARNATION.unpack(transaction.get(b"incarnation") or b"")[0])


# -- names that are durable


def sync_names(directory: Path) -> None:
    """Makes the names in a directory durable. Raises OSError."""
    number = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def make_durably(directory: Path) -> None:
    """Makes a directory and the missing ones above it, with durable names. Raises OSError."""
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
