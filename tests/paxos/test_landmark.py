"""Which slot a replica tells the hash of."""

from __future__ import annotations

import random

import pytest

from multipaxos.paxos.landmark import Landmark


def told(first: int, end: int) -> int:
    """The slot that a replica tells which has applied [first, end) since it told last."""
    landmark = Landmark()
    for slot in range(first, end):
        landmark.note(slot, 7 * slot)
    assert landmark.hash == 7 * landmark.slot
    return landmark.slot


@pytest.mark.parametrize(
    ("first", "end", "slot"),
    [(1, 1, 0), (1, 2, 1), (1, 4, 2), (5, 9, 8), (9, 12, 10), (1, 1000, 512), (513, 1025, 1024)],
)
def test_the_slot_with_the_most_trailing_zero_bits(first: int, end: int, slot: int) -> None:
    assert told(first, end) == slot


def test_after_a_telling_it_begins_anew() -> None:
    landmark = Landmark()
    landmark.note(8, 80)
    landmark.note(9, 90)
    assert (landmark.slot, landmark.hash) == (8, 80)
    landmark.clear()
    assert landmark.slot == 0
    landmark.note(9, 90)
    assert (landmark.slot, landmark.hash) == (9, 90)


@pytest.mark.parametrize("seed", range(20))
def test_replicas_that_tell_at_other_moments_tell_common_slots(seed: int) -> None:
    """No replica applies more than 2**j slots between two tellings: each tells every multiple of 2**j."""
    chance = random.Random(seed)
    j = chance.randrange(1, 8)
    for _ in range(3):
        slots, first = set(), 1
        while first < 2000:
            end = first + chance.randint(1, 1 << j)
            slots.add(told(first, end))
            first = end
        assert slots.issuperset(range(1 << j, 2000, 1 << j))


def test_the_greatest_slots() -> None:
    landmark = Landmark()
    landmark.note(1 << 63, 1)
    landmark.note((1 << 64) - 1, 2)
    assert landmark.slot == 1 << 63
