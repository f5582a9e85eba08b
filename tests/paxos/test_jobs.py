"""A machine that runs beside the core: what goes on meanwhile, where a job ends, and that the log alone decides."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.errors import InvariantViolation, MachineStopped
from multipaxos.machine.semantics import Semantics
from multipaxos.machine.state_machine import Context
from multipaxos.node.node import Node
from multipaxos.node.output import META_DECIDED, META_REFUSED, words
from multipaxos.wire.codec import ReplyStatus
from tests.support.journal import Journal
from tests.support.one_node import NO_WATERMARK, OPEN_SESSION, OneNode, ballot, command

AT = ballot(1, 1)
NONCE = 77
OPEN = command(0, NONCE, b"", OPEN_SESSION)
NOOP = command(0, 0, b"", 0)
SESSION = 1
CLIENT = 1


def call(sequence: int, payload: bytes = b"x", unacknowledged: int | None = None) -> tuple[Any, ...]:
    """A command of the session; by default nothing is acknowledged."""
    kept = sequence - 1 if unacknowledged is None else unacknowledged
    return command(SESSION, sequence, payload, unacknowledged=kept, nonce=NONCE)


def follow(one: OneNode, first: int, *commands: tuple[Any, ...]) -> None:
    """Node 1 leads and has the commands decided, from slot `first` on."""
    one.phase2a(1, AT, first, list(commands))
    one.send(1, "decision", ballot=AT, first=first, end=first + len(commands))
    one.sync()


def slots_of_job(one: OneNode) -> list[int]:
    """The slots of the commands of the job that is outstanding."""
    return [slot for slot, *_ in one.job.commands] if one.job is not None else []


def replies(one: OneNode) -> list[tuple[int, int, int, bytes]]:
    """(sequence, status, slot, data) of all that the client was answered."""
    return [
        (one["sequence"], one["status"], one["slot"], bytes(one["data"]))
        for message in one.take(CLIENT, "response")
        for one in message["replies"]
    ]


class Exhausted(OneNode):
    """A core that has no memory for an answer."""

    def new_core(self, *arguments: Any) -> Node:
        """The machine's `run` fails, as malloc may in the core itself."""

        def run(commands: list[Any], answer_bytes_max: int) -> list[Any]:
            raise MemoryError("no memory for an answer")

        self.run = run  # type: ignore[assignment]
        return super().new_core(*arguments)


class Parser(Journal):
    """Reads JSON; two commands end the process that applies them, or try to."""

    def apply(self, command: bytes, context: Context) -> bytes:
        """The value of a JSON text, as Python prints it."""
        if command == b"exit":
            sys.exit("this node is over")
        if command == b"stop":
            raise GeneratorExit
        super().apply(command, context)
        return repr(json.loads(command)).encode()


# -- what goes on while the machine applies


def test_a_slow_apply_stops_neither_pings_nor_votes_nor_decisions() -> None:
    """Two seconds of a follower."""
    one = OneNode(slow=True, window=64)
    follow(one, 1, OPEN, call(1))
    assert slots_of_job(one) == [2]
    one.sent.clear()
    pings = votes = 0
    for step in range(20):
        slot = 3 + step
        one.phase2a(1, AT, slot, [call(2 + step)], decided=(AT, 1, slot))
        one.sync()
        one.send(1, "ping", ballot=AT, nonce=step, slot_out=slot, voting=True)
        one.send(1, "pong", ballot=AT, nonce=step, slot_out=slot, leading=True, quorum=True, **NO_WATERMARK)
        one.tick(100)
        sent = one.take(101)
        pings += len([message for message in sent if message["kind"] == "ping"])
        votes += len([message for message in sent if message["kind"] == "phase2b"])
        assert [message["nonce"] for message in sent if message["kind"] == "pong"] == [step]
        assert (one.core.slot_out, one.core.replica.undecided) == (2, slot)
    assert votes == 20
    assert pings >= 15
    assert not one.events
    assert one.core.status()["unapplied"] == 20
    one.finish()
    assert one.core.slot_out == 3
    one.finish()
    assert one.core.slot_out == 22


