"""Holes: sets of slots that only shrink, against a set of numbers."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from multipaxos.paxos.holes import Holes

SPANS = st.lists(st.tuples(st.integers(1, 30), st.integers(1, 8)).map(lambda span: (span[0], span[0] + span[1])))


def slots_of(spans: list[tuple[int, int]]) -> set[int]:
    """The slots of some spans."""
    return {slot for first, end in spans for slot in range(first, end)}


def test_no_hole() -> None:
    holes = Holes()
    assert (holes.spans_list(), holes.end, holes.clear(1, 9)) == ([], 0, (1, 9))


@given(SPANS, SPANS, st.integers(1, 40), st.integers(0, 12))
def test_holes_are_a_set_of_slots(added: list[tuple[int, int]], filled: list[tuple[int, int]], at: int, n: int) -> None:
    holes = Holes()
    holes.change(sorted(added))
    missing = slots_of(added)
    for span in filled:
        holes.change(filled=[span])
        missing -= slots_of([span])
        spans = holes.spans_list()
        assert slots_of(spans) == missing
        assert all(before[1] < after[0] for before, after in pairwise(spans))
        assert holes.end == max(missing, default=-1) + 1
    first, end = holes.clear(at, at + n)
    assert not slots_of([(first, end)]) & missing
    assert slots_of([(at, first)]) <= missing
    assert end == at + n or end in missing
