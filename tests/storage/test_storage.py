"""Every kind of storage: what is committed is read back, by the rules of `Storage.read`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multipaxos.storage.dropping import DroppingStorage
from multipaxos.storage.interface import Storage
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.storage.records import Record, pack, split
from multipaxos.wire.codec import RUN_SLOTS_MAX

SMALL_MAP_BYTES = 1 << 20


KINDS: dict[str, Callable[[Path, bool], Storage]] = {
    "memory": lambda directory, sync: MemoryStorage(),
    "lmdb": lambda directory, sync: LmdbStorage(directory, "demo", 0, map_bytes=SMALL_MAP_BYTES, sync=sync),
    "dropping": lambda directory, sync: DroppingStorage(directory, "demo", 0),
}  # each makes a storage in a directory; with `sync` false one that does not wait for the disk, where it can


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    """Each kind of storage, empty."""
    made = KINDS[request.param](tmp_path / "data", True)
    yield made
    made.close()


# -- records and meta


def test_split_gives_back_a_batch() -> None:
    records = [(1, 3, b"one"), (3, 4, b""), (1 << 60, (1 << 60) + 1, b"x" * 1000)]
    assert list(split(pack(records))) == records
    assert list(split(b"")) == []


def test_an_empty_storage_has_nothing(store: Storage) -> None:
    assert store.meta() == {}
    assert list(store.records()) == []
    assert store.read(1, 100, 1000) == (100, [])
    assert store.incarnation > 0


def test_records_come_sorted_by_first_and_index(store: Storage) -> None:
    store.commit({}, pack([(7, 9, b"a"), (1, 4, b"b")]))
    assert list(store.records()) == [(2, 1, 4, b"b"), (1, 7, 9, b"a")]
    store.commit({}, pack([(3, 8, b"c"), (1, 2, b"d"), (0, 1, b"e")]))
    expected = [(5, 0, 1, b"e"), (2, 1, 4, b"b"), (4, 1, 2, b"d"), (3, 3, 8, b"c"), (1, 7, 9, b"a")]
    assert list(store.records()) == expected
    assert store.read(0, 10, 1 << 20) == (10, expected)
    assert store.read(2, 3, 1 << 20) == (3, [expected[1]])


def test_meta_is_put_key_by_key(store: Storage) -> None:
    store.commit({b"ballot": b"1", b"mark": b"2"}, b"")
    store.commit({b"ballot": b"3"}, pack([(1, 2, b"x")]))
    assert store.meta() == {b"ballot": b"3", b"mark": b"2"}


def test_slot_0_is_found(store: Storage) -> None:
    store.commit({}, pack([(0, RUN_SLOTS_MAX, b"x")]))
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


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(batches=st.lists(RECORDS, max_size=4), reads=READS)
def test_read_agrees_with_a_list(
    kind: str,
    batches: list[list[tuple[int, int, int]]],
    reads: list[tuple[int, int, int]],
    tmp_path_factory: Any,
) -> None:
    """Every record over [first, covered_end) is there, sorted, and the cut is neither early nor far too late."""
    made = KINDS[kind](tmp_path_factory.mktemp("data"), False)
    try:
        model: list[Record] = []
        for each in batches:
            written = [(first, first + count, bytes(size)) for first, count, size in each]
            made.commit({}, pack(written))
            model += [(len(model) + i, *record) for i, record in enumerate(written, start=1)]
            check_reads(made, model, reads)
        assert list(made.records()) == sorted(model, key=lambda record: (record[1], record[0]))
        check_reads(made, model, reads)
    finally:
        made.close()


def check_reads(made: Storage, model: list[Record], reads: list[tuple[int, int, int]]) -> None:
    """Checks the rules of `read` by a walk over all records."""
    for first, span, max_bytes in reads:
        end = first + span
        covered, got = made.read(first, end, max_bytes)
        assert first < covered <= end
        over = [record for record in model if record[1] < covered and record[2] > first]
        assert [record for record in got if record[1] < covered] == sorted(over, key=lambda r: (r[1], r[0]))
        assert all(record[2] > first and record[1] < end for record in got)
        if covered < end:  # cut only if one slot more reaches the limit
            more = [record for record in model if record[1] <= covered and record[2] > first]
            assert sum(len(record[3]) for record in more) >= max_bytes
        # Beyond the limit there is one record, or records that cannot be cut because they begin at `first` or below.
        beyond = [record for i, record in enumerate(got) if sum(len(r[3]) for r in got[:i]) >= max_bytes]
        assert all(record[1] <= first for record in beyond)
