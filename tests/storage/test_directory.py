"""A data directory: it remembers whose it is, one process holds it, its name is durable."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from multipaxos.errors import DirectoryInUse, DirectoryMismatch, StorageError
from multipaxos.storage import directory
from multipaxos.storage.directory import is_memory_filesystem
from multipaxos.storage.dropping import DroppingStorage
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.wire.record import parts_of
from tests.support.records import pack

SMALL_MAP_BYTES = 1 << 20


# -- a life after another


def test_a_directory_remembers(tmp_path: Path) -> None:
    first = LmdbStorage(tmp_path, "demo", 2)
    first.commit({b"ballot": b"7"}, pack([(1, 3, 1, b"a"), (3, 4, 2, b"b")]))
    first.close()
    second = LmdbStorage(tmp_path, "demo", 2)
    assert second.incarnation == first.incarnation
    assert second.meta() == {b"ballot": b"7"}
    second.commit({}, pack([(1, 3, 3, b"c")]))
    kept = [(1, 3, 1, b"a"), (1, 3, 3, b"c"), (3, 4, 2, b"b")]
    assert [parts_of(value) for _, _, value in second.records()] == kept
    second.close()


def test_the_names_of_what_is_made_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A synced file is lost nevertheless if the name of a directory above it never reached the disk."""
    synced: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        real(number)

    monkeypatch.setattr(directory.os, "fsync", fsync)
    made = tmp_path / "new" / "node0"
    LmdbStorage(made, "demo", 0, map_bytes=SMALL_MAP_BYTES).close()
    assert synced == [str(tmp_path), str(tmp_path / "new"), str(made)]
    synced.clear()
    LmdbStorage(made, "demo", 0, map_bytes=SMALL_MAP_BYTES).close()
    assert synced == [str(made)], "what was there before is not ours to sync"


def test_incarnations_are_new_for_new_directories_and_memory(tmp_path: Path) -> None:
    made = [LmdbStorage(tmp_path / str(i), "demo", 0) for i in range(3)]
    memory = [MemoryStorage() for _ in range(3)]
    assert len({each.incarnation for each in (*made, *memory)}) == 6
    for each in made:
        each.close()


@pytest.mark.parametrize(
    ("cluster", "node", "text"),
    [("other", 0, r"belongs to cluster 'demo', not 'other'"), ("demo", 1, r"belongs to node '0', not '1'")],
)
def test_another_nodes_directory_is_refused(tmp_path: Path, cluster: str, node: int, text: str) -> None:
    LmdbStorage(tmp_path, "demo", 0).close()
    with pytest.raises(DirectoryMismatch, match=text):
        LmdbStorage(tmp_path, cluster, node)
    LmdbStorage(tmp_path, "demo", 0).close()  # a refusal releases the directory


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LmdbStorage(tmp_path, "demo", 0).close()
    monkeypatch.setattr(directory, "FORMAT", 3)
    with pytest.raises(DirectoryMismatch, match="has format 2, this version writes 3") as refused:
        LmdbStorage(tmp_path, "demo", 0)
    assert "empty" not in str(refused.value)  # the directory is whole: nobody is told to do without it


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match="is it a data directory"):
        LmdbStorage(tmp_path, "demo", 0)
    (tmp_path / "data.mdb").unlink()
    LmdbStorage(tmp_path, "demo", 0).close()  # the refusal released the lock


def test_a_place_that_cannot_be_a_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(StorageError, match="choose a directory"):
        LmdbStorage(tmp_path / "file" / "data", "demo", 0)


# -- one process at a time

HOLD = """
    import sys
    from multipaxos.storage.lmdb import LmdbStorage
    storage = LmdbStorage(sys.argv[1], "demo", 0)
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_directory_in_use_names_the_process_and_is_free_after_its_death(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLD), str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        for make_one in (LmdbStorage, DroppingStorage):
            with pytest.raises(DirectoryInUse, match=rf"living process {holder.pid}:"):
                make_one(tmp_path, "demo", 0)
        holder.send_signal(signal.SIGKILL)
        holder.wait()
        LmdbStorage(tmp_path, "demo", 0).close()


def test_a_directory_is_held_within_a_process_too(tmp_path: Path) -> None:
    holder = LmdbStorage(tmp_path, "demo", 0)
    with pytest.raises(DirectoryInUse, match=rf"living process {os.getpid()}:"):
        LmdbStorage(tmp_path, "demo", 0)
    holder.close()
    holder.close()  # again is harmless
    LmdbStorage(tmp_path, "demo", 0).close()


# -- file systems in memory

MOUNTS = r"""/dev/sda1 / ext4 rw 0 0
tmpfs /dev/shm tmpfs rw 0 0
tmpfs /mnt/a\040b tmpfs rw 0 0
/dev/sdb1 /dev/shm/disk xfs rw 0 0
tmpfs /over tmpfs rw 0 0
/dev/sdc1 /over ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("path", "in_memory"),
    [("/", False), ("/dev/shm", True), ("/dev/shm/x/y", True), ("/dev/shmx", False), ("/mnt/a b/c", True),
     ("/dev/shm/disk/x", False), ("/over/x", False)],
)  # fmt: skip
def test_is_memory_filesystem(path: str, in_memory: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    listed = tmp_path / "mounts"
    listed.write_text(MOUNTS)
    real_open: Callable[..., Any] = open
    monkeypatch.setattr(directory, "open", lambda name, **how: real_open(listed, **how), raising=False)
    monkeypatch.setattr(directory.os.path, "realpath", lambda path: str(path))
    assert is_memory_filesystem(path) is in_memory


def test_is_memory_filesystem_reads_the_systems_mounts() -> None:
    assert isinstance(is_memory_filesystem("/"), bool)
    if os.path.ismount("/dev/shm"):
        assert is_memory_filesystem("/dev/shm/no/such/directory")
