"""Storage: what is committed is read back, by the rules of `read`; refusals have names; failures are final."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multipaxos.errors import DirectoryInUse, DirectoryMismatch, StorageError
from multipaxos.storage import directory
from multipaxos.storage import lmdb as storage_module
from multipaxos.storage.directory import is_memory_filesystem
from multipaxos.storage.dropping import DroppingStorage
from multipaxos.storage.interface import Storage
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.storage.records import HEADER, Record, split
from multipaxos.wire.codec import RUN_SLOTS_MAX

SMALL_MAP_BYTES = 1 << 20


def batch(*records: tuple[int, int, bytes]) -> bytes:
    """Records as the core hands them out: (first, end, frame)."""
    return b"".join(HEADER.pack(first, end, len(frame)) + frame for first, end, frame in records)


def in_another_process(code: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    """Runs Python text with sys.argv[1:]; its output is text."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)


@pytest.fixture(params=["memory", "lmdb", "dropping"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Each kind of storage, empty."""
    if request.param == "memory":
        made: Storage = MemoryStorage()
    elif request.param == "lmdb":
        made = LmdbStorage(tmp_path / "data", "demo", 0, map_bytes=SMALL_MAP_BYTES)
    else:
        made = DroppingStorage(tmp_path / "data", "demo", 0)
    yield made
    made.close()


# -- records and meta


def test_split_gives_back_a_batch() -> None:
    records = [(1, 3, b"one"), (3, 4, b""), (1 << 60, (1 << 60) + 1, b"x" * 1000)]
    assert list(split(batch(*records))) == records
    assert list(split(b"")) == []


def test_an_empty_storage_has_nothing(store: Storage) -> None:
    assert store.meta() == {}
    assert list(store.records()) == []
    assert store.read(1, 100, 1000) == (100, [])
    assert store.incarnation > 0


def test_records_come_sorted_by_first_and_index(store: Storage) -> None:
    store.commit({}, batch((7, 9, b"a"), (1, 4, b"b")))
    assert list(store.records()) == [(2, 1, 4, b"b"), (1, 7, 9, b"a")]
    store.commit({}, batch((3, 8, b"c"), (1, 2, b"d"), (0, 1, b"e")))
    expected = [(5, 0, 1, b"e"), (2, 1, 4, b"b"), (4, 1, 2, b"d"), (3, 3, 8, b"c"), (1, 7, 9, b"a")]
    assert list(store.records()) == expected
    assert store.read(0, 10, 1 << 20) == (10, expected)
    assert store.read(2, 3, 1 << 20) == (3, [expected[1]])


def test_meta_is_put_key_by_key(store: Storage) -> None:
    store.commit({b"ballot": b"1", b"mark": b"2"}, b"")
    store.commit({b"ballot": b"3"}, batch((1, 2, b"x")))
    assert store.meta() == {b"ballot": b"3", b"mark": b"2"}


def test_slot_0_is_found(store: Storage) -> None:
    store.commit({}, batch((0, RUN_SLOTS_MAX, b"x")))
    assert store.read(0, 1, 10)[1] == [(1, 0, RUN_SLOTS_MAX, b"x")]
    assert store.read(RUN_SLOTS_MAX - 1, RUN_SLOTS_MAX, 10)[1] == [(1, 0, RUN_SLOTS_MAX, b"x")]
    assert store.read(RUN_SLOTS_MAX, RUN_SLOTS_MAX + 1, 10)[1] == []


RECORDS = st.lists(
    st.tuples(st.integers(0, 3000), st.integers(1, 40) | st.just(RUN_SLOTS_MAX), st.integers(0, 60)),
    max_size=30,
)
READS = st.lists(
    st.tuples(st.integers(0, 3200), st.integers(1, 2500), st.sampled_from([0, 1, 50, 200, 1 << 20])),
    min_size=1,
    max_size=6,
)


@pytest.mark.parametrize("kind", ["memory", "lmdb", "dropping"])
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(RECORDS, max_size=4), reads=READS)
def test_read_agrees_with_a_list(
    kind: str,
    batches: list[list[tuple[int, int, int]]],
    reads: list[tuple[int, int, int]],
    tmp_path_factory: Any,
) -> None:
    """Every record over [first, covered_end) is there, sorted, and the cut is neither early nor far too late."""
    made = make(kind, tmp_path_factory)
    try:
        model: list[Record] = []
        for each in batches:
            written = [(first, first + count, bytes(size)) for first, count, size in each]
            made.commit({}, batch(*written))
            model += [(len(model) + i, *record) for i, record in enumerate(written, start=1)]
            check_reads(made, model, reads)
        assert list(made.records()) == sorted(model, key=lambda record: (record[1], record[0]))
        check_reads(made, model, reads)
    finally:
        made.close()


def make(kind: str, directories: Any) -> Storage:
    """A fresh storage of a kind, without waiting for the disk."""
    if kind == "memory":
        return MemoryStorage()
    directory = directories.mktemp("data")
    if kind == "lmdb":
        return LmdbStorage(directory, "demo", 0, map_bytes=SMALL_MAP_BYTES, sync=False)
    return DroppingStorage(directory, "demo", 0)


def check_reads(made: Storage, model: list[Record], reads: list[tuple[int, int, int]]) -> None:
    """The rules of `read`, by a walk over all records."""
    for first, span, max_bytes in reads:
        end = first + span
        covered, got = made.read(first, end, max_bytes)
        assert first < covered <= end
        over = [record for record in model if record[1] < covered and record[2] > first]
        assert [record for record in got if record[1] < covered] == sorted(over, key=lambda r: (r[1], r[0]))
        assert all(record[2] > first and record[1] < end for record in got)
        if covered < end:  # cut only where one slot more goes to the limit
            more = [record for record in model if record[1] <= covered and record[2] > first]
            assert sum(len(record[3]) for record in more) >= max_bytes
        # Beyond the limit there is one record, or those that cannot be cut: they begin at `first` or below.
        beyond = [record for i, record in enumerate(got) if sum(len(r[3]) for r in got[:i]) >= max_bytes]
        assert all(record[1] <= first for record in beyond)


def test_dropping_storage_reads_what_is_unsynced_in_order(tmp_path: Path) -> None:
    made = DroppingStorage(tmp_path, "demo", 0, broken=True)
    made.commit({}, batch((1, 3, b"old"), (1, 3, b"new")))
    made.commit({}, batch((1, 2, b"newest")))
    _, records = made.read(1, 5, 1000)
    assert [record[3] for record in records] == [b"old", b"new", b"newest"]
    assert sorted(records) == records  # of overlapping ones the last has the greatest index
    made.close()


# -- a life after another


def test_a_directory_remembers(tmp_path: Path) -> None:
    first = LmdbStorage(tmp_path, "demo", 2)
    first.commit({b"ballot": b"7"}, batch((1, 3, b"a"), (3, 4, b"b")))
    first.close()
    second = LmdbStorage(tmp_path, "demo", 2)
    assert second.incarnation == first.incarnation
    assert second.meta() == {b"ballot": b"7"}
    second.commit({}, batch((1, 3, b"c")))
    assert list(second.records()) == [(1, 1, 3, b"a"), (3, 1, 3, b"c"), (2, 3, 4, b"b")]
    second.close()


def test_the_names_of_what_is_made_are_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A synced file is lost all the same if a directory above it never reached the disk."""
    synced: list[str] = []
    real = os.fsync

    def fsync(number: int) -> None:
        synced.append(os.readlink(f"/proc/self/fd/{number}"))
        real(number)

    monkeypatch.setattr(storage_module.os, "fsync", fsync)
    directory = tmp_path / "new" / "node0"
    LmdbStorage(directory, "demo", 0, map_bytes=SMALL_MAP_BYTES).close()
    assert synced == [str(tmp_path), str(tmp_path / "new"), str(directory)]
    synced.clear()
    LmdbStorage(directory, "demo", 0, map_bytes=SMALL_MAP_BYTES).close()
    assert synced == [str(directory)], "what was there before is not ours to sync"


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
    LmdbStorage(tmp_path, "demo", 0).close()  # a refusal lets go of it


def test_another_format_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    LmdbStorage(tmp_path, "demo", 0).close()
    monkeypatch.setattr(storage_module, "FORMAT", 2)
    with pytest.raises(DirectoryMismatch, match="has format 1, this version writes 2"):
        LmdbStorage(tmp_path, "demo", 0)


def test_a_directory_of_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").write_bytes(b"not a database" * 1000)
    with pytest.raises(StorageError, match="is it a data directory"):
        LmdbStorage(tmp_path, "demo", 0)
    (tmp_path / "data.mdb").unlink()
    LmdbStorage(tmp_path, "demo", 0).close()  # the refusal let go of the lock


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


# -- room and failures


def test_the_map_grows(tmp_path: Path) -> None:
    made = LmdbStorage(tmp_path, "demo", 0, map_bytes=1 << 16)
    frames = [bytes([i]) * 60_000 for i in range(40)]
    for i, frame in enumerate(frames):
        made.commit({b"n": bytes([i])}, batch((i, i + 1, frame)))
    assert [record[3] for record in made.records()] == frames
    assert [record[0] for record in made.records()] == list(range(1, 41))  # a repeated try counts nothing twice
    made.close()


def test_the_map_grows_while_others_read(tmp_path: Path) -> None:
    made = LmdbStorage(tmp_path, "demo", 0, map_bytes=1 << 16, sync=False)
    made.commit({}, batch((0, 1, b"first" * 1000)))
    seen: list[bool] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            seen.append(made.read(0, 1, 1 << 20)[1][0][3] == b"first" * 1000)

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(1, 150):
        made.commit({}, batch((i, i + 1, bytes(30_000))))
    done.set()
    reader.join()
    assert seen
    assert all(seen)
    made.close()


FILL = """
    import resource, signal, sys
    from multipaxos.errors import StorageError
    from multipaxos.storage.lmdb import LmdbStorage
    from multipaxos.storage.records import HEADER
    storage = LmdbStorage(sys.argv[1], "demo", 0)
    frame = bytes(50_000)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (400_000, resource.RLIM_INFINITY))
    done = 0
    try:
        while done < 100:
            storage.commit({}, HEADER.pack(done, done + 1, len(frame)) + frame)
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
    assert [record[1] for record in made.records()] == list(range(int(done)))
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
        made.commit({}, batch((1, 2, bytes(1 << 17))))
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
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY  # only theirs was cut


# -- the disk that drops what is unsynced


@pytest.mark.parametrize(("broken", "kept"), [(False, 2), (True, 0)])
def test_dropping_storage_keeps_what_was_synced_alone(tmp_path: Path, broken: bool, kept: int) -> None:
    made = DroppingStorage(tmp_path, "demo", 0, broken=broken)
    made.commit({b"a": b"1"}, batch((1, 2, b"x")))
    made.commit({b"a": b"2"}, batch((2, 3, b"y")))
    assert len(made.read(1, 5, 100)[1]) == 2  # the process itself sees all, as through a page cache
    made.close()  # the power is cut
    after = DroppingStorage(tmp_path, "demo", 0)
    assert after.incarnation == made.incarnation
    assert len(list(after.records())) == kept
    assert after.meta() == ({b"a": b"2"} if kept else {})
    after.close()


def test_dropping_storage_keeps_what_was_synced_by_hand(tmp_path: Path) -> None:
    made = DroppingStorage(tmp_path, "demo", 0, broken=True)
    made.commit({}, batch((1, 2, b"x")))
    made.sync()
    made.commit({}, batch((2, 3, b"y")))
    made.close()
    after = DroppingStorage(tmp_path, "demo", 0)
    assert [record[3] for record in after.records()] == [b"x"]
    after.close()


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
