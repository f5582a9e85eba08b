"""Which sessions live, by the log alone: so that nobody is turned away who need not be.

Rules. Those of `ext/multipaxos/paxos/session_table.pyx`: a session lives from the slot that opens it (a
repeated nonce opens nothing new) until a full table evicts the one whose last use lies lowest; every command that names
it uses it.
"""

from __future__ import annotations

from collections import OrderedDict

from multipaxos.wire.codec import COMMAND_KINDS

APPLY, OPEN_SESSION = COMMAND_KINDS["apply"], COMMAND_KINDS["open_session"]


class LiveSessions:
    """The table as it is after the slots told so far, which come in order."""

    def __init__(self, sessions_max: int) -> None:
        self.sessions_max = sessions_max
        self.nonces: OrderedDict[int, int] = OrderedDict()  # session -> its nonce, least recently used first
        self.slot_out = 1

    def apply(self, slot: int, kind: int, session: int, sequence: int) -> None:
        """One chosen command."""
        self.slot_out = slot + 1
        if kind == OPEN_SESSION:
            session = next((id for id, nonce in self.nonces.items() if nonce == sequence), slot)
            if session not in self.nonces:
                if len(self.nonces) >= self.sessions_max:
                    self.nonces.popitem(last=False)
                self.nonces[session] = sequence
        if kind in (APPLY, OPEN_SESSION) and session in self.nonces:
            self.nonces.move_to_end(session)
