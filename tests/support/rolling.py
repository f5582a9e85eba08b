"""Machines that a test's processes run: their environment says which code they are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

from multipaxos.machine.state_machine import Context, StateMachine


class Rolling(StateMachine):
    """Code of the version that ROLLING_VERSION says; answers with the version in force. With ROLLING_ODD set it is not
    deterministic: it answers otherwise."""

    version = int(os.environ.get("ROLLING_VERSION", "1"))
    odd = bool(os.environ.get("ROLLING_ODD"))

    def apply(self, command: bytes, context: Context) -> bytes:
        """Its own version does not show in the answer, only the one in force."""
        return b"%s %d%s" % (command, context.machine_version, b" odd" if self.odd else b"")

    def snapshot(self) -> Iterator[bytes]:
        """It has no state."""
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """It has no state."""
