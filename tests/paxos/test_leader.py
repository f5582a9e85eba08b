"""The leader inside its node: ballots, start, the arrow, commanders, and whose votes count."""

import pytest

from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.wire import codec
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command

COMMANDS = [command(0, 900 + i, b"", OPEN_SESSION) for i in range(12)]
NOOP = codec.CommandKind.NOOP


def run(at, first, *commands, time_ns=5):
    """A run of commands as a phase 2a frame."""
    return codec.encode_phase2a(at, first, time_ns, (0, 1, 1), list(commands))


def proposed(node, peer=2):
    """{slot: (kind, sequence, time)} of all phase 2a sent to a peer since the last call."""
    slots = {}
    for one in node.from_peer(peer, "phase2a"):
        for i, each in enumerate(one["commands"]):
            slots[one["first"] + i] = each["kind"], each["sequence"], one["time_ns"]
    return slots


def requested(node, *commands):
    """A client sends these; our own votes are durable."""
    node.client()
    node.request(1, *commands)
    node.sync()


# -- ballots


def test_the_ballot_is_durable_before_the_first_phase_1a():
    node = OneNode()
    while not any(event.kind == "scouting" for event in node.events):
        node.tick(50)
    for _ in range(5):
        node.tick(150)
    assert node.from_peer(1, "phase1a") == []
    node.sync()
    assert [one["ballot"] for one in node.from_peer(1, "phase1a")] == [node.core.leader.ballot]
    assert node.meta[b"ballot"] == node.core.leader.ballot.to_bytes(8, "little")


def test_a_ballot_is_never_used_again_after_a_restart():
    node, used = OneNode(), set()
    for _ in range(4):
        at = node.begin_scout()
        assert at not in used
        assert all(at > one for one in used)
        used.add(at)
        node = node.restart()
        assert not node.core.status()["leading"]


def test_every_attempt_has_a_ballot_of_its_own():
    node = OneNode()
    first = node.begin_scout()
    node.promise(1, ballot(8, 1))
    node.events.clear()
    second = node.begin_scout()
    assert second > ballot(8, 1) > first


def test_a_scout_asks_again_those_that_have_not_answered():
    node = OneNode(nodes=5)
    at = node.begin_scout()
    node.promise(1, at)
    node.sent.clear()
    node.tick(150)
    assert node.from_peer(1, "phase1a") == []
    assert [one["ballot"] for one in node.from_peer(2, "phase1a")] == [at]


# -- start


def test_the_mark_of_an_answer_raises_start():
    """Slots below the mark are decided and forgotten, not empty: nothing is proposed there, and they are fetched."""
    node = OneNode()
    requested(node, *COMMANDS[:2])
    at = node.begin_scout()
    node.sent.clear()
    node.promise(1, at, mark=5)
    assert node.core.leader.commanders.start == 5
    assert {slot: one[1] for slot, one in proposed(node).items()} == {5: 900, 6: 901}
    node.tick(5)
    assert [one["first"] for peer in (1, 2) for one in node.from_peer(peer, "fetch")][:1] == [1]


def test_own_proposals_below_start_go_back_to_the_requests():
    """What it proposed in a former reign below the new start is dropped there; another slot carries the command."""
    node = OneNode()
    node.lead()
    requested(node, *COMMANDS[:3])
    assert set(proposed(node)) == {1, 2, 3}
    node.send(1, "ping", ballot=ballot(5, 1), nonce=1, slot_out=1, voting=True)
    node.events.clear()
    at = node.begin_scout()
    node.sent.clear()
    node.promise(2, at, mark=3)
    again = proposed(node, 1)
    assert min(again) == 3
    theirs = run(ballot(4, 1), 1, command(0, 71, b"", OPEN_SESSION), command(0, 72, b"", OPEN_SESSION))
    node.send(1, "fetched", first=1, end=3, mark=3, pvalues=((1, 3, theirs),))
    again.update(proposed(node, 1))
    assert {one[1] for slot, one in again.items() if slot >= 3} == {900, 901, 902}
    assert min(again) == 3


def test_no_noops_below_start():
    node = OneNode()
    at = node.begin_scout()
    node.sent.clear()
    node.promise(1, at, mark=4, pvalues=((6, 7, run(ballot(0, 1), 6, COMMANDS[0])),))
    assert {slot: one[:2] for slot, one in proposed(node).items()} == {
        4: (NOOP, 0),
        5: (NOOP, 0),
        6: (OPEN_SESSION, 900),
    }


