"""Corners of the core that no other test turns: found by `make coverage`, which names every line that nothing reaches.

Each is reachable by a peer, a client, a disk or a caller; what is not is named in tools/unreached.txt, with its reason.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest

from multipaxos.client.session import Session
from multipaxos.errors import CorruptLog
from multipaxos.load.load import Load
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import Machine
from multipaxos.node.election import Election
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.session_table import SessionTable
from multipaxos.paxos.slots import Ring
from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError
from tests.support.journal import Journal
from tests.support.one_node import OPEN_SESSION, Rig, ballot, command

NONCE = 77
OPEN = command(0, NONCE, b"", OPEN_SESSION)
STATUS = codec.ReplyStatus


def run_of(at: int, first: int, *commands: tuple[Any, ...]) -> bytes:
    """A run, as records and pvalues hold it."""
    run = codec.run_frame(codec.encode_phase2a(at, first, 5, (0, 1, 1), list(commands)))
    assert run is not None
    return run


def words(*values: int) -> bytes:
    """Little-endian, as a frame has them."""
    return struct.pack(f"<{len(values)}Q", *values)


def answers(rig: Rig, link: int) -> list[tuple[int, int]]:
    """(sequence, status) of all that a client was told."""
    return [
        (reply["sequence"], reply["status"]) for message in rig.take(link, "response") for reply in message["replies"]
    ]


def leading_with_a_session() -> Rig:
    """Leads; client 1 has opened session 1."""
    rig = Rig(window=8)
    at = rig.lead()
    rig.client()
    rig.request(1, OPEN)
    rig.sync()
    rig.accept(1, at, 1, 2)
    assert answers(rig, 1) == [(NONCE, STATUS.OPENED)]
    return rig


class TestLog:
    """What a disk may hold that cannot be."""

    def test_a_record_that_claims_more_than_its_run_is_corrupt(self) -> None:
        """Its run holds one slot."""
        run = run_of(ballot(1, 1), 1, command(1, 1))
        for first, end in ((1, 3), (2, 3), (1, 1)):
            with pytest.raises(CorruptLog, match="claims slots"):
                Rig(records=[(1, first, end, run)])

    def test_a_record_far_above_the_decided_ones_is_corrupt(self) -> None:
        """No acceptor takes a slot beyond its ring."""
        with pytest.raises(CorruptLog, match="more than 32 slots above"):
            Rig(window=8, records=[(1, 40, 41, run_of(ballot(1, 1), 40, command(1, 1)))])

    def test_a_log_that_is_longer_than_its_rings_comes_back(self) -> None:
        """Decided slots are applied one by one and leave memory on the way."""
        size, count = 8, 160
        records = [
            (i + 1, i * size + 1, (i + 1) * size + 1, run_of(ballot(1, 1), i * size + 1, *[command(0, 5 + i)] * size))
            for i in range(count)
        ]
        end = size * count + 1
        rig = Rig(window=8, meta={b"decided": end.to_bytes(8, "little")}, records=records)
        assert rig.node.slot_out == end
        assert rig.node.acceptor.accepted.base > 1000


class TestPeers:
    """What peers may say, or not say in time."""

    def test_a_promise_with_a_pvalue_that_is_none_closes_its_link(self) -> None:
        """Nothing of that part counts."""
        rig = Rig()
        at = rig.begin_scout()
        rig.promise(1, at, pvalues=((1, 2, b"?"),))
        assert rig.closed == {101: "a phase1b whose pvalues are not pvalues"}
        assert not rig.node.status()["leading"]

    def test_a_fetched_run_that_is_none_closes_its_link(self) -> None:
        """As any bad frame."""
        rig = Rig()
        rig.send(1, "fetched", first=1, end=2, mark=1, pvalues=[(1, 2, b"?")])
        assert rig.closed == {101: "a fetched run that is no run"}

    def test_what_is_fetched_beyond_the_ring_is_dropped(self) -> None:
        """It will be fetched again when its turn comes."""
        rig = Rig(window=8)
        rig.send(1, "fetched", first=100, end=101, mark=1, pvalues=[(100, 101, run_of(ballot(1, 1), 100, OPEN))])
        assert not rig.closed
        assert rig.node.slot_out == 1
        assert rig.node.command_at(100) is None

    @pytest.mark.parametrize("kind", ["response", "leading"])
    def test_what_only_clients_hear_closes_a_peers_link(self, kind: str) -> None:
        """A peer has no reason to say it."""
        rig = Rig()
        rig.send(1, kind)
        assert "which peers do not send" in rig.closed[101]

    def test_a_frame_that_pycapnp_cannot_read_closes_its_link(self) -> None:
        """Two segments, the second of which is not there as the first one says."""
        rig = Rig()
        frame = struct.pack("<4I", 1, 1, 1, 0) + words(2 | 7 << 3 | 1 << 32, 0)
        rig.receive(101, frame)
        assert rig.closed == {101: "a frame that is no message"}

    def test_a_leader_that_is_no_acceptor_proposes_its_own_again(self) -> None:
        """The arrow: pmax holds nothing, what the leader had stays."""
        rig = Rig(roles=[2, 5, 5])
        for round in (1, 2):
            at = rig.begin_scout()
            for peer in (1, 2):
                rig.promise(peer, at)
            if round == 1:
                rig.request(101, command(7, 1, b"own"))
                assert len(rig.from_peer(1, "phase2a")) == 1
                rig.send(1, "ping", ballot=ballot(5, 1))
        (again,) = rig.from_peer(1, "phase2a")
        assert (again["ballot"], again["first"]) == (ballot(6, 0), 1)
        assert [one["payload"] for one in again["commands"]] == [b"own"]


def with_a_log(payload: bytes, count: int, window: int = 64) -> Rig:
    """Follows node 1, and has applied `count` commands."""
    rig = Rig(window=window)
    for slot in range(1, count + 1):
        rig.phase2a(1, ballot(1, 1), slot, [command(7, slot, payload)])
        rig.send(1, "decision", ballot=ballot(1, 1), first=slot, end=slot + 1)
        rig.sync()
    assert rig.node.slot_out == count + 1
    rig.sent.clear()
    return rig


class TestFetches:
    """What one node asks of another, and what it gets."""

    def test_an_answer_out_of_memory_is_cut_where_it_grows_large(self) -> None:
        """Two commands are more than a mebibyte: the second one is for the next fetch."""
        rig = with_a_log(bytes(700_000), 3)
        rig.send(2, "fetch", first=1, end=4)
        (answer,) = rig.from_peer(2, "fetched")
        assert (answer["first"], answer["end"], len(answer["pvalues"])) == (1, 2, 1)

    def test_an_answer_from_the_disk_is_cut_where_it_grows_large(self) -> None:
        """Whatever the records hold; at least one goes."""
        rig = with_a_log(b"x", 40, window=4)
        rig.send(2, "fetch", first=1, end=40)
        (read,) = rig.reads
        rig.node.done(read.token, True, (4, [(i, i, i + 1, bytes(1_500_000)) for i in (1, 2, 3)]))
        rig.collect()
        (answer,) = rig.from_peer(2, "fetched")
        assert (answer["first"], answer["end"], len(answer["pvalues"])) == (1, 2, 1)

    def test_who_has_gone_before_its_records_came_is_told_nothing(self) -> None:
        """The read ends in nothing."""
        rig = with_a_log(b"x", 40, window=4)
        rig.send(2, "fetch", first=1, end=40)
        (read,) = rig.reads
        rig.node.link_down(102)
        rig.node.done(read.token, True, (4, [(1, 1, 2, b"frame")]))
        rig.collect()
        assert rig.sent == {}

    def test_who_has_nobody_to_ask_asks_when_somebody_comes(self) -> None:
        """Slots are known to be decided; both links are gone for a while."""
        rig = Rig()
        rig.send(1, "decision", ballot=ballot(1, 1), first=3, end=5)
        for link in (101, 102):
            rig.node.link_down(link)
        rig.tick(150)
        rig.sent.clear()
        rig.link(2, number=200)
        rig.tick(150)
        assert [one["first"] for one in rig.take(200, "fetch")] == [1]

    def test_a_node_whose_disk_failed_hears_nothing_more(self) -> None:
        """It has to be started again; until then no verb changes it."""
        rig = with_a_log(b"x", 2)
        rig.phase2a(1, ballot(1, 1), 3, [command(7, 3)])
        rig.sync(False)
        assert rig.failed
        before = rig.node.status()
        rig.node.link_up(300, 1, 1001)
        rig.node.done(1, True)
        rig.tick(5000)
        rig.collect()
        assert rig.node.status() == before
        assert rig.sent == {}


class TestClients:
    """What clients may ask."""

    def test_a_node_that_is_no_replica_refuses_clients(self) -> None:
        """It applies nothing, so it could answer nothing."""
        rig = Rig(roles=[6, 7, 7])
        rig.client()
        rig.request(1, OPEN)
        assert rig.closed == {1: "a request to a node that is no replica"}

    def test_a_session_that_is_not_known_when_applied_is_told(self) -> None:
        """It might have been opened in a slot that this replica had not seen: judged in the log."""
        rig = leading_with_a_session()
        rig.request(1, command(50, 1))
        rig.sync()
        rig.accept(1, rig.node.leader.ballot, 2, 3)
        assert answers(rig, 1) == [(1, STATUS.EXPIRED)]

    def test_an_acknowledged_command_that_is_repeated_is_told_so(self) -> None:
        """Its answer is gone, and it is not applied again."""
        rig = leading_with_a_session()
        rig.request(1, command(1, 1, b"a"), command(1, 2, b"b"))
        rig.sync()
        rig.accept(1, rig.node.leader.ballot, 2, 4)
        assert answers(rig, 1) == [(1, STATUS.OK), (2, STATUS.OK)]
        rig.request(1, command(1, 1, b"a"))
        assert answers(rig, 1) == [(1, STATUS.ACKNOWLEDGED)]
        assert rig.journal.entries == [b"a", b"b"]

    def test_waiting_requests_keep_their_order_when_the_queue_grows(self) -> None:
        """Nobody leads: they wait, more than the queue had room for at first."""
        rig = Rig()
        rig.client()
        for first in (1, 201, 401):
            rig.request(1, *[command(9, sequence) for sequence in range(first, first + 200)])
        assert rig.node.status()["requests"] == 600
        rig.phase2a(1, ballot(1, 1), 1, [OPEN])
        forwarded = [one["sequence"] for frame in rig.from_peer(1, "request") for one in frame["commands"]]
        assert forwarded == list(range(1, 601))

    def test_who_asks_for_very_many_unknown_sessions_is_bounded(self) -> None:
        """65,536 names of sessions are remembered, then none: the others ask again."""
        rig = leading_with_a_session()
        rig.request(1, *[command(1000 + i, 1) for i in range((1 << 16) + 1)])
        assert not rig.closed
        assert rig.node.status()["requests"] == (1 << 16) + 1 - 8
        rig.request(1, command(1, 1, b"a"))
        assert not rig.failed


class TestCallers:
    """Who uses the core's parts by themselves."""

    def test_a_window_may_not_outgrow_what_a_scout_merges(self) -> None:
        """So a ring never reaches beyond pmax."""
        with pytest.raises(ValueError, match="is too large"):
            Rig(window=1 << 20)

    def test_a_session_is_made_once(self) -> None:
        """A second time would leak the first one's commands."""
        session = Session(NONCE)
        with pytest.raises(RuntimeError, match="once"):
            session.__init__(NONCE)  # type: ignore[misc]

    def test_a_session_hears_nonsense(self) -> None:
        """A whole frame, whose root points outside."""
        with pytest.raises(CodecError, match="message that cannot be read"):
            Session(NONCE).receive(words(1 << 32, 1 << 48 | 99 << 2))

    def test_an_answer_that_comes_after_a_rewind_is_not_asked_for_again(self) -> None:
        """It was on its way while the client gave it up for lost."""
        session = Session(NONCE)
        session.receive(codec.encode_response(5, [(NONCE, 5, STATUS.OPENED, b"")]))
        session.submit(b"a")
        assert session.output()
        session.rewind()
        assert session.receive(codec.encode_response(5, [(1, 6, STATUS.OK, b"!")])) == [(1, 0, 6, b"!")]
        assert session.output() == b""
        assert session.sent == session.acknowledged == 1

    def test_a_load_waits_where_a_session_is_full(self) -> None:
        """The first command lacks its answer, so there is no room although fewer are outstanding than wanted."""
        load = opened(Load(NONCE, outstanding=1 << 20))
        assert load.last == 16384
        load.pump(2, codec.encode_response(5, [(2, 6, STATUS.OK, b"")]))
        assert (load.last, load.unanswered) == (16384, 16383)
        assert load.next_due_ns() == 0

    def test_a_load_counts_what_is_refused_as_errors(self) -> None:
        """They have no latency."""
        load = opened(Load(NONCE))
        load.measuring = True
        load.pump(2, codec.encode_response(5, [(1, 6, STATUS.REFUSED, b"no")]))
        assert (load.errors, load.completed, load.answered) == (1, 0, 1)

    def test_a_machine_without_a_kind_does_nothing(self) -> None:
        """It is a base."""
        with pytest.raises(TypeError, match="abstract"):
            Machine().apply_bytes(1, 1, 1, b"x")
        with pytest.raises(TypeError, match="abstract"):
            Machine().state_hash_int()

    def test_an_election_draws_from_every_seed(self) -> None:
        """Also from the one that would leave its generator at 0 for ever."""
        election = Election(1000, 0x9E3779B97F4A7C15, QuorumSystem.majority(range(3)))
        assert len({election.random(1 << 40) for _ in range(10)}) == 10

    def test_quorum_systems_are_shown_and_compared(self) -> None:
        """With each other only."""
        system = QuorumSystem.majority([0, 1, 2])
        assert repr(system) == "<QuorumSystem phase 1: any 2, phase 2: any 2 of {0, 1, 2}>"
        assert system != "majority"

    def test_votes_beyond_a_ring_are_not_counted(self) -> None:
        """It holds four slots."""
        assert Ring(4).vote_all(1, 9, 1 << 16, 0) == 4

    def test_sessions_that_share_a_bucket_are_told_apart(self) -> None:
        """More of them than buckets, opened, found again, and evicted in turn."""
        kept, opened_in_all = 20_000, 24_000
        sessions, machine = SessionTable(kept), KeyValue()
        for slot in range(1, opened_in_all + 1):
            sessions.apply_command(machine, slot, 0, slot + 5, 0, b"", opening=True)
        evicted = opened_in_all - kept
        assert [sessions.describe(slot) for slot in (1, evicted)] == [None, None]
        assert all(sessions.describe(slot) == (0, 0, 0) for slot in range(evicted + 1, opened_in_all + 1))
        again = sessions.apply_command(machine, opened_in_all + 1, 0, evicted + 6, 0, b"", opening=True)
        assert again[1] == evicted + 1

    @pytest.mark.parametrize(
        ("transaction", "reason"),
        [
            (b"\x09\1\0\0\0\0\0\3\1\0k\5\0\0\0ab", b"Malformed: the lengths"),
            (b"\x09\1\0\0\0\0\0\4\1\0k\5\0\0", b"Malformed: the lengths"),
            (b"\x09\0\0\1\0\0\0\x09\0\0\0\x08\0\0\0\0\0\0\0\0", b"Malformed: no such operation"),
        ],
    )
    def test_a_transaction_that_does_not_parse_is_refused(self, transaction: bytes, reason: bytes) -> None:
        """A value and a version cut off in a compare; a scan inside."""
        refused, answer = KeyValue().apply_bytes(1, 1, 1, transaction)
        assert refused
        assert answer.startswith(reason)


def opened(load: Load) -> Load:
    """Its session is open, and what it wants to send is sent."""
    load.pump(1, codec.encode_response(5, [(NONCE, 5, STATUS.OPENED, b"")]))
    return load


def test_a_journal_is_what_the_bench_applies_to() -> None:
    """`leading_with_a_session` rests on it."""
    assert isinstance(leading_with_a_session().journal, Journal)
