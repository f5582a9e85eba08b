"""Requests without a slot: whose turn it is, and what one client may have and ask for."""

from __future__ import annotations

from collections.abc import Iterable

from multipaxos.wire.codec import ReplyStatus
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command

MIB = 1 << 20
LARGE = b"x" * 900_000


def forwarded(one: OneNode) -> list[tuple[int, int]]:
    """(session, sequence) of what was forwarded to node 1, in order."""
    return [(c["session"], c["sequence"]) for m in one.from_peer(1, "request") for c in m["commands"]]


def statuses(one: OneNode, link: int) -> list[int]:
    return [reply["status"] for message in one.take(link, "response") for reply in message["replies"]]


def queue(one: OneNode, link: int, commands: Iterable[tuple[object, ...]]) -> None:
    """A client sends them, each in a frame of its own, while no node leads."""
    one.client(link)
    for each in commands:
        one.request(link, each)


def following(one: OneNode, *commands: tuple[object, ...]) -> None:
    """The node follows node 1, which has decided these commands."""
    one.phase2a(1, ballot(5, 1), 1, list(commands))
    one.send(1, "decision", ballot=ballot(5, 1), first=1, end=1 + len(commands))


class TestTurns:
    """Large values of one client do not hold up small ones of another."""

    def test_a_small_request_passes_large_ones_of_others(self) -> None:
        one = OneNode()
        for writer in range(8):
            queue(one, 10 + writer, [command(1000 + writer, n, LARGE) for n in range(1, 4)])
        queue(one, 1, [command(2000, 1, b"small")])
        following(one, command(9, 1))
        assert forwarded(one)[0] == (2000, 1)

    def test_also_where_the_large_ones_are_in_step(self) -> None:
        """Eight writers each send the next value when the one before is decided, so that all their turns are equal."""
        one = OneNode(window=1)
        at = one.lead()
        for writer in range(8):
            queue(one, 10 + writer, [command(1000 + writer, 1, LARGE)])
        slot = 1
        for n in range(2, 5):
            for writer in range(8):
                one.sync()
                one.accept(1, at, slot, slot + 1)
                slot += 1
                one.request(10 + writer, command(1000 + writer, n, LARGE))
        one.client(1)
        one.request(1, command(2000, 1, b"small"))
        one.take(101)
        one.sync()
        one.accept(1, at, slot, slot + 1)
        runs = one.from_peer(1, "phase2a")
        assert [(c["session"], c["sequence"]) for m in runs for c in m["commands"]] == [(2000, 1)]

    def test_each_has_equal_bytes_and_its_own_order(self) -> None:
        one = OneNode()
        queue(one, 1, [command(1001, n, b"x" * 50_000) for n in range(1, 21)])
        queue(one, 2, [command(1002, n, b"x" * 100_000) for n in range(1, 11)])
        following(one, command(9, 1))
        order = forwarded(one)
        for session, last in ((1001, 20), (1002, 10)):
            assert [n for each, n in order if each == session] == list(range(1, last + 1))
        first_half = order[:15]
        assert 8 <= sum(session == 1001 for session, _ in first_half) <= 11

    def test_a_large_command_is_alone_in_its_frame(self) -> None:
        one = OneNode()
        queue(one, 1, [command(1001, n, LARGE) for n in (1, 2)])
        queue(one, 2, [command(1002, n, b"small") for n in range(1, 9)])
        following(one, command(9, 1))
        assert [len(m["commands"]) for m in one.from_peer(1, "request")] == [8, 1, 1]

    def test_a_new_leader_gets_what_an_earlier_one_got(self) -> None:
        one = OneNode()
        queue(one, 1, [command(1001, n) for n in range(1, 4)])
        following(one, command(9, 1))
        assert len(forwarded(one)) == 3
        one.phase2a(2, ballot(6, 2), 2, [command(9, 2)])
        one.tick(1)
        again = [c["sequence"] for m in one.from_peer(2, "request") for c in m["commands"]]
        assert again == [1, 2, 3]

    def test_a_leader_gives_slots_in_turns(self) -> None:
        """While WINDOW is full, requests of two clients come; then those of both get slots."""
        one = OneNode(window=8)
        at = one.lead()
        one.client()
        one.request(1, *[command(1001, n, b"x" * 100) for n in range(1, 101)])
        one.client(2)
        one.request(2, command(1002, 1, b"y"))
        one.take(101)
        one.sync()
        one.accept(1, at, 1, 9)
        runs = one.from_peer(1, "phase2a")
        assert (1002, 1) in [(c["session"], c["sequence"]) for m in runs for c in m["commands"]][:8]
        one.core.invariants()

    def test_what_comes_at_once_is_more_than_one_run(self) -> None:
        """Nothing waits: runs are made of what has come, in its order."""
        one = OneNode()
        one.lead()
        one.client()
        one.request(1, *[command(1001, n, b"x" * 30_000) for n in range(1, 16)])
        runs = one.from_peer(1, "phase2a")
        assert [len(run["commands"]) for run in runs] == [8, 7]
        assert [c["sequence"] for run in runs for c in run["commands"]] == list(range(1, 16))

    def test_gaps_are_closed(self) -> None:
        """One client's requests leave from between another's: the queue does not grow by what left."""
        one = OneNode(window=8)
        at = one.lead()
        one.client()
        one.request(1, *[command(1001, n, b"x" * 4000) for n in range(1, 900)])
        one.client(2)
        first = 1
        for n in range(1, 300):
            one.request(2, command(1002, n, b""))
            one.sync()
            one.accept(1, at, first, first + 8)
            first += 8
            one.core.invariants()
        assert one.core.status()["requests"] <= 900


