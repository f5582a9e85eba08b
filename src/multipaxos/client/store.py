"""The calls of the key-value store: what `Client` can do beside `apply`.

Rules. Each method is one command, and returns its `Call`, to be awaited. An answer that is none of the store's is an
error that says so, because the nodes may run another machine.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable

from multipaxos import commands
from multipaxos.client.call import Call, Calls
from multipaxos.errors import CompareFailed, KeyExists, MultipaxosError, NoSuchKey, Refused
from multipaxos.wire.codec import ReplyStatus

REPLY_OK, REPLY_REFUSED = int(ReplyStatus.OK), int(ReplyStatus.REFUSED)
REPORT = "this is a bug in multipaxos, please report it"


class Store:
    """The store behind `_calls`."""

    _calls: Calls

    def get(self, key: bytes, *, timeout_s: float | None = None) -> Call[bytes | None]:
        """The value, linearizable; None if the key does not exist."""
        return self._calls.make(_read_value, timeout_s, True, commands.get, key)

    def get_versioned(self, key: bytes, *, timeout_s: float | None = None) -> Call[tuple[bytes, int] | None]:
        """(value, version), or None if the key does not exist. The version is the slot that last changed the key."""
        return self._calls.make(_read_versioned, timeout_s, True, commands.get, key)

    def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> Call[int]:
        """Sets the key, whether or not it exists; returns its version."""
        return self._calls.make(_read_version, timeout_s, True, commands.put, key, value)

    def create(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> Call[int]:
        """Sets a key that does not exist; returns its version. Raises KeyExists."""
        return self._calls.make(_read_version, timeout_s, True, commands.create, key, value)

    def update(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> Call[int]:
        """Sets a key that exists; returns its version. Raises NoSuchKey."""
        return self._calls.make(_read_version, timeout_s, True, commands.update, key, value)

    def remove(self, key: bytes, *, timeout_s: float | None = None) -> Call[None]:
        """Removes a key. Raises NoSuchKey."""
        return self._calls.make(_read_nothing, timeout_s, True, commands.remove, key)

    def cas(self, key: bytes, expected: bytes | int, new: bytes, *, timeout_s: float | None = None) -> Call[int]:
        """Sets the key if its value (or, given an int, its version) is `expected`; returns the new version. Raises
        NoSuchKey, or CompareFailed with the present value and version."""
        return self._calls.make(_read_version, timeout_s, True, commands.cas, key, expected, new)

    def scan(
        self, prefix: bytes, limit: int = 0, after: bytes = b"", *, timeout_s: float | None = None
    ) -> Call[commands.Pairs]:
        """(key, value, version) of the keys with the prefix, after `after`, in key order. If `limit` (0: none) or the
        size of an answer cut the list, `more` is true: go on after the last key."""
        return self._calls.make(_read_pairs, timeout_s, True, commands.scan, prefix, limit, after)

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

    def transact(
        self,
        compares: Iterable[bytes],
        then: Iterable[bytes],
        otherwise: Iterable[bytes] = (),
        *,
        timeout_s: float | None = None,
    ) -> Call[commands.Transacted]:
        """Applies `then` if all compares hold, else `otherwise`: in one slot, all or nothing. The parts are made with
        `multipaxos.commands`."""
        return self._calls.make(_read_transacted, timeout_s, True, _transact, compares, then, otherwise)


def _transact(compares: Iterable[bytes], then: Iterable[bytes], otherwise: Iterable[bytes]) -> bytes:
    return commands.transact(list(compares), list(then), list(otherwise))


def checked(status: int, answer: bytes) -> bytes:
    """The answer. Raises Refused."""
    if status == REPLY_REFUSED:
        raise Refused(answer.decode("utf-8", "replace"))
    if status != REPLY_OK:
        raise MultipaxosError(f"the cluster discarded this answer before it arrived (status {status}); {REPORT}")
    return answer


def read(command: bytes, status: int, slot: int, answer: bytes) -> commands.Answer:
    """What the store answered. Raises Refused."""
    checked(status, answer)
    try:
        return commands.read_answer(command, answer, slot)
    except ValueError as error:
        raise MultipaxosError(
            f"the command was applied, and its answer is none of the key-value store's ({error}): if the nodes run "
            "a machine of your own, use Client.apply"
        ) from None


def _read_value(command: bytes, status: int, slot: int, data: bytes) -> bytes | None:
    answer = read(command, status, slot, data)
    return answer.value if isinstance(answer, commands.Value) else None


def _read_versioned(command: bytes, status: int, slot: int, data: bytes) -> tuple[bytes, int] | None:
    answer = read(command, status, slot, data)
    return (answer.value, answer.version) if isinstance(answer, commands.Value) else None


def _read_version(command: bytes, status: int, slot: int, data: bytes) -> int:
    """The version that a write gave, or the error that says why it did not."""
    answer = read(command, status, slot, data)
    if isinstance(answer, commands.Written):
        return answer.version
    key = commands.key_of(command)
    if isinstance(answer, commands.Exists):
        raise KeyExists(f"key {key!r} exists: use put or update")
    if isinstance(answer, commands.NotFound):
        raise NoSuchKey(f"no key {key!r}: use put or create")
    if isinstance(answer, commands.Mismatch):
        raise CompareFailed(
            f"key {key!r} is at version {answer.version}, not as expected", answer.value, answer.version
        )
    raise MultipaxosError(f"an answer of an unexpected kind, {answer!r}; {REPORT}")


def _read_nothing(command: bytes, status: int, slot: int, data: bytes) -> None:
    _read_version(command, status, slot, data)


def _read_pairs(command: bytes, status: int, slot: int, data: bytes) -> commands.Pairs:
    answer = read(command, status, slot, data)
    assert isinstance(answer, commands.Pairs)
    return answer


def _read_transacted(command: bytes, status: int, slot: int, data: bytes) -> commands.Transacted:
    answer = read(command, status, slot, data)
    assert isinstance(answer, commands.Transacted)
    return answer
