"""A damaged record is a hole in what an acceptor must report: it neither promises over it nor votes in it."""

from __future__ import annotations

import pytest

from multipaxos.errors import CorruptLog
from multipaxos.storage.records import Record, by_key, cut
from multipaxos.wire.record import HEADER_BYTES
from tests.node.runs import entry, run, run_of, with_a_log
from tests.support.one_node import OneNode, ballot, command
from tests.support.records import flipped

B1, B2, B3 = ballot(1, 1), ballot(2, 2), ballot(3, 1)


def rot(one: OneNode, place: int, at: int = HEADER_BYTES + 30) -> None:
    """Flips a bit of the record that was written at that place."""
    first, index, value = one.records[place]
    one.records[place] = first, index, flipped(value, at)


def voted(*runs: tuple[int, int, list[bytes]], decided: int = 1) -> OneNode:
    """Node 0, founded, which has voted for these runs: (ballot, first slot, payloads). Slots below `decided` are known
    to be decided."""
    one = OneNode()
    for at, first, payloads in runs:
        one.phase2a(at & 0xFFFFFF, at, first, [command(9, i, payload) for i, payload in enumerate(payloads, first)])
    if decided > 1:
        one.send(runs[0][0] & 0xFFFFFF, "decision", ballot=runs[0][0], first=1, end=decided)
    one.sync()
    one.tick(1100)
    one.sync()
    return one


def asked(one: OneNode, peer: int, at: int, first: int) -> list[int]:
    """A peer's scout asks; the first slots of the promises that it receives."""
    one.send(peer, "phase1a", ballot=at, first=first)
    one.sync()
    return [message["first"] for message in one.from_peer(peer, "phase1b") if message["ballot"] == at]


class TestTheFork:
    """0 and 1 voted for c; the record of one of them rots, it restarts, the other one dies."""

    def test_a_promise_does_not_leave_out_what_rotted(self) -> None:
        one = voted((B1, 1, [b"c"]))
        rot(one, 0)
        again = one.restart()
        assert asked(again, 2, B2, 1) == []
        assert again.core.status()["holes"] == 1
        assert [event.kind for event in again.events if event.kind == "holes"] == ["holes"]

    def test_nor_does_its_own_scout_count_it(self) -> None:
        one = voted((B1, 1, [b"c"]))
        rot(one, 0)
        again = one.restart()
        at = again.begin_scout()
        again.promise(2, at)
        assert not again.core.status()["leading"]
        again.promise(1, at)  # with two others it is a quorum without our own acceptor
        assert again.core.status()["leading"]

    def test_it_promises_again_when_the_slot_is_filled_with_what_was_decided(self) -> None:
        one = voted((B1, 1, [b"c"]))
        rot(one, 0)
        again = one.restart()
        again.send(1, "pong", ballot=B1, slot_out=2)
        again.tick(1)
        assert [message["first"] for message in again.from_peer(1, "fetch")] == [1]
        again.send(1, "fetched", first=1, end=2, mark=1, pvalues=(entry(run(B1, 1, b"c"), 1, 2),))
        assert again.decided() == [b"c"]
        assert asked(again, 2, B2, 1) == [1]
        assert [event.kind for event in again.events][-1:] == ["filled"]
        last = again.restart()
        assert last.core.acceptor.holes.spans_list() == []
        assert last.core.acceptor.pvalues() == [(1, B1)]