def test_a_mark_seen_while_leading_moves_start():
    """A 2b from an acceptor whose mark is above: those rows are dropped and fetched, and are no votes."""
    node = OneNode()
    at = node.lead()
    requested(node, *COMMANDS[:4])
    node.accept(1, at, 1, 1, mark=3)
    assert node.core.leader.commanders.start == 3
    assert node.core.slot_out == 1
    node.accept(1, at, 3, 5, mark=3)
    assert node.core.leader.commanders.decided_end == 5
    assert node.core.slot_out == 1
    assert [one["first"] for peer in (1, 2) for one in node.from_peer(peer, "fetch")][:1] == [1]


def test_the_greatest_mark_of_the_parts_counts():
    node = OneNode()
    at = node.begin_scout()
    node.promise(1, at, first=1, end=10, mark=7)
    assert not node.core.status()["leading"]
    node.promise(1, at, first=10, mark=2)
    assert node.core.leader.commanders.start == 7


# -- answers in parts


def test_an_answer_counts_only_when_complete():
    """A part in the middle is missing: the last part alone completes nothing, in any order of arrival."""
    node = OneNode()
    at = node.begin_scout()
    node.promise(1, at, first=1, end=5)
    node.promise(1, at, first=9)
    assert not node.core.status()["leading"]
    node.promise(1, at, first=5, end=9, pvalues=((6, 7, run(ballot(0, 1), 6, COMMANDS[0])),))
    node.promise(1, at, first=9)
    assert node.core.status()["leading"]
    assert proposed(node)[6][1] == 900


# -- the arrow


def test_gaps_are_filled_with_noops_and_times_are_kept():
    node = OneNode()
    at = node.begin_scout()
    node.sent.clear()
    lower, higher = ballot(0, 1), ballot(0, 2)
    node.promise(
        1,
        at,
        pvalues=(
            (2, 4, run(lower, 2, *COMMANDS[:2], time_ns=77)),
            (6, 7, run(higher, 6, COMMANDS[2], time_ns=99)),
        ),
    )
    slots = proposed(node)
    assert {slot: one[:2] for slot, one in slots.items()} == {
        1: (NOOP, 0),
        2: (OPEN_SESSION, 900),
        3: (OPEN_SESSION, 901),
        4: (NOOP, 0),
        5: (NOOP, 0),
        6: (OPEN_SESSION, 902),
    }
    assert (slots[2][2], slots[3][2], slots[6][2]) == (77, 77, 99)


def test_a_resent_phase_2a_keeps_its_time():
    node = OneNode()
    node.lead()
    requested(node, COMMANDS[0])
    first = proposed(node)
    node.wait_for_repeats()
    assert proposed(node) == first


def test_our_own_acceptors_pvalues_are_in_the_arrow():
    """The scout asks its own acceptor like any other."""
    node = OneNode()
    node.phase2a(1, ballot(3, 1), 1, COMMANDS[:1])
    node.sync()
    at = node.begin_scout()
    node.sent.clear()
    node.promise(2, at)
    assert {slot: one[1] for slot, one in proposed(node).items()} == {1: 900}


def test_pvalues_below_the_first_are_not_proposed():
    node = OneNode()
    node.phase2a(1, ballot(3, 1), 1, COMMANDS[:4])
    node.send(1, "decision", ballot=ballot(3, 1), first=1, end=4)
    node.sync()
    at = node.begin_scout()
    node.sent.clear()
    node.promise(2, at, first=4, pvalues=((1, 3, run(ballot(2, 2), 1, *COMMANDS[4:6])),))
    assert set(proposed(node)) == {4}


def test_a_1b_with_pvalues_of_a_higher_ballot_is_no_1b():
    node = OneNode()
    at = node.begin_scout()
    node.promise(1, at, pvalues=((1, 2, run(ballot(9, 1), 1, COMMANDS[0])),))
    assert 101 in node.closed
    assert not node.core.status()["leading"]


def test_a_1b_with_slots_far_above_is_no_1b():
    """No acceptor can hold them: its ring does not reach so far above a slot that it still holds."""
    node = OneNode(window=4)
    at = node.begin_scout()
    node.promise(1, at, pvalues=((5000, 5001, run(ballot(0, 1), 5000, COMMANDS[0])),))
    assert 101 in node.closed
    node.promise(2, at)
    assert node.core.status()["leading"]


# -- votes


def test_a_2b_of_another_ballot_is_no_vote():
    node = OneNode()
    node.send(1, "ping", ballot=ballot(3, 1))
    assert node.lead() == ballot(4, 0)
    requested(node, COMMANDS[0])
    node.accept(1, ballot(3, 0), 1, 2)
    assert node.core.slot_out == 1


def test_a_late_2b_of_a_former_reign_is_no_vote():
    node = OneNode()
    old = node.lead()
    requested(node, COMMANDS[0])
    node.send(1, "ping", ballot=ballot(5, 1), nonce=1, slot_out=1, voting=True)
    node.events.clear()
    at = node.begin_scout()
    node.promise(1, at)
    node.sync()
    assert at != old
    node.accept(2, old, 1, 2)
    assert node.core.slot_out == 1
    node.accept(2, at, 1, 2)
    assert node.core.slot_out == 2


