"""Which sessions live, computed from the log alone: so that no client is refused without a reason.

Rules. Those of `ext/multipaxos/paxos/session_table.pyx`. A session lives from the slot that opens it (a repeated nonce
opens no new session) until a full table evicts it, because its last use has the lowest slot of all. Every command that
names a session uses it.
"""

from __future__ import annotations

from collections import OrderedDict

from multipaxos.wire.codec import CommandKind

APPLY, OPEN_SESSION = CommandKind.APPLY, CommandKind.OPEN_SESSION


class SessionModel:
    """The session table after the slots that were applied so far, which come in order."""

    def __init__(self, sessions_max: int) -> None:
        self.sessions_max = sessions_max
        self.nonces: OrderedDict[int, int] = OrderedDict()  # session -> its nonce, least recently used first
        self.slot_out = 1

    def apply(self, slot: int, kind: int, session: int, sequence: int) -> None:
        """Applies the command that is chosen in a slot."""
        self.slot_out = slot + 1
        if kind == OPEN_SESSION:
            session = next((id for id, nonce in self.nonces.items() if nonce == sequence), slot)
            if session not in self.nonces:
                if len(self.nonces) >= self.sessions_max:
                    self.nonces.popitem(last=False)
                self.nonces[session] = sequence
        if kind in (APPLY, OPEN_SESSION) and session in self.nonces:
            self.nonces.move_to_end(session)
