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
from multipaxos.storage.records import Record, by_key
from multipaxos.wire.codec import RUN_SLOTS_MAX
from multipaxos.wire.record import make_record, parts_of
from tests.support.records import pack

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


def records(*some: tuple[int, int, int, bytes]) -> list[Record]:
    """Records as a storage hands them out, of (first, end, index, frame)."""
    return [(first, index, make_record(first, end, index, frame)) for first, end, index, frame in some]


# -- records and meta


def test_an_empty_storage_has_nothing(store: Storage) -> None:
    assert store.meta() == {}
    assert list(store.records()) == []
    assert store.read(1, 100, 1000) == (100, [])
    assert store.incarnation > 0


def test_records_come_sorted_by_first_and_index(store: Storage) -> None:
    store.commit({}, pack([(8, 10, 1, b"a"), (2, 5, 2, b"b")]))
    assert list(store.records()) == records((2, 5, 2, b"b"), (8, 10, 1, b"a"))
    store.commit({}, pack([(4, 9, 3, b"c"), (2, 3, 4, b"d"), (1, 2, 5, b"e")]))
    expected = records((1, 2, 5, b"e"), (2, 5, 2, b"b"), (2, 3, 4, b"d"), (4, 9, 3, b"c"), (8, 10, 1, b"a"))
    assert list(store.records()) == expected
    assert store.read(1, 11, 1 << 20) == (11, expected)
    assert store.read(3, 4, 1 << 20) == (4, [expected[1]])


def test_what_is_damaged_is_handed_out_as_it_lies_there(store: Storage) -> None:
    """Its header may lie about its end, so it is read wherever its key allows that it reaches."""
    (_, _, value) = records((1, 2, 1, b"frame"))[0]
    for index, at in enumerate((9, len(value) - 1), 1):
        lies = value[:16] + index.to_bytes(8, "little") + value[24:]
        store.commit({}, lies[:at] + b"?" + lies[at + 1 :])
    assert [record[:2] for record in store.records()] == [(1, 1), (1, 2)]
    assert [record[:2] for record in store.read(900, 1000, 1 << 20)[1]] == [(1, 1), (1, 2)]
    assert store.read(1 + RUN_SLOTS_MAX, 2000, 1 << 20)[1] == []


def test_meta_is_put_key_by_key(store: Storage) -> None:
    store.commit({b"ballot": b"1", b"mark": b"2"}, b"")
    store.commit({b"ballot": b"3"}, pack([(1, 2, 1, b"x")]))
    assert store.meta() == {b"ballot": b"3", b"mark": b"2"}


def test_a_record_is_found_by_its_first_slot_its_last_one_and_no_other(store: Storage) -> None:
    end = 1 + RUN_SLOTS_MAX
    only = (1, end, 1, b"x")
    store.commit({}, pack([only]))
    assert store.read(1, 2, 10)[1] == records(only)
    assert store.read(end - 1, end, 10)[1] == records(only)
    assert store.read(end, end + 1, 10)[1] == []


RECORDS = st.lists(
    st.tuples(st.integers(1, 3000), st.integers(1, 40) | st.just(RUN_SLOTS_MAX), st.integers(0, 60)),
    max_size=30,
)
READS = st.lists(
    st.tuples(st.integers(1, 3200), st.integers(1, 2500), st.sampled_from([0, 1, 50, 200, 1 << 20])),
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
            written = [
                (first, first + count, index, bytes(size))
                for index, (first, count, size) in enumerate(each, len(model) + 1)
            ]
            made.commit({}, pack(written))
            model += records(*written)
            check_reads(made, model, reads)
        assert list(made.records()) == sorted(model, key=by_key)
        check_reads(made, model, reads)
    finally:
        made.close()


def check_reads(made: Storage, model: list[Record], reads: list[tuple[int, int, int]]) -> None:
    """Checks the rules of `read` by a walk over all records."""
    for first, span, max_bytes in reads:
        end = first + span
        covered, got = made.read(first, end, max_bytes)
        assert first < covered <= end
        over = [record for record in model if record[0] < covered and end_of(record) > first]
        assert [record for record in got if record[0] < covered] == sorted(over, key=by_key)
        assert all(end_of(record) > first and record[0] < end for record in got)
        if covered < end:  # cut only if one slot more reaches the limit
            more = [record for record in model if record[0] <= covered and end_of(record) > first]
            assert sum(len(record[2]) for record in more) >= max_bytes
        # Beyond the limit there is one record, or records that cannot be cut because they begin at `first` or below.
        beyond = [record for i, record in enumerate(got) if sum(len(r[2]) for r in got[:i]) >= max_bytes]
        assert all(record[0] <= first for record in beyond)


def end_of(record: Record) -> int:
    """One above the last slot of a whole record."""
    parts = parts_of(record[2])
    assert parts is not None
    return parts[1]
