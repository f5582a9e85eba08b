"""Bytes that are on their way put a judgement off, and not for ever."""

from __future__ import annotations

from multipaxos.wire import codec
from tests.support.one_node import NO_WATERMARK, OneNode, ballot, command, run_with

STEP_MS = 50
TIMEOUT_MS = 500


class Trickle:
    """A long frame that comes from a peer a few bytes at a time, and never to its end."""

    def __init__(self, one: OneNode, peer: int) -> None:
        self.one, self.link = one, 100 + peer
        self.frame = codec.encode_phase2a(ballot(1, peer), 1, 5, (0, 1, 1), [command(9, 1, bytes(1 << 20))])
        self.sent = 0

    def more(self) -> None:
        """A few bytes."""
        self.one.receive(self.link, self.frame[self.sent : self.sent + 100])
        self.sent += 100


def scouts_after_ms(one: OneNode, *trickles: Trickle, limit_ms: int = 6000) -> int:
    """After how long the node scouts, while bytes come from these peers."""
    one.events.clear()
    for past_ms in range(0, limit_ms, STEP_MS):
        if any(event.kind == "scouting" for event in one.events):
            return past_ms
        for trickle in trickles:
            trickle.more()
        one.tick(STEP_MS)
    return limit_ms


def asked_for(*payloads: bytes) -> OneNode:
    """A node that has accepted these, and of which the scout of node 1 asks them; bulk leaves when the test says so."""
    one = OneNode()
    one.keeps_bulk = True
    run_with(one, ballot(1, 2), list(payloads))
    one.send(1, "phase1a", ballot=ballot(5, 1), first=1)
    one.sync()
    one.events.clear()
    return one


def pong(one: OneNode, at: int, *, leading: bool = True, quorum: bool = True) -> None:
    """A pong of node 1."""
    one.send(1, "pong", ballot=at, nonce=one.now_ns, slot_out=1, leading=leading, quorum=quorum, **NO_WATERMARK)


