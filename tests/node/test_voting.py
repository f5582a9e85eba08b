"""Which phases 1a and 2a our acceptor answers, and how."""

from __future__ import annotations

from tests.node.runs import decided_node
from tests.support.one_node import OneNode, ballot, command


class TestVoting:
    """Refusals, and messages that are not for this acceptor."""

    def test_a_refusal_is_no_adoption_of_a_later_ballot(self) -> None:
        """A late 1a of an old ballot is refused with the leader's new ballot, and its scout must not count that."""
        acceptor = OneNode()
        held = acceptor.phase2a(2, ballot(1, 2), 1, [command(9, 1, b"accepted")])
        acceptor.send(1, "phase1a", ballot=ballot(5, 1), first=1)
        acceptor.sync()
        acceptor.sent.clear()
        acceptor.send(1, "phase1a", ballot=ballot(4, 1), first=1)
        acceptor.sync()
        (refusal,) = acceptor.from_peer(1, "phase1b")
        assert refusal["ballot"] == ballot(5, 1)
        scout = OneNode()
        at = scout.begin_scout()
        scout.send(1, "phase1b", **{k: v for k, v in (refusal | {"ballot": at}).items() if k != "kind"})
        assert not scout.core.status()["leading"]
        assert held

    def test_only_its_leader_proposes_at_a_ballot(self) -> None:
        one = OneNode()
        one.phase2a(2, ballot(1, 1), 1, [command(9, 1)])
        assert "another leader's ballot" in one.closed[102]
        assert one.core.acceptor.pvalues() == []


class TestRoom:
    """What found no room in the ring, 16 slots where WINDOW is 4."""

    def pong(self, one: OneNode, peer: int = 1) -> int:
        """What the answer to a ping says of missing pvalues."""
        one.send(peer, "ping", ballot=ballot(1, peer), nonce=one.now_ns, slot_out=1)
        (pong,) = one.from_peer(peer, "pong")
        return int(pong["missing"])

    def full(self) -> OneNode:
        """Follows node 1, whose slots 17 to 20 found no room."""
        one = OneNode(window=4)
        for first in (1, 6, 11, 16):
            one.phase2a(1, ballot(1, 1), first, [command(9, first + i, b"x") for i in range(5)])
            one.sync()
        one.sent.clear()
        return one

    def test_its_leader_is_told_once_there_is_room_for_an_eighth_of_the_ring(self) -> None:
        one = self.full()
        assert self.pong(one) == 0
        assert one.core.status()["dropped_runs"] == 1
        one.send(1, "decision", ballot=ballot(1, 1), first=1, end=17)
        one.sync()
        assert [self.pong(one), self.pong(one)] == [17, 0]

    def test_nobody_else_is_told_and_the_next_leader_sends_all_anyway(self) -> None:
        one = self.full()
        one.send(1, "decision", ballot=ballot(1, 1), first=1, end=17)
        one.sync()
        assert self.pong(one, 2) == 0
        one.phase2a(2, ballot(2, 2), 17, [command(9, 17, b"x")])
        assert self.pong(one, 2) == 0


class TestScoutsBehind:
    """A scout too far behind is sent a pong that shows how far the acceptor is."""

    def test_a_scout_that_asks_for_what_is_on_disk_only_is_not_promised(self) -> None:
        one = decided_node(1000)
        before = one.core.acceptor.ballot_num
        one.send(2, "phase1a", ballot=ballot(50, 2), first=5)
        one.sync()
        messages = one.take(102)
        assert one.core.acceptor.ballot_num == before
        assert [m["kind"] for m in messages] == ["pong"]
        assert messages[0]["slot_out"] == one.core.slot_out

    def test_an_acceptor_with_a_mark_reports_it_and_accepts_nothing_below(self) -> None:
        one = OneNode(meta={b"mark": (5).to_bytes(8, "little")})
        one.phase2a(1, ballot(1, 1), 3, [command(9, 1), command(9, 2)])
        one.sync()
        (answer,) = one.from_peer(1, "phase2b")
        assert (answer["mark"], answer["first"], answer["end"]) == (5, 3, 3)
        one.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        one.sync()
        assert [m["mark"] for m in one.from_peer(1, "phase1b")] == [5]

    def test_a_scout_a_window_below_the_mark_has_to_fetch(self) -> None:
        one = OneNode(node=2, nodes=5, roles=[3, 3, 4, 4, 4], meta={b"mark": (500).to_bytes(8, "little")})
        before = one.core.acceptor.ballot_num
        one.send(1, "phase1a", ballot=ballot(9, 1), first=435)
        assert one.core.acceptor.ballot_num == before
        assert [(m["kind"], m["slot_out"]) for m in one.take(101)] == [("pong", 500)]
        one.send(1, "phase1a", ballot=ballot(9, 1), first=436)
        one.sync()
        assert [m["mark"] for m in one.from_peer(1, "phase1b")] == [500]
