"""The rules of safety that the design adds to the paper, each on one core: durability, marks, watermarks, recovery,
fetches."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.errors import CorruptLog
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.wire import codec
from multipaxos.wire.schema import SCHEMA
from tests.support.one_node import MS, OPEN_SESSION, Rig, ballot, command

LAST = codec.SLOTS_END


def run(at: int, first: int, *payloads: bytes, time_ns: int = 5) -> bytes:
    """A phase 2a frame."""
    return codec.encode_phase2a(at, first, time_ns, (0, 1, 1), [command(9, i, p) for i, p in enumerate(payloads, 1)])


def entry(frame: bytes, first: int, end: int) -> dict[str, Any]:
    """One of a list of pvalues."""
    return {"first": first, "end": end, "run": frame}


class TestDurability:
    """Nothing that rests on a ballot or a pvalue leaves before it is durable."""

    def test_a_promise_waits_for_its_batch(self) -> None:
        rig = Rig()
        rig.send(1, "phase1a", ballot=ballot(1, 1), first=1)
        rig.tick(50)
        assert rig.from_peer(1, "phase1b") == []
        rig.sync()
        assert len(rig.from_peer(1, "phase1b")) == 1
        assert int.from_bytes(rig.meta[b"ballot"], "little") == ballot(1, 1)

    def test_a_vote_waits_for_its_batch(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        rig.tick(50)
        assert rig.from_peer(1, "phase2b") == []
        rig.sync()
        assert [(m["first"], m["end"]) for m in rig.from_peer(1, "phase2b")] == [(1, 2)]
        assert rig.records

    def test_a_ballot_that_was_adopted_without_a_trace_is_durable_before_it_is_promised(self) -> None:
        """Found by simulation: a phase 2a outside the ring raises ballot_num and leaves no record."""
        rig = Rig(window=8)
        rig.phase2a(1, ballot(3, 1), 500, [command(9, 1)])
        assert rig.node.acceptor.ballot_num == ballot(3, 1)
        rig.sync()
        rig.sent.clear()
        rig.send(1, "phase1a", ballot=ballot(3, 1), first=1)
        assert rig.from_peer(1, "phase1b") == []
        rig.sync()
        assert [m["ballot"] for m in rig.from_peer(1, "phase1b")] == [ballot(3, 1)]
        assert rig.restart().node.acceptor.ballot_num == ballot(3, 1)

    def test_an_answer_to_a_repeat_waits_as_the_first_one_does(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        rig.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        rig.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        assert rig.take(101) == []
        rig.sync()
        kinds = [m["kind"] for m in rig.take(101)]
        assert kinds.count("phase1b") == 2
        assert "phase2b" in kinds

    def test_an_answer_waits_for_the_batch_that_gathers_behind_the_outstanding_one(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        rig.phase2a(1, ballot(1, 1), 2, [command(9, 2)])  # gathers while the first is being synced
        batch, rig.batch = rig.batch, None
        assert batch is not None
        rig.commit(batch)
        rig.node.done(batch.token, True)
        rig.collect()
        assert [(m["first"], m["end"]) for m in rig.from_peer(1, "phase2b")] == [(1, 2)]
        rig.sync()
        assert [(m["first"], m["end"]) for m in rig.from_peer(1, "phase2b")] == [(2, 3)]

    def test_a_preempting_answer_waits_too(self) -> None:
        rig = Rig()
        rig.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        rig.send(2, "phase1a", ballot=ballot(1, 2), first=1)
        assert rig.from_peer(2, "phase1b") == []
        rig.sync()
        assert [m["ballot"] for m in rig.from_peer(2, "phase1b")] == [ballot(2, 1)]

    def test_a_refusal_is_no_adoption_of_a_later_ballot(self) -> None:
        """A late 1a of an old ballot is refused with the new one of the same leader, whose scout must not count it."""
        acceptor = Rig()
        held = acceptor.phase2a(2, ballot(1, 2), 1, [command(9, 1, b"accepted")])
        acceptor.send(1, "phase1a", ballot=ballot(5, 1), first=1)
        acceptor.sync()
        acceptor.sent.clear()
        acceptor.send(1, "phase1a", ballot=ballot(4, 1), first=1)
        acceptor.sync()
        (refusal,) = acceptor.from_peer(1, "phase1b")
        assert refusal["ballot"] == ballot(5, 1)
        scout = Rig()
        at = scout.begin_scout()
        scout.send(
            1, "phase1b", **{k: v for k, v in (refusal | {"ballot": at, "incarnation": 1001}).items() if k != "kind"}
        )
        assert not scout.node.status()["leading"]
        assert held

    def test_a_ballot_is_durable_before_its_first_phase_1a(self) -> None:
        rig = Rig()
        while not any(event.kind == "scouting" for event in rig.events):
            rig.tick(50)
        rig.tick(300)
        assert rig.from_peer(1, "phase1a") == []
        rig.sync()
        (question,) = rig.from_peer(1, "phase1a")
        assert int.from_bytes(rig.meta[b"ballot"], "little") == question["ballot"]

    def test_our_own_vote_waits_too(self) -> None:
        rig = Rig(nodes=1)
        rig.begin_scout()
        rig.client()
        rig.request(1, command(0, 77, b"", OPEN_SESSION))
        assert rig.node.slot_out == 1
        rig.sync()
        assert rig.node.slot_out == 2

    def test_a_phase_2a_leaves_at_once(self) -> None:
        rig = Rig()
        rig.lead()
        rig.client()
        rig.request(1, command(0, 77, b"", OPEN_SESSION))
        assert len(rig.from_peer(1, "phase2a")) == 1

    def test_a_failed_sync_ends_all_promises(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        rig.sync(ok=False)
        assert "storage failed" in rig.failed
        rig.phase2a(1, ballot(1, 1), 2, [command(9, 2)])
        rig.send(1, "phase1a", ballot=ballot(9, 1), first=1)
        rig.tick(1000)
        assert rig.take(101) == []
        assert rig.batch is None

    def test_the_voter_record_is_durable_before_it_votes(self) -> None:
        rig = Rig(nodes=1, founded=False)
        assert not rig.node.voting
        rig.sync()
        assert rig.node.voting
        assert b"voter" in rig.meta


class TestRecovery:
    """What a restarted node knows."""

    def test_a_ballot_is_never_used_twice(self) -> None:
        rig = Rig()
        first = rig.begin_scout()
        again = rig.restart()
        assert again.begin_scout() > first

    def test_promises_are_remembered(self) -> None:
        rig = Rig()
        rig.send(1, "phase1a", ballot=ballot(7, 1), first=1)
        rig.sync()
        again = rig.restart()
        again.phase2a(2, ballot(6, 2), 1, [command(9, 1)])
        again.sync()
        assert [m["ballot"] for m in again.from_peer(2, "phase2b")] == [ballot(7, 1)]
        assert again.node.acceptor.pvalues() == []

    def test_a_ballot_that_came_with_a_phase_2a_is_remembered(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(7, 1), 1, [command(9, 1)])
        rig.sync()
        assert rig.restart().node.acceptor.ballot_num == ballot(7, 1)

    def test_a_newer_record_hides_an_older_one_only_where_it_covers_it(self) -> None:
        rig = Rig()
        old = rig.phase2a(1, ballot(1, 1), 10, [command(9, i) for i in range(1, 11)])
        new = rig.phase2a(2, ballot(2, 2), 12, [command(8, 1), command(8, 2)])
        rig.sync()
        again = rig.restart()
        assert again.node.acceptor.pvalues() == [
            (slot, ballot(2, 2) if slot in (12, 13) else ballot(1, 1)) for slot in range(10, 20)
        ]
        again.send(1, "phase1a", ballot=ballot(3, 1), first=1)
        again.sync()
        (answer,) = again.from_peer(1, "phase1b")
        assert [(p["first"], p["end"], p["run"]) for p in answer["pvalues"]] == [
            (10, 12, old),
            (12, 14, new),
            (14, 20, old),
        ]

    def test_decisions_are_applied_again_and_the_rest_is_accepted(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(0, 5, b"", OPEN_SESSION), command(1, 1, b"a"), command(1, 2, b"b")])
        rig.send(1, "decision", ballot=ballot(1, 1), first=1, end=3)
        rig.phase2a(1, ballot(1, 1), 4, [command(1, 3, b"c")])
        rig.sync()
        rig.sync()
        again = rig.restart()
        assert again.node.slot_out == 3
        assert again.journal.entries == [b"a"]
        assert again.node.acceptor.pvalues()[-1] == (4, ballot(1, 1))

    def test_a_hole_below_the_decided_slots_is_refused(self) -> None:
        with pytest.raises(CorruptLog, match="lacks slot 1,"):
            Rig(meta={b"decided": (5).to_bytes(8, "little")})

    def test_a_record_that_is_no_run_is_refused(self) -> None:
        with pytest.raises(CorruptLog, match="record 1 "):
            Rig(records=[(1, 1, 2, b"not a frame")])

    def test_everything_fits_the_rings_after_a_long_run(self) -> None:
        rig = Rig(window=64)
        at = ballot(1, 1)
        for first in range(1, 1000, 10):
            rig.phase2a(1, at, first, [command(9, i) for i in range(10)], decided=(at, 1, first))
            rig.sync()
        again = Rig(window=64, meta=rig.meta, records=rig.records)
        assert again.node.slot_out == rig.node.slot_out == 991
        assert again.node.acceptor.accepted.base > 1


class TestMarks:
    """Below a mark everything is decided and forgotten."""

    def test_start_is_above_every_mark_and_own_proposals_below_are_dropped(self) -> None:
        rig = Rig()
        rig.lead()
        rig.client()
        rig.request(1, command(0, 71, b"", OPEN_SESSION), command(0, 72, b"", OPEN_SESSION))
        rig.send(2, "phase2b", ballot=ballot(9, 2), first=1, end=1, mark=1)
        again = rig.begin_scout()
        rig.sent.clear()
        rig.promise(1, again, mark=5)
        assert rig.node.leader.commanders.start == 5
        proposed = [m["first"] for m in rig.from_peer(2, "phase2a")]
        assert all(first >= 5 for first in proposed)

    def test_no_noops_below_the_mark(self) -> None:
        rig = Rig()
        at = rig.begin_scout()
        rig.promise(1, at, mark=5, pvalues=(entry(run(2, 7, b"seven"), 7, 8),))
        slots = [m["first"] + i for m in rig.from_peer(2, "phase2a") for i in range(len(m["commands"]))]
        assert slots == [5, 6, 7]

    def test_what_lies_below_start_is_fetched(self) -> None:
        rig = Rig()
        at = rig.begin_scout()
        rig.promise(1, at, mark=5)
        rig.tick(1)
        fetches = rig.from_peer(1, "fetch") + rig.from_peer(2, "fetch")
        assert [(m["first"], m["end"]) for m in fetches] == [(1, 5)]

    def test_the_greatest_mark_of_all_parts_counts(self) -> None:
        rig = Rig()
        at = rig.begin_scout()
        rig.promise(1, at, mark=3, end=4)
        assert not rig.node.status()["leading"]
        rig.promise(1, at, first=4, mark=2)
        assert rig.node.leader.commanders.start == 3

    def test_a_part_that_came_out_of_turn_does_not_count(self) -> None:
        rig = Rig()
        at = rig.begin_scout()
        rig.promise(1, at, first=4)
        assert not rig.node.status()["leading"]
        rig.promise(1, at, end=4)
        rig.promise(1, at, first=4)
        assert rig.node.status()["leading"]

    def test_an_acceptor_with_a_mark_reports_it_and_accepts_nothing_below(self) -> None:
        rig = Rig(meta={b"mark": (5).to_bytes(8, "little")})
        rig.phase2a(1, ballot(1, 1), 3, [command(9, 1), command(9, 2)])
        rig.sync()
        (answer,) = rig.from_peer(1, "phase2b")
        assert (answer["mark"], answer["first"], answer["end"]) == (5, 3, 3)
        rig.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        rig.sync()
        assert [m["mark"] for m in rig.from_peer(1, "phase1b")] == [5]

    def test_a_node_without_a_machine_begins_at_its_mark(self) -> None:
        """What was collected is neither missed at a restart nor served to others, who are told the mark."""
        rig = Rig(node=2, nodes=5, roles=[3, 3, 4, 4, 4], meta={b"mark": (50).to_bytes(8, "little")})
        assert rig.node.slot_out == 50
        rig.send(1, "fetch", first=40, end=50)
        (nothing,) = rig.from_peer(1, "fetched")
        assert (nothing["first"], nothing["end"], nothing["mark"], nothing["pvalues"]) == (40, 40, 50, [])
        at = ballot(1, 1)
        rig.phase2a(1, at, 50, [command(9, 1)])
        rig.send(1, "decision", ballot=at, first=50, end=51)
        rig.sync()
        again = Rig(node=2, nodes=5, roles=[3, 3, 4, 4, 4], meta=rig.meta, records=rig.records)
        assert again.node.slot_out == 50
        assert again.node.acceptor.pvalues() == [(50, at)]

    def test_who_has_a_mark_and_what_was_asked_for_is_asked_again(self) -> None:
        rig = Rig()
        rig.send(1, "pong", ballot=0, slot_out=9)
        (asked,) = rig.from_peer(1, "fetch")
        rig.send(1, "fetched", first=1, end=2, mark=5, pvalues=(entry(run(ballot(1, 1), 1, b"one"), 1, 2),))
        assert [(m["first"], m["end"]) for m in rig.from_peer(1, "fetch")] == [(2, asked["end"])]

    def test_a_replica_does_not_begin_at_a_mark(self) -> None:
        """It would apply nothing below: its log lacks what it needs."""
        meta = {b"mark": (5).to_bytes(8, "little"), b"decided": (5).to_bytes(8, "little")}
        with pytest.raises(CorruptLog, match="lacks slot 1"):
            Rig(meta=meta)

    def test_a_scout_a_window_below_the_mark_is_told_to_fetch(self) -> None:
        rig = Rig(node=2, nodes=5, roles=[3, 3, 4, 4, 4], meta={b"mark": (500).to_bytes(8, "little")})
        before = rig.node.acceptor.ballot_num
        rig.send(1, "phase1a", ballot=ballot(9, 1), first=435)
        assert rig.node.acceptor.ballot_num == before
        assert [(m["kind"], m["slot_out"]) for m in rig.take(101)] == [("pong", 500)]
        rig.send(1, "phase1a", ballot=ballot(9, 1), first=436)
        rig.sync()
        assert [m["mark"] for m in rig.from_peer(1, "phase1b")] == [500]

    def test_an_answer_may_hold_a_whole_ring_above_its_mark(self) -> None:
        rig = Rig(window=8)
        at = rig.begin_scout()
        rig.promise(1, at, mark=9, pvalues=(entry(run(1, 40, b"far"), 40, 41),))
        assert not rig.closed
        assert rig.node.status()["leading"]
        assert (rig.node.leader.commanders.start, rig.node.leader.commanders.slot_end) == (9, 41)

    def test_start_is_above_what_an_earlier_reign_decided(self) -> None:
        """Its rows are gone: what lies below is decided, whatever the marks of this quorum say."""
        rig = Rig()
        at = rig.begin_scout()
        rig.promise(1, at, mark=5)
        rig.client()
        rig.request(1, *[command(0, n, b"", OPEN_SESSION) for n in (1, 2, 3)])
        rig.sync()
        rig.accept(1, at, 5, 8)
        assert (rig.node.leader.commanders.decided_end, rig.node.slot_out) == (8, 1)
        rig.send(2, "phase2b", ballot=ballot(9, 2), first=1, end=1, mark=1)
        rig.promise(1, rig.begin_scout())
        assert rig.node.leader.commanders.start == 8

    def test_a_2b_below_a_mark_is_no_vote_and_moves_the_start(self) -> None:
        rig = Rig()
        at = rig.lead()
        rig.client()
        rig.request(1, *[command(0, n, b"", OPEN_SESSION) for n in range(1, 9)])
        rig.accept(1, at, 1, 1, mark=4)
        assert rig.node.leader.commanders.start == 4
        assert rig.node.slot_out == 1
        rig.tick(1)
        assert [(m["first"], m["end"]) for m in rig.from_peer(1, "fetch") + rig.from_peer(2, "fetch")] == [(1, 4)]


class TestWatermarks:
    """A watermark is believed only where the pvalue held is of its ballot or above."""

    def test_a_pvalue_of_a_lower_ballot_is_not_taken(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1, b"old")])
        rig.send(2, "decision", ballot=ballot(2, 2), first=1, end=2)
        assert rig.node.slot_out == 1
        rig.tick(1)
        assert [(m["first"], m["end"]) for m in rig.from_peer(2, "fetch")] == [(1, 2)]
        rig.send(2, "fetched", first=1, end=2, mark=1, pvalues=(entry(run(ballot(2, 2), 1, b"new"), 1, 2),))
        assert rig.decided() == [b"new"]

    def test_a_pvalue_of_the_ballot_or_above_is_taken(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(3, 1), 1, [command(9, 1, b"c")])
        rig.send(1, "decision", ballot=ballot(2, 1), first=1, end=2)
        assert rig.decided() == [b"c"]

    def test_below_its_first_slot_a_watermark_says_decided_but_not_what(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1), command(9, 2)])
        rig.send(1, "decision", ballot=ballot(1, 1), first=2, end=3)
        assert rig.node.slot_out == 1
        rig.tick(1)
        assert rig.from_peer(1, "fetch")

    def test_a_hostile_end_is_survived(self) -> None:
        rig = Rig()
        rig.send(1, "decision", ballot=ballot(1, 1), first=1, end=LAST)
        rig.send(1, "fetch", first=1, end=LAST)
        rig.send(1, "phase2b", ballot=ballot(1, 1), first=0, end=LAST, mark=1)
        assert rig.node.slot_out == 1


class TestFetch:
    """A fetch is answered only with what is known decided."""

    def decided_rig(self, slots: int = 40, window: int = 64) -> Rig:
        rig = Rig(window=window)
        at = ballot(1, 1)
        for first in range(1, slots, 10):
            rig.phase2a(1, at, first, [command(9, i, b"%d" % (first + i)) for i in range(10)], decided=(at, 1, first))
            rig.sync()
        rig.sent.clear()
        return rig

    def test_from_memory_and_never_beyond_slot_out(self) -> None:
        rig = self.decided_rig()
        rig.send(2, "fetch", first=5, end=1000)
        (answer,) = rig.from_peer(2, "fetched")
        assert (answer["first"], answer["end"]) == (5, rig.node.slot_out)
        assert [(p["first"], p["end"]) for p in answer["pvalues"]] == [(5, 11), (11, 21), (21, 31)]

    def test_nothing_decided_no_answer(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        rig.send(2, "fetch", first=1, end=2)
        assert rig.from_peer(2, "fetched") == []

    def test_old_slots_are_read_from_the_disk(self) -> None:
        rig = self.decided_rig(1000)
        base = rig.node.acceptor.accepted.base
        assert base > 100
        rig.send(2, "fetch", first=5, end=30)
        (read,) = rig.reads
        assert (read.first, read.end) == (5, 30)
        records = [r for r in sorted(rig.records, key=lambda r: (r[1], r[0])) if r[1] < 30 and r[2] > 5]
        rig.node.done(read.token, True, (30, records))
        rig.collect()
        (answer,) = rig.from_peer(2, "fetched")
        assert (answer["first"], answer["end"]) == (5, 30)

    def test_a_scout_that_asks_for_what_is_on_disk_only_is_not_promised(self) -> None:
        rig = self.decided_rig(1000)
        before = rig.node.acceptor.ballot_num
        rig.send(2, "phase1a", ballot=ballot(50, 2), first=5)
        rig.sync()
        messages = rig.take(102)
        assert rig.node.acceptor.ballot_num == before
        assert [m["kind"] for m in messages] == ["pong"]
        assert messages[0]["slot_out"] == rig.node.slot_out

    def test_a_node_that_lags_fetches_before_it_scouts(self) -> None:
        rig = Rig(window=64)
        for _ in range(40):
            rig.send(1, "ping", ballot=0, nonce=1, slot_out=500, voting=True)
            rig.tick(50)
        assert not any(event.kind == "scouting" for event in rig.events)
        assert rig.from_peer(1, "fetch")

    def test_a_node_ahead_that_fell_silent_does_not_hold_up_an_election(self) -> None:
        """It may be stopped for ever, with its link up."""
        rig = Rig(window=64)
        rig.send(1, "ping", ballot=0, nonce=1, slot_out=500, voting=True)
        for _ in range(60):
            rig.tick(50)
        assert any(event.kind == "scouting" for event in rig.events)

    def test_a_silent_node_is_not_asked_again_and_again(self) -> None:
        """What is known of the others may be old: each is asked in its turn."""
        rig = Rig(nodes=5)
        rig.send(1, "pong", ballot=0, slot_out=9)
        rig.sent.clear()
        for _ in range(20):
            rig.tick(120)
        asked = {peer: len(rig.from_peer(peer, "fetch")) for peer in range(1, 5)}
        assert set(asked.values()) == {5}

    def test_who_has_forgotten_is_not_asked_again(self) -> None:
        rig = Rig()
        rig.send(1, "pong", ballot=0, slot_out=9)
        assert rig.from_peer(1, "fetch")
        rig.send(1, "fetched", first=1, end=1, mark=5, pvalues=())
        for _ in range(9):
            rig.tick(120)
            rig.send(1, "pong", ballot=0, slot_out=9)
        assert rig.from_peer(1, "fetch") == []
        assert rig.from_peer(2, "fetch")

    def test_a_lost_answer_is_asked_for_again_elsewhere(self) -> None:
        rig = Rig()
        rig.send(1, "decision", ballot=ballot(1, 1), first=1, end=2)
        rig.send(2, "ping", ballot=0, nonce=1, slot_out=9, voting=True)
        rig.tick(1)
        asked = len(rig.from_peer(1, "fetch"))
        for _ in range(5):
            rig.tick(120)
        assert asked == 1
        assert rig.from_peer(2, "fetch")

    def test_a_repeated_answer_asks_for_the_next_stretch_once(self) -> None:
        """Found by simulation: each copy asked again, and their number grew without end."""
        rig = Rig()
        one = ballot(1, 1)
        rig.send(1, "decision", ballot=one, first=9, end=9)
        (asked,) = rig.from_peer(1, "fetch")
        run = codec.run_frame(codec.encode_phase2a(one, 1, 5, (0, 1, 1), [command(9, 1)]))
        for _ in range(5):
            rig.send(1, "fetched", first=asked["first"], end=2, mark=1, pvalues=[(1, 2, run)])
        assert [m["first"] for m in rig.from_peer(1, "fetch")] == [2]

    def test_nothing_is_fetched_that_the_rings_have_no_room_for(self) -> None:
        """Found by simulation: a slow disk, and the same slots fetched over and over."""
        rig = Rig(window=8)
        one = ballot(1, 1)
        rig.send(1, "decision", ballot=one, first=100, end=100)
        for _ in range(60):
            for asked in rig.from_peer(1, "fetch"):
                commands = [command(9, slot) for slot in range(asked["first"], asked["end"])]
                run = codec.run_frame(codec.encode_phase2a(one, asked["first"], 5, (0, 1, 1), commands))
                pvalues = [(asked["first"], asked["end"], run)]
                rig.send(1, "fetched", first=asked["first"], end=asked["end"], mark=1, pvalues=pvalues)
            rig.tick(1)
        assert rig.node.slot_out == 33
        assert rig.node.next_tick_ns() > rig.now_ns
        rig.sync()
        rig.tick(10)
        assert [m["first"] for m in rig.from_peer(1, "fetch")] == [33]


class TestTimes:
    """The machine's clock is in the log."""

    def test_a_proposal_made_again_keeps_its_time(self) -> None:
        rig = Rig()
        at = rig.begin_scout()
        one, two = run(2, 1, b"a", time_ns=111), run(2, 2, b"b", time_ns=222)
        rig.promise(1, at, pvalues=(entry(one, 1, 2), entry(two, 2, 3)))
        assert [(m["first"], m["time_ns"]) for m in rig.from_peer(2, "phase2a")] == [(1, 111), (2, 222)]

    def test_the_clock_never_goes_back(self) -> None:
        rig = Rig()
        at = ballot(1, 1)
        rig.phase2a(1, at, 1, [command(9, 1)], time_ns=1000)
        rig.phase2a(1, at, 2, [command(9, 2)], time_ns=500)
        rig.send(1, "decision", ballot=at, first=1, end=3)
        assert rig.node.replica.time_ns == 1000


