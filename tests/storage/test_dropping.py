"""The disk that drops what was not synced."""

from __future__ import annotations

from pathlib import Path

import pytest

from multipaxos.storage.dropping import DroppingStorage
from multipaxos.wire.record import HEADER_BYTES
from tests.support.records import pack


def test_dropping_storage_reads_what_is_unsynced_in_order(tmp_path: Path) -> None:
    made = DroppingStorage(tmp_path, "demo", 0, broken=True)
    made.commit({}, pack([(1, 3, 1, b"old"), (1, 3, 2, b"new")]))
    made.commit({}, pack([(1, 2, 3, b"newest")]))
    _, records = made.read(1, 5, 1000)
    assert [value[HEADER_BYTES:] for _, _, value in records] == [b"old", b"new", b"newest"]
    made.close()


@pytest.mark.parametrize(("broken", "kept"), [(False, 2), (True, 0)])
def test_dropping_storage_keeps_what_was_synced_alone(tmp_path: Path, broken: bool, kept: int) -> None:
    made = DroppingStorage(tmp_path, "demo", 0, broken=broken)
    made.commit({b"a": b"1"}, pack([(1, 2, 1, b"x")]))
    made.commit({b"a": b"2"}, pack([(2, 3, 2, b"y")]))
    assert len(made.read(1, 5, 100)[1]) == 2  # the process itself sees everything, as through a page cache
    made.close()  # the power is cut
    after = DroppingStorage(tmp_path, "demo", 0)
    assert after.incarnation == made.incarnation
    assert len(list(after.records())) == kept
    assert after.meta() == ({b"a": b"2"} if kept else {})
    after.close()


def test_dropping_storage_keeps_what_was_synced_by_hand(tmp_path: Path) -> None:
    made = DroppingStorage(tmp_path, "demo", 0, broken=True)
    made.commit({}, pack([(1, 2, 1, b"x")]))
    made.sync()
    made.commit({}, pack([(2, 3, 2, b"y")]))
    made.close()
    after = DroppingStorage(tmp_path, "demo", 0)
    assert [value[HEADER_BYTES:] for _, _, value in after.records()] == [b"x"]
    after.close()
