"""A scout on its own: what counts as an answer, and which verdict it returns."""

import pytest

from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.scout import Scout
from multipaxos.wire import codec

FIRST, CAPACITY = 10, 16
END = codec.SLOTS_END


def ballot(round_number, leader=0):
    return round_number << 24 | leader


def scout(*, first=FIRST, capacity=CAPACITY):
    """An attempt at ballot 5.0 of a cluster of three."""
    return Scout(ballot(5), first, QuorumSystem.majority(range(3)), capacity)


def run(at, first, count):
    commands = [(0, i, 2, 0, b"") for i in range(count)]
    return codec.encode_phase2a(at, first, 7, (0, 1, 1), commands)


def part(*, at=None, first=FIRST, end=END, mark=1, pvalues=()):
    """A phase 1b: one part of an acceptor's answer."""
    return codec.encode(
        "phase1b",
        ballot=ballot(5) if at is None else at,
        first=first,
        end=end,
        mark=mark,
        pvalues=[dict(zip(("first", "end", "run"), one, strict=True)) for one in pvalues],
    )


def test_a_quorum_of_whole_answers_adopts():
    one = scout()
    assert one.answer(0, part()) == "nothing"
    assert one.answer(0, part()) == "nothing"
    assert one.answer(2, part()) == "adopted"
    assert one.answered == 0b101
    one.invariants()


def test_an_answer_after_the_quorum_counts_and_adds_no_verdict_of_another_kind():
    one = scout()
    verdicts = [one.answer(i, part()) for i in range(3)]
    assert verdicts == ["nothing", "adopted", "adopted"]
    assert one.answered == 0b111


def test_parts_count_when_they_join_up_from_the_first_slot():
    one = scout()
    one.answer(1, part())
    assert one.answer(0, part(first=20)) == "nothing"
    assert one.answered == 0b10
    assert one.answer(0, part(end=20)) == "nothing"
    assert one.answer(0, part(first=20)) == "adopted"


def test_a_higher_ballot_preempts():
    assert scout().answer(1, part(at=ballot(5, 1))) == "preempted"


def test_a_lower_ballot_is_an_answer_to_an_earlier_attempt():
    one = scout()
    assert [one.answer(i, part(at=ballot(4))) for i in range(3)] == ["nothing"] * 3
    assert one.answered == 0


def test_the_greatest_mark_counts():
    one = scout()
    assert one.mark == FIRST
    one.answer(0, part(mark=14))
    one.answer(1, part(mark=12))
    assert one.mark == 14


def test_pvalues_are_merged_by_pmax():
    one = scout()
    one.answer(0, part(pvalues=((10, 12, run(ballot(1), 9, 4)),)))
    one.answer(1, part(pvalues=((11, 13, run(ballot(3), 11, 2)),)))
    assert one.winners() == [(10, ballot(1)), (11, ballot(3)), (12, ballot(3))]


@pytest.mark.parametrize(
    "pvalues",
    [
        (10, 12, b"no run"),
        (10, 12, run(ballot(6), 10, 2)),
        (9, 11, run(ballot(1), 10, 2)),
        (10, 13, run(ballot(1), 10, 2)),
        (26, 27, run(ballot(1), 26, 1)),
    ],
    ids=["no run", "above the scout's ballot", "before its run", "after its run", "beyond every ring"],
)
def test_malformed_pvalues(pvalues):
    one = scout()
    assert one.answer(0, part(pvalues=(pvalues,))) == "malformed"
    assert one.answered == 0
    assert one.winners() == []


def test_a_mark_moves_the_ring_of_its_acceptor_up():
    pvalues = ((26, 27, run(ballot(1), 26, 1)),)
    assert scout().answer(0, part(mark=11, pvalues=pvalues)) == "nothing"


def test_more_slots_than_a_merge_holds_are_malformed():
    one = scout(capacity=1 << 20)
    assert one.answer(0, part(pvalues=((600_000, 600_001, run(ballot(1), 600_000, 1)),))) == "malformed"


def test_another_message_is_no_answer():
    with pytest.raises(ValueError, match="not a phase1b frame"):
        scout().answer(0, codec.encode("phase1a", ballot=ballot(5), first=1))