class TestLinks:
    """Hostile bytes close their link and touch nothing else."""

    @pytest.mark.parametrize(
        "data",
        [b"\xff" * 64, b"\0" * 64, (0).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little") + b"x" * 8],
        ids=["noise", "zeros", "oversized"],
    )
    def test_a_bad_frame(self, data: bytes) -> None:
        rig = Rig()
        rig.client(1)
        rig.client(2)
        rig.receive(1, data)
        assert 1 in rig.closed
        assert 2 not in rig.closed
        assert rig.node.status()["bad_frames"] == 1
        rig.receive(1, data)  # what was under way still comes
        assert rig.node.status()["bad_frames"] == 1

    @given(st.binary(max_size=300))
    @settings(max_examples=200, deadline=None)
    def test_noise(self, data: bytes) -> None:
        rig = Rig()
        rig.client(1)
        rig.receive(1, data)
        rig.receive(101, data)
        rig.node.invariants()

    @pytest.mark.parametrize(
        "kind", ["phase1a", "phase1b", "phase2b", "decision", "fetch", "fetched", "ping", "pong", "founding"]
    )
    def test_a_client_cannot_speak_for_a_peer(self, kind: str) -> None:
        rig = Rig()
        rig.client(1)
        rig.receive(1, codec.encode(kind))
        assert "peer" in rig.closed[1]

    def test_only_its_leader_proposes_at_a_ballot(self) -> None:
        rig = Rig()
        rig.phase2a(2, ballot(1, 1), 1, [command(9, 1)])
        assert "another leader's ballot" in rig.closed[102]
        assert rig.node.acceptor.pvalues() == []

    def test_a_client_cannot_send_noops_or_rejoins(self) -> None:
        for kind in (0, 3):
            rig = Rig()
            rig.client(1)
            rig.request(1, command(1, 1, b"", kind))
            assert 1 in rig.closed

    def test_frames_cut_anywhere(self) -> None:
        at = ballot(1, 1)
        frames = [
            codec.encode_phase2a(at, slot, 5, (at, 1, slot), [command(9, slot, b"x" * slot)]) for slot in range(1, 8)
        ]
        data = b"".join(frames)
        for cut in range(1, len(data), 7):
            rig = Rig()
            for piece in (data[:cut], data[cut:]):
                rig.receive(101, piece)
            assert rig.node.slot_out == 7
        rig = Rig()
        for i in range(len(data)):
            rig.receive(101, data[i : i + 1])
        assert rig.node.slot_out == 7

    def test_a_message_in_several_segments_is_read(self) -> None:
        message = SCHEMA.Message.new_message(num_first_segment_words=2)
        body = message.init("phase2a")
        body.ballot, body.first, body.timeNs = ballot(1, 1), 1, 5
        commands = body.init("commands", 3)
        for i in range(3):
            commands[i].session, commands[i].sequence, commands[i].kind = 9, i + 1, "apply"
            commands[i].payload = b"p" * 2000
        frame = message.to_bytes()
        assert int.from_bytes(frame[:4], "little") > 0  # more than one segment
        rig = Rig()
        rig.receive(101, frame)
        assert [slot for slot, _ in rig.node.acceptor.pvalues()] == [1, 2, 3]

    def test_a_newer_link_replaces_the_older(self) -> None:
        rig = Rig()
        rig.link(1, number=500)
        assert 101 in rig.closed

    def test_what_a_broken_link_lost_is_sent_again(self) -> None:
        rig = Rig()
        rig.lead()
        rig.client()
        rig.request(1, command(0, 77, b"", OPEN_SESSION))
        rig.sent.clear()
        rig.node.link_down(101)
        rig.link(1, number=201)
        assert [m["first"] for m in rig.take(201, "phase2a")] == [1]


class TestLeading:
    """Contact with a quorum, and its loss."""

    def test_a_vote_of_an_incarnation_that_did_not_found_does_not_count(self) -> None:
        rig = Rig()
        at = rig.begin_scout()
        rig.promise(1, at, incarnation=None)
        assert rig.node.status()["leading"]
        rig = Rig()
        at = rig.begin_scout()
        rig.node.link_down(101)
        rig.link(1, incarnation=4242, number=201)
        rig.receive(
            201,
            codec.encode(
                "phase1b", ballot=at, first=1, end=LAST, mark=1, incarnation=4242, number=-1, rejoins=(), pvalues=()
            ),
        )
        assert not rig.node.status()["leading"]

    def test_a_2b_of_an_incarnation_that_did_not_found_does_not_count(self) -> None:
        rig = Rig()
        at = rig.lead()
        rig.client()
        rig.request(1, command(0, 77, b"", OPEN_SESSION))
        rig.node.link_down(101)
        rig.link(1, incarnation=4242, number=201)
        rig.sync()
        rig.receive(201, codec.encode("phase2b", ballot=at, first=1, end=2, mark=1))
        assert rig.node.slot_out == 1

    def test_a_new_leader_has_time_to_hear_its_phase_2_quorum(self) -> None:
        """Found by simulation: with phase-1 quorums of one it was adopted, and stepped down at the next ping."""
        rig = Rig(quorums=QuorumSystem.sizes(range(3), 1, 3))
        rig.begin_scout()
        assert rig.node.status()["leading"]
        rig.tick(150)
        rig.tick(150)
        assert rig.node.status()["leading"]
        for _ in range(12):
            rig.tick(100)
        assert not rig.node.status()["leading"]

    def test_a_leader_without_a_quorum_steps_down(self) -> None:
        rig = Rig()
        rig.lead()
        for _ in range(15):
            rig.tick(100)
        assert not rig.node.status()["leading"]
        assert any(event.kind == "stepped_down" for event in rig.events)

    def test_pings_of_its_followers_keep_a_leader(self) -> None:
        rig = Rig()
        at = rig.lead()
        for _ in range(30):
            rig.tick(100)
            rig.send(1, "ping", ballot=at, nonce=1, slot_out=1, voting=True)
        assert rig.node.status()["leading"]
        pong = rig.from_peer(1, "pong")[-1]
        assert pong["leading"]
        assert pong["quorum"]

    def test_a_winner_cut_off_from_its_quorum_is_not_waited_for(self) -> None:
        rig = Rig()
        winner = ballot(50, 1)
        rig.send(1, "phase1a", ballot=winner, first=1)
        rig.sync()
        for _ in range(30):
            rig.tick(100)
            rig.send(
                1,
                "pong",
                ballot=winner,
                nonce=1,
                slot_out=1,
                leading=True,
                quorum=False,
                decided_ballot=winner,
                decided_first=1,
                decided_end=1,
            )
        assert any(event.kind == "scouting" for event in rig.events)

    def test_commanders_ask_again(self) -> None:
        rig = Rig()
        rig.send(1, "ping", ballot=ballot(3, 1))
        at = rig.lead()
        rig.client()
        rig.request(1, command(0, 77, b"", OPEN_SESSION))
        rig.accept(2, ballot(3, 0), 1, 2)
        rig.sent.clear()
        rig.tick(150)
        assert [m["ballot"] for m in rig.from_peer(1, "phase2a")] == [at]

    def test_commanders_ask_our_own_acceptor_again(self) -> None:
        """Found by simulation: its ring was behind when the slots were proposed again, and nobody asked it later."""
        rig = Rig(window=8)
        one, first = ballot(1, 1), 1
        for first in range(1, 17, 8):
            rig.phase2a(1, one, first, [command(9, slot) for slot in range(first, first + 8)], decided=(one, 1, first))
        rig.send(1, "decision", ballot=one, first=1, end=17)
        at = rig.begin_scout()
        run = codec.run_frame(codec.encode_phase2a(one, 17, 5, (0, 1, 1), [command(9, slot) for slot in range(17, 41)]))
        rig.promise(1, at, first=17, pvalues=((17, 41, run),))
        rig.promise(2, at, first=17)
        rig.sync()
        assert rig.node.leader.commanders.slot_end == 41
        rig.accept(1, at, 17, 41)
        rig.tick(10)
        assert rig.node.slot_out == 33  # our acceptor had no room for more
        for _ in range(5):
            rig.tick(100)
            rig.sync()
        assert rig.node.slot_out == 41

    def test_a_scout_asks_again(self) -> None:
        rig = Rig()
        rig.begin_scout()
        rig.sent.clear()
        rig.tick(150)
        assert rig.from_peer(1, "phase1a")


class TestRequests:
    """Requests find the leader, and answers their clients."""

    def test_they_are_forwarded_and_again_after_a_change(self) -> None:
        rig = Rig()
        one = ballot(5, 1)
        rig.phase2a(1, one, 1, [command(9, 1)])
        rig.client()
        rig.request(1, command(0, 77, b"", OPEN_SESSION))
        assert [c["sequence"] for m in rig.from_peer(1, "request") for c in m["commands"]] == [77]
        rig.phase2a(2, ballot(6, 2), 2, [command(9, 2)])
        rig.tick(1)
        assert [c["sequence"] for m in rig.from_peer(2, "request") for c in m["commands"]] == [77]

    def test_the_replica_that_was_asked_answers_when_it_applies(self) -> None:
        rig = Rig()
        at = ballot(5, 1)
        rig.client()
        rig.request(1, command(0, 77, b"", OPEN_SESSION))
        rig.phase2a(1, at, 1, [command(0, 77, b"", OPEN_SESSION)])
        rig.send(1, "decision", ballot=at, first=1, end=2)
        (answer,) = rig.take(1, "response")
        assert (answer["session"], answer["replies"][0]["status"]) == (1, 2)
        rig.request(1, command(1, 1, b"raise"))
        rig.phase2a(1, at, 2, [command(1, 1, b"raise"), command(1, 2, b"fine")])
        rig.send(1, "decision", ballot=at, first=1, end=4)
        refused, fine = [reply for m in rig.take(1, "response") for reply in m["replies"]]
        assert (refused["status"], refused["data"]) == (1, b"ValueError: asked to raise at length 0")
        assert (fine["status"], fine["slot"]) == (0, 3)

    def test_a_repeated_request_gets_its_first_answer_without_a_slot(self) -> None:
        rig = Rig()
        at = ballot(5, 1)
        rig.phase2a(1, at, 1, [command(0, 77, b"", OPEN_SESSION), command(1, 1, b"a")])
        rig.send(1, "decision", ballot=at, first=1, end=3)
        rig.client()
        rig.request(1, command(1, 1, b"a"))
        (answer,) = rig.take(1, "response")
        assert (answer["replies"][0]["slot"], answer["replies"][0]["data"]) == (2, bytes(8))
        assert len(rig.node.replica.requests) == 0

    def test_repeated_large_answers_are_bounded(self) -> None:
        rig = Rig()
        rig.journal.apply = lambda command, context: b"a" * 1_000_000  # type: ignore[method-assign]
        rig = rig.restart_with(rig.journal)
        at = ballot(5, 1)
        rig.phase2a(
            1, at, 1, [command(0, 77, b"", OPEN_SESSION), *[command(1, n, unacknowledged=n - 1) for n in range(1, 11)]]
        )
        rig.send(1, "decision", ballot=at, first=1, end=12)
        rig.client()
        rig.request(1, *[command(1, 1 + n % 10, unacknowledged=n % 10) for n in range(100)])
        replies = [reply for m in rig.take(1, "response") for reply in m["replies"]]
        assert len(replies) == 100
        assert sum(len(reply["data"]) for reply in replies) < 20 << 20
        assert {reply["status"] for reply in replies} == {0, 5}

    def test_a_lagging_replica_does_not_expire_a_live_session(self) -> None:
        rig = Rig()
        rig.client()
        rig.request(1, command(1000, 1, b"a"))
        assert rig.take(1, "response") == []

    def test_too_much_waiting_is_overloaded_and_bounded(self) -> None:
        rig = Rig()
        rig.client()
        big = b"x" * 1_000_000
        for n in range(1, 80):
            rig.request(1, command(1000, n, big))
        statuses = [reply["status"] for m in rig.take(1, "response") for reply in m["replies"]]
        assert statuses
        assert set(statuses) == {5}
        assert rig.node.replica.requests.bytes < 70 << 20

    def test_a_command_waits_once_however_often_it_is_sent(self) -> None:
        """Found by simulation: repeats that come faster than slots are decided made the queue grow without end."""
        rig = Rig()
        rig.client()
        for _ in range(50):
            rig.request(1, command(1000, 1, b"a"), command(1000, 2, b"b"))
        assert len(rig.node.replica.requests) == 2

    def test_a_request_that_is_void_does_not_hold_up_the_queue(self) -> None:
        rig = Rig()
        rig.phase2a(1, ballot(5, 1), 1, [command(0, 77, b"", OPEN_SESSION)])
        rig.send(1, "decision", ballot=ballot(5, 1), first=1, end=2)
        rig.client()
        rig.request(1, command(1, 9, b"ahead of its turn"))
        rig.request(1, command(0, 78, b"", OPEN_SESSION))
        rig.tick(5000)
        assert len(rig.node.replica.requests) == 2
        rig.phase2a(1, ballot(5, 1), 2, [command(0, 78, b"", OPEN_SESSION)])
        rig.send(1, "decision", ballot=ballot(5, 1), first=1, end=3)
        for _ in range(8):
            rig.tick(1000)
            rig.request(1, command(1, 1, b"later"))
        assert len(rig.node.replica.requests) <= 8

    def test_peers_requests_are_dropped_where_nobody_leads(self) -> None:
        rig = Rig()
        rig.request(101, command(0, 77, b"", OPEN_SESSION))
        assert len(rig.node.replica.requests) == 0


class TestFounding:
    """Only a durable voter record lets a node vote."""

    def tell(self, rig: Rig, peer: int, fresh: bool, incarnations: list[int]) -> None:
        rig.send(peer, "founding", incarnation=rig.incarnations[peer], fresh=fresh, incarnations=incarnations)

    def test_all_fresh_with_equal_views(self) -> None:
        rig = Rig(founded=False)
        self.tell(rig, 1, True, rig.incarnations)
        self.tell(rig, 2, True, [1000, 0, 1002])
        rig.sync()
        assert not rig.node.voting  # node 2 had not heard of node 1
        self.tell(rig, 2, True, rig.incarnations)
        assert not rig.node.voting  # not yet durable
        rig.sync()
        assert rig.node.voting

    def test_a_view_with_another_incarnation_does_not_found(self) -> None:
        rig = Rig(founded=False)
        self.tell(rig, 1, True, rig.incarnations)
        self.tell(rig, 2, True, [1000, 999, 1002])
        rig.sync()
        assert not rig.node.voting

    def test_a_founder_names_us(self) -> None:
        rig = Rig(founded=False)
        self.tell(rig, 1, False, rig.incarnations)
        rig.sync()
        assert rig.node.voting

    def test_a_wiped_node_learns_and_does_not_vote(self) -> None:
        rig = Rig(founded=False)
        self.tell(rig, 1, False, [7, 1001, 1002])
        rig.sync()
        assert any(event.kind == "not_founder" for event in rig.events)
        at = ballot(1, 1)
        rig.phase2a(1, at, 1, [command(9, 1, b"learnt")], decided=(0, 1, 1))
        rig.send(1, "decision", ballot=at, first=1, end=2)
        rig.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        rig.sync()
        for _ in range(50):
            rig.tick(100)
        messages = rig.take(101)
        assert rig.decided() == [b"learnt"]
        assert not {"phase1b", "phase2b", "phase1a"} & {m["kind"] for m in messages}
        assert not rig.node.status()["voting"]

    def test_what_an_earlier_life_said_does_not_count(self) -> None:
        rig = Rig(founded=False)
        self.tell(rig, 1, True, rig.incarnations)
        rig.node.link_down(101)
        rig.link(1, incarnation=2001, number=201)
        self.tell(rig, 2, True, rig.incarnations)
        rig.sync()
        assert not rig.node.voting

    def test_a_recovered_record_votes_at_once(self) -> None:
        rig = Rig()
        assert rig.node.voting
        assert rig.now_ns == 1000 * MS
