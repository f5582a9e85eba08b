"""The LMDB storage: it makes room, and a failure is final and has a name."""

from __future__ import annotations

import resource
import subprocess
import sys
import textwrap
import threading
from pathlib import Path

import lmdb
import pytest

from multipaxos.errors import StorageError
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.wire.record import HEADER_BYTES
from tests.support.records import pack


def in_another_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs Python text with sys.argv[1:]; its output is text."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


def test_the_map_grows(tmp_path: Path) -> None:
    made = LmdbStorage(tmp_path, "demo", 0, map_bytes=1 << 16)
    frames = [bytes([i]) * 60_000 for i in range(40)]
    for i, frame in enumerate(frames, 1):
        made.commit({b"n": bytes([i])}, pack([(i, i + 1, i, frame)]))
    assert [value[HEADER_BYTES:] for _, _, value in made.records()] == frames
    made.close()


def test_the_map_grows_while_others_read(tmp_path: Path) -> None:
    made = LmdbStorage(tmp_path, "demo", 0, map_bytes=1 << 16, sync=False)
    made.commit({}, pack([(1, 2, 1, b"first" * 1000)]))
    seen: list[bool] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(made.read(1, 2, 1 << 20)[1][0][2].endswith(b"first" * 1000))

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(2, 150):
        made.commit({}, pack([(i, i + 1, i, bytes(30_000))]))
    done.set()
    reader.join()
    assert seen
    assert all(seen)
    made.close()


FILL = """
    import resource, signal, sys
    from multipaxos.errors import StorageError
    from multipaxos.storage.lmdb import LmdbStorage
    from multipaxos.wire.record import make_record
    storage = LmdbStorage(sys.argv[1], "demo", 0)
    frame = bytes(50_000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    done = 0
    try:
        while done < 100:
            storage.commit({}, make_record(done + 1, done + 2, done + 1, frame))
            done += 1
    except StorageError as error:
        print(error)
    resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    try:
        storage.commit({b"later": b"1"}, b"")
    except StorageError as error:
        print("later:", error)
    print(done)
"""


def test_a_full_disk_fails_the_storage_for_good_and_keeps_what_was_committed(tmp_path: Path) -> None:
    ran = in_another_process(FILL, tmp_path)
    assert ran.stderr == ""
    first, later, done = ran.stdout.splitlines()
    assert "a commit failed" in first
    assert "mend the disk" in first
    assert later == f"later: {first}"
    assert 0 < int(done) < 20
    made = LmdbStorage(tmp_path, "demo", 0)
    assert [record[0] for record in made.records()] == list(range(1, int(done) + 1))
    assert made.meta() == {}
    made.close()


@pytest.mark.parametrize("error", [lmdb.DiskError("I/O error"), OSError(5, "I/O error"), lmdb.PanicError("panic")])
def test_a_failed_commit_is_a_storage_error_for_good(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    made = LmdbStorage(tmp_path, "demo", 0)

    def fail(*arguments: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(made, "_commit", fail)
        with pytest.raises(StorageError, match="mend the disk"):
            made.commit({b"a": b"1"}, b"")
    with pytest.raises(StorageError, match="mend the disk"):
        made.commit({b"b": b"1"}, b"")
    assert made.meta() == {}
    made.close()


def test_a_map_that_cannot_grow_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = LmdbStorage(tmp_path, "demo", 0, map_bytes=1 << 16)

    def fail() -> None:
        raise lmdb.MemoryError("no address space")

    monkeypatch.setattr(made, "_grow", fail)
    with pytest.raises(StorageError, match="no address space"):
        made.commit({}, pack([(1, 2, 1, bytes(1 << 17))]))
    made.close()


def test_a_full_disk_at_the_start_is_a_storage_error(tmp_path: Path) -> None:
    code = """
        import resource, signal, sys
        from multipaxos.errors import StorageError
        from multipaxos.storage.lmdb import LmdbStorage
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
        try:
            LmdbStorage(sys.argv[1], "demo", 0)
        except StorageError as error:
            print(type(error).__name__)
    """
    for limit in (0, 4096):
        ran = in_another_process(code, tmp_path / str(limit), limit)
        assert (ran.stdout, ran.stderr) == ("StorageError\n", ""), limit
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY  # this process has no limit
