"""The ring of slots against a dictionary, and its account of bytes."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from multipaxos.paxos.slots import CAPACITY_MAX, Ring
from multipaxos.wire import codec

CAPACITY = 8


def phase2a(first, count, payload=b"x" * 100):
    return codec.encode_phase2a(1 << 24, first, 7, (0, 0, 0), [(1, i + 1, 1, 0, payload) for i in range(count)])


class RingMachine(RuleBasedStateMachine):
    """Any sequence of steps leaves the ring equal to a dictionary of the slots in its stretch."""

    slots = st.integers(0, 40)

    def __init__(self):
        super().__init__()
        self.ring = Ring(CAPACITY)
        self.base = 1
        self.model = {}
        self.share = {}

    def reachable(self, slot):
        return self.base <= slot < self.base + CAPACITY

    @rule(slot=slots, ballot=st.integers(1, 9), votes=st.integers(0, 7))
    def insert(self, slot, ballot, votes):
        assert self.ring.insert(slot, ballot, votes) == self.reachable(slot)
        if self.reachable(slot):
            self.model[slot] = (ballot, votes)

    @rule(slot=st.integers(1, 40), before=st.integers(0, 3), after=st.integers(0, 3))
    def insert_run(self, slot, before, after):
        first = max(1, slot - before)
        frame = phase2a(first, slot - first + 1 + after)
        assert self.ring.insert(slot, 1, 0, frame) == self.reachable(slot)
        if self.reachable(slot):
            self.model[slot] = (1, 0)
            self.share[slot] = len(frame) // (slot - first + 1 + after)

    @rule(slot=slots)
    def remove(self, slot):
        assert self.ring.remove(slot) == (slot in self.model)
        self.model.pop(slot, None)
        self.share.pop(slot, None)

    @rule(base=st.integers(0, 40))
    def advance(self, base):
        self.ring.advance(base)
        self.base = max(self.base, base)
        self.model = {slot: row for slot, row in self.model.items() if slot >= self.base}
        self.share = {slot: share for slot, share in self.share.items() if slot >= self.base}

    @invariant()
    def same_as_the_model(self):
        assert self.ring.base == self.base
        assert self.ring.slots() == sorted(self.model)
        for slot in range(60):
            expected = (*self.model[slot], slot in self.share) if slot in self.model else None
            assert self.ring.row(slot) == expected
        assert self.ring.bytes == sum(self.share.values())


TestRing = RingMachine.TestCase


def test_new_ring():
    ring = Ring(64)
    assert (ring.base, ring.capacity, ring.bytes, ring.slots()) == (1, 64, 0, [])


def test_slot_0_is_never_there():
    ring = Ring(1)
    assert ring.row(0) is None
    assert not ring.insert(0, 1)
    assert not ring.remove(0)


def test_put_keeps_a_row_that_is_there():
    ring = Ring(8)
    assert ring.vote_all(1, 5, 7, 0) == 4
    assert ring.vote_all(3, 8, 7, 2) == 5
    assert ring.row(2) == (7, 0b001, False)
    assert ring.row(3) == (7, 0b101, False)
    assert ring.row(7) == (7, 0b100, False)
    assert ring.vote_all(3, 5, 8, 1) == 0
    assert ring.row(3) == (7, 0b101, False)


def test_a_reused_row_is_zeroed():
    ring = Ring(4)
    ring.insert(1, 9, 0b111, phase2a(1, 1))
    ring.advance(2)
    assert ring.bytes == 0
    assert ring.vote_all(5, 6, 3, 1) == 1
    assert ring.row(5) == (3, 0b010, False)
    assert ring.row(1) is None


def test_far_advances():
    ring = Ring(4)
    for slot in range(1, 5):
        assert ring.insert(slot, 1, 0, phase2a(slot, 1))
    ring.advance(1 << 63)
    assert ring.slots() == []
    assert ring.bytes == 0
    assert ring.insert(1 << 63, 1)
    assert not ring.insert((1 << 63) + 4, 1)


@pytest.mark.parametrize("capacity", [0, -8, 3, 24, 2 * CAPACITY_MAX, 8.0, "8"])
def test_capacity_is_a_power_of_two(capacity):
    with pytest.raises(ValueError, match="power of two"):
        Ring(capacity)


def test_frames_that_do_not_cover_the_slot():
    ring = Ring(8)
    for slot, frame in ((4, phase2a(1, 3)), (1, b"\x00" * 32)):
        with pytest.raises(ValueError, match=f"not a phase2a frame with slot {slot}"):
            ring.insert(slot, 1, 0, frame)
    assert ring.slots() == []


def test_votes_beyond_a_ring_are_not_counted() -> None:
    """It holds four slots."""
    assert Ring(4).vote_all(1, 9, 1 << 24, 0) == 4
