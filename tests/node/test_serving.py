"""Requests of clients and peers, and answers to clients."""

from __future__ import annotations

from multipaxos.wire import codec
from tests.support.journal import Journal
from tests.support.one_node import OPEN_SESSION, OneNode, ballot, command

NONCE = 77
OPEN = command(0, NONCE, b"", OPEN_SESSION)
STATUS = codec.ReplyStatus


def answers(one: OneNode, link: int) -> list[tuple[int, int]]:
    """(sequence, status) of all answers that a client was sent."""
    return [
        (reply["sequence"], reply["status"]) for message in one.take(link, "response") for reply in message["replies"]
    ]


def leading_with_a_session() -> OneNode:
    """Leads; client 1 has opened session 1."""
    one = OneNode(window=8)
    at = one.lead()
    one.client()
    one.request(1, OPEN)
    one.sync()
    one.accept(1, at, 1, 2)
    assert answers(one, 1) == [(NONCE, STATUS.OPENED)]
    return one


class TestRequests:
    """Requests find the leader, and answers their clients."""

    def test_they_are_forwarded_and_again_after_a_change(self) -> None:
        one = OneNode()
        each = ballot(5, 1)
        one.phase2a(1, each, 1, [command(9, 1)])
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        assert [c["sequence"] for m in one.from_peer(1, "request") for c in m["commands"]] == [77]
        one.phase2a(2, ballot(6, 2), 2, [command(9, 2)])
        one.tick(1)
        assert [c["sequence"] for m in one.from_peer(2, "request") for c in m["commands"]] == [77]

    def test_the_replica_that_was_asked_answers_when_it_applies(self) -> None:
        one = OneNode()
        at = ballot(5, 1)
        one.client()
        one.request(1, command(0, 77, b"", OPEN_SESSION))
        one.phase2a(1, at, 1, [command(0, 77, b"", OPEN_SESSION)])
        one.send(1, "decision", ballot=at, first=1, end=2)
        (answer,) = one.take(1, "response")
        assert (answer["session"], answer["replies"][0]["status"]) == (1, 2)
        one.request(1, command(1, 1, b"raise"))
        one.phase2a(1, at, 2, [command(1, 1, b"raise"), command(1, 2, b"fine")])
        one.send(1, "decision", ballot=at, first=1, end=4)
        refused, fine = [reply for m in one.take(1, "response") for reply in m["replies"]]
        assert (refused["status"], refused["data"]) == (1, b"ValueError: asked to raise at length 0")
        assert (fine["status"], fine["slot"]) == (0, 3)

    def test_a_repeated_request_gets_its_first_answer_without_a_slot(self) -> None:
        one = OneNode()
        at = ballot(5, 1)
        one.phase2a(1, at, 1, [command(0, 77, b"", OPEN_SESSION), command(1, 1, b"a")])
        one.send(1, "decision", ballot=at, first=1, end=3)
        one.client()
        one.request(1, command(1, 1, b"a"))
        (answer,) = one.take(1, "response")
        assert (answer["replies"][0]["slot"], answer["replies"][0]["data"]) == (2, bytes(8))
        assert len(one.core.replica.requests) == 0

    def test_repeated_large_answers_are_bounded(self) -> None:
        one = OneNode()
        one.journal.apply = lambda command, context: b"a" * 1_000_000  # type: ignore[method-assign]
        one = one.restart_with(one.journal)
        at = ballot(5, 1)
        one.phase2a(
            1, at, 1, [command(0, 77, b"", OPEN_SESSION), *[command(1, n, unacknowledged=n - 1) for n in range(1, 9)]]
        )
        one.send(1, "decision", ballot=at, first=1, end=10)
        one.client()
        one.request(1, *[command(1, 1 + n % 8, unacknowledged=n % 8) for n in range(100)])
        replies = [reply for m in one.take(1, "response") for reply in m["replies"]]
        assert len(replies) == 100
        assert sum(len(reply["data"]) for reply in replies) < 20 << 20
        assert {reply["status"] for reply in replies} == {0, 5}

    def test_a_lagging_replica_does_not_expire_a_live_session(self) -> None:
        one = OneNode()
        one.client()
        one.request(1, command(1000, 1, b"a"))
        assert one.take(1, "response") == []

    def test_too_much_waiting_is_overloaded_and_bounded(self) -> None:
        one = OneNode()
        one.client()
        big = b"x" * 1_000_000
        for n in range(1, 80):
            one.request(1, command(1000, n, big))
        statuses = [reply["status"] for m in one.take(1, "response") for reply in m["replies"]]
        assert statuses
        assert set(statuses) == {5}
        assert one.core.replica.requests.queue.bytes < 70 << 20

    def test_a_command_waits_once_however_often_it_is_sent(self) -> None:
        """Found by simulation: repeats that come faster than slots are decided made the queue grow without end."""
        one = OneNode()
        one.client()
        for _ in range(50):
            one.request(1, command(1000, 1, b"a"), command(1000, 2, b"b"))
        assert len(one.core.replica.requests) == 2

    def test_a_request_that_is_void_does_not_hold_up_the_queue(self) -> None:
        one = OneNode()
        one.phase2a(1, ballot(5, 1), 1, [command(0, 77, b"", OPEN_SESSION)])
        one.send(1, "decision", ballot=ballot(5, 1), first=1, end=2)
        one.client()
        one.request(1, command(1, 9, b"ahead of its turn"))
        one.request(1, command(0, 78, b"", OPEN_SESSION))
        one.tick(5000)
        assert len(one.core.replica.requests) == 2
        one.phase2a(1, ballot(5, 1), 2, [command(0, 78, b"", OPEN_SESSION)])
        one.send(1, "decision", ballot=ballot(5, 1), first=1, end=3)
        for _ in range(8):
            one.tick(1000)
            one.request(1, command(1, 1, b"later"))
        assert len(one.core.replica.requests) <= 8

    def test_peers_requests_are_dropped_where_no_node_leads(self) -> None:
        one = OneNode()
        one.request(101, command(0, 77, b"", OPEN_SESSION))
        assert len(one.core.replica.requests) == 0


