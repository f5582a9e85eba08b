"""The judgement of a record: it is whole, or it may have covered certain slots."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.storage.records import HEADER, make
from multipaxos.wire import codec
from multipaxos.wire.codec import RUN_SLOTS_MAX, SLOTS_END
from multipaxos.wire.record import judgement_of

RUN = codec.encode_phase2a(1 << 24 | 1, 10, 5, (0, 1, 1), [(7, slot, 1, 0, b"payload") for slot in range(10, 20)])
VALUE = make(12, 15, 4, RUN)


def flipped(value: bytes, at: int, bits: int = 1) -> bytes:
    """The bytes with one of them changed."""
    return value[:at] + bytes([value[at] ^ bits]) + value[at + 1 :]


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
        ((HEADER.size,), (12, 15)),  # the frame: the header says which slots
        ((8,), (12, 20)),  # the end in the header: the frame is whole, so slots of its run
        ((28,), (12, 15)),  # the frame's sum in the header: with the sum that the frame has, the header is whole
        ((8, HEADER.size), (12, 12 + RUN_SLOTS_MAX)),  # header and frame: nothing but the key is left
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
    assert judgement_of(first, 1, make(first, end, 1, b"no phase2a"))[0] != "whole"
