"""Commanders on their own: which votes count for what, and which verdict they return."""

import pytest

from multipaxos.errors import InvariantViolation
from multipaxos.paxos.commander import Commanders
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.wire import codec


def ballot(round_number, leader=0):
    return round_number << 24 | leader


B = ballot(5)


def run(first, count, at=B):
    commands = [(0, i, 2, 0, b"") for i in range(count)]
    return codec.encode_phase2a(at, first, 7, (0, 1, 1), commands)


def commanders(*, start=1, count=0):
    """Of a leader of three acceptors, in a reign from `start` in which `count` slots are proposed."""
    made = Commanders(QuorumSystem.majority(range(3)), 64)
    made.reign(B, start)
    if count:
        made.propose_frame(run(start, count))
    return made


def test_a_slot_is_decided_by_a_quorum():
    made = commanders(count=3)
    assert made.vote(0, B, 1, 3) == "nothing"
    assert made.vote(0, B, 1, 3) == "nothing"
    assert made.vote(2, B, 2, 4) == "nothing"
    assert made.decided_end == 1
    assert made.vote(1, B, 1, 2) == "decided"
    assert made.decided_end == 3
    made.invariants()


def test_a_vote_of_another_ballot_is_none():
    made = commanders(count=1)
    assert made.vote(0, ballot(4), 1, 2) == "nothing"
    assert made.vote(1, ballot(4), 1, 2) == "nothing"
    assert made.vote(1, ballot(5, 1), 1, 2) == "preempted"
    assert made.proposals.row(1) == (B, 0, True)


def test_without_a_reign_nothing_counts_and_rows_stay():
    made = Commanders(QuorumSystem.majority(range(3)), 64)
    assert made.ballot == 0
    assert made.vote(1, ballot(9), 1, 2) == "nothing"
    assert made.vote(1, 0, 1, 2) == "nothing"


def test_votes_for_slots_that_are_not_proposed_are_none():
    made = commanders(count=2)
    made.vote(0, B, 0, 2**64 - 1)
    assert made.vote(1, B, 0, 2**64 - 1) == "decided"
    assert (made.decided_end, made.slot_end) == (3, 3)
    made.propose_frame(run(3, 1))
    assert made.proposals.row(3) == (B, 0, True)


def test_a_mark_above_start_moves_the_reign_up():
    """What lies below was decided before; those slots are no votes, and are not proposed."""
    made = commanders(count=4)
    assert made.vote(1, B, 1, 1, mark=3) == "decided"
    assert (made.start, made.decided_end, made.proposals.base) == (3, 3, 3)
    made.invariants()


def test_a_mark_beyond_all_proposals():
    made = commanders(count=4)
    made.vote(1, B, 1, 1, mark=100)
    assert (made.start, made.decided_end, made.slot_end) == (5, 5, 5)
    made.invariants()


@pytest.mark.parametrize(("first", "at"), [(2, B), (4, B), (3, ballot(4))])
def test_only_the_next_slots_of_this_reign_are_proposed(first, at):
    made = commanders(count=2)
    with pytest.raises(InvariantViolation, match="the leader's next is 3"):
        made.propose_frame(run(first, 1, at))


def test_a_ring_that_is_full():
    made = commanders(count=60)
    with pytest.raises(InvariantViolation, match="beyond its ring at 1"):
        made.propose_frame(run(61, 5))


def test_a_new_reign_begins_at_its_start():
    made = commanders(count=4)
    made.reign(ballot(6), 3)
    assert (made.start, made.decided_end, made.slot_end, made.proposals.base) == (3, 3, 3, 3)
    made.propose_frame(run(3, 1, ballot(6)))
    assert made.vote(0, B, 3, 4) == "nothing"
    made.invariants()


def test_what_is_no_run_is_not_proposed():
    with pytest.raises(ValueError, match="not a valid phase2a frame"):
        commanders().propose_frame(b"no run")
