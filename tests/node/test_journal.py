"""What rests on a batch waits until it is durable."""

from __future__ import annotations

from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command


class TestDurability:
    """No answer leaves before the ballot or pvalue that it rests on is durable."""

    def test_a_promise_waits_for_its_batch(self) -> None:
        one = OneNode()
        one.send(1, "phase1a", ballot=ballot(1, 1), first=1)
        one.tick(50)
        assert one.from_peer(1, "phase1b") == []
        one.sync()
        assert len(one.from_peer(1, "phase1b")) == 1
        assert int.from_bytes(one.meta[b"ballot"], "little") == ballot(1, 1)

    def test_a_vote_waits_for_its_batch(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        one.tick(50)
        assert one.from_peer(1, "phase2b") == []
        one.sync()
        assert [(m["first"], m["end"]) for m in one.from_peer(1, "phase2b")] == [(1, 2)]
        assert one.records

    def test_a_ballot_that_was_adopted_without_a_trace_is_durable_before_it_is_promised(self) -> None:
        """Found by simulation: a phase 2a outside the ring raises ballot_num and leaves no record."""
        one = OneNode(window=8)
        one.phase2a(1, ballot(3, 1), 500, [command(9, 1)])
        assert one.core.acceptor.ballot_num == ballot(3, 1)
        one.sync()
        one.sent.clear()
        one.send(1, "phase1a", ballot=ballot(3, 1), first=1)
        assert one.from_peer(1, "phase1b") == []
        one.sync()
        assert [m["ballot"] for m in one.from_peer(1, "phase1b")] == [ballot(3, 1)]
        assert one.restart().core.acceptor.ballot_num == ballot(3, 1)

    def test_an_answer_to_a_repeat_waits_as_the_first_one_does(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        one.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        one.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        assert one.take(101) == []
        one.sync()
        kinds = [m["kind"] for m in one.take(101)]
        assert kinds.count("phase1b") == 1, "the repeat replaces it"
        assert "phase2b" in kinds

    def test_an_answer_waits_for_the_batch_that_gathers_behind_the_outstanding_one(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        one.phase2a(1, ballot(1, 1), 2, [command(9, 2)])  # gathers while the first is being synced
        batch, one.batch = one.batch, None
        assert batch is not None
        one.commit(batch)
        one.core.done(batch.token, True)
        one.collect()
        assert [(m["first"], m["end"]) for m in one.from_peer(1, "phase2b")] == [(1, 2)]
        one.sync()
        assert [(m["first"], m["end"]) for m in one.from_peer(1, "phase2b")] == [(2, 3)]

    def test_a_preempting_answer_waits_too(self) -> None:
        one = OneNode()
        one.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        one.send(2, "phase1a", ballot=ballot(1, 2), first=1)
        assert one.from_peer(2, "phase1b") == []
        one.sync()
        assert [m["ballot"] for m in one.from_peer(2, "phase1b")] == [ballot(2, 1)]

    def test_our_own_vote_waits_too(self) -> None:
        one = OneNode(nodes=1)
        one.begin_scout()
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        assert one.core.slot_out == 1
        one.sync()
        assert one.core.slot_out == 2

    def test_the_voter_record_is_durable_before_it_votes(self) -> None:
        one = OneNode(nodes=1, founded=False)
        assert not one.core.voting
        one.sync()
        assert one.core.voting
        assert b"voter" in one.meta
