"""The load generator with a cluster that is one object."""

from __future__ import annotations

import struct
from itertools import pairwise
from typing import Any

import pytest

from multipaxos.load.load import Load
from multipaxos.load.operation_log import LAYOUT, OPERATIONS, OUTCOMES, ROW_BYTES
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.semantics import VERSIONS
from multipaxos.paxos.session_table import SessionTable
from multipaxos.wire import codec

MS = 1_000_000


class Store:
    """A cluster that applies requests at once."""

    def __init__(self) -> None:
        self.kv = KeyValue()
        self.sessions = SessionTable(VERSIONS[0])
        self.slot = 0
        self.commands: list[bytes] = []

    def answer(self, data: bytes) -> bytes:
        """The responses to all requests in a chunk of bytes."""
        out = []
        for frame in codec.split(data)[0]:
            for c in codec.decode_message(frame)["commands"]:
                self.slot += 1
                self.commands.append(c["payload"])
                status, session, slot, answer = self.sessions.apply_command(
                    self.kv,
                    self.slot,
                    c["session"],
                    c["sequence"],
                    c["unacknowledged"],
                    c["payload"],
                    c["kind"],
                    c["nonce"],
                )
                out.append(codec.encode_response(session, [(c["sequence"], slot, status, answer)]))
        return b"".join(out)


def test_a_closed_loop_keeps_its_number_outstanding() -> None:
    store, load = Store(), Load(7, outstanding=5, keys=10, key_size=4, value_size=3)
    load.connected()
    data = store.answer(load.pump(1 * MS))
    load.measuring = True
    for turn in range(2, 12):
        data = store.answer(load.pump(turn * MS, data))
        assert load.unanswered == 5
    assert (load.completed, load.errors) == (45, 0)
    assert load.histogram.total == 45
    assert abs(load.histogram.mean - MS) / MS < 0.01
    assert all(len(command) == 3 + 4 + 3 and command[0] == 3 for command in store.commands[1:])
    assert all(int(command[3:7]) < 10 for command in store.commands[1:])


def test_an_open_loop_measures_from_the_planned_time() -> None:
    store, load = Store(), Load(7, rate_per_s=1000)
    load.connected()
    data = store.answer(load.pump(1000 * MS))
    load.measuring = True
    data = store.answer(load.pump(1000 * MS, data))
    for _ in range(50):  # a stall of 50 ms: no answer comes, though time passes
        assert load.next_due_ns() > 0
    stalled = load.pump(1050 * MS, data)
    answers = store.answer(stalled)
    load.pump(1050 * MS, answers)
    assert load.histogram.total == 51
    assert load.histogram.max >= 49 * MS
    assert load.histogram.percentile(50) >= 24 * MS


def test_reads_and_writes() -> None:
    store, load = Store(), Load(7, outstanding=100, read_share=0.5)
    load.connected()
    data = store.answer(load.pump(MS))
    for turn in range(2, 12):
        data = store.answer(load.pump(turn * MS, data))
    reads = sum(command[:1] == b"\4" for command in store.commands[1:])
    assert 0.4 < reads / (len(store.commands) - 1) < 0.6


def test_the_same_seed_gives_the_same_load() -> None:
    def run(seed: int) -> list[bytes]:
        store, load = Store(), Load(7, outstanding=50, seed=seed)
        load.connected()
        store.answer(load.pump(MS, store.answer(load.pump(MS))))
        return store.commands

    assert run(1) == run(1)
    assert run(1) != run(2)


def test_draining_sends_nothing_new() -> None:
    store, load = Store(), Load(7, outstanding=5)
    load.connected()
    data = store.answer(load.pump(MS))
    data = store.answer(load.pump(2 * MS, data))
    load.draining = True
    assert load.pump(3 * MS, data) == b""
    assert load.unanswered == 0


def test_a_new_link_repeats_what_is_unanswered() -> None:
    store, load = Store(), Load(7, outstanding=5)
    load.connected()
    data = store.answer(load.pump(MS))
    store.answer(load.pump(2 * MS, data))  # these answers are lost
    load.connected()
    load.measuring = True
    load.pump(3 * MS, store.answer(load.pump(3 * MS)))
    assert load.completed == 5
    assert len(store.kv.items()) <= 5


def parsed(rows: bytes) -> list[dict[str, int]]:
    """The rows of a load, read by the documented layout."""
    assert len(rows) % ROW_BYTES == 0
    names = [name for name, _ in LAYOUT]
    return [dict(zip(names, each, strict=True)) for each in struct.iter_unpack("<QQQQIBBH", rows)]