def test_a_leader_decides_up_to_window_while_its_machine_applies() -> None:
    one = OneNode(slow=True, window=8)
    at = one.lead()
    one.client()
    one.request(CLIENT, OPEN)
    one.sync()
    one.accept(1, at, 1, 2)
    one.request(CLIENT, *[call(sequence) for sequence in range(1, 21)])
    for first in range(2, 10):
        one.sync()
        one.accept(1, at, first, first + 1)
    one.tick(50)
    assert (one.core.slot_out, one.core.replica.undecided, one.core.replica.slot_in) == (2, 10, 10)
    assert one.core.status()["leading"]
    assert max(message["end"] for message in one.from_peer(1, "decision")) == 10
    while one.core.slot_out < 22:
        if one.job is not None:
            one.finish()
        one.sync()
        one.accept(1, at, 2, one.core.replica.slot_in)
    assert [(sequence, status) for sequence, status, _, _ in replies(one)] == [
        (NONCE, ReplyStatus.OPENED), *[(sequence, ReplyStatus.OK) for sequence in range(1, 21)],
    ]  # fmt: skip


def test_the_decided_mark_does_not_wait_for_the_machine() -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, call(1), call(2))
    one.tick(2000)
    one.sync()
    assert int.from_bytes(one.meta[META_DECIDED], "little") == 4
    assert one.core.slot_out == 2


def test_a_gap_is_fetched_while_the_machine_applies() -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, call(1), call(2))
    one.sent.clear()
    one.send(1, "decision", ballot=AT, first=4, end=6)
    assert [(each["first"], each["end"]) for each in one.from_peer(1, "fetch")] == [(4, 6)]


def test_a_peer_is_taught_what_is_decided_and_not_yet_applied() -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, call(1), call(2))
    one.send(2, "fetch", first=1, end=9)
    assert [(each["first"], each["end"]) for each in one.from_peer(2, "fetched")] == [(1, 4)]


# -- where a job ends


def test_a_job_holds_what_the_machine_surely_applies() -> None:
    """A repetition, a command ahead of its turn and an opening are judged when the answers before them are there."""
    one = OneNode(slow=True)
    log = [OPEN, call(1), NOOP, call(2), call(1), call(3), call(9), call(4), command(0, 78, b"", OPEN_SESSION), call(5)]
    follow(one, 1, *log)
    jobs = []
    while one.job is not None:
        jobs.append(slots_of_job(one))
        one.finish()
    assert jobs == [[2, 4], [6], [8], [10]]
    assert one.core.slot_out == 11
    assert one.journal.entries == [b"x"] * 5


def test_a_job_ends_before_a_command_with_too_much_unacknowledged_before_it() -> None:
    """What a command of the job acknowledges makes room in it."""
    one = OneNode(slow=True, versions=(Semantics(unacknowledged_max=2),))
    one.client()
    follow(one, 1, OPEN)
    one.request(CLIENT, call(9))  # from here on this link gets the answers of the session
    one.take(CLIENT)
    follow(one, 2, call(1), call(2), call(3, unacknowledged=1), call(4))
    assert slots_of_job(one) == [2, 3, 4]
    one.finish()
    assert (one.job, one.core.slot_out) == (None, 6)
    assert [(sequence, status) for sequence, status, _, _ in replies(one)] == [
        (1, ReplyStatus.OK),
        (2, ReplyStatus.OK),
        (3, ReplyStatus.OK),
        (4, ReplyStatus.OVERLOADED),
    ]


def test_no_ops_before_a_command_do_not_wait_for_it() -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, NOOP, NOOP, call(1), NOOP)
    assert (one.core.slot_out, slots_of_job(one)) == (4, [4])
    one.finish()
    assert one.core.slot_out == 6


def test_what_the_machine_did_not_get_to_comes_again() -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, *[call(sequence, b"%d" % sequence) for sequence in range(1, 6)])
    assert slots_of_job(one) == [2, 3, 4, 5, 6]
    one.finish(at_most=2)
    assert (one.core.slot_out, slots_of_job(one)) == (4, [4, 5, 6])
    one.finish()
    assert one.journal.entries == [b"1", b"2", b"3", b"4", b"5"]


def test_a_job_is_bounded() -> None:
    one = OneNode(slow=True, window=2048)
    follow(one, 1, OPEN, *[call(sequence) for sequence in range(1, 1000)])
    follow(one, 1001, *[call(sequence) for sequence in range(1000, 1100)])
    assert slots_of_job(one) == list(range(2, 1001))
    one.finish()
    assert slots_of_job(one) == list(range(1001, 1101))


