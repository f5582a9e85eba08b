"""Our own scout and commanders on links and disk: quorums, marks, messages sent again."""

from __future__ import annotations

from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.wire import codec
from multipaxos.wire.codec import SLOTS_END
from tests.node.runs import entry, run, run_of
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command


class TestScout:
    """Phase 1, and when a node has to wait before it scouts."""

    def test_a_ballot_is_durable_before_its_first_phase_1a(self) -> None:
        one = OneNode()
        while not any(event.kind == "scouting" for event in one.events):
            one.tick(50)
        one.tick(300)
        assert one.from_peer(1, "phase1a") == []
        one.sync()
        (question,) = one.from_peer(1, "phase1a")
        assert int.from_bytes(one.meta[b"ballot"], "little") == question["ballot"]

    def test_a_node_that_lags_fetches_before_it_scouts(self) -> None:
        one = OneNode(window=64)
        for _ in range(40):
            one.send(1, "ping", ballot=0, nonce=1, slot_out=500, voting=True)
            one.tick(50)
        assert not any(event.kind == "scouting" for event in one.events)
        assert one.from_peer(1, "fetch")

    def test_a_node_ahead_that_fell_silent_does_not_hold_up_an_election(self) -> None:
        """It may be stopped for ever, with its link up."""
        one = OneNode(window=64)
        one.send(1, "ping", ballot=0, nonce=1, slot_out=500, voting=True)
        for _ in range(60):
            one.tick(50)
        assert any(event.kind == "scouting" for event in one.events)

    def test_a_vote_of_an_incarnation_that_did_not_found_does_not_count(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        one.promise(1, at)
        assert one.core.status()["leading"]
        one = OneNode()
        at = one.begin_scout()
        one.core.link_down(101)
        one.link(1, incarnation=4242, number=201)
        one.receive(201, codec.encode("phase1b", ballot=at, first=1, end=SLOTS_END, mark=1))
        assert not one.core.status()["leading"]

    def test_parts_of_its_own_answer_end_where_decided_slots_have_left_memory(self) -> None:
        """Slots are decided while our own acceptor answers part by part. What it accepted in them has left its memory
        before it came to that part: an answer without it would lead to no-ops in the place of decided commands."""
        one = OneNode(window=64)
        at = ballot(1, 1)
        large = b"v" * (1 << 20)
        log = [command(0, 900 + slot, b"", OPEN_SESSION) for slot in range(1, 203)]
        for slot in (1, 2, 3):
            one.phase2a(1, at, slot, [command(7, slot, large)])
        one.phase2a(1, at, 4, log[3:200])
        one.sync()

        def durable() -> None:
            batch, one.batch = one.batch, None
            assert batch is not None
            one.commit(batch)
            one.core.done(batch.token, True)
            one.collect()

        while not any(event.kind == "scouting" for event in one.events):
            one.tick(50)
        one.send(1, "decision", ballot=at, first=1, end=201)
        assert one.core.slot_out == 201
        for slot in (201, 202):  # something new is gathered, so the next part waits for the next batch
            one.send(
                1,
                "fetched",
                first=slot,
                end=slot + 1,
                mark=1,
                pvalues=[entry(run_of(at, slot, log[slot - 1]), slot, slot + 1)],
            )
            durable()
        one.sync()
        one.promise(2, one.core.leader.ballot)
        assert not one.core.status()["leading"]
        one.tick(400)
        one.sync()
        assert [event.slot for event in one.events if event.kind == "scouting"][-1] == 203

    def test_a_scout_asks_again(self) -> None:
        one = OneNode()
        one.begin_scout()
        one.sent.clear()
        one.tick(150)
        assert one.from_peer(1, "phase1a")

    def test_a_promise_with_a_pvalue_that_is_none_closes_its_link(self) -> None:
        """Nothing of that part counts."""
        one = OneNode()
        at = one.begin_scout()
        one.promise(1, at, pvalues=((1, 2, b"?"),))
        assert one.closed == {101: "a phase1b whose pvalues are not pvalues"}
        assert not one.core.status()["leading"]


class TestStart:
    """Where a reign starts: above every mark."""

    def test_start_is_above_every_mark_and_own_proposals_below_are_dropped(self) -> None:
        one = OneNode()
        one.lead()
        one.client()
        one.request(1, command(0, 71, b"", OPEN_SESSION), command(0, 72, b"", OPEN_SESSION))
        one.send(2, "phase2b", ballot=ballot(9, 2), first=1, end=1, mark=1)
        again = one.begin_scout()
        one.sent.clear()
        one.promise(1, again, mark=5)
        assert one.core.leader.commanders.start == 5
        proposed = [m["first"] for m in one.from_peer(2, "phase2a")]
        assert all(first >= 5 for first in proposed)

    def test_no_noops_below_the_mark(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        one.promise(1, at, mark=5, pvalues=(entry(run(2, 7, b"seven"), 7, 8),))
        slots = [m["first"] + i for m in one.from_peer(2, "phase2a") for i in range(len(m["commands"]))]
        assert slots == [5, 6, 7]

    def test_what_lies_below_start_is_fetched(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        one.promise(1, at, mark=5)
        one.tick(1)
        fetches = one.from_peer(1, "fetch") + one.from_peer(2, "fetch")
        assert [(m["first"], m["end"]) for m in fetches] == [(1, 5)]

    def test_the_greatest_mark_of_all_parts_counts(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        one.promise(1, at, mark=3, end=4)
        assert not one.core.status()["leading"]
        one.promise(1, at, first=4, mark=2)
        assert one.core.leader.commanders.start == 3

    def test_a_part_that_came_out_of_turn_does_not_count(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        one.promise(1, at, first=4)
        assert not one.core.status()["leading"]
        one.promise(1, at, end=4)
        one.promise(1, at, first=4)
        assert one.core.status()["leading"]

    def test_an_answer_may_hold_a_whole_ring_above_its_mark(self) -> None:
        one = OneNode(window=8)
        at = one.begin_scout()
        one.promise(1, at, mark=9, pvalues=(entry(run(1, 40, b"far"), 40, 41),))
        assert not one.closed
        assert one.core.status()["leading"]
        assert (one.core.leader.commanders.start, one.core.leader.commanders.slot_end) == (9, 41)

    def test_start_is_above_what_an_earlier_reign_decided(self) -> None:
        """Its rows are gone: every slot below is decided, also where the marks of this quorum are lower."""
        one = OneNode()
        at = one.begin_scout()
        one.promise(1, at, mark=5)
        one.client()
        one.request(1, *[command(0, n, b"", OPEN_SESSION) for n in (1, 2, 3)])
        one.sync()
        one.accept(1, at, 5, 8)
        assert (one.core.leader.commanders.decided_end, one.core.slot_out) == (8, 1)
        one.send(2, "phase2b", ballot=ballot(9, 2), first=1, end=1, mark=1)
        one.promise(1, one.begin_scout())
        assert one.core.leader.commanders.start == 8

    def test_a_2b_below_a_mark_is_no_vote_and_moves_the_start(self) -> None:
        one = OneNode()
        at = one.lead()
        one.client()
        one.request(1, *[command(0, n, b"", OPEN_SESSION) for n in range(1, 9)])
        one.accept(1, at, 1, 1, mark=4)
        assert one.core.leader.commanders.start == 4
        assert one.core.slot_out == 1
        one.tick(1)
        assert [(m["first"], m["end"]) for m in one.from_peer(1, "fetch") + one.from_peer(2, "fetch")] == [(1, 4)]


class TestCommanders:
    """Phase 2, and what is proposed again."""

    def test_a_phase_2a_leaves_at_once(self) -> None:
        one = OneNode()
        one.lead()
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        assert len(one.from_peer(1, "phase2a")) == 1

    def test_a_proposal_made_again_keeps_its_time(self) -> None:
        one = OneNode()
        at = one.begin_scout()
        first, second = run(2, 1, b"a", time_ns=111), run(2, 2, b"b", time_ns=222)
        one.promise(1, at, pvalues=(entry(first, 1, 2), entry(second, 2, 3)))
        assert [(m["first"], m["time_ns"]) for m in one.from_peer(2, "phase2a")] == [(1, 111), (2, 222)]

    def test_a_2b_of_an_incarnation_that_did_not_found_does_not_count(self) -> None:
        one = OneNode()
        at = one.lead()
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        one.core.link_down(101)
        one.link(1, incarnation=4242, number=201)
        one.sync()
        one.receive(201, codec.encode("phase2b", ballot=at, first=1, end=2, mark=1))
        assert one.core.slot_out == 1

    def test_commanders_ask_again(self) -> None:
        one = OneNode()
        one.send(1, "ping", ballot=ballot(3, 1))
        at = one.lead()
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        one.accept(2, ballot(3, 0), 1, 2)
        one.sent.clear()
        one.tick(110)
        assert one.from_peer(1, "phase2a") == [], "it may not have arrived yet"
        one.wait_for_repeats()
        assert [m["ballot"] for m in one.from_peer(1, "phase2a")] == [at]

    def test_commanders_ask_our_own_acceptor_again(self) -> None:
        """Found by simulation: its ring was behind when the slots were proposed again, and it was not asked again."""
        one = OneNode(window=8)
        at, first = ballot(1, 1), 1
        for first in range(1, 17, 8):
            one.phase2a(1, at, first, [command(9, slot) for slot in range(first, first + 8)], decided=(at, 1, first))
        one.send(1, "decision", ballot=at, first=1, end=17)
        held = run_of(at, 17, *[command(9, slot) for slot in range(17, 41)])
        at = one.begin_scout()
        one.promise(1, at, first=17, pvalues=((17, 41, held),))
        one.promise(2, at, first=17)
        one.sync()
        assert one.core.leader.commanders.slot_end == 41
        one.accept(1, at, 17, 41)
        one.tick(10)
        assert one.core.slot_out == 33  # our acceptor had no room for more
        for _ in range(5):
            one.tick(100)
            one.sync()
        assert one.core.slot_out == 41

    def test_what_a_broken_link_lost_is_sent_again(self) -> None:
        one = OneNode()
        one.lead()
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        one.sent.clear()
        one.core.link_down(101)
        one.link(1, number=201)
        assert [m["first"] for m in one.take(201, "phase2a")] == [1]

    def test_a_leader_that_is_no_acceptor_proposes_its_own_again(self) -> None:
        """The arrow: pmax holds nothing, what the leader had stays."""
        one = OneNode(roles=[2, 5, 5])
        for round in (1, 2):
            at = one.begin_scout()
            for peer in (1, 2):
                one.promise(peer, at)
            if round == 1:
                one.request(101, command(7, 1, b"own"))
                assert len(one.from_peer(1, "phase2a")) == 1
                one.send(1, "ping", ballot=ballot(5, 1))
        (again,) = one.from_peer(1, "phase2a")
        assert (again["ballot"], again["first"]) == (ballot(6, 0), 1)
        assert [each["payload"] for each in again["commands"]] == [b"own"]


class TestContact:
    """A leader keeps leading while a phase-2 quorum answers."""

    def test_a_new_leader_has_time_to_hear_its_phase_2_quorum(self) -> None:
        """Found by simulation: with phase-1 quorums of one it was adopted, and stepped down at the next ping."""
        one = OneNode(quorums=QuorumSystem.sizes(range(3), 1, 3))
        one.begin_scout()
        assert one.core.status()["leading"]
        one.tick(150)
        one.tick(150)
        assert one.core.status()["leading"]
        for _ in range(12):
            one.tick(100)
        assert not one.core.status()["leading"]

    def test_a_leader_without_a_quorum_steps_down(self) -> None:
        one = OneNode()
        one.lead()
        for _ in range(15):
            one.tick(100)
        assert not one.core.status()["leading"]
        assert any(event.kind == "stepped_down" for event in one.events)
