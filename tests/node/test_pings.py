"""Which leaders are followed, and which are not."""

from __future__ import annotations

from tests.support.one_node import OneNode, ballot


class TestPings:
    """Pings keep a leader that has its quorum, and no other."""

    def test_pings_of_its_followers_keep_a_leader(self) -> None:
        one = OneNode()
        at = one.lead()
        for _ in range(30):
            one.tick(100)
            one.send(1, "ping", ballot=at, nonce=1, slot_out=1, voting=True)
        assert one.core.status()["leading"]
        pong = one.from_peer(1, "pong")[-1]
        assert pong["leading"]
        assert pong["quorum"]

    def test_a_winner_cut_off_from_its_quorum_is_not_waited_for(self) -> None:
        one = OneNode()
        winner = ballot(50, 1)
        one.send(1, "phase1a", ballot=winner, first=1)
        one.sync()
        for _ in range(30):
            one.tick(100)
            one.send(
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
        assert any(event.kind == "scouting" for event in one.events)