def test_the_bytes_of_answers_end_a_job_before_the_bound_of_a_session() -> None:
    """Each answer has 1 MiB, 8 MiB may be kept: the 10th command finds 9 and is void, as it is without jobs."""

    class Large(Journal):
        def apply(self, command: bytes, context: Context) -> bytes:
            super().apply(command, context)
            return bytes(1 << 20)

    one = OneNode(slow=True, journal=Large())
    one.client()
    one.request(CLIENT, OPEN)
    follow(one, 1, OPEN, *[call(sequence) for sequence in range(1, 31)])
    assert one.job is not None
    assert (8 << 20) - 30 * 2048 < one.job.answer_bytes_max <= 8 << 20  # each answer counts more than its bytes
    while one.job is not None:
        one.finish()
    statuses = [status for _, status, _, _ in replies(one)][1:]
    assert statuses[9:] == [ReplyStatus.OVERLOADED] + [ReplyStatus.AHEAD] * 20
    assert len(one.journal.entries) == 9
    assert set(statuses[:9]) <= {ReplyStatus.OK, ReplyStatus.OVERLOADED}, (
        "one link gets so much at once, and asks again"
    )


@pytest.mark.parametrize("count", [0, 3])
def test_as_many_answers_as_commands_at_most_and_one_at_least(count: int) -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, call(1), call(2))
    assert one.job is not None
    with pytest.raises(InvariantViolation, match=f"{count} answers came for a job of 2 commands"):
        one.core.done(one.job.token, True, [(False, b"")] * count)


# -- the log alone decides

SMALL = (Semantics(sessions_max=2, unacknowledged_max=3, answer_bytes_max=40),)


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[Any, ...]]:
    """Commands of three sessions, many of them out of order."""
    log: list[tuple[Any, ...]] = [command(0, nonce, b"", OPEN_SESSION) for nonce in (71, 72, 73)]
    for _ in range(draw(st.integers(1, 40))):
        kind = draw(st.sampled_from(["call", "call", "call", "call", "call", "open", "noop"]))
        if kind == "open":
            log.append(command(0, draw(st.integers(71, 75)), b"", OPEN_SESSION))
        elif kind == "noop":
            log.append(NOOP)
        else:
            session = draw(st.integers(1, 3))
            sequence = draw(st.integers(1, 8))
            payload = draw(st.sampled_from([b"short", b"raise", b"long"]))
            unacknowledged = draw(st.integers(0, sequence - 1))
            log.append(
                command(session, sequence, payload, unacknowledged=unacknowledged, nonce=70 + session)
            )  # fmt: skip
    return log


class Answering(Journal):
    """Answers of different sizes."""

    def apply(self, command: bytes, context: Context) -> bytes:
        """Its place, or 30 bytes."""
        place = super().apply(command, context)
        return bytes(30) if command == b"long" else place


def applied(log: list[tuple[Any, ...]], *, inside: bool, at_most: list[int]) -> tuple[object, ...]:
    """What a replica has made of the log."""
    one = OneNode(slow=True, inside=inside, journal=Answering(), versions=SMALL)
    one.client()
    for nonce in (71, 72, 73):
        one.request(CLIENT, command(0, nonce, b"", OPEN_SESSION))
    counts = iter(at_most)
    follow(one, 1, *log[:10])
    follow(one, 1 + len(log[:10]), *log[10:]) if log[10:] else None
    while one.job is not None:
        one.finish(at_most=next(counts, 5))
    assert one.core.slot_out == len(log) + 1
    return replies(one), one.core.status()["state_hash"], one.journal.entries, one.core.status()["sessions"]


@settings(max_examples=300)
@given(logs(), st.lists(st.integers(1, 9), max_size=40))
def test_replicas_agree_however_their_jobs_are_cut(log: list[tuple[Any, ...]], at_most: list[int]) -> None:
    """One replica waits for each command, the other gets jobs, and answers any number of their first commands."""
    assert applied(log, inside=True, at_most=[]) == applied(log, inside=False, at_most=at_most)


# -- slots that the operator has had refused