def test_every_answer_is_a_row() -> None:
    store, load = Store(), Load(7, outstanding=3, client=9, read_share=0.5)
    load.recording = True
    load.connected()
    data = store.answer(load.pump(MS))
    for turn in range(2, 6):
        data = store.answer(load.pump(turn * MS, data))
    rows = parsed(load.take_rows())
    assert [row["sequence"] for row in rows] == list(range(1, 10))
    assert [row["slot"] for row in rows] == list(range(2, 11))  # the opening had slot 1
    assert {row["client"] for row in rows} == {9}
    assert [row["answered_ns"] - row["sent_ns"] for row in rows] == [MS] * 9
    assert all(row["planned_ns"] == row["sent_ns"] for row in rows)
    assert [row["operation"] for row in rows] == [command[0] for command in store.commands[1:10]]
    assert {row["outcome"] for row in rows if row["operation"] == OPERATIONS["put"]} == {OUTCOMES["ok"]}
    assert load.take_rows() == b""


def test_a_refusal_is_a_row_too() -> None:
    store, load = Store(), Load(7, outstanding=4)
    load.recording = True
    load.connected()
    opening = store.answer(load.pump(MS))
    (frame,) = codec.split(opening)[0]
    session = codec.decode_message(frame)["session"]
    load.pump(2 * MS, opening)
    load.pump(3 * MS, codec.encode_response(session, [(2, 5, codec.ReplyStatus.REFUSED, b"")]))
    (row,) = parsed(load.take_rows())
    assert (row["sequence"], row["outcome"]) == (2, OUTCOMES["refused"])


def test_what_was_not_answered_comes_at_the_end() -> None:
    store, load = Store(), Load(7, outstanding=3)
    load.recording = True
    load.connected()
    data = store.answer(load.pump(MS))
    load.pump(2 * MS, data)
    load.connected()  # the command is sent again, and keeps the time at which it was first sent
    load.pump(5 * MS)
    rows = parsed(load.unanswered_rows())
    assert [row["sequence"] for row in rows] == [1, 2, 3]
    assert {(row["sent_ns"], row["answered_ns"], row["slot"], row["outcome"]) for row in rows} == {
        (2 * MS, 0, 0, OUTCOMES["unanswered"])
    }


def test_without_recording_there_are_no_rows() -> None:
    store, load = Store(), Load(7, outstanding=3)
    load.connected()
    data = store.answer(load.pump(MS))
    load.pump(3 * MS, store.answer(load.pump(2 * MS, data)))
    assert load.take_rows() == b""


def open_loop(**options: Any) -> list[int]:
    """The gaps between the planned times of many commands, in nanoseconds."""
    store, load = Store(), Load(7, rate_per_s=1000, seed=3, **options)
    load.recording = True
    load.connected()
    data = store.answer(load.pump(MS))
    for turn in range(2, 5000):
        data = store.answer(load.pump(turn * MS, data))
    planned = [row["planned_ns"] for row in parsed(load.take_rows())]
    return [later - time for time, later in pairwise(planned)]


def test_fixed_arrivals_are_even() -> None:
    assert set(open_loop()) == {MS}


def test_poisson_arrivals_are_exponentially_spaced() -> None:
    gaps = open_loop(poisson=True)
    mean = sum(gaps) / len(gaps)
    assert mean == pytest.approx(MS, rel=0.1)
    deviation = (sum((gap - mean) ** 2 for gap in gaps) / len(gaps)) ** 0.5
    assert deviation == pytest.approx(mean, rel=0.1)  # as of an exponential distribution
    assert sum(gap > MS for gap in gaps) / len(gaps) == pytest.approx(0.368, abs=0.04)


def test_zipfs_keys() -> None:
    store, load = Store(), Load(7, outstanding=500, keys=1000, zipf=1.0)
    load.connected()
    data = store.answer(load.pump(MS))
    for turn in range(2, 20):
        data = store.answer(load.pump(turn * MS, data))
    keys = [int(command[3:11]) for command in store.commands[1:]]
    assert keys.count(0) / len(keys) == pytest.approx(1 / 7.485, rel=0.15)  # 1 / H(1000)


def test_bad_options() -> None:
    with pytest.raises(OverflowError):
        Load(7, outstanding=-1)


def opened_load(load: Load) -> Load:
    """Its session is open, and what it wants to send is sent."""
    load.pump(1, codec.encode_response(5, [(77, 5, codec.ReplyStatus.OPENED, b"")]))
    return load


def test_a_load_waits_where_a_session_is_full() -> None:
    """The first command lacks its answer, so there is no room although fewer are outstanding than wanted."""
    load = opened_load(Load(77, outstanding=1 << 20))
    assert load.last == 16384
    load.pump(2, codec.encode_response(5, [(2, 6, codec.ReplyStatus.OK, b"")]))
    assert (load.last, load.unanswered) == (16384, 16383)
    assert load.next_due_ns() == 0


def test_a_load_counts_what_is_refused_as_errors() -> None:
    """They have no latency."""
    load = opened_load(Load(77))
    load.measuring = True
    load.pump(2, codec.encode_response(5, [(1, 6, codec.ReplyStatus.REFUSED, b"no")]))
    assert (load.errors, load.completed, load.answered) == (1, 0, 1)
