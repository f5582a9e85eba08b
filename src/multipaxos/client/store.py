"""The calls of the key-value store: what `Client` can do beside `apply`.

Rules. Each method is one command. An answer that is none of the store's is an error that says so, because the nodes may
run another machine.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Iterable
from typing import Any

from multipaxos import commands
from multipaxos.client.waiting import Reply
from multipaxos.errors import CompareFailed, KeyExists, MultipaxosError, NoSuchKey, Refused
from multipaxos.wire.codec import ReplyStatus

REPLY_OK, REPLY_REFUSED = int(ReplyStatus.OK), int(ReplyStatus.REFUSED)
REPORT = "this is a bug in multipaxos, please report it"


class Store(ABC):
    """The store behind `_begin`. A call is one coroutine and one future: somebody may make a million at
    once."""

    @abstractmethod
    def _begin(self, command: bytes, timeout_s: float | None) -> asyncio.Future[Reply]:
        """Begins a call; see `Client`."""

    @staticmethod
    def _checked(reply: Reply) -> tuple[int, bytes]:
        """(slot, answer). Raises Refused."""
        _, status, slot, answer = reply
        if status == REPLY_REFUSED:
            raise Refused(answer.decode("utf-8", "replace"))
        if status != REPLY_OK:
            raise MultipaxosError(f"the cluster discarded this answer before it arrived (status {status}); {REPORT}")
        return slot, answer

    def _read(self, command: bytes, reply: Reply) -> Any:
        slot, answer = self._checked(reply)
        try:
            return commands.read_answer(command, answer, slot)
        except ValueError as error:
            raise MultipaxosError(
                f"the command was applied, and its answer is none of the key-value store's ({error}): if the nodes run "
                "a machine of your own, use Client.apply"
            ) from None

    async def get(self, key: bytes, *, timeout_s: float | None = None) -> bytes | None:
        """The value, linearizable; None if the key does not exist."""
        command = commands.get(key)
        answer = self._read(command, await self._begin(command, timeout_s))
        return answer.value if isinstance(answer, commands.Value) else None

    async def get_versioned(self, key: bytes, *, timeout_s: float | None = None) -> tuple[bytes, int] | None:
        """(value, version), or None if the key does not exist. The version is the slot that last changed the key."""
        command = commands.get(key)
        answer = self._read(command, await self._begin(command, timeout_s))
        return (answer.value, answer.version) if isinstance(answer, commands.Value) else None

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets the key, whether or not it exists; returns its version."""
        command = commands.put(key, value)
        return _version(self._read(command, await self._begin(command, timeout_s)), key)

    async def create(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets a key that does not exist; returns its version. Raises KeyExists."""
        command = commands.create(key, value)
        return _version(self._read(command, await self._begin(command, timeout_s)), key)

    async def update(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets a key that exists; returns its version. Raises NoSuchKey."""
        command = commands.update(key, value)
        return _version(self._read(command, await self._begin(command, timeout_s)), key)

    async def remove(self, key: bytes, *, timeout_s: float | None = None) -> None:
        """Removes a key. Raises NoSuchKey."""
        command = commands.remove(key)
        _version(self._read(command, await self._begin(command, timeout_s)), key)

    async def cas(self, key: bytes, expected: bytes | int, new: bytes, *, timeout_s: float | None = None) -> int:
        """Sets the key if its value (or, given an int, its version) is `expected`; returns the new version. Raises
        NoSuchKey, or CompareFailed with the present value and version."""
        command = commands.cas(key, expected, new)
        return _version(self._read(command, await self._begin(command, timeout_s)), key)

    async def scan(
        self, prefix: bytes, limit: int = 0, after: bytes = b"", *, timeout_s: float | None = None
    ) -> commands.Pairs:
        """(key, value, version) of the keys with the prefix, after `after`, in key order. If `limit` (0: none) or the
        size of an answer cut the list, `more` is true: go on after the last key."""
        command = commands.scan(prefix, limit, after)
        answer = self._read(command, await self._begin(command, timeout_s))
        assert isinstance(answer, commands.Pairs)
        return answer

    async def scan_all(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes, int]]:
        """(key, value, version) of all keys with the prefix, page by page; each page shows a moment of its own."""
        after = b""
        while True:
            page = await self.scan(prefix, 0, after)
            for pair in page.pairs:
                yield pair
            if not page.more:
                return
            after = page.pairs[-1][0]

    async def transact(
        self,
        compares: Iterable[bytes],
        then: Iterable[bytes],
        otherwise: Iterable[bytes] = (),
        *,
        timeout_s: float | None = None,
    ) -> commands.Transacted:
        """Applies `then` if all compares hold, else `otherwise`: in one slot, all or nothing. The parts are made with
        `multipaxos.commands`."""
        command = commands.transact(list(compares), list(then), list(otherwise))
        answer = self._read(command, await self._begin(command, timeout_s))
        assert isinstance(answer, commands.Transacted)
        return answer


def _version(answer: object, key: bytes) -> int:
    """The version that a write gave, or the error that says why it did not."""
    if isinstance(answer, commands.Written):
        return answer.version
    if isinstance(answer, commands.Exists):
        raise KeyExists(f"key {key!r} exists: use put or update")
    if isinstance(answer, commands.NotFound):
        raise NoSuchKey(f"no key {key!r}: use put or create")
    if isinstance(answer, commands.Mismatch):
        raise CompareFailed(
            f"key {key!r} is at version {answer.version}, not as expected", answer.value, answer.version
        )
    raise MultipaxosError(f"an answer of an unexpected kind, {answer!r}; {REPORT}")
