"""The session table alone: what each decided command is told, in slot order."""

import pytest

from multipaxos.machine import PythonMachine
from multipaxos.sessions import Sessions
from multipaxos.world import Journal

OK, REFUSED, OPENED, AHEAD, EXPIRED, OVERLOADED, ACKNOWLEDGED = range(7)


class Table:
    """A table, its machine and the next slot."""

    def __init__(self, sessions_max=1000):
        self.journal = Journal()
        self.machine = PythonMachine(self.journal)
        self.sessions = Sessions(sessions_max)
        self.slot = 0

    def open(self, nonce):
        """Opens a session; returns its id."""
        self.slot += 1
        status, session, _, _ = self.sessions.apply_command(self.machine, self.slot, 0, nonce, 0, b"", True)
        assert status == OPENED
        return session

    def apply(self, session, sequence, payload=b"x", unacknowledged=None):
        """(status, slot, answer) of one command; by default nothing is acknowledged."""
        self.slot += 1
        unacknowledged = sequence - 1 if unacknowledged is None else unacknowledged
        status, _, slot, answer = self.sessions.apply_command(
            self.machine, self.slot, session, sequence, unacknowledged, payload
        )
        return status, slot, answer


def test_an_id_is_the_slot_that_opened_it_and_a_nonce_opens_once():
    table = Table()
    assert table.open(77) == 1
    assert table.open(88) == 2
    assert table.open(77) == 1
    assert table.sessions.count == 2


def test_a_repetition_gets_its_first_answer_and_slot():
    table = Table()
    session = table.open(1)
    first = table.apply(session, 1, b"a")
    table.apply(session, 2, b"b")
    assert table.apply(session, 1, b"a") == first == (OK, 2, bytes(8))
    assert table.journal.entries == [b"a", b"b"]


def test_ahead_is_void():
    table = Table()
    session = table.open(1)
    assert table.apply(session, 2)[0] == AHEAD
    assert table.apply(session, 1)[0] == OK
    assert table.apply(session, 2)[0] == OK
    assert len(table.journal.entries) == 2


def test_acknowledged_answers_are_gone_and_the_prefix_only_grows():
    table = Table()
    session = table.open(1)
    for sequence in (1, 2, 3):
        table.apply(session, sequence)
    assert table.apply(session, 4, unacknowledged=1)[0] == OK
    assert table.sessions.describe(session)[:2] == (4, 2)
    assert table.apply(session, 1)[0] == ACKNOWLEDGED
    assert table.apply(session, 3)[0] == OK
    assert table.apply(session, 5, unacknowledged=4)[0] == OK
    assert table.sessions.describe(session)[:2] == (5, 2)
    assert len(table.journal.entries) == 5


def test_an_acknowledgement_of_what_was_never_applied_is_cut():
    table = Table()
    session = table.open(1)
    assert table.apply(session, 500, unacknowledged=0)[0] == AHEAD
    assert table.sessions.describe(session) == (0, 0, 0)
    assert table.apply(session, 1)[0] == OK


def test_unknown_and_evicted_sessions_are_expired():
    table = Table(2)
    one, two = table.open(1), table.open(2)
    assert table.apply(999, 1)[0] == EXPIRED
    table.apply(one, 1)
    three = table.open(3)
    assert table.apply(two, 1)[0] == EXPIRED, "the one whose last use lies in the lowest slot goes"
    assert table.apply(one, 2)[0] == OK
    assert table.apply(three, 1)[0] == OK
    assert table.sessions.count == 2


def test_a_repetition_is_a_use():
    table = Table(2)
    one, two = table.open(1), table.open(2)
    table.apply(one, 1)
    table.apply(two, 1)
    table.apply(one, 1)
    table.open(3)
    assert table.sessions.describe(one) is not None
    assert table.sessions.describe(two) is None


def test_an_evicted_nonce_opens_a_new_session():
    table = Table(1)
    first = table.open(1)
    table.open(2)
    again = table.open(1)
    assert again > first


def test_too_many_unacknowledged_are_void_until_some_are_acknowledged():
    table = Table()
    session = table.open(1)
    for sequence in range(1, 16385):
        assert table.apply(session, sequence)[0] == OK
    assert table.apply(session, 16385)[0] == OVERLOADED
    assert table.apply(session, 16385, unacknowledged=100)[0] == OK
    assert table.sessions.describe(session)[:2] == (16385, 16284)


class Large(Journal):
    """Answers with a mebibyte."""

    def apply(self, command, context):
        return bytes(1 << 20)


def test_answers_are_bounded_by_bytes():
    table = Table()
    table.machine = PythonMachine(Large())
    session = table.open(1)
    statuses = [table.apply(session, sequence)[0] for sequence in range(1, 25)]
    assert OVERLOADED in statuses
    assert table.sessions.describe(session)[2] <= 18 << 20
    applied = statuses.count(OK)
    assert table.apply(session, applied + 1, unacknowledged=0)[0] == OK
    assert table.sessions.describe(session)[2] == 1 << 20


@pytest.mark.parametrize("size", [0, 1, 15, 16, 17, 5000])
def test_answers_of_all_sizes_are_kept(size):
    class Echo(Journal):
        def apply(self, command, context):
            return command

    table = Table()
    table.machine = PythonMachine(Echo())
    session = table.open(1)
    payload = bytes(range(256)) * 20
    assert table.apply(session, 1, payload[:size])[2] == payload[:size]
    table.apply(session, 2, b"other")
    assert table.apply(session, 1, b"ignored")[2] == payload[:size]


def test_a_refusal_is_kept_like_an_answer():
    table = Table()
    session = table.open(1)
    assert table.apply(session, 1, b"raise")[0] == REFUSED
    table.apply(session, 2, b"a")
    assert table.apply(session, 1, b"raise") == (REFUSED, 2, b"ValueError: asked to raise at length 0")


def test_the_chain_tells_histories_apart():
    one, two, three = Table(), Table(), Table()
    for table in (one, two, three):
        table.open(1)
        table.apply(1, 1)
    assert one.sessions.chain == two.sessions.chain
    two.apply(1, 3)
    three.apply(1, 2)
    assert len({one.sessions.chain, two.sessions.chain, three.sessions.chain}) == 3
