"""The replicated side of sessions: exactly once, in order, bounded - judged when a command is applied."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.semantics import Semantics
from multipaxos.machine.user_machine import runner_of
from multipaxos.paxos.session_table import SessionTable
from tests.support.journal import Journal

OK, REFUSED, OPENED, AHEAD, EXPIRED, OVERLOADED, ACKNOWLEDGED = range(7)


class Table:
    """A table with a journal behind it; each call is the next slot."""

    def __init__(self, sessions_max: int = 8) -> None:
        self.sessions = SessionTable(Semantics(sessions_max=sessions_max))
        self.journal = Journal()
        self.machine = PythonMachine(runner_of(self.journal), inside=True)
        self.slot = 0

    def open(self, nonce: int) -> int:
        """The id of the session."""
        self.slot += 1
        status, session, _, _ = self.sessions.apply_command(self.machine, self.slot, 0, nonce, 0, b"", True)
        assert status == OPENED
        return session

    def apply(
        self, session: int, sequence: int, payload: bytes = b"x", unacknowledged: int | None = None
    ) -> tuple[int, int, bytes]:
        """(status, slot, answer); by default nothing is acknowledged."""
        self.slot += 1
        kept = sequence - 1 if unacknowledged is None else unacknowledged
        status, _, slot, answer = self.sessions.apply_command(self.machine, self.slot, session, sequence, kept, payload)
        return status, slot, answer


def test_the_id_is_the_slot_and_a_repeated_nonce_gets_it_again() -> None:
    table = Table()
    assert (table.open(5), table.open(6), table.open(5)) == (1, 2, 1)


def test_a_repetition_gets_its_first_answer() -> None:
    table = Table()
    session = table.open(5)
    assert table.apply(session, 1) == (OK, 2, bytes(8))
    assert table.apply(session, 1) == (OK, 2, bytes(8))
    assert table.journal.entries == [b"x"]


def test_a_refusal_is_an_answer_too() -> None:
    table = Table()
    session = table.open(5)
    first = table.apply(session, 1, b"raise")
    assert first[0] == REFUSED
    assert table.apply(session, 1, b"raise") == first
    assert table.apply(session, 2)[0] == OK


def test_ahead_is_void() -> None:
    table = Table()
    session = table.open(5)
    assert table.apply(session, 2)[0] == AHEAD
    assert table.journal.entries == []
    assert table.apply(session, 1)[0] == OK
    assert table.apply(session, 2)[0] == OK


def test_what_was_acknowledged_is_gone() -> None:
    table = Table()
    session = table.open(5)
    for sequence in (1, 2, 3):
        table.apply(session, sequence)
    assert table.apply(session, 4, unacknowledged=0)[0] == OK
    assert [table.apply(session, sequence)[0] for sequence in (1, 2, 3, 4)] == [ACKNOWLEDGED] * 3 + [OK]
    assert table.sessions.describe(session) == (4, 3, 8)


def test_acknowledgement_never_goes_back_or_ahead() -> None:
    table = Table()
    session = table.open(5)
    table.apply(session, 1)
    table.apply(session, 2, unacknowledged=0)
    table.apply(session, 3, unacknowledged=2)
    assert table.sessions.describe(session) == (3, 1, 16)
    assert table.apply(session, 9, unacknowledged=0)[0] == AHEAD
    assert table.sessions.describe(session) == (3, 3, 0)


def test_unknown_and_evicted_sessions_are_expired() -> None:
    table = Table(2)
    assert table.apply(77, 1)[0] == EXPIRED
    one, two = table.open(1), table.open(2)
    table.apply(one, 1)  # one is used last
    three = table.open(3)
    assert table.apply(two, 1)[0] == EXPIRED
    assert table.apply(one, 2)[0] == OK
    assert table.apply(three, 1)[0] == OK
    assert table.sessions.count == 2


def test_too_much_unacknowledged_is_void() -> None:
    table = Table()
    session = table.open(5)
    for sequence in range(1, 16385):
        assert table.apply(session, sequence)[0] == OK
    assert table.apply(session, 16385)[0] == OVERLOADED
    assert table.apply(session, 16385, unacknowledged=10)[0] == OK


def test_equal_histories_have_equal_chains() -> None:
    tables = [Table(), Table()]
    for table in tables:
        session = table.open(5)
        table.apply(session, 1)
        table.apply(session, 3)
    assert tables[0].sessions.chain == tables[1].sessions.chain
    tables[0].apply(1, 2)
    assert tables[0].sessions.chain != tables[1].sessions.chain


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 12), st.integers(0, 12)), max_size=120))
@settings(max_examples=200, deadline=None)
def test_against_a_model(steps: list[tuple[int, int, int]]) -> None:
    """A dictionary per session says the same."""
    table = Table(3)
    model: dict[int, tuple[int, int, dict[int, tuple[int, int, bytes]]]] = {}
    used: dict[int, int] = {}
    nonces: dict[int, int] = {}
    applied = 0
    for nonce, sequence, unacknowledged in steps:
        session = nonces.get(nonce)
        if session is None or session not in model:
            session = table.open(nonce + 100)
            if len(model) == 3:
                oldest = min(model, key=lambda each: used[each])
                del model[oldest]
            nonces[nonce] = session
            model[session] = (0, 0, {})
            used[session] = table.slot
            continue
        status, slot, answer = table.apply(session, sequence, b"c", unacknowledged)
        used[session] = table.slot
        last, acknowledged, answers = model[session]
        if sequence > unacknowledged:
            acknowledged = max(acknowledged, min(last, sequence - 1 - unacknowledged))
        if sequence <= acknowledged:
            assert status == ACKNOWLEDGED
        elif sequence <= last:
            assert (status, slot, answer) == answers[sequence]
        elif sequence > last + 1:
            assert status == AHEAD
        else:
            last = sequence
            answers[sequence] = (OK, table.slot, applied.to_bytes(8, "little"))
            applied += 1
            assert (status, slot, answer) == answers[sequence]
        model[session] = (last, acknowledged, answers)


def test_sessions_that_share_a_bucket_are_told_apart() -> None:
    """More of them than buckets, opened, found again, and evicted in turn."""
    kept, opened_in_all = 20_000, 24_000
    sessions, machine = SessionTable(Semantics(sessions_max=kept)), KeyValue()
    for slot in range(1, opened_in_all + 1):
        sessions.apply_command(machine, slot, 0, slot + 5, 0, b"", opening=True)
    evicted = opened_in_all - kept
    assert [sessions.describe(slot) for slot in (1, evicted)] == [None, None]
    assert all(sessions.describe(slot) == (0, 0, 0) for slot in range(evicted + 1, opened_in_all + 1))
    again = sessions.apply_command(machine, opened_in_all + 1, 0, evicted + 6, 0, b"", opening=True)
    assert again[1] == evicted + 1