class TestOverload:
    """What is beyond the bounds is refused at once, and of others nothing."""

    def test_one_client_has_half_the_queue(self) -> None:
        one = OneNode()
        queue(one, 1, [command(1001, n, LARGE) for n in range(1, 60)])
        assert set(statuses(one, 1)) == {ReplyStatus.OVERLOADED}
        assert one.core.status()["memory_bytes"] <= 33 * MIB
        queue(one, 2, [command(1002, n, LARGE) for n in range(1, 11)])
        assert statuses(one, 2) == []
        assert one.core.status()["overloaded"] > 20

    def test_nothing_behind_a_refused_command_is_taken(self) -> None:
        """It would be ahead of its turn, and have a slot for nothing."""
        one = OneNode()
        following(one, command(0, 77, b"", OPEN_SESSION))
        queue(one, 1, [command(1, n, LARGE) for n in range(1, 61)])
        refused = len(statuses(one, 1))
        one.request(1, command(1, 60, b"small"))
        assert statuses(one, 1) == [ReplyStatus.OVERLOADED]
        waiting = len(one.core.replica.requests)
        assert waiting == 60 - refused
        at = ballot(5, 1)
        one.phase2a(1, at, 2, [command(1, n, LARGE) for n in range(1, 3)])
        one.send(1, "decision", ballot=at, first=2, end=4)
        one.request(1, command(1, waiting + 2, b"small"))
        assert statuses(one, 1)[-1] == ReplyStatus.OVERLOADED
        one.request(1, command(1, waiting + 1, b"small"), command(1, waiting + 2, b"small"))
        assert ReplyStatus.OVERLOADED not in statuses(one, 1)


class TestAllowance:
    """What one client may ask for."""

    def test_openings_of_one_link(self) -> None:
        one = OneNode()
        one.client()
        one.request(1, *[command(0, 500 + n, b"", OPEN_SESSION) for n in range(100)])
        assert statuses(one, 1) == [ReplyStatus.OVERLOADED] * 36
        assert one.core.status()["refused_openings"] == 36
        one.request(1, command(0, 500, b"", OPEN_SESSION))  # once more, not another one
        assert statuses(one, 1) == []
        one.client(2)
        one.request(2, command(0, 900, b"", OPEN_SESSION))
        assert statuses(one, 2) == []
        one.tick(1001)
        one.request(1, command(0, 599, b"", OPEN_SESSION))
        assert statuses(one, 1) == []

    def test_answers_that_are_kept(self) -> None:
        """54 KB of requests, however they are cut into chunks, give one link one bound of answers in a second."""
        one = OneNode()
        one.journal.apply = lambda command, context: b"a" * 1_000_000  # type: ignore[method-assign]
        one = one.restart_with(one.journal)
        opening = command(0, 77, b"", OPEN_SESSION)
        following(one, opening, *[command(1, n, unacknowledged=n - 1) for n in range(1, 9)])
        one.client()
        for _ in range(125):
            one.request(1, *[command(1, n, unacknowledged=n - 1) for n in range(1, 9)])
        sent = [reply for m in one.take(1, "response") for reply in m["replies"]]
        assert len(sent) == 1000
        assert sum(len(reply["data"]) for reply in sent) <= 16 * MIB
        assert one.core.status()["refused_repeats"] == 984


class TestVoid:
    """Void commands get no slot where the table is sure."""

    def test_what_a_peer_forwards(self) -> None:
        one = OneNode(window=8)
        at = one.lead()
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        one.sync()
        one.accept(1, at, 1, 2)
        one.request(1, command(1, 1, b"a"))
        one.sync()
        one.accept(1, at, 2, 3)
        one.take(101)
        void = [command(0, 77, b"", OPEN_SESSION), command(1, 1, b"a"), command(2, 1, b"b")]
        one.request(101, *void)
        assert one.from_peer(1, "phase2a") == []
        assert one.core.status()["void_commands"] == 3
