"""Peers whose incarnation is no founder's: they may ask, and what they say of the log counts for nothing."""

from __future__ import annotations

from typing import Any

import pytest

from multipaxos.paxos.ballot import ROUND_MAX
from multipaxos.wire import codec
from tests.node.runs import run
from tests.support.one_node import OneNode, ballot, command

END = codec.SLOTS_END
HIGH = ballot(9, 1)
STRANGER = 301  # the link of another incarnation of node 1
SAYINGS: dict[str, dict[str, Any]] = {
    "phase1b": {"ballot": HIGH, "first": END, "end": END},
    "phase2b": {"ballot": HIGH, "first": 1, "end": 2},
    "decision": {"ballot": HIGH, "first": 1, "end": 9},
    "fetched": {"first": 1, "end": 2, "pvalues": [{"first": 1, "end": 2, "run": run(HIGH, 1, b"x")}]},
    "ping": {"ballot": HIGH, "slot_out": 1000, "voting": True, "nonce": 5},
    "pong": {"ballot": HIGH, "slot_out": 1000, "leading": True, "quorum": True, "decided_ballot": HIGH,
             "decided_first": 1, "decided_end": 9},
}  # fmt: skip


def node(**given: Any) -> OneNode:
    """Node 0, with a stranger in place of node 1."""
    one = OneNode(**given)
    one.link(1, 4242, number=STRANGER)
    one.sent.clear()
    one.closed.clear()
    return one


@pytest.mark.parametrize("kind", SAYINGS)
def test_what_a_stranger_says_counts_for_nothing(kind: str) -> None:
    one = node()
    one.receive(STRANGER, codec.encode(kind, **SAYINGS[kind]))
    assert one.closed == {}
    assert one.core.leading.known_ballot == 0
    assert one.core.slot_out == 1
    assert one.core.acceptor.pvalues() == []
    assert one.core.leading.leading_ballot == 0
    one.tick(200)
    assert one.take(STRANGER, "fetch") == []


@pytest.mark.parametrize("kind", ["decision", "fetched", "pong", "ping"])
def test_the_same_from_a_founder_counts(kind: str) -> None:
    one = OneNode()
    one.send(1, kind, **SAYINGS[kind])
    assert one.core.leading.known_ballot == HIGH


@pytest.mark.parametrize("kind", ["phase1a", "phase2a"])
def test_a_stranger_that_would_lead_is_refused(kind: str) -> None:
    one = node()
    fields: dict[str, Any] = {"commands": [{"payload": b"x"}]} if kind == "phase2a" else {}
    one.receive(STRANGER, codec.encode(kind, ballot=HIGH, first=1, **fields))
    assert one.closed == {STRANGER: "a proposal from an incarnation that founded nothing"}
    assert one.core.leading.known_ballot == 0


def test_votes_of_strangers_do_not_make_a_quorum() -> None:
    one = node()
    at = one.begin_scout()
    one.receive(STRANGER, codec.encode("phase1b", ballot=at, first=1, end=END, mark=1))
    assert not one.core.status()["leading"]
    one.promise(2, at)
    one.sync()
    assert one.core.status()["leading"]


def test_strangers_may_ask() -> None:
    one = node()
    one.phase2a(2, ballot(1, 2), 1, [command(9, 1)])
    one.send(2, "decision", ballot=ballot(1, 2), first=1, end=2)
    one.sync()
    one.sent.clear()
    one.receive(STRANGER, codec.encode("ping", ballot=HIGH, nonce=5))
    one.receive(STRANGER, codec.encode("fetch", first=1, end=2))
    answers = one.take(STRANGER)
    assert [(one["kind"], one.get("nonce"), one.get("end")) for one in answers] == [
        ("pong", 5, None),
        ("fetched", None, 2),
    ]


def test_no_stranger_is_asked_for_what_is_missing() -> None:
    """Only node 2 is, again and again."""
    one = node()
    one.send(2, "decision", ballot=ballot(1, 2), first=1, end=9)
    for _ in range(5):
        one.tick(900)
    assert one.take(STRANGER, "fetch") == []
    assert len(one.from_peer(2, "fetch")) >= 4


def test_while_the_founders_are_not_known_nobody_counts() -> None:
    one = OneNode(founded=False)
    one.phase2a(1, HIGH, 1, [command(9, 1)])
    one.send(1, "pong", **SAYINGS["pong"])
    assert one.core.acceptor.pvalues() == []
    assert one.core.leading.known_ballot == 0
    assert one.closed == {}


def test_a_founders_list_has_to_name_its_sender() -> None:
    one = OneNode(founded=False)
    one.link(1, 4242, number=STRANGER)
    one.receive(STRANGER, codec.encode("founding", incarnation=4242, fresh=False, incarnations=one.incarnations))
    assert one.closed[STRANGER] == "a list of founders that does not name its sender"
    assert not one.core.status()["founded"]


class TestBallots:
    """What our own rules make, from whom they come, and how far they leap."""

    @pytest.mark.parametrize("link", [101, STRANGER])
    def test_a_leap_of_rounds_is_refused(self, link: int) -> None:
        one = OneNode() if link == 101 else node()
        one.receive(link, codec.encode("ping", ballot=ballot((1 << 32) + 1, 1)))
        assert one.closed[link] == "a ballot that no leader makes"
        assert one.core.leading.known_ballot == 0

    def test_one_below_the_limit_is_believed(self) -> None:
        one = OneNode()
        one.send(1, "ping", ballot=ballot(1 << 32, 1))
        one.send(1, "ping", ballot=ballot(1 << 33, 1))
        assert one.core.leading.known_ballot == ballot(1 << 33, 1)
        assert one.closed == {}
        assert one.begin_scout() == ballot((1 << 33) + 1, 0)

    def test_one_message_does_not_use_up_the_rounds(self) -> None:
        one = OneNode()
        one.send(1, "ping", ballot=ballot(ROUND_MAX, 1))
        assert 101 in one.closed
        assert one.begin_scout() == ballot(1, 0)

    def test_a_leap_in_what_is_fetched_is_refused(self) -> None:
        one = OneNode()
        far = ballot((1 << 32) + 1, 2)
        one.send(1, "fetched", first=1, end=2, pvalues=[(1, 2, run(far, 1, b"x"))])
        assert one.closed == {101: "a ballot that no leader makes"}

    @pytest.mark.parametrize("kind", ["decision", "pong"])
    def test_only_its_leader_reports_what_a_ballot_decided(self, kind: str) -> None:
        one = OneNode()
        one.phase2a(2, ballot(3, 2), 1, [command(9, 1)])
        at = ballot(3, 2)
        fields = {"ballot": at, "first": 1, "end": 2}
        if kind == "pong":
            fields = {"ballot": at, "leading": True, "decided_ballot": at, "decided_first": 1, "decided_end": 2}
        one.send(1, kind, **fields)
        assert one.closed == {101: "a watermark at another leader's ballot"}
        assert one.core.slot_out == 1
        one.send(2, kind, **fields)
        assert one.core.slot_out == 2

    def test_a_watermark_at_no_ballot_is_refused(self) -> None:
        """Every pvalue is of a ballot above it."""
        one = OneNode()
        one.phase2a(2, ballot(3, 2), 1, [command(9, 1)])
        one.send(2, "decision", ballot=0, first=1, end=2)
        assert one.closed == {102: "a watermark at no ballot"}
        assert one.core.slot_out == 1
