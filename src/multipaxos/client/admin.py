"""The client of an admin: it has settings decided in the log.

Theory. A setting is a command of a session, so an admin is a client: it finds the leader, sends again what was not
answered, and the setting takes effect at most once. Its links prove the cluster's key.

Rules.
- A node that refuses the link ends the call at once with HandshakeRefused: another node would refuse it too.
- A refused setting ends the session. The node that is asked refuses it outside of the log, so the cluster would take
  the next command of the session for one ahead of its turn.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Sequence

from multipaxos.client.client import Client
from multipaxos.client.link import ClientLink, dial
from multipaxos.client.session import Session
from multipaxos.client.store import checked
from multipaxos.config.keys import Keys
from multipaxos.errors import HandshakeRefused, Refused
from multipaxos.paxos.settings import encode_setting


class AdminClient(Client):
    """As `Client`, but all its commands are settings. `keys`: those of the cluster's file."""

    def __init__(self, cluster: str | Sequence[tuple[str, int]], keys: Keys, *, timeout_s: float = 10.0) -> None:
        super().__init__(cluster, timeout_s=timeout_s)
        self._keys = keys

    @staticmethod
    def _new_session() -> Session:
        return Session(secrets.randbits(64) or 1, settings=True, in_steps=True)

    async def _dial(self, address: tuple[str, int], lost: asyncio.Event) -> ClientLink:
        try:
            return await dial(address, self._on_data, lost.set, "admin", self._route.dial_s, self._keys)
        except HandshakeRefused as error:
            self._fail_all(error)
            raise

    async def change(self, name: int, value: int) -> tuple[int, int]:
        """Has the setting decided; (slot, the number in force after it). Raises Refused if a node does not know the
        number or is not linked, HandshakeRefused, NoQuorum."""
        try:
            return await self._calls.make(_read_change, None, True, encode_setting, name, value)
        except Refused:
            await self._renew_session()
            raise


def _read_change(command: bytes, status: int, slot: int, answer: bytes) -> tuple[int, int]:
    return slot, int.from_bytes(checked(status, answer), "little")
