"""What a data directory is."""

from __future__ import annotations

import os
import re
from pathlib import Path

MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs", "rootfs"}


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
