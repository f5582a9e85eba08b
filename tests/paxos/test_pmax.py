"""PMax against the paper's two lines of set notation, and its bounds."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.paxos import ballot
from multipaxos.paxos.pmax import SPAN_MAX, PMax, arrow, pmax
from multipaxos.wire import codec

APPLY = codec.CommandKind.APPLY


def phase2a(at, first, count):
    """The frame of `count` commands at the ballot `at`."""
    commands = [(1, i + 1, APPLY, 0, b"%d" % (first + i)) for i in range(count)]
    return codec.encode_phase2a(at, first, 7, (0, 0, 0), commands)


@st.composite
def parts(draw):
    """(ballot, first slot of the run, count, meant first, meant end) as acceptors might report them."""
    at = ballot.make(draw(st.integers(1, 5)), draw(st.integers(0, 2)))
    first, count = draw(st.integers(1, 200)), draw(st.integers(1, 40))
    low = draw(st.integers(first, first + count))
    return at, first, count, low, draw(st.integers(low, first + count))


# -- the paper


def test_pmax_is_the_set_of_the_paper():
    pvalues = [(1, 10, "a"), (3, 10, "b"), (2, 10, "c"), (1, 11, "d"), (1, 11, "d")]
    assert pmax(pvalues) == {10: "b", 11: "d"}
    assert pmax([]) == {}


@given(st.sets(st.tuples(st.integers(1, 6), st.integers(1, 6))))
def test_pmax_by_its_definition(keys):
    pvalues = [(at, slot, f"{at}/{slot}") for at, slot in keys]
    definition = {
        (slot, command)
        for at, slot, command in pvalues
        if not any(other > at for other, other_slot, _ in pvalues if other_slot == slot)
    }
    assert set(pmax(pvalues).items()) == definition


@given(st.dictionaries(st.integers(1, 9), st.text()), st.dictionaries(st.integers(1, 9), st.text()))
def test_arrow_by_its_definition(x, y):
    definition = set(y.items()) | {(slot, command) for slot, command in x.items() if slot not in y}
    assert set(arrow(x, y).items()) == definition


# -- the core's


@given(st.lists(parts(), max_size=12), st.integers(1, 220))
def test_same_as_the_reference(listed, first):
    merged = PMax(first)
    pvalues = []
    for at, run_first, count, low, end in listed:
        merged.add_frame(phase2a(at, run_first, count), low, end)
        pvalues += [(at, slot, at) for slot in range(max(low, first), end)]
    expected = pmax(pvalues)
    assert merged.items() == sorted(expected.items())
    assert merged.first == first
    assert merged.end == max(expected, default=first - 1) + 1


def test_order_of_arrival_does_not_matter():
    low, high = ballot.make(1, 2), ballot.make(2, 0)
    for order in ((low, high), (high, low)):
        merged = PMax(5)
        for at in order:
            merged.add_frame(phase2a(at, 4, 4), 4, 8)
        assert merged.items() == [(5, high), (6, high), (7, high)]


def test_only_slots_of_the_run_are_taken():
    merged = PMax(1)
    merged.add_frame(phase2a(ballot.make(1, 0), 10, 2), 0, (1 << 64) - 1)
    assert [slot for slot, _ in merged.items()] == [10, 11]
    merged.add_frame(phase2a(ballot.make(1, 0), 20, 2), 15, 20)
    merged.add_frame(phase2a(ballot.make(1, 0), 20, 2), 21, 20)
    assert merged.end == 12


def test_span_is_bounded_and_a_refused_run_leaves_nothing():
    merged = PMax(100)
    merged.add_frame(phase2a(ballot.make(1, 0), 100 + SPAN_MAX - 1, 1), 0, 1 << 40)
    assert merged.end == 100 + SPAN_MAX
    before = merged.items()
    with pytest.raises(OverflowError, match=f"slot {100 + SPAN_MAX} is {SPAN_MAX} or more above .* 100"):
        merged.add_frame(phase2a(ballot.make(9, 0), 100 + SPAN_MAX - 1, 2), 0, 1 << 40)
    with pytest.raises(OverflowError):
        merged.add_frame(phase2a(ballot.make(9, 0), (1 << 64) - 9, 1), 0, (1 << 64) - 1)
    assert merged.items() == before


@pytest.mark.parametrize("frame", [b"", b"\x00" * 64])
def test_what_is_no_phase2a(frame):
    with pytest.raises(ValueError, match="not a valid phase2a"):
        PMax(1).add_frame(frame, 1, 2)


def test_a_request_is_no_phase2a():
    with pytest.raises(ValueError, match="not a valid phase2a"):
        PMax(1).add_frame(codec.encode_request([(1, 1, APPLY, 0, b"x")]), 1, 2)