@pytest.mark.parametrize("inside", [True, False], ids=["inside", "beside"])
def test_the_machine_is_never_given_the_command_of_a_refused_slot(inside: bool) -> None:
    """Its client is answered so, and its session goes on. An opening in such a slot opens its session all the same."""
    one = OneNode(slow=not inside, inside=inside, meta={META_REFUSED: words([1, 3, 5])})
    one.client()
    one.request(CLIENT, OPEN)
    follow(one, 1, OPEN, call(1, b"a"), call(2, b"poison"), call(3, b"b"), NOOP, call(4, b"c"))
    jobs = []
    while one.job is not None:
        jobs.append(slots_of_job(one))
        one.finish()
    assert jobs == ([] if inside else [[2], [4, 6]])
    answers = [(sequence, status) for sequence, status, _, _ in replies(one)]
    assert answers[1:] == [(1, ReplyStatus.OK), (2, ReplyStatus.REFUSED), (3, ReplyStatus.OK), (4, ReplyStatus.OK)]
    assert one.journal.entries == [b"a", b"b", b"c"]
    assert one.core.refused_slots == (1, 3, 5)
    one.request(CLIENT, call(2, b"poison"))
    [(_, status, slot, text)] = replies(one)
    assert (status, slot) == (ReplyStatus.REFUSED, 3)
    assert b"refused the command of this slot" in text


def test_a_refused_slot_is_another_state() -> None:
    states = set()
    for meta in ({}, {META_REFUSED: words([3])}):
        one = OneNode(meta=dict(meta))
        follow(one, 1, OPEN, call(1, b"a"), call(2, b"b"))
        states.add(one.core.status()["state_hash"])
    assert len(states) == 2


# -- poison


def test_commands_that_would_end_a_process_are_answered_now_and_after_a_restart() -> None:
    """100,000 brackets, sys.exit, GeneratorExit: refusals, in the same state on each replica."""
    log = [OPEN, call(1, b"[" * 100_000), call(2, b"exit"), call(3, b"stop"), call(4, b"[[1]]")]
    replicas = [OneNode(node, journal=Parser()) for node in (0, 2)]
    for one in replicas:
        one.client()
        one.request(CLIENT, OPEN)
        follow(one, 1, *log)
        one.tick(2000)
        one.sync()
        answers = replies(one)
        assert [status for _, status, _, _ in answers] == [
            ReplyStatus.OPENED,
            *[ReplyStatus.REFUSED] * 3,
            ReplyStatus.OK,
        ]
        assert [data.partition(b":")[0] for *_, data in answers[1:]] == [
            b"RecursionError", b"SystemExit", b"GeneratorExit", b"[[1]]",
        ]  # fmt: skip
    replicas += [one.restart_with(Parser()) for one in replicas]
    assert {one.core.slot_out for one in replicas} == {6}
    assert len({one.core.status()["state_hash"] for one in replicas}) == 1


def test_a_machine_that_stopped_stops_the_node() -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, call(1), call(2))
    assert one.job is not None
    one.core.done(one.job.token, False)
    one.collect()
    assert "the machine stopped" in one.failed
    one.sent.clear()
    one.send(1, "ping", ballot=AT, nonce=1, slot_out=9, voting=True)
    assert one.sent == {}


def test_a_restart_gives_the_machine_all_that_is_decided() -> None:
    one = OneNode(slow=True)
    follow(one, 1, OPEN, call(1, b"a"), call(2, b"b"))
    one.tick(2000)
    one.sync()
    assert one.journal.entries == []
    again = one.restart()
    assert again.core.slot_out == 4
    assert again.journal.entries == [b"a", b"b"]


def test_a_command_without_memory_stops_the_node_with_its_slot() -> None:
    class Exhausted(Journal):
        def apply(self, command: bytes, context: Context) -> bytes:
            raise MemoryError

    one = OneNode(slow=True, journal=Exhausted())
    follow(one, 1, OPEN, call(1, b"seven.."))
    with pytest.raises(MachineStopped, match=r"slot 2 \(session 1, 7 bytes\): MemoryError"):
        one.finish()


def test_a_core_without_memory_names_the_slot_too() -> None:
    with pytest.raises(MachineStopped, match=r"slot 2 \(session 1, 7 bytes\): MemoryError: no memory for an answer"):
        follow(Exhausted(inside=True), 1, OPEN, call(1, b"seven.."))
