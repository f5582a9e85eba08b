"""Ballots: one integer that orders as the pair (round, leader) does."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.paxos import ballot

rounds = st.integers(1, ballot.ROUND_MAX)
leaders = st.integers(0, ballot.LEADER_MAX)
pairs = st.tuples(rounds, leaders)


@given(pairs)
def test_parts_come_back(pair):
    made = ballot.make(*pair)
    assert (ballot.round_of(made), ballot.leader_of(made)) == pair
    assert 0 < made < 1 << 64


@given(pairs, pairs)
def test_order_is_that_of_the_pairs(left, right):
    assert ballot.compare(ballot.make(*left), ballot.make(*right)) == (left > right) - (left < right)


@given(pairs)
def test_bottom_is_below_all(pair):
    assert ballot.compare(ballot.BOTTOM, ballot.make(*pair)) == -1
    assert ballot.compare(ballot.make(*pair), ballot.BOTTOM) == 1
    assert ballot.compare(ballot.BOTTOM, ballot.BOTTOM) == 0


def test_description():
    assert ballot.describe(ballot.make(5, 2)) == "5.2"
    assert ballot.describe(ballot.BOTTOM) == "⊥"
    assert ballot.describe((1 << 64) - 1) == f"{ballot.ROUND_MAX}.{ballot.LEADER_MAX}"


@pytest.mark.parametrize(
    ("round", "leader", "reason"),
    [
        (0, 0, "round 0 is out of range"),
        (-1, 0, "round -1 is"),
        (1 << 40, 0, "round 1099511627776 is"),
        (1, -1, "leader -1 is"),
        (1, 1 << 24, "leader 16777216 is out of range: it must be 0 to 16777215"),
    ],
)
def test_out_of_range(round, leader, reason):
    with pytest.raises(ValueError, match=reason):
        ballot.make(round, leader)


@pytest.mark.parametrize("function", [ballot.round_of, ballot.leader_of, ballot.describe])
@pytest.mark.parametrize("wrong", [-1, 1 << 64, 5])
def test_no_ballot(function, wrong):
    with pytest.raises(ValueError, match=f"ballot {wrong} "):
        function(wrong)


def test_bottom_has_no_leader():
    assert ballot.round_of(ballot.BOTTOM) == 0
    with pytest.raises(ValueError, match="no leader"):
        ballot.leader_of(ballot.BOTTOM)


@pytest.mark.parametrize("wrong", [True, 1.0, "1", None])
def test_only_ints(wrong):
    with pytest.raises(TypeError, match="must be an int"):
        ballot.make(wrong, 0)
    with pytest.raises(TypeError, match="must be an int"):
        ballot.compare(wrong, ballot.BOTTOM)
