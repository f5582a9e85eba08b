"""Only a durable voter record lets a node vote."""

from __future__ import annotations

from tests.support.one_node import MS, OneNode, ballot, command


class TestFounding:
    """Which reports of peers complete a founding, and which do not."""

    def report(self, one: OneNode, peer: int, fresh: bool, incarnations: list[int]) -> None:
        one.send(peer, "founding", incarnation=one.incarnations[peer], fresh=fresh, incarnations=incarnations)

    def test_all_fresh_with_equal_views(self) -> None:
        one = OneNode(founded=False)
        self.report(one, 1, True, one.incarnations)
        self.report(one, 2, True, [1000, 0, 1002])
        one.sync()
        assert not one.core.voting  # node 2 did not know node 1
        self.report(one, 2, True, one.incarnations)
        assert not one.core.voting  # not yet durable
        one.sync()
        assert one.core.voting

    def test_a_view_with_another_incarnation_does_not_found(self) -> None:
        one = OneNode(founded=False)
        self.report(one, 1, True, one.incarnations)
        self.report(one, 2, True, [1000, 999, 1002])
        one.sync()
        assert not one.core.voting

    def test_a_founder_names_us(self) -> None:
        one = OneNode(founded=False)
        self.report(one, 1, False, one.incarnations)
        one.sync()
        assert one.core.voting

    def test_a_wiped_node_learns_and_does_not_vote(self) -> None:
        one = OneNode(founded=False)
        self.report(one, 1, False, [7, 1001, 1002])
        one.sync()
        assert any(event.kind == "not_founder" for event in one.events)
        at = ballot(1, 1)
        one.phase2a(1, at, 1, [command(9, 1, b"learnt")], decided=(0, 1, 1))
        one.send(1, "decision", ballot=at, first=1, end=2)
        one.send(1, "phase1a", ballot=ballot(2, 1), first=1)
        one.sync()
        for _ in range(50):
            one.tick(100)
        messages = one.take(101)
        assert one.decided() == [b"learnt"]
        assert not {"phase1b", "phase2b", "phase1a"} & {m["kind"] for m in messages}
        assert not one.core.status()["voting"]

    def test_what_an_earlier_life_said_does_not_count(self) -> None:
        one = OneNode(founded=False)
        self.report(one, 1, True, one.incarnations)
        one.core.link_down(101)
        one.link(1, incarnation=2001, number=201)
        self.report(one, 2, True, one.incarnations)
        one.sync()
        assert not one.core.voting

    def test_a_recovered_record_votes_at_once(self) -> None:
        one = OneNode()
        assert one.core.voting
        assert one.now_ns == 1000 * MS


class TestRefusedSlots:
    """They come with the cluster's id, from the hello of one link."""

    def named(self, one: OneNode, peer: int) -> None:
        one.send(peer, "founding", incarnation=one.incarnations[peer], fresh=False, incarnations=one.incarnations)

    def test_no_peer_takes_what_a_hello_told_before_they_came(self) -> None:
        """Nodes 0 and 2 met while both were fresh. Node 0 would tell node 2 the founders on a link whose hello told no
        slot, and node 2 would apply what the cluster refuses."""
        one = OneNode(founded=False, linked=False)
        one.link(2)
        one.link(1, cluster_id=5, refused_slots=(5, 9))
        self.named(one, 1)
        one.sync()
        assert one.core.refused_slots == (5, 9)
        assert list(one.closed) == [102]
        assert not [message for message in one.from_peer(2, "founding") if not message["fresh"]]

    def test_links_stay_where_nothing_changes(self) -> None:
        one = OneNode(founded=False)
        self.named(one, 1)
        one.sync()
        assert one.core.voting
        assert one.closed == {}
