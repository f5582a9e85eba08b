"""Each phase 2a goes to each node once: what is owed to a link, and what is repeated."""

from __future__ import annotations

from typing import Any

from multipaxos.wire import codec
from tests.support.one_node import OPEN_SESSION, OneNode, command, run_with

LONG = bytes(300_000)


def leader(**how: Any) -> tuple[OneNode, int]:
    """A leader whose bulk leaves when the test says so, with a client."""
    one = OneNode(**how)
    one.keeps_bulk = True
    at = one.lead()
    one.client()
    return one, at


def propose(one: OneNode, count: int, payload: bytes = LONG) -> None:
    """Commands of one client, each in a run of its own."""
    for sequence in range(1, count + 1):
        one.request(1, command(9, sequence, payload))


def slots_to(one: OneNode, peer: int) -> list[int]:
    """The first slots of the phases 2a that went to a peer since the last call."""
    return [message["first"] for message in one.from_peer(peer, "phase2a")]


class TestRoom:
    """A link gets no more than it has room for."""

    def test_a_link_that_holds_much_gets_no_more_and_goes_on_when_that_has_left(self) -> None:
        one, _ = leader()
        propose(one, 4)
        assert slots_to(one, 1) == [1]
        one.left(101)
        assert slots_to(one, 1) == [2]
        one.left(101)
        one.left(101)
        one.left(101)
        assert slots_to(one, 1) == [3, 4]
        assert slots_to(one, 2) == [1]

    def test_a_link_that_falls_behind_gets_short_runs_in_their_turn(self) -> None:
        one, _ = leader()
        propose(one, 2)
        one.request(1, command(9, 3, b"short"))
        assert slots_to(one, 1) == [1]
        for _ in range(3):
            one.left(101)
        assert slots_to(one, 1) == [2, 3]

    def test_what_is_decided_meanwhile_is_not_sent_to_it(self) -> None:
        one, at = leader()
        propose(one, 3)
        one.sync()
        one.left(101)
        one.left(101)
        one.accept(1, at, 1, 4)
        assert one.core.slot_out == 4
        one.left(102)
        assert slots_to(one, 2) == [1]

    def test_no_peer_is_told_that_a_slot_is_decided_whose_phase_2a_waits_for_its_link(self) -> None:
        one, at = leader()
        propose(one, 1)
        one.sync()
        one.accept(1, at, 1, 2)
        one.take(102)
        one.tick(10)
        one.send(2, "ping", ballot=at, nonce=1, slot_out=1)
        (pong,) = one.from_peer(2, "pong")
        assert (pong["decided_end"], pong["slot_out"]) == (1, 1)
        one.left(102)
        one.tick(10)
        assert [message["end"] for message in one.from_peer(2, "decision")] == [2]

    def test_a_leader_proposes_no_more_than_may_be_in_flight(self) -> None:
        one, at = leader(in_flight_bytes=500_000)
        propose(one, 4)
        assert one.core.replica.slot_in == 3
        one.sync()
        one.accept(1, at, 1, 2)
        assert one.core.replica.slot_in == 4


