"""Two processes on copies of one data directory, of which each peer meets only one."""

from __future__ import annotations

import pytest

from multipaxos.node.copies import Copies
from multipaxos.wire import codec
from tests.support.one_node import MS, OneNode

OURS, THEIRS = 11, 22
COPIED = "it runs on a copy of another process's data directory"


class TestTheRule:
    """Node 1 tells which process of node 2 it is linked with; time is counted from its first ping."""

    def tell(
        self, copies: Copies, at_ms: int, theirs: int = THEIRS, ours: int = OURS, sent_ms: int | None = None
    ) -> bool:
        at_ns = (at_ms + 1) * MS
        return copies.tell(1, 2, theirs, ours, at_ns, at_ns if sent_ms is None else (sent_ms + 1) * MS)

    def test_a_contradiction_that_stays_shows_a_copy(self) -> None:
        copies = Copies(3, 2000 * MS)
        assert [self.tell(copies, ms) for ms in (0, 1000, 2000, 2001)] == [False, False, False, True]
        copies.invariants()

    def test_one_ping_is_not_enough(self) -> None:
        copies = Copies(3, 0)
        assert [self.tell(copies, ms) for ms in (0, 1)] == [False, True]

    @pytest.mark.parametrize(
        ("theirs", "ours"), [(OURS, OURS), (33, OURS), (THEIRS, 33)], ids=["equal", "new", "ours new"]
    )
    def test_another_process_on_either_side_begins_anew(self, theirs: int, ours: int) -> None:
        copies = Copies(3, 2000 * MS)
        self.tell(copies, 0)
        assert not self.tell(copies, 2500, theirs, ours)
        assert not self.tell(copies, 3000)
        assert not self.tell(copies, 5000)
        assert self.tell(copies, 5001)

    @pytest.mark.parametrize(("theirs", "ours"), [(0, OURS), (THEIRS, 0)])
    def test_nothing_is_no_news(self, theirs: int, ours: int) -> None:
        copies = Copies(3, 2000 * MS)
        self.tell(copies, 0)
        assert not self.tell(copies, 2500, theirs, ours)
        assert self.tell(copies, 2600)

    def test_pings_that_were_held_up_do_not_make_it_old(self) -> None:
        """A peer told the former process for three seconds; all its pings arrive at once, after the restart."""
        copies = Copies(3, 2000 * MS)
        assert not any(self.tell(copies, 9000 + sent, sent_ms=1000 * sent) for sent in range(4))

    def test_pings_that_arrive_late_do_not_make_it_old(self) -> None:
        """They were sent within a moment."""
        copies = Copies(3, 2000 * MS)
        assert not any(self.tell(copies, 1000 * sent, sent_ms=sent) for sent in range(9))

    def test_a_repeated_ping_counts_once(self) -> None:
        copies = Copies(3, 0)
        self.tell(copies, 0, sent_ms=5)
        assert not self.tell(copies, 10, sent_ms=5)
        assert not self.tell(copies, 20, sent_ms=4)
        assert self.tell(copies, 30, sent_ms=6)


