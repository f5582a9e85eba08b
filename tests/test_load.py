"""The load generator against a cluster that is one object."""

from __future__ import annotations

import pytest

from multipaxos import codec
from multipaxos.load import Load
from multipaxos.sessions import Sessions
from multipaxos.store import KeyValue

MS = 1_000_000


class Store:
    """Applies requests at once."""

    def __init__(self) -> None:
        self.kv = KeyValue()
        self.sessions = Sessions()
        self.slot = 0
        self.commands: list[bytes] = []

    def answer(self, data: bytes) -> bytes:
        """All responses to all requests."""
        out = []
        for frame in codec.split(data)[0]:
            for c in codec.decode_message(frame)["commands"]:
                self.slot += 1
                self.commands.append(c["payload"])
                opening = c["kind"] == 2
                status, session, slot, answer = self.sessions.apply_command(
                    self.kv, self.slot, c["session"], c["sequence"], c["unacknowledged"], c["payload"], opening
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
    for _ in range(50):  # a stall of 50 ms: nothing is answered, though time passes
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


def test_bad_options() -> None:
    with pytest.raises(OverflowError):
        Load(7, outstanding=-1)