class TestLeaders:
    """A leader whose pong comes late behind something long."""

    def test_bytes_of_a_leader_with_its_quorum_put_the_election_off_for_four_time_outs(self) -> None:
        one = OneNode()
        pong(one, ballot(3, 1))
        assert 3.5 * TIMEOUT_MS < scouts_after_ms(one, Trickle(one, 1)) <= 4 * TIMEOUT_MS + STEP_MS

    def test_bytes_that_end_count_for_a_time_out(self) -> None:
        one = OneNode()
        pong(one, ballot(3, 1))
        trickle = Trickle(one, 1)
        for _ in range(400 // STEP_MS):
            trickle.more()
            one.tick(STEP_MS)
        assert scouts_after_ms(one) <= 1.5 * TIMEOUT_MS + STEP_MS

    def test_bytes_of_a_leader_without_its_quorum_are_no_sign(self) -> None:
        one = OneNode()
        pong(one, ballot(3, 1))
        pong(one, ballot(3, 1), quorum=False)
        assert scouts_after_ms(one, Trickle(one, 1)) <= 1.5 * TIMEOUT_MS + STEP_MS

    def test_bytes_of_another_node_are_no_sign(self) -> None:
        one = OneNode()
        pong(one, ballot(3, 1))
        assert scouts_after_ms(one, Trickle(one, 2)) <= 1.5 * TIMEOUT_MS + STEP_MS

    def test_bytes_of_a_follower_keep_a_leaders_quorum_for_four_time_outs(self) -> None:
        for trickles in (False, True):
            one = OneNode()
            at = one.lead()
            one.send(1, "ping", ballot=at, nonce=1, slot_out=1, voting=True)
            trickle = Trickle(one, 1)
            past_ms = 0
            while one.core.status()["leading"] and past_ms < 5000:
                if trickles:
                    trickle.more()
                one.tick(STEP_MS)
                past_ms += STEP_MS
            least = 4 if trickles else 2
            assert least * TIMEOUT_MS < past_ms <= (least + 0.5) * TIMEOUT_MS


class TestScouts:
    """A scout that gets on slowly."""

    def test_a_scout_that_asks_for_a_further_part_is_waited_for(self) -> None:
        one = OneNode()
        at = ballot(5, 1)
        for part in range(1, 60):
            one.send(1, "phase1a", ballot=at, first=1, part=part)
            one.sync()
            assert scouts_after_ms(one, limit_ms=450) == 450
        assert scouts_after_ms(one) <= 1.5 * TIMEOUT_MS

    def test_a_scout_that_asks_for_the_same_part_again_is_not(self) -> None:
        one = OneNode()
        at = ballot(5, 1)
        one.send(1, "phase1a", ballot=at, first=1, part=7)
        one.sync()
        began_ns = one.now_ns
        for _ in range(2 * TIMEOUT_MS // STEP_MS):
            one.send(1, "phase1a", ballot=at, first=1, part=7)
            one.send(1, "phase1a", ballot=at, first=1, part=3)
            one.tick(STEP_MS)
            if any(event.kind == "scouting" for event in one.events):
                break
        assert one.now_ns - began_ns <= (1.5 * TIMEOUT_MS + STEP_MS) * 1_000_000

    def test_a_part_that_leaves_to_a_scout_puts_the_election_off_for_four_time_outs(self) -> None:
        for leaves in (False, True):
            one = asked_for(bytes(1 << 20))
            waiting, past_ms = 1 << 20, 0
            while not any(event.kind == "scouting" for event in one.events):
                if leaves:
                    waiting -= 1000
                    one.left(101, waiting)
                one.tick(STEP_MS)
                past_ms += STEP_MS
            assert past_ms <= (4 if leaves else 1.5) * TIMEOUT_MS + STEP_MS
            assert past_ms > (3.5 if leaves else 0.9) * TIMEOUT_MS

    def test_a_scout_to_which_a_long_part_has_left_is_waited_for(self) -> None:
        """It may be adopted as soon as the last bytes have come."""
        one = asked_for(bytes(1 << 20))
        for left in range(1, 31):
            one.left(101, (30 - left) << 15)
            one.tick(50)
        assert scouts_after_ms(one) > 0.9 * TIMEOUT_MS

    def test_a_part_that_has_just_left_is_waited_for_to_bring_the_next_question(self) -> None:
        one = asked_for(bytes(1 << 20))
        assert scouts_after_ms(one, limit_ms=450) == 450
        one.left(101)
        assert 0.9 * TIMEOUT_MS < scouts_after_ms(one) <= 1.5 * TIMEOUT_MS + STEP_MS

    def test_the_same_question_again_does_not_prolong_that(self) -> None:
        one = asked_for(bytes(1 << 20))
        past_ms = 0
        while not any(event.kind == "scouting" for event in one.events) and past_ms < 6000:
            one.left(101)
            one.send(1, "phase1a", ballot=ballot(5, 1), first=1)
            one.sync()
            one.tick(STEP_MS)
            past_ms += STEP_MS
        assert past_ms <= 4 * TIMEOUT_MS + STEP_MS

    def test_a_scout_asks_every_acceptor_once_whatever_is_arriving(self) -> None:
        one = OneNode()
        trickle = Trickle(one, 1)
        while not any(event.kind == "scouting" for event in one.events):
            trickle.more()
            one.tick(STEP_MS)
        one.sync()
        assert one.take(101, "phase1a")

    def test_a_scout_whose_part_is_arriving_does_not_begin_anew_for_four_time_outs(self) -> None:
        for arrives in (False, True):
            one = OneNode()
            at = one.begin_scout()
            old = codec.encode_phase2a(1 << 24, 1, 5, (0, 1, 1), [command(9, 1)])
            one.send(2, "fetched", first=1, end=2, mark=1, pvalues=[(1, 2, old)])
            trickle, past_ms = Trickle(one, 1), 0
            while one.core.leader.ballot == at and past_ms < 8000:
                if arrives:
                    trickle.more()
                one.tick(STEP_MS)
                one.sync()
                past_ms += STEP_MS
            assert (past_ms >= 4 * TIMEOUT_MS) == arrives
            assert past_ms < 4 * TIMEOUT_MS + 1600 + STEP_MS

    def test_a_part_is_as_long_as_what_the_link_carries_in_a_quarter_of_a_time_out(self) -> None:
        one = asked_for(*[bytes(60_000)] * 4)
        (part,) = one.from_peer(1, "phase1b")
        assert part["end"] == 3
        assert one.core.links.peer(1).budget == 128 << 10