class TestClients:
    """What clients may ask."""

    def test_a_client_cannot_send_noops_or_reconfigurations(self) -> None:
        for kind in (0, 3):
            one = OneNode()
            one.client(1)
            one.request(1, command(1, 1, b"", kind))
            assert 1 in one.closed

    def test_a_node_that_is_no_replica_refuses_clients(self) -> None:
        """It applies nothing, so it could answer nothing."""
        one = OneNode(roles=[6, 7, 7])
        one.client()
        one.request(1, OPEN)
        assert one.closed == {1: "a request to a node that is no replica"}

    def test_an_unknown_session_is_reported_when_its_command_is_applied(self) -> None:
        """It might have been opened in a slot that this replica has not seen, so it is judged in the log."""
        one = leading_with_a_session()
        one.request(1, command(50, 1))
        one.sync()
        one.accept(1, one.core.leader.ballot, 2, 3)
        assert answers(one, 1) == [(1, STATUS.EXPIRED)]

    def test_an_acknowledged_command_that_is_repeated_is_answered_so(self) -> None:
        """Its answer is gone, and it is not applied again."""
        one = leading_with_a_session()
        one.request(1, command(1, 1, b"a"), command(1, 2, b"b"))
        one.sync()
        one.accept(1, one.core.leader.ballot, 2, 4)
        assert answers(one, 1) == [(1, STATUS.OK), (2, STATUS.OK)]
        one.request(1, command(1, 1, b"a"))
        assert answers(one, 1) == [(1, STATUS.ACKNOWLEDGED)]
        assert one.journal.entries == [b"a", b"b"]

    def test_waiting_requests_keep_their_order_when_the_queue_grows(self) -> None:
        """No node leads, so they wait: more than the queue had room for at first."""
        one = OneNode()
        one.client()
        for first in (1, 201, 401):
            one.request(1, *[command(9, sequence) for sequence in range(first, first + 200)])
        assert one.core.status()["requests"] == 600
        one.phase2a(1, ballot(1, 1), 1, [OPEN])
        forwarded = [each["sequence"] for frame in one.from_peer(1, "request") for each in frame["commands"]]
        assert forwarded == list(range(1, 601))

    def test_requests_in_unknown_sessions_are_bounded(self) -> None:
        """65,536 names of sessions are remembered, then none: the others ask again."""
        one = leading_with_a_session()
        one.request(1, *[command(1000 + i, 1) for i in range((1 << 16) + 1)])
        assert not one.closed
        assert one.core.status()["requests"] == (1 << 16) - 8  # of one client: half the queue
        one.request(1, command(1, 1, b"a"))
        assert not one.failed


MIB = 1 << 20


