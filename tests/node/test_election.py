"""When a passive leader scouts: the timer alone, and polite preemption inside the node."""

import pytest

from multipaxos.node.election import Election
from multipaxos.node.output import META_BALLOT
from multipaxos.paxos.ballot import ROUND_MAX
from multipaxos.paxos.quorum import QuorumSystem
from tests.support.one_node import MS, NO_WATERMARK, OPEN_SESSION, OneNode, ballot, command

TIMEOUT = 500 * MS
QUORUMS = QuorumSystem.majority(range(3))


@pytest.mark.parametrize("seed", range(5))
def test_bounds_of_the_wait(seed):
    election = Election(TIMEOUT, seed, QUORUMS)
    election.soon(0)
    assert 0 <= election.due_ns <= TIMEOUT // 2
    for quiet in (election.heard, election.passive):
        quiet(0)
        assert TIMEOUT <= election.due_ns <= TIMEOUT * 3 // 2
    election.preempted(0, False)
    assert TIMEOUT <= election.due_ns <= 2 * TIMEOUT


def test_the_wait_doubles_while_scouts_collide_up_to_its_bound():
    election = Election(TIMEOUT, 1, QUORUMS)
    waits = []
    for _ in range(8):
        election.preempted(0, True)
        waits.append(election.wait_ns // TIMEOUT)
    assert waits == [2, 4, 8, 16, 16, 16, 16, 16]


def test_the_wait_shrinks_in_steps_while_a_leader_is_stable():
    election = Election(TIMEOUT, 1, QUORUMS)
    for _ in range(3):
        election.preempted(0, True)
    before = election.wait_ns
    election.heard(0)
    assert before - election.wait_ns == TIMEOUT // 8
    for _ in range(100):
        election.heard(0)
    assert election.wait_ns == TIMEOUT


def test_a_suspicion_only_shortens():
    election = Election(TIMEOUT, 1, QUORUMS)
    election.heard(0)
    election.suspect(0)
    assert TIMEOUT // 5 <= election.due_ns <= TIMEOUT // 2
    due = election.due_ns
    election.suspect(TIMEOUT)
    assert election.due_ns == due


def test_a_leader_has_its_quorum_while_contacts_are_recent():
    election = Election(TIMEOUT, 1, QUORUMS)
    assert not election.has_quorum(1, TIMEOUT)
    election.begin_reign(ballot(2, 0), 0b011, 1000)
    assert election.has_quorum(1000 + TIMEOUT, TIMEOUT)
    election.note_contact(0, ballot(2, 0), 1000 + TIMEOUT)
    assert not election.has_quorum(1001 + TIMEOUT, TIMEOUT)
    election.note_contact(2, ballot(2, 0), 1001 + TIMEOUT)
    assert election.has_quorum(1001 + TIMEOUT, TIMEOUT)


def test_a_contact_at_another_ballot_is_none():
    election = Election(TIMEOUT, 1, QUORUMS)
    election.begin_reign(ballot(2, 0), 0b001, 1000)
    election.note_contact(1, ballot(1, 0), 1000)
    election.note_contact(2, ballot(3, 1), 1000)
    assert not election.has_quorum(1000, TIMEOUT)


def test_a_reign_ends_with_a_preemption():
    election = Election(TIMEOUT, 1, QUORUMS)
    election.begin_reign(ballot(2, 0), 0b111, 1000)
    election.preempted(1000, False)
    assert not election.has_quorum(1000, TIMEOUT)
    election.note_contact(1, 0, 1000)
    assert not election.has_quorum(1000, TIMEOUT)


def test_seeds_tell_waits_apart_and_repeat():
    def draws(seed):
        election = Election(TIMEOUT, seed, QUORUMS)
        return [election.random(1 << 30) for _ in range(5)]

    assert draws(3) == draws(3)
    assert len({tuple(draws(seed)) for seed in range(20)}) == 20


# -- inside the node


def follow(node, at, peer=1, quorum=True, leading=True, ticks=20):
    """The peer answers pings for two seconds."""
    for _ in range(ticks):
        node.send(peer, "pong", ballot=at, nonce=1, slot_out=1, leading=leading, quorum=quorum, **NO_WATERMARK)
        node.tick(100)


def scouts(node):
    """How often the node began to scout since the last call."""
    count = sum(event.kind == "scouting" for event in node.events)
    node.events.clear()
    return count


def test_while_the_winner_leads_with_its_quorum_no_other_node_scouts():
    node = OneNode()
    node.send(1, "ping", ballot=ballot(3, 1), nonce=1, slot_out=1, voting=True)
    follow(node, ballot(3, 1), ticks=100)
    assert scouts(node) == 0
    assert node.from_peer(1, "ping")


def test_a_node_that_comes_back_does_not_scout_at_once():
    """A scout at once would preempt the leader and force an election."""
    node = OneNode()
    node.send(1, "phase1a", ballot=ballot(3, 1), first=1)
    node.sync()
    again = node.restart()
    again.tick(499)
    assert scouts(again) == 0, "no node answers yet: dialling and shaking hands may take a while"
    follow(again, ballot(3, 1))
    assert scouts(again) == 0


def test_a_node_that_comes_back_to_no_leader_scouts_within_its_wait():
    node = OneNode()
    node.send(1, "phase1a", ballot=ballot(3, 1), first=1)
    node.sync()
    again = node.restart()
    for _ in range(8):
        again.tick(100)
    assert scouts(again) == 1


def test_a_node_alone_that_comes_back_does_not_wait():
    node = OneNode(nodes=1)
    for _ in range(3):
        node.tick(100)
    node.sync()
    assert scouts(node) == 1
    again = node.restart()
    for _ in range(3):
        again.tick(100)
    assert scouts(again) == 1


@pytest.mark.parametrize(("leading", "quorum"), [(True, False), (False, False), (False, True)])
def test_a_winner_cut_off_from_its_quorum_is_not_alive(leading, quorum):
    """It answers pings for ever, and still its peer scouts."""
    node = OneNode()
    node.send(1, "ping", ballot=ballot(3, 1), nonce=1, slot_out=1, voting=True)
    follow(node, ballot(3, 1), leading=leading, quorum=quorum)
    assert scouts(node) >= 1


def test_pongs_of_a_lower_ballot_do_not_help_the_loser():
    node = OneNode()
    node.send(2, "ping", ballot=ballot(4, 2), nonce=1, slot_out=1, voting=True)
    follow(node, ballot(3, 1))
    assert scouts(node) >= 1


def test_a_preempted_scout_does_not_scout_at_once():
    node = OneNode()
    at = node.begin_scout()
    node.promise(1, ballot(9, 1))
    assert at < ballot(9, 1)
    for _ in range(8):
        node.tick(100)
    assert scouts(node) == 0, "the wait has doubled: at least a second"


def test_a_leader_without_a_quorum_steps_down():
    node = OneNode()
    node.lead()
    for _ in range(15):
        node.tick(100)
    assert any(event.kind == "stepped_down" for event in node.events)


def test_a_leader_whose_quorum_answers_stays():
    node = OneNode()
    at = node.lead()
    for _ in range(50):
        node.send(2, "ping", ballot=at, nonce=1, slot_out=1, voting=True)
        node.tick(100)
    assert node.core.status()["leading"]


@pytest.mark.parametrize("fields", [{"voting": False}, {"ballot": 0}])
def test_pings_of_another_ballot_or_of_non_voters_are_no_quorum(fields):
    node = OneNode()
    at = node.lead()
    for _ in range(15):
        node.send(2, "ping", **{"ballot": at, "nonce": 1, "slot_out": 1, "voting": True, **fields})
        node.tick(100)
    assert any(event.kind == "stepped_down" for event in node.events)


def test_pong_says_whether_it_leads_and_has_its_quorum():
    node = OneNode()
    at = node.lead()

    def ask():
        node.take(101)
        node.send(1, "ping", ballot=0, nonce=77, slot_out=1, voting=True)
        return node.from_peer(1, "pong")[-1]

    pong = ask()
    assert (pong["ballot"], pong["nonce"], pong["leading"], pong["quorum"]) == (at, 77, True, True)
    for _ in range(6):
        node.tick(100)
    pong = ask()
    assert (pong["leading"], pong["quorum"]) == (True, False)
    for _ in range(6):
        node.tick(100)
    assert ask()["leading"] is False


def test_a_node_that_does_not_lead_answers_with_the_highest_ballot_it_knows():
    """So a node that follows an old leader learns of the new one, also from a node that is no acceptor."""
    node = OneNode(roles=[3, 7, 7])
    node.send(1, "ping", ballot=ballot(8, 1), nonce=1, slot_out=1, voting=True)
    node.take(102)
    node.send(2, "ping", ballot=ballot(2, 1), nonce=5, slot_out=1, voting=True)
    assert [one["ballot"] for one in node.from_peer(2, "pong")] == [ballot(8, 1)]


def test_a_follower_pings_its_leader_alone():
    node = OneNode()
    follow(node, ballot(3, 1))
    node.take(102)
    node.tick(100)
    assert node.from_peer(1, "ping")
    assert node.from_peer(2, "ping") == []


def test_a_node_that_knows_no_leader_pings_all_with_the_highest_ballot_it_knows():
    """Found by simulation: a replica knew of a ballot whose owner was gone, and a leader at a lower ballot never learnt
    of it; and a leader stepped down without knowledge of its successor."""
    node = OneNode(roles=[1, 7, 7])
    node.send(1, "ping", ballot=ballot(8, 1), nonce=1, slot_out=1, voting=True)
    node.take(102)
    for _ in range(7):
        node.tick(100)
    assert [(one["ballot"], one["voting"]) for one in node.from_peer(2, "ping")][-1] == (ballot(8, 1), False)


def test_a_ping_is_a_vote_of_confidence_only_at_the_ballot_that_was_adopted():
    node = OneNode()
    node.send(2, "phase1a", ballot=ballot(3, 2), first=1)
    node.sync()
    node.take(102)
    node.tick(100)
    assert [(one["ballot"], one["voting"]) for one in node.from_peer(2, "ping")] == [(ballot(3, 2), True)]
    node.send(1, "pong", ballot=ballot(5, 1))
    node.take(101)
    node.tick(100)
    assert [(one["ballot"], one["voting"]) for one in node.from_peer(1, "ping")] == [(ballot(5, 1), False)]


def test_a_broken_link_to_the_leader_hastens():
    node = OneNode()
    node.send(1, "ping", ballot=ballot(3, 1), nonce=1, slot_out=1, voting=True)
    follow(node, ballot(3, 1))
    scouts(node)
    node.core.link_down(101)
    node.tick(260)
    assert scouts(node) == 1


def test_a_node_that_is_behind_fetches_before_it_scouts():
    node = OneNode(window=4)
    node.send(2, "ping", ballot=0, nonce=1, slot_out=100, voting=True)
    for _ in range(6):
        node.tick(100)
    assert scouts(node) == 0
    assert [one["first"] for one in node.from_peer(2, "fetch")][:1] == [1]


def test_clients_are_sent_the_ballot_of_the_leader():
    node = OneNode()
    node.client()
    node.phase2a(1, ballot(3, 1), 1, [command(0, 9, b"", OPEN_SESSION)])
    assert [one["ballot"] for one in node.take(1, "leading")] == [0, ballot(3, 1)]


def test_a_node_that_has_seen_the_last_round_scouts_no_more() -> None:
    """A ballot above it would begin again from 0."""
    last = ballot(ROUND_MAX, 1)
    node = OneNode(meta={META_BALLOT: (ballot(ROUND_MAX - 1, 1)).to_bytes(8, "little")})
    assert node.begin_scout() == ballot(ROUND_MAX, 0)
    node = OneNode(meta={META_BALLOT: last.to_bytes(8, "little")})
    for _ in range(100):
        node.tick(100)
    assert scouts(node) == 0


def test_an_election_draws_from_every_seed() -> None:
    """Also from the seed that would leave its generator at 0 for ever."""
    election = Election(1000, 0x9E3779B97F4A7C15, QuorumSystem.majority(range(3)))
    assert len({election.random(1 << 40) for _ in range(10)}) == 10


class TestBytesThatAreSeen:
    """They put an election off for a time-out, up to four of them after the last true sign."""

    def put_off(self, bytes_ns, sign_ns, now_ns):
        election = Election(TIMEOUT, 1, QUORUMS)
        before = election.due_ns
        waits = election.put_off(bytes_ns, sign_ns, now_ns)
        assert waits == (election.due_ns > now_ns)
        assert waits or election.due_ns == before
        return waits

    def test_within_a_time_out(self):
        assert self.put_off(2 * TIMEOUT, TIMEOUT, 3 * TIMEOUT - 1)

    def test_not_later_whatever_is_drawn(self):
        assert not self.put_off(2 * TIMEOUT, TIMEOUT, 3 * TIMEOUT)

    def test_not_long_after_the_last_true_sign(self):
        assert self.put_off(5 * TIMEOUT - 1, TIMEOUT, 5 * TIMEOUT - 1)
        assert not self.put_off(5 * TIMEOUT, TIMEOUT, 5 * TIMEOUT)

    def test_bytes_that_never_came_and_signs_that_never_came(self):
        assert not self.put_off(0, TIMEOUT, TIMEOUT + 1)
        assert not self.put_off(TIMEOUT, 0, TIMEOUT + 1)