class TestVotes:
    """Nothing is accepted in a hole."""

    def test_no_vote_in_a_hole_and_the_others_of_the_run(self) -> None:
        one = voted((B1, 3, [b"a", b"b"]))
        rot(one, 0)
        again = one.restart()
        again.phase2a(2, B2, 1, [command(9, slot) for slot in range(1, 7)])
        again.phase2a(2, B2, 3, [command(9, 3), command(9, 4)])
        again.phase2a(2, B2, 4, [command(9, slot) for slot in range(4, 7)])
        again.sync()
        votes = [(m["first"], m["end"]) for m in again.from_peer(2, "phase2b") if m["first"] < m["end"]]
        assert votes == [(1, 3), (5, 7)]
        assert again.core.acceptor.pvalues() == [(1, B2), (2, B2), (5, B2), (6, B2)]

    def test_a_decision_of_its_own_leader_fills_a_hole(self) -> None:
        """Led with the promises of the others, decided with their votes."""
        one = voted((B1, 1, [b"c"]))
        rot(one, 0)
        again = one.restart()
        at = again.begin_scout()
        for peer in (1, 2):
            again.promise(peer, at, pvalues=((1, 2, run_of(B1, 1, command(9, 1, b"c"))),))
        again.sync()
        for peer in (1, 2):
            again.accept(peer, at, 1, 2)
        again.sync()
        assert again.decided() == [b"c"]
        assert again.core.acceptor.holes.spans_list() == []

    def test_what_an_older_record_says_of_a_missing_slot_is_not_shown(self) -> None:
        one = voted((B1, 1, [b"old", b"old"]), (B2, 2, [b"new"]))
        rot(one, 1)
        again = one.restart()
        assert again.core.acceptor.pvalues() == [(1, B1)]
        assert again.core.acceptor.holes.spans_list() == [(2, 3)]

    def test_a_damaged_record_below_a_whole_newer_one_is_of_no_use(self) -> None:
        one = voted((B1, 1, [b"old", b"old"]), (B2, 1, [b"new", b"new"]))
        rot(one, 0)
        again = one.restart()
        assert again.core.acceptor.pvalues() == [(1, B2), (2, B2)]
        assert again.core.acceptor.holes.spans_list() == []

    def test_a_promise_above_all_holes_is_given(self) -> None:
        one = voted((B1, 1, [b"c"]), (B1, 2, [b"d"]))
        rot(one, 0)
        again = one.restart()
        assert asked(again, 2, B2, 1) == []
        assert asked(again, 2, B2, 2) == [2]

    def test_a_promise_is_remembered_although_the_record_at_its_ballot_rotted(self) -> None:
        """What was promised is no matter of records."""
        one = OneNode()
        one.send(1, "phase1a", ballot=B3, first=1)
        one.phase2a(1, B3, 1, [command(9, 1)])
        one.sync()
        rot(one, 0)
        again = one.restart()
        again.phase2a(2, B2, 5, [command(9, 5)])
        again.sync()
        assert [m["ballot"] for m in again.from_peer(2, "phase2b")] == [B3]


class TestRepair:
    """What is known to be decided is fetched at once."""

    @pytest.mark.parametrize("at", [0, 8, 16, 24, 28, 32, 36, HEADER_BYTES, HEADER_BYTES + 80])
    def test_a_log_with_a_damaged_record_below_decided_repairs_itself(self, at: int) -> None:
        one = voted(*((B1, slot, [b"%d" % slot]) for slot in range(1, 9)), decided=9)
        rot(one, 2, at)
        again = one.restart()
        assert again.core.slot_out == 3
        again.tick(101)
        (fetch,) = again.from_peer(1, "fetch") or again.from_peer(2, "fetch")
        assert fetch["first"] == 3
        runs = tuple(entry(run(B1, slot, b"%d" % slot), slot, slot + 1) for slot in range(3, fetch["end"]))
        again.send(1, "fetched", first=3, end=fetch["end"], mark=1, pvalues=runs)
        again.sync()
        assert again.decided() == [b"%d" % slot for slot in range(1, 9)]
        last = again.restart()
        assert last.core.slot_out == 9
        assert asked(last, 2, B2, 9) == [9]

    def test_what_lies_beyond_the_rings_is_fetched_too(self) -> None:
        """Nothing is applied above the missing slot, so the rings cannot move on."""
        one = with_a_log(b"x", 100, window=8)
        rot(one, 4)
        again = OneNode(window=8, founded=False, meta=one.meta, records=one.records)
        assert again.core.slot_out == 5
        assert again.core.acceptor.holes.spans_list() == [(5, 6), (again.core.acceptor.accepted.base + 32, 101)]
        again.send(1, "pong", ballot=B1, slot_out=101)
        for _ in range(300):
            if again.core.slot_out == 101:
                break
            again.tick(10)
            for fetch in again.from_peer(1, "fetch") + again.from_peer(2, "fetch"):
                slots = range(fetch["first"], fetch["end"])
                each = tuple(entry(run_of(B1, slot, command(7, slot, b"x")), slot, slot + 1) for slot in slots)
                again.send(1, "fetched", first=fetch["first"], end=fetch["end"], mark=1, pvalues=each)
            again.sync()
        assert again.core.slot_out == 101
        assert again.core.acceptor.holes.spans_list() == []

    def test_it_sends_what_its_disk_holds_above_its_own_hole(self) -> None:
        """Each of two nodes has another slot damaged: each repairs the other one."""
        one = voted(*((B1, slot, [b"%d" % slot]) for slot in range(1, 9)), decided=9)
        rot(one, 2)
        again = one.restart()
        again.send(2, "fetch", first=6, end=9)
        (read,) = again.reads
        again.core.done(read.token, True, cut(sorted(again.records, key=by_key), read.first, read.end, 1 << 20))
        again.collect()
        (answer,) = again.from_peer(2, "fetched")
        assert (answer["first"], answer["end"]) == (6, 9)
        again.send(2, "fetch", first=3, end=9)
        (read,) = again.reads[1:]
        again.core.done(read.token, True, cut(sorted(again.records, key=by_key), read.first, read.end, 1 << 20))
        again.collect()
        assert again.from_peer(2, "fetched") == []

    def test_the_decided_slot_is_on_disk_when_nothing_was_decided_for_a_second(self) -> None:
        one = OneNode(roles=[5, 7, 7])  # it does not scout, so nothing else makes a batch
        one.phase2a(1, B1, 1, [command(9, 1)])
        one.sync()
        one.send(1, "decision", ballot=B1, first=1, end=2)
        one.tick(999)
        assert one.batch is None
        assert b"decided" not in one.meta
        one.tick(1)
        one.sync()
        assert int.from_bytes(one.meta[b"decided"], "little") == 2
        one.tick(5000)
        assert one.batch is None


