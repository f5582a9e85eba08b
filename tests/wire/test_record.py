"""Records: their layout, and the judgement: one is whole, or it may have covered certain slots."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.wire import codec
from multipaxos.wire.codec import RUN_SLOTS_MAX, SLOTS_END
from multipaxos.wire.crc import sum_of
from multipaxos.wire.record import (
    HEADER_BYTES,
    BatchRecords,
    ends_below,
    judgement_of,
    make_record,
    parts_of,
    parts_of_batch,
)
from tests.support.records import flipped, pack

RUN = codec.encode_phase2a(1 << 24 | 1, 10, 5, (0, 1, 1), [(7, slot, 1, 0, b"payload") for slot in range(10, 20)])
VALUE = make_record(12, 15, 4, RUN)


# -- the layout


def below(value: bytes, slot: int) -> bool:
    """What the header of a record says."""
    return ends_below(value[:HEADER_BYTES], len(value), slot)


def test_the_layout() -> None:
    expected = struct.pack("<QQQII", 12, 15, 4, len(RUN), sum_of(RUN))
    expected += struct.pack("<II", sum_of(expected), 0)
    assert len(expected) == HEADER_BYTES == 40
    assert expected + RUN == VALUE


def test_a_batch_is_cut_into_its_records() -> None:
    records = [(1, 3, 1, b"one"), (3, 4, 2, b""), (1 << 60, (1 << 60) + 1, 3, b"x" * 1000)]
    assert parts_of_batch(pack(records)) == records
    assert [(first, index, parts_of(value)) for first, index, value in BatchRecords(pack(records))] == [
        (first, index, (first, end, index, frame)) for first, end, index, frame in records
    ]
    assert list(BatchRecords(b"")) == []


@pytest.mark.parametrize("left", [1, HEADER_BYTES - 1, HEADER_BYTES, HEADER_BYTES + 4])
def test_a_batch_that_ends_inside_a_record_is_refused(left: int) -> None:
    records = iter(BatchRecords(VALUE + make_record(15, 16, 5, b"frame")[:left]))
    assert next(records) == (12, 4, VALUE)
    with pytest.raises(ValueError, match=r"a batch ends inside the (header|record) at byte"):
        next(records)


def test_a_record_with_a_flipped_byte_says_nothing() -> None:
    value = make_record(7, 9, 3, b"frame")
    assert parts_of(value) == (7, 9, 3, b"frame")
    for at in range(len(value)):
        assert parts_of(flipped(value, at, 4)) is None, at
        assert parts_of(value[:at]) is None, at


def test_only_a_whole_header_says_where_a_record_ends() -> None:
    assert [below(VALUE, slot) for slot in (14, 15, 16)] == [False, True, True]
    assert below(flipped(VALUE, HEADER_BYTES), 15)
    for at in range(HEADER_BYTES):
        assert not below(flipped(VALUE, at), SLOTS_END), at
    assert not below(VALUE[: HEADER_BYTES - 1], SLOTS_END)


# -- the judgement


def test_a_whole_record() -> None:
    assert judgement_of(12, 4, VALUE) == ("whole", 12, 15, 4)


@given(st.integers(0, len(VALUE) - 1), st.integers(1, 255))
def test_no_flipped_byte_is_believed_and_the_slots_that_were_covered_are_named(at: int, bits: int) -> None:
    verdict, first, end, index = judgement_of(12, 4, flipped(VALUE, at, bits))
    assert (verdict, index) == ("damaged", 4)
    assert first <= 12 < 15 <= end <= 12 + RUN_SLOTS_MAX


@pytest.mark.parametrize(
    ("places", "covered"),
    [
        ((HEADER_BYTES,), (12, 15)),  # the frame: the header says which slots
        ((8,), (12, 20)),  # the end in the header: the frame is whole, so slots of its run
        ((28,), (12, 15)),  # the frame's sum in the header: with the sum that the frame has, the header is whole
        ((8, HEADER_BYTES), (12, 12 + RUN_SLOTS_MAX)),  # header and frame: nothing but the key is left
        ((39,), (12, 20)),  # what has to be zero
    ],
)
def test_what_is_whole_limits_what_is_missing(places: tuple[int, ...], covered: tuple[int, int]) -> None:
    value = VALUE
    for at in places:
        value = flipped(value, at)
    assert judgement_of(12, 4, value) == ("damaged", *covered, 4)


@pytest.mark.parametrize("value", [b"", VALUE[:39], VALUE[:-1], VALUE + b"\0", bytes(len(VALUE))])
def test_a_record_of_another_length_is_damaged(value: bytes) -> None:
    assert judgement_of(12, 4, value)[0] == "damaged"


def test_a_record_under_another_key_is_judged_by_its_header() -> None:
    assert judgement_of(13, 4, VALUE) == ("damaged", 12, 15, 4)
    assert judgement_of(12, 5, VALUE) == ("damaged", 12, 15, 4)


def test_where_key_and_header_are_damaged_the_slots_cannot_be_told() -> None:
    assert judgement_of(200, 4, flipped(VALUE, 8))[0] == "lost"  # the frame is of other slots than the key
    nothing = bytes(len(VALUE))
    assert judgement_of(0, 4, nothing)[0] == judgement_of(SLOTS_END - 5, 4, nothing)[0] == "lost"


@pytest.mark.parametrize(("first", "end"), [(0, 1), (5, 5), (6, 5), (1, RUN_SLOTS_MAX + 2)])
def test_slots_that_no_record_covers_are_damage(first: int, end: int) -> None:
    value = make_record(first, end, 1, b"no phase2a")
    assert judgement_of(first, 1, value)[0] != "whole"
    assert parts_of(value) is None
    assert not below(value, SLOTS_END)
