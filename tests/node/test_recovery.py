"""What a node knows after a restart."""

from __future__ import annotations

import pytest

from multipaxos.errors import CorruptLog
from tests.node.runs import records_of, run_of
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command
from tests.support.records import flipped


class TestRecovery:
    """Promises, pvalues and decisions come back from the log."""

    def test_a_ballot_is_never_used_twice(self) -> None:
        one = OneNode()
        first = one.begin_scout()
        again = one.restart()
        assert again.begin_scout() > first

    def test_promises_are_remembered(self) -> None:
        one = OneNode()
        one.send(1, "phase1a", ballot=ballot(7, 1), first=1)
        one.sync()
        again = one.restart()
        again.phase2a(2, ballot(6, 2), 1, [command(9, 1)])
        again.sync()
        assert [m["ballot"] for m in again.from_peer(2, "phase2b")] == [ballot(7, 1)]
        assert again.core.acceptor.pvalues() == []

    def test_a_ballot_that_came_with_a_phase_2a_is_remembered(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(7, 1), 1, [command(9, 1)])
        one.sync()
        assert one.restart().core.acceptor.ballot_num == ballot(7, 1)

    def test_a_newer_record_hides_an_older_one_only_where_it_covers_it(self) -> None:
        one = OneNode()
        old = one.phase2a(1, ballot(1, 1), 10, [command(9, i) for i in range(1, 11)])
        new = one.phase2a(2, ballot(2, 2), 12, [command(8, 1), command(8, 2)])
        one.sync()
        again = one.restart()
        assert again.core.acceptor.pvalues() == [
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
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(0, 77, b"", OPEN_SESSION), command(1, 1, b"a"), command(1, 2, b"b")])
        one.send(1, "decision", ballot=ballot(1, 1), first=1, end=3)
        one.phase2a(1, ballot(1, 1), 4, [command(1, 3, b"c")])
        one.sync()
        one.sync()
        again = one.restart()
        assert again.core.slot_out == 3
        assert again.journal.entries == [b"a"]
        assert again.core.acceptor.pvalues()[-1] == (4, ballot(1, 1))

    def test_a_hole_below_the_decided_slots_is_refused(self) -> None:
        with pytest.raises(CorruptLog, match="lacks slot 1,"):
            OneNode(meta={b"decided": (5).to_bytes(8, "little")})

    def test_a_record_that_is_no_run_is_refused(self) -> None:
        with pytest.raises(CorruptLog, match="record 1 "):
            OneNode(records=records_of((1, 2, b"not a frame")))

    def test_everything_fits_the_rings_after_a_long_run(self) -> None:
        one = OneNode(window=64)
        at = ballot(1, 1)
        for first in range(1, 1000, 10):
            one.phase2a(1, at, first, [command(9, i) for i in range(10)], decided=(at, 1, first))
            one.sync()
        again = OneNode(window=64, meta=one.meta, records=one.records)
        assert again.core.slot_out == one.core.slot_out == 991
        assert again.core.acceptor.accepted.base > 1


class TestMarks:
    """What lies below a mark was collected."""

    def test_a_node_without_a_machine_begins_at_its_mark(self) -> None:
        """Collected slots are not missed at a restart. Peers that ask for them are sent the mark."""
        one = OneNode(node=2, nodes=5, roles=[3, 3, 4, 4, 4], meta={b"mark": (50).to_bytes(8, "little")})
        assert one.core.slot_out == 50
        one.send(1, "fetch", first=40, end=50)
        (nothing,) = one.from_peer(1, "fetched")
        assert (nothing["first"], nothing["end"], nothing["mark"], nothing["pvalues"]) == (40, 40, 50, [])
        at = ballot(1, 1)
        one.phase2a(1, at, 50, [command(9, 1)])
        one.send(1, "decision", ballot=at, first=50, end=51)
        one.sync()
        again = OneNode(node=2, nodes=5, roles=[3, 3, 4, 4, 4], meta=one.meta, records=one.records)
        assert again.core.slot_out == 50
        assert again.core.acceptor.pvalues() == [(50, at)]

    def test_a_replica_does_not_begin_at_a_mark(self) -> None:
        """It would apply nothing below: its log lacks what it needs."""
        meta = {b"mark": (5).to_bytes(8, "little"), b"decided": (5).to_bytes(8, "little")}
        with pytest.raises(CorruptLog, match="lacks slot 1"):
            OneNode(meta=meta)


class TestCorruptLog:
    """Logs that no node writes."""

    def test_a_record_that_claims_more_than_its_run_is_corrupt(self) -> None:
        """Its run holds one slot."""
        run = run_of(ballot(1, 1), 1, command(1, 1))
        for first, end in ((1, 3), (2, 3)):
            with pytest.raises(CorruptLog, match="claims slots"):
                OneNode(records=records_of((first, end, run)))

    def test_a_record_far_above_the_decided_ones_is_corrupt(self) -> None:
        """No acceptor takes a slot beyond its ring."""
        with pytest.raises(CorruptLog, match="more than 32 slots above"):
            OneNode(window=8, records=records_of((40, 41, run_of(ballot(1, 1), 40, command(1, 1)))))

    def test_a_log_that_is_longer_than_its_rings_comes_back(self) -> None:
        """Decided slots are applied one by one and leave memory on the way."""
        size, count = 8, 160
        records = records_of(
            *(
                (i * size + 1, (i + 1) * size + 1, run_of(ballot(1, 1), i * size + 1, *[command(0, 5 + i)] * size))
                for i in range(count)
            )
        )
        end = size * count + 1
        one = OneNode(window=8, meta={b"decided": end.to_bytes(8, "little")}, records=records)
        assert one.core.slot_out == end
        assert one.core.acceptor.accepted.base > 1000

    def test_a_record_whose_header_lies_before_its_place_is_corrupt(self) -> None:
        """Both sums of the third record are right, so its key is what is damaged."""
        records = records_of(*((slot, slot + 1, run_of(ballot(1, 1), slot, command(0, slot + 4))) for slot in (1, 2)))
        with pytest.raises(CorruptLog, match="record 1 at slot 1 is out of order"):
            OneNode(records=[*records, (3, 3, records[0][2])])

    def test_a_record_of_which_only_a_key_far_above_is_left_is_corrupt(self) -> None:
        """No acceptor votes that far above what is decided: the key is damaged too."""
        OneNode(window=8, records=[(32, 1, b"")])
        with pytest.raises(CorruptLog, match="record 1 at slot 33 is damaged, and so is its key"):
            OneNode(window=8, records=[(33, 1, b"")])

    def test_a_log_that_ends_with_a_damaged_record_below_the_decided_slots_is_corrupt(self) -> None:
        """The damaged record covered slot 1 alone; nothing explains the decided slots behind it."""
        ((first, index, value),) = records_of((1, 2, run_of(ballot(1, 1), 1, command(0, 5))))
        damaged = flipped(value, -1)
        with pytest.raises(CorruptLog, match="lacks slot 2,"):
            OneNode(window=8, meta={b"decided": (100).to_bytes(8, "little")}, records=[(first, index, damaged)])
