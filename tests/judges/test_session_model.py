"""The model of sessions that the judges use."""

from multipaxos.judges.session_model import APPLY, OPEN_SESSION, SessionModel


def test_live_sessions():
    """The least recently used one goes; a repeated nonce opens nothing."""
    table = SessionModel(2)
    for slot, command in enumerate(
        [(OPEN_SESSION, 0, 91), (OPEN_SESSION, 0, 92), (APPLY, 1, 1), (OPEN_SESSION, 0, 91)], 1
    ):
        table.apply(slot, *command)
    assert list(table.nonces) == [2, 1]
    table.apply(5, OPEN_SESSION, 0, 93)
    assert list(table.nonces) == [1, 5]
    assert table.slot_out == 6