class TestTeaching:
    """A damaged record is never sent to a peer."""

    def answer(self, records: list[Record], first: int = 1, end: int = 5) -> tuple[OneNode, list[tuple[int, int]]]:
        """What a peer gets that fetches slots which are on disk only."""
        one = with_a_log(b"x", 40, window=4)
        one.send(2, "fetch", first=first, end=end)
        (read,) = one.reads
        one.core.done(read.token, True, (end, sorted(records, key=by_key)))
        one.collect()
        return one, [(p["first"], p["end"]) for answer in one.from_peer(2, "fetched") for p in answer["pvalues"]]

    @pytest.mark.parametrize(("at", "sent"), [(HEADER_BYTES + 3, [(1, 2), (2, 3)]), (8, [(1, 2), (2, 3)])])
    def test_the_answer_ends_before_it(self, at: int, sent: list[tuple[int, int]]) -> None:
        source = with_a_log(b"x", 4)
        rot(source, 2, at)
        one, pvalues = self.answer(source.records)
        assert pvalues == sent
        one.send(2, "fetch", first=1, end=5)
        (read,) = one.reads[1:]
        one.core.done(read.token, True, (5, sorted(source.records, key=by_key)))
        one.collect()
        reported = [(event.kind, event.slot) for event in one.events if event.kind == "damaged"]
        assert reported == [("damaged", 3)]  # once

    def test_what_an_older_record_says_is_not_sent_in_its_place(self) -> None:
        source = voted((B1, 1, [b"a", b"wrong", b"c"]), (B2, 2, [b"right"]))
        rot(source, 1)
        assert self.answer(source.records, end=4)[1] == [(1, 2)]

    def test_a_newer_record_is_sent_in_its_place(self) -> None:
        source = voted((B1, 1, [b"a", b"b"]), (B2, 1, [b"a", b"b"]))
        rot(source, 0)
        assert self.answer(source.records, end=3)[1] == [(1, 3)]

    def test_where_nothing_can_be_sent_no_answer_is(self) -> None:
        source = with_a_log(b"x", 4)
        rot(source, 0)
        assert self.answer(source.records)[1] == []


class TestLost:
    """Where the slots cannot be told, or a key is damaged so that the order is, the disk counts as lost."""

    def test_keys_out_of_order(self) -> None:
        one = voted(*((B1, slot, [b"x"]) for slot in (1, 2, 3)))
        _, index, value = one.records[1]
        for key in ((1 << 60, index), (0, index)):
            records = [one.records[0], (*key, value[:5] + b"?" + value[6:]), one.records[2]]
            with pytest.raises(CorruptLog, match=r"keep this directory, and start the node with an empty one"):
                one.core.__class__(**self.arguments(one, records))

    def arguments(self, one: OneNode, records: list[Record]) -> dict[str, object]:
        """Of a core with these records in this order."""
        from multipaxos.machine.key_value import KeyValue
        from multipaxos.paxos.quorum import QuorumSystem
        from multipaxos.wire.schema import flatten

        return {
            "node_id": 0,
            "roles": one.roles,
            "quorums": QuorumSystem.majority([0, 1, 2]),
            "incarnation": 1000,
            "seed": 7,
            "machine": KeyValue(),
            "meta": one.meta,
            "records": records,
            "flatten": flatten,
        }

    def test_a_slot_that_is_decided_and_that_no_record_explains(self) -> None:
        one = voted(*((B1, slot, [b"x"]) for slot in range(1, 9)), decided=9)
        rot(one, 2)
        del one.records[6]
        with pytest.raises(CorruptLog, match="lacks slot 7,"):
            one.restart()

    def test_a_fresh_node_that_lost_what_it_learnt_is_no_empty_one(self) -> None:
        """It must not found a cluster with empty ones."""
        one = OneNode(founded=False)
        one.send(2, "founding", incarnation=1002, fresh=False, incarnations=[7, 1001, 1002])
        one.sync()
        one.phase2a(2, B2, 1, [command(9, 1)])
        one.sync()
        rot(one, 0)
        again = one.restart()
        assert again.core.acceptor.pvalues() == []
        again.send(1, "founding", incarnation=1001, fresh=True, incarnations=[1000, 1001, 1002])
        again.send(2, "founding", incarnation=1002, fresh=True, incarnations=[1000, 1001, 1002])
        again.sync()
        assert not again.core.voting