class TestTheNode:
    """Node 0 of three is linked with process 11 of node 2."""

    def node(self) -> OneNode:
        one = OneNode()
        one.link(1, number=201, process=7)
        one.link(2, number=202, process=OURS)
        one.sent.clear()
        one.closed.clear()
        return one

    def ping(self, one: OneNode, link: int, **fields: object) -> None:
        """A peer pings."""
        one.receive(link, codec.encode("ping", nonce=one.now_ns, slot_out=1, **fields))

    def pong(self, one: OneNode, link: int, ago_ms: int = 0) -> None:
        """A peer answers a ping that was sent so long ago."""
        one.receive(link, codec.encode("pong", nonce=one.now_ns - ago_ms * MS, slot_out=1))

    def second(self, one: OneNode, *, told: int = THEIRS, spoken: bool = True) -> None:
        """Peers ping; a second passes."""
        if spoken and 202 not in one.closed:
            self.pong(one, 202)
        self.ping(one, 201, processes=[0, 0, told])
        one.tick(1000)

    def test_every_node_tells_every_peer_at_least_once_in_a_second(self) -> None:
        one = self.node()
        self.pong(one, 202)
        told = set()
        for _ in range(11):
            one.tick(100)
            told |= {tuple(ping["processes"]) for ping in one.take(201, "ping")}
        assert (0, 0, OURS) in told

    def test_who_has_not_answered_lately_is_not_told(self) -> None:
        one = self.node()
        self.pong(one, 202)
        one.tick(1600)
        assert {tuple(ping["processes"]) for ping in one.take(201, "ping")} == {(0, 0, 0)}

    def test_what_arrives_late_from_a_process_that_is_gone_does_not_count(self) -> None:
        one = self.node()
        self.pong(one, 202)
        one.tick(1600)
        self.pong(one, 202, ago_ms=1550)
        self.ping(one, 202)
        one.sent.clear()
        one.tick(100)
        assert {tuple(ping["processes"]) for ping in one.take(201, "ping")} <= {(0, 0, 0)}

    def test_a_copy_is_refused_for_good(self) -> None:
        one = self.node()
        for _ in range(3):
            self.second(one)
            assert one.closed == {}
        self.second(one)
        assert list(one.closed) == [202]
        assert COPIED in one.closed[202]
        assert [event.kind for event in one.events if event.kind == "copied"] == ["copied"]
        one.link(2, number=203, process=OURS)
        assert COPIED in one.closed[203]
        one.link(2, number=204, process=33)
        assert 204 not in one.closed

    def test_a_restart_is_no_copy(self) -> None:
        """Node 1 has not noticed for a while that the former process is gone."""
        one = self.node()
        for told in (THEIRS, THEIRS, 0, 0, 0, OURS, OURS):
            self.second(one, told=told)
        assert one.closed == {}

    def test_who_is_no_founder_is_not_compared(self) -> None:
        one = OneNode()
        one.link(1, number=201, process=7)
        one.link(2, 4242, number=202, process=OURS)
        one.closed.clear()
        for _ in range(6):
            self.second(one)
        assert one.closed == {}


def test_two_copies_of_which_each_peer_meets_one() -> None:
    """Nodes 1 and 2 ping each other; node 0 runs twice. Within seconds each refuses the process that it knows."""
    nodes = [OneNode(1), OneNode(2)]
    for one, process in zip(nodes, (OURS, THEIRS), strict=True):
        one.link(0, number=200, process=process)
        one.closed.clear()
    for _ in range(60):
        for one, other in (nodes, nodes[::-1]):
            if 200 not in one.closed:
                one.receive(200, codec.encode("pong", nonce=one.now_ns, slot_out=1))
            for ping in one.from_peer(other.id, "ping"):
                other.send(one.id, **ping)
            one.tick(100)
    for one, process in zip(nodes, (OURS, THEIRS), strict=True):
        assert COPIED in one.closed[200]
        one.link(0, number=201, process=process)
        assert COPIED in one.closed[201]
    assert [sum(event.kind == "copied" for event in one.events) for one in nodes] == [1, 1]


@pytest.mark.parametrize("apart_ms", range(0, 1000, 100))
def test_both_copies_are_refused_whichever_is_noticed_first(apart_ms: int) -> None:
    """Nodes 0 and 1 are linked with one process of node 2 each; their pings to all are so far apart."""
    sides = [OneNode(node=0), OneNode(node=1)]
    processes = (OURS, THEIRS)
    for side, process in zip(sides, processes, strict=True):
        side.link(1 - side.id, number=201, process=7 + side.id)
        side.link(2, number=202, process=process)
    sides[1].tick(apart_ms)
    for _ in range(80):
        for side in sides:
            other = sides[1 - side.id]
            side.tick(100)
            for ping in side.take(202, "ping"):
                if 202 not in side.closed:
                    side.receive(202, codec.encode("pong", nonce=ping["nonce"], slot_out=1))
            for ping in side.take(201, "ping"):
                other.receive(201, codec.encode(ping.pop("kind"), **ping))
    assert [COPIED in side.closed.get(202, "") for side in sides] == [True, True]


def test_who_starts_again_after_a_refusal_is_let_in() -> None:
    """The former process of node 2 was refused by node 1, which goes on telling it; the new one is no copy."""
    copies = Copies(3, 2000 * MS)
    at_ns = [MS, 1001 * MS, 2000 * MS]
    assert not any(copies.tell(1, 2, THEIRS, OURS, ns, ns) for ns in at_ns)