class TestUnread:
    """A client that does not read what is answered gets no further long answers, and loses none."""

    def reader(self, *sizes: int, sessions: int = 1) -> OneNode:
        """A follower with that many sessions, each of which has applied commands with answers of these sizes; client
        n asks in session n."""
        journal = Journal()
        journal.apply = lambda command, context: b"a" * int(command)  # type: ignore[method-assign]
        one = OneNode(journal=journal, inside=True)  # all that is decided is applied in one wake-up
        at = ballot(5, 1)
        one.phase2a(1, at, 1, [command(0, NONCE + n, b"", OPEN_SESSION) for n in range(sessions)])
        one.send(1, "decision", ballot=at, first=1, end=1 + sessions)
        for n in range(sessions):
            one.client(1 + n)
        self.each = [(n, 1 + i, b"%d" % size) for n in range(sessions) for i, size in enumerate(sizes)]
        return one

    def ask(self, one: OneNode, link: int) -> None:
        """The client asks for all of its answers, in one frame."""
        mine = [(sequence, text) for n, sequence, text in self.each if n == link - 1]
        one.request(
            link,
            *[
                command(link, sequence, text, unacknowledged=sequence - 1, nonce=NONCE + link - 1)
                for sequence, text in mine
            ],
        )

    def decide(self, one: OneNode, first: int) -> None:
        """What all of them asked is decided at once."""
        commands = [
            command(1 + n, sequence, text, unacknowledged=sequence - 1, nonce=NONCE + n)
            for n, sequence, text in self.each
        ]
        at = ballot(5, 1)
        one.phase2a(1, at, first, commands)
        one.send(1, "decision", ballot=at, first=first, end=first + len(commands))

    def given(self, one: OneNode, link: int) -> tuple[list[int], int]:
        """The sequences that were answered `overloaded`, and the bytes of all answers, since the last call."""
        replies = [reply for m in one.take(link, "response") for reply in m["replies"]]
        refused = [reply["sequence"] for reply in replies if reply["status"] == STATUS.OVERLOADED]
        return refused, sum(len(reply["data"]) for reply in replies)

    def test_a_link_holds_a_bounded_number_of_bytes_and_short_answers_go_on(self) -> None:
        one = self.reader(MIB, 2048, 2048, 100)
        self.ask(one, 1)
        one.left(1, 7 * MIB - 2048)
        self.decide(one, 2)
        refused, size = self.given(one, 1)
        assert (refused, size) == ([3], MIB + 2048 + 100)
        assert one.core.status()["withheld_answers"] == 1

    def test_what_the_shell_says_of_a_link_counts_until_it_reads_again(self) -> None:
        one = self.reader(*[MIB] * 4)
        self.ask(one, 1)
        one.left(1, 8 * MIB - 1)
        self.decide(one, 2)
        assert self.given(one, 1) == ([1, 2, 3, 4], 0)
        self.ask(one, 1)
        refused, size = self.given(one, 1)
        assert (refused, size) == ([], 4 * MIB), "the first answers, as the table keeps them"

    def test_a_link_that_holds_little_gets_its_answer_whatever_others_hold(self) -> None:
        one = self.reader(MIB - 2048, 2048, sessions=6)
        for link in range(1, 7):
            self.ask(one, link)
        for link in range(1, 5):
            one.left(link, 8 * MIB - 3000)
        one.left(5, MIB)
        self.decide(one, 7)
        got = {link: self.given(one, link) for link in range(1, 7)}
        assert got.pop(6) == ([], MIB), "it held nothing"
        assert set(map(str, got.values())) == {str(([1, 2], 0))}, "the sum is reached, and who holds 1 MiB gets no more"
        for link in range(1, 6):
            one.left(link)
        for link in range(1, 6):
            self.ask(one, link)
            assert self.given(one, link) == ([], MIB)

    def test_one_wake_up_gives_a_bounded_sum(self) -> None:
        one = self.reader(*[MIB] * 4, sessions=20)
        for link in range(1, 21):
            self.ask(one, link)
        self.decide(one, 21)
        sizes = [self.given(one, link)[1] for link in range(1, 21)]
        assert sum(sizes) == 16 * MIB

    def test_a_link_that_is_gone_holds_nothing(self) -> None:
        one = self.reader(MIB, MIB)
        one.left(1, 40 * MIB)
        one.core.link_down(1)
        one.left(1, 40 * MIB)
        one.client(2)
        one.left(2, 1)
        one.core.invariants()
        self.each = [(0, n, b"%d" % MIB) for n in (1, 2)]
        one.request(2, command(1, 1, b"%d" % MIB))
        self.decide(one, 2)
        assert self.given(one, 2) == ([], 2 * MIB)