def test_an_acceptor_votes_once():
    node = OneNode(nodes=5)
    at = node.lead()
    requested(node, COMMANDS[0])
    for _ in range(4):
        node.accept(3, at, 1, 2)
    assert node.core.slot_out == 1


def test_our_own_vote_waits_for_our_disk():
    node = OneNode()
    at = node.lead()
    node.client()
    node.request(1, COMMANDS[0])
    assert len(proposed(node)) == 1, "a phase 2a leaves at once"
    node.accept(1, at, 1, 2)
    assert node.core.slot_out == 1
    node.sync()
    assert node.core.slot_out == 2


@pytest.mark.parametrize("phase", [1, 2])
def test_only_founders_vote(phase):
    """A node whose disk was lost has another incarnation: neither its promises nor its votes count."""
    node = OneNode()
    if phase == 1:
        at = node.begin_scout()
        node.link(1, incarnation=5555, number=201)
        node.receive(201, codec.encode("phase1b", ballot=at, first=1, end=codec.SLOTS_END, mark=1))
        assert not node.core.status()["leading"]
    else:
        at = node.lead()
        requested(node, COMMANDS[0])
        node.link(1, incarnation=5555, number=201)
        node.receive(201, codec.encode("phase2b", ballot=at, first=1, end=2, mark=1))
        assert node.core.slot_out == 1
    assert 201 not in node.closed


def test_a_node_that_is_no_acceptor_does_not_vote():
    node = OneNode(nodes=4, roles=[ALL_ROLES, ALL_ROLES, 1, 4])
    at = node.begin_scout()
    node.promise(2, at)
    assert not node.core.status()["leading"]
    node.promise(3, at)
    assert node.core.status()["leading"]


def test_flexible_quorums_are_used_in_their_phases():
    node = OneNode(nodes=4, quorums=QuorumSystem.sizes([0, 1, 2, 3], 3, 2))
    at = node.begin_scout()
    node.promise(1, at)
    assert not node.core.status()["leading"]
    node.promise(2, at)
    requested(node, COMMANDS[0])
    node.accept(3, at, 1, 2)
    assert node.core.slot_out == 2


def test_a_grid_decides_by_its_lines():
    """Two rows of two: one line for the first phase, the crossing kind for the second."""
    quorums = QuorumSystem.grid([0, 1, 2, 3], 2, 2)
    node = OneNode(nodes=4, quorums=quorums)
    at = node.begin_scout()
    votes = 1
    for peer in (1, 2, 3):
        node.promise(peer, at)
        votes |= 1 << peer
        assert node.core.status()["leading"] == quorums.is_phase1_quorum(votes)
        if node.core.status()["leading"]:
            break
    requested(node, COMMANDS[0])
    votes = 1
    for peer in (1, 2, 3):
        node.accept(peer, at, 1, 2)
        votes |= 1 << peer
        assert (node.core.slot_out == 2) == quorums.is_phase2_quorum(votes)


# -- commanders keep asking


def test_commanders_ask_again_on_a_timer_only_acceptors_that_have_not_voted():
    node = OneNode(nodes=5)
    at = node.lead()
    requested(node, COMMANDS[0])
    node.accept(1, at, 1, 2)
    node.sent.clear()
    node.wait_for_repeats()
    assert proposed(node, 1) == {}
    assert set(proposed(node, 2)) == {1}


def test_commanders_ask_again_on_a_reconnect():
    node = OneNode()
    at = node.lead()
    requested(node, COMMANDS[0])
    node.core.link_down(102)
    node.link(2, number=202)
    sent = node.take(202, "phase2a")
    assert [(one["ballot"], one["first"]) for one in sent] == [(at, 1)]


def test_a_lower_ballots_2b_does_not_end_a_commander():
    """PMMC's commander ends by any other ballot; here only a higher one ends it."""
    node = OneNode()
    at = node.lead()
    requested(node, COMMANDS[0])
    node.accept(1, 0, 1, 1)
    node.accept(1, at, 1, 2)
    assert node.core.slot_out == 2


def test_a_new_leader_says_so_even_where_nothing_is_decided():
    """Otherwise a node that follows an older ballot would wait for the old leader for ever."""
    node = OneNode()
    node.phase2a(1, ballot(1, 1), 1, COMMANDS[:1])
    node.send(1, "decision", ballot=ballot(1, 1), first=1, end=2)
    node.sync()
    at = node.begin_scout()
    node.sent.clear()
    node.promise(1, at)
    assert [(one["ballot"], one["end"]) for one in node.from_peer(2, "decision")] == [(at, 2)]
