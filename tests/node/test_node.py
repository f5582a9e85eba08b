"""The core as a whole: its limits, its clock, its end."""

from __future__ import annotations

import pytest

from multipaxos.node.output import Event
from tests.node.runs import with_a_log
from tests.support.one_node import OneNode, ballot, command


class TestNode:
    """What is true of all verbs."""

    def test_a_window_may_not_outgrow_what_a_scout_merges(self) -> None:
        """So a ring never reaches beyond pmax."""
        with pytest.raises(ValueError, match="is too large"):
            OneNode(window=1 << 20)

    def test_a_core_knows_its_id(self) -> None:
        assert OneNode(2).core.node_id == 2

    def test_an_event_shows_what_it_holds(self) -> None:
        """In a failing test and in a debugger."""
        event = Event("adopted", ballot(3, 1), 7, "adopted at ballot 3.1")
        assert repr(event) == f"<adopted {ballot(3, 1)} 7: adopted at ballot 3.1>"
        assert (event.kind, event.ballot, event.slot) == ("adopted", ballot(3, 1), 7)

    def test_the_clock_never_goes_back(self) -> None:
        one = OneNode()
        at = ballot(1, 1)
        one.phase2a(1, at, 1, [command(9, 1)], time_ns=1000)
        one.phase2a(1, at, 2, [command(9, 2)], time_ns=500)
        one.send(1, "decision", ballot=at, first=1, end=3)
        assert one.core.replica.time_ns == 1000

    def test_a_failed_sync_ends_all_promises(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(1, 1), 1, [command(9, 1)])
        one.sync(ok=False)
        assert "storage failed" in one.failed
        one.phase2a(1, ballot(1, 1), 2, [command(9, 2)])
        one.send(1, "phase1a", ballot=ballot(9, 1), first=1)
        one.tick(1000)
        assert one.take(101) == []
        assert one.batch is None

    def test_a_node_whose_disk_failed_handles_nothing_more(self) -> None:
        """It has to be started again; until then no verb changes it."""
        one = with_a_log(b"x", 2)
        one.phase2a(1, ballot(1, 1), 3, [command(7, 3)])
        one.sync(False)
        assert one.failed
        before = one.core.status()
        one.core.link_up(300, 1, 1001)
        one.core.done(1, True)
        one.tick(5000)
        one.collect()
        assert one.core.status() == before
        assert one.sent == {}
