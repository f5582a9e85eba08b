"""The model of sessions that the judges use; tests/paxos/test_session_table.py compares the table with it."""

from multipaxos.judges.session_model import SessionModel
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.semantics import Semantics
from multipaxos.wire.codec import CommandKind

OPEN_SESSION, APPLY, CLOSE_SESSION = CommandKind.OPEN_SESSION, CommandKind.APPLY, CommandKind.CLOSE_SESSION


def test_live_sessions():
    """The least recently used one goes; a repeated nonce opens nothing, and a wrong one uses nothing."""
    machine = KeyValue()
    table = SessionModel(
        Semantics(sessions_max=2), lambda slot, payload: machine.apply_bytes(slot, 0, 0, payload), machine.reads
    )
    for slot, command in enumerate(
        [
            (OPEN_SESSION, 0, 0, 91),
            (OPEN_SESSION, 0, 0, 92),
            (APPLY, 1, 91, 1),
            (OPEN_SESSION, 0, 0, 91),
            (APPLY, 2, 91, 1),
        ],
        1,
    ):
        table.apply(slot, *command, 0, b"")
    assert {id: each.used_slot for id, each in table.live.items()} == {1: 4, 2: 2}
    table.apply(6, OPEN_SESSION, 0, 0, 93, 0, b"")
    assert list(table.live) == [1, 6]
    assert table.slot_out == 7
    table.apply(7, CLOSE_SESSION, 6, 93, 1, 0, b"")
    assert [table.lives(1, 91), table.lives(1, 92), table.lives(6, 93)] == [True, False, False]


def test_sessions_that_applied_nothing_go_first():
    """Once there are more of them than may be; the one of them that was used least recently."""
    machine = KeyValue()
    table = SessionModel(
        Semantics(sessions_max=3, fresh_sessions_max=1),
        lambda slot, payload: machine.apply_bytes(slot, 0, 0, payload),
        machine.reads,
    )
    table.apply(1, OPEN_SESSION, 0, 0, 91, 0, b"")
    table.apply(2, APPLY, 1, 91, 1, 0, b"")
    for slot in range(3, 9):
        table.apply(slot, OPEN_SESSION, 0, 0, 90 + slot, 0, b"")
    assert list(table.live) == [1, 7, 8]