class TestRepeats:
    """Nothing is repeated behind its own copy."""

    def test_what_has_not_left_is_not_repeated(self) -> None:
        one, _ = leader()
        propose(one, 1)
        waiting = one.core.status()["unsent_bytes"]
        one.wait_for_repeats()
        assert slots_to(one, 1) == [1]
        assert one.core.status()["unsent_bytes"] == waiting

    def test_what_has_left_and_may_not_have_arrived_is_not_repeated(self) -> None:
        one, _ = leader()
        propose(one, 1)
        one.left(101)
        for _ in range(6):
            one.tick(110)
        assert slots_to(one, 1) == [1]

    def test_what_has_arrived_and_has_no_vote_is_repeated(self) -> None:
        one, _ = leader()
        propose(one, 1)
        one.left(101)
        one.left(102)
        assert one.core.status()["repeated_runs"] == 0
        one.wait_for_repeats()
        assert slots_to(one, 1) == [1, 1]
        assert one.core.status()["repeated_runs"] == 2, "to each of the two"

    def test_on_a_new_link_all_that_is_undecided_is_sent_again(self) -> None:
        one, _ = leader()
        propose(one, 2)
        one.left(102)
        assert slots_to(one, 2) == [1, 2]
        one.core.link_down(102)
        one.link(2, number=202)
        assert [message["first"] for message in one.take(202, "phase2a")] == [1]

    def test_what_a_node_dropped_for_want_of_room_is_sent_when_it_has_room(self) -> None:
        one, at = leader()
        propose(one, 3)
        for _ in range(3):
            one.left(101)
        assert slots_to(one, 1) == [1, 2, 3]
        one.accept(1, at, 1, 2)
        one.send(1, "pong", missing=2)
        one.left(101)
        assert slots_to(one, 1) == [2, 3]
        status = one.core.status()
        assert (status["missed_by_nodes"], status["repeated_runs"]) == (1, 0)


class TestBudgets:
    """A link's budget is what it carried in a quarter of the election time-out."""

    def test_a_fast_link_gets_more(self) -> None:
        one, _ = leader()
        link = one.core.links.peer(1)
        propose(one, 8)
        before = link.budget
        for _ in range(8):
            one.tick(1)
            one.left(101)
        assert before < link.budget <= 1 << 20

    def test_a_slow_link_gets_less(self) -> None:
        one, _ = leader()
        link = one.core.links.peer(1)
        propose(one, 1)
        for waiting in range(300_000, 0, -5000):
            one.tick(25)
            one.left(101, waiting)
        assert link.budget == 32 << 10
        assert link.unsent == 5000

    def test_control_that_waits_counts_too(self) -> None:
        one, _ = leader()
        one.left(101, 1 << 20)
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        assert slots_to(one, 1) == []
        assert slots_to(one, 2) == [1]
        one.left(101, 10)
        assert slots_to(one, 1) == [1]


class TestPulls:
    """A phase 1b comes part by part, each when it is asked for."""

    def test_each_part_brings_the_next_question(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        one.sent.clear()
        one.promise(1, at, end=5)
        (question,) = one.from_peer(1, "phase1a")
        assert (question["first"], question["part"]) == (1, 5)
        one.promise(1, at, first=5)
        assert one.from_peer(1, "phase1a") == []
        assert one.core.status()["leading"]

    def test_a_scout_goes_on_although_slots_are_decided(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        old = codec.encode_phase2a(1 << 24, 1, 5, (0, 1, 1), [command(9, 1)])
        one.send(2, "fetched", first=1, end=2, mark=1, pvalues=[(1, 2, old)])
        assert one.core.slot_out == 2
        for part in range(2, 20):
            one.promise(1, at, first=part - 1, end=part)
            one.tick(90)
        assert one.core.leader.ballot == at
        one.promise(1, at, first=19)
        assert one.core.status()["leading"]

    def test_a_scout_that_does_not_get_on_begins_anew_at_a_higher_slot(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        old = codec.encode_phase2a(1 << 24, 1, 5, (0, 1, 1), [command(9, 1)])
        one.send(2, "fetched", first=1, end=2, mark=1, pvalues=[(1, 2, old)])
        for _ in range(20):
            one.tick(90)
            one.sync()
        assert one.core.leader.ballot > at
        assert one.core.leader.scout.first == 2

    def test_our_own_answer_comes_in_parts_too(self) -> None:
        one = OneNode()
        run_with(one, 1 << 24 | 1, [bytes(700_000)] * 4)
        at = one.begin_scout()
        one.promise(1, at)
        assert one.core.status()["leading"]
        assert [slot for slot, _ in one.core.acceptor.pvalues()] == [1, 2, 3, 4]
        assert {ballot for _, ballot in one.core.acceptor.pvalues()} == {at}
