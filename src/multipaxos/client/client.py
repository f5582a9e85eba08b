"""The client: asyncio, pipelined, one session, exactly once - and a blocking face for scripts.

Theory. Commands go into a compiled `Session`, which keeps each until its answer comes; this module is its shell: it
keeps a
link to some node, preferably the leader's, and turns answers into futures. All commands submitted in one turn of the
event
loop leave in one write.

Rules.
- Whatever happens to links and leaders, a command keeps its sequence and takes effect at most once.
- Giving up a wait (a time-out, a cancellation) gives up the wait only: the command stays in the session, its answer
  is dropped.
- A node that does not answer in time, though something is unanswered, is left for another and avoided for a while.
- What is in flight is bounded by number and bytes: beyond, a call waits for room, or raises Overloaded with
  ``wait=False``.
- An expired session fails what was in flight with SessionExpired; later calls get a new session.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any

from multipaxos import commands
from multipaxos.client.link import ClientLink, dial
from multipaxos.client.session import Session
from multipaxos.config.addresses import parse_cluster
from multipaxos.errors import (
    ClientClosed,
    CompareFailed,
    HandshakeRefused,
    KeyExists,
    MultipaxosError,
    NoQuorum,
    NoSuchKey,
    Overloaded,
    Refused,
    SessionExpired,
    TooLarge,
)
from multipaxos.wire.codec import PAYLOAD_BYTES_MAX, CodecError

POLL_S = 0.02
AVOID_S = 3.0  # a node that was silent
REFUSED_S = 0.2  # a node that refused the link
RETRY_MAX_S = 3.0
LEADER_MASK = 0xFFFF
OUTSTANDING_MAX = 8192
OUTSTANDING_BYTES_MAX = 32 << 20
REPLY_OK, REPLY_REFUSED = 0, 1


class Client:
    """A client of a cluster, ``async with Client("host:port,host:port,...") as kv:``.

    `timeout_s`: how long a call waits for its answer before it raises NoQuorum. `retry_s`: how long a node may be
    silent
    before another is tried. Every call takes part in one session, so calls take effect in the order they were made.
    """

    def __init__(
        self, cluster: str | Sequence[tuple[str, int]], *, timeout_s: float = 10.0, retry_s: float = 0.4
    ) -> None:
        self.addresses = parse_cluster(cluster) if isinstance(cluster, str) else list(cluster)
        self.timeout_s = timeout_s
        self.retry_s = retry_s
        self._session = self._new_session()
        self._waiting: dict[int, asyncio.Future[tuple[int, int, bytes]]] = {}
        self._link: ClientLink | None = None
        self._lost = asyncio.Event()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._flushing = False
        self._heard_s = 0.0
        self._address_of: dict[int, tuple[str, int]] = {}
        self._avoid: dict[tuple[str, int], float] = {}
        self._dial_s = retry_s
        self._next_address = secrets.randbelow(len(self.addresses))
        self._tending: asyncio.Task[None] | None = None
        self._closed = False
        self._trouble = "no node was reached"
        self._loop: asyncio.AbstractEventLoop

    # -- life

    async def __aenter__(self) -> Client:
        self._loop = asyncio.get_running_loop()
        self._tending = self._loop.create_task(self._tend())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Ends the client; what is in flight raises ClientClosed."""
        self._closed = True
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
            self._tending = None
        if self._link is not None:
            self._link.close()
            self._link = None
        self._fail_all(ClientClosed("the client was closed before the answer came: the outcome is unknown"))
        self._room.set()

    @staticmethod
    def _new_session() -> Session:
        return Session(secrets.randbits(63) | 1)

    def _fail_all(self, error: MultipaxosError) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)

    # -- commands

    async def apply(self, command: bytes, *, timeout_s: float | None = None, wait: bool = True) -> bytes:
        """Has the replicated machine apply a command; its answer. Raises Refused if the machine raised, NoQuorum,
        SessionExpired, TooLarge, Overloaded (only with ``wait=False``), ClientClosed."""
        return (await self._call(command, timeout_s, wait))[1]

    async def _call(self, command: bytes, timeout_s: float | None, wait: bool = True) -> tuple[int, bytes]:
        """(slot, answer)"""
        if self._closed or self._tending is None:
            raise ClientClosed("the client is not open: use it in `async with`")
        if len(command) > PAYLOAD_BYTES_MAX:
            raise TooLarge(f"a command of {len(command)} bytes is over the limit of {PAYLOAD_BYTES_MAX}: split it")
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                while self._is_full(len(command)):
                    if not wait:
                        raise Overloaded(f"{self._session.unanswered} commands are unanswered: wait for some of them")
                    self._room.clear()
                    await self._room.wait()
                status, slot, answer = await self._submit(command)
        except TimeoutError:
            raise NoQuorum(
                f"no answer in {limit_s:g} s ({self._trouble}); the command may yet take effect, once: "
                "look at `multipaxos status`, then ask again"
            ) from None
        if status == REPLY_REFUSED:
            raise Refused(answer.decode("utf-8", "replace"))
        if status != REPLY_OK:
            raise MultipaxosError(f"the answer was acknowledged before it came (status {status}): this is a defect")
        return slot, answer

    def _is_full(self, size: int) -> bool:
        if self._closed:
            raise ClientClosed("the client was closed")
        session = self._session
        return session.last - session.acknowledged >= OUTSTANDING_MAX or (
            session.unanswered_bytes > 0 and session.unanswered_bytes + size > OUTSTANDING_BYTES_MAX
        )

    def _submit(self, command: bytes) -> asyncio.Future[tuple[int, int, bytes]]:
        future: asyncio.Future[tuple[int, int, bytes]] = self._loop.create_future()
        self._waiting[self._session.submit(command)] = future
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)
        return future

    def _flush(self) -> None:
        """One write for all that was submitted in this turn of the loop."""
        self._flushing = False
        if self._session.unanswered and not self._work.is_set():
            self._heard_s = self._loop.time()
            self._work.set()
        if self._link is not None and not self._lost.is_set():
            out = self._session.output()
            if out:
                self._link.write(out)

    def _on_data(self, data: bytes) -> None:
        self._heard_s = self._loop.time()
        try:
            replies = self._session.receive(data)
        except CodecError as error:
            self._trouble = str(error)
            self._lost.set()
            return
        for sequence, status, slot, answer in replies:
            future = self._waiting.pop(sequence, None)
            if future is not None and not future.done():
                future.set_result((status, slot, answer))
        if not self._room.is_set():
            self._room.set()
        if self._session.sent < self._session.last:
            self._flush()

    # -- the link

    async def _tend(self) -> None:
        """Keeps a link while there is work, to the leader where it is known."""
        retry_s = self.retry_s
        while True:
            if not self._session.unanswered:
                self._work.clear()
                await self._work.wait()
            if self._session.expired:
                self._start_over()
            if self._link is None or self._lost.is_set():
                await self._connect()
            elif self._leader_is_elsewhere():
                self._drop_link()
            elif self._loop.time() - self._heard_s > retry_s:
                self._trouble = f"node {self._link.node} is silent"
                self._avoid[self._address_of[self._link.node]] = self._loop.time() + AVOID_S
                self._drop_link()
                retry_s = min(retry_s * 1.5, RETRY_MAX_S)
            elif self._session.rewind_wanted:
                self._session.rewind()
                self._flush()
            if self._heard_s > self._loop.time() - self.retry_s / 2:
                retry_s = self.retry_s
            await self._pause()

    async def _pause(self) -> None:
        """A moment, or until the link is lost."""
        try:
            async with asyncio.timeout(POLL_S):
                await self._lost.wait()
                if self._link is None:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return

    def _start_over(self) -> None:
        self._session = self._new_session()
        self._fail_all(
            SessionExpired("the cluster no longer knows this session: the outcome of what was in flight is unknown")
        )
        self._drop_link()
        self._room.set()

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        self._lost.set()

    def _leader_address(self) -> tuple[str, int] | None:
        """Where the leader should be: its address if we met it, else by its place in the list."""
        if not self._session.leading_ballot:
            return None
        leader = self._session.leading_ballot & LEADER_MASK
        address = self._address_of.get(leader)
        if address is None and leader < len(self.addresses) and self.addresses[leader] not in self._address_of.values():
            address = self.addresses[leader]
        if address is None or self._avoid.get(address, 0.0) > self._loop.time():
            return None
        return address

    def _leader_is_elsewhere(self) -> bool:
        address = self._leader_address()
        return address is not None and self._link is not None and address != self._address_of.get(self._link.node)

    async def _connect(self) -> None:
        """One attempt: the leader, else the next address that is not avoided."""
        address = self._leader_address() or self._next()
        self._lost = lost = asyncio.Event()
        self._link = None
        began_s = self._loop.time()
        try:
            link = await dial(address, self._on_data, lost.set, limit_s=self._dial_s)
        except (OSError, HandshakeRefused) as error:
            self._trouble = f"{address[0]}:{address[1]}: {error}"
            silent = isinstance(error, TimeoutError)
            self._avoid[address] = self._loop.time() + (AVOID_S if silent else REFUSED_S)
            if silent:  # or far away: then it is reached with more patience, the next time
                self._dial_s = min(self._dial_s * 1.5, RETRY_MAX_S)
            lost.set()
            return
        self._address_of[link.node] = address
        self._link = link
        self._heard_s = self._loop.time()
        self._dial_s = min(max(self.retry_s, 2 * (self._heard_s - began_s)), RETRY_MAX_S)
        self._session.connected()
        self._flush()

    def _next(self) -> tuple[str, int]:
        """The next address in turn, one that is not avoided if there is one."""
        now_s = self._loop.time()
        for _ in self.addresses:
            self._next_address = (self._next_address + 1) % len(self.addresses)
            address = self.addresses[self._next_address]
            if self._avoid.get(address, 0.0) <= now_s:
                return address
        return self.addresses[self._next_address]

    # -- the key-value store

    async def _store(self, command: bytes, timeout_s: float | None) -> Any:
        slot, answer = await self._call(command, timeout_s)
        return commands.read_answer(command, answer, slot)

    async def get(self, key: bytes, *, timeout_s: float | None = None) -> bytes | None:
        """The value, linearizable; None where there is no such key."""
        answer = await self._store(commands.get(key), timeout_s)
        return answer.value if isinstance(answer, commands.Value) else None

    async def get_versioned(self, key: bytes, *, timeout_s: float | None = None) -> tuple[bytes, int] | None:
        """(value, version), or None. The version is the slot that last changed the key."""
        answer = await self._store(commands.get(key), timeout_s)
        return (answer.value, answer.version) if isinstance(answer, commands.Value) else None

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets the key, there or not; its version."""
        return _version(await self._store(commands.put(key, value), timeout_s), key)

    async def create(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets a key that is not there; its version. Raises KeyExists."""
        return _version(await self._store(commands.create(key, value), timeout_s), key)

    async def update(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets a key that is there; its version. Raises NoSuchKey."""
        return _version(await self._store(commands.update(key, value), timeout_s), key)

    async def remove(self, key: bytes, *, timeout_s: float | None = None) -> None:
        """Removes a key. Raises NoSuchKey."""
        _version(await self._store(commands.remove(key), timeout_s), key)

    async def cas(self, key: bytes, expected: bytes | int, new: bytes, *, timeout_s: float | None = None) -> int:
        """Sets the key if its value - or, given an int, its version - is `expected`; its version. Raises
        CompareFailed with
        what is there, NoSuchKey."""
        return _version(await self._store(commands.cas(key, expected, new), timeout_s), key)

    async def scan(
        self, prefix: bytes, limit: int = 0, after: bytes = b"", *, timeout_s: float | None = None
    ) -> commands.Pairs:
        """(key, value, version) of the keys with the prefix, after `after`, in key order; `more` says that there are
        more, for the
        `limit` (0: none) or an answer's size cut it: go on after the last key."""
        answer = await self._store(commands.scan(prefix, limit, after), timeout_s)
        assert isinstance(answer, commands.Pairs)
        return answer

    async def scan_all(self, prefix: bytes) -> AsyncIterator[tuple[bytes, bytes, int]]:
        """All pairs with the prefix, page by page; each page is a moment of its own."""
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
        """One slot, all or nothing: `then` if all compares hold, else `otherwise`; built with `multipaxos.commands`."""
        answer = await self._store(commands.transact(list(compares), list(then), list(otherwise)), timeout_s)
        assert isinstance(answer, commands.Transacted)
        return answer


def _version(answer: object, key: bytes) -> int:
    """The version that a write gave, or the reason that it did not."""
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
    raise MultipaxosError(f"an answer of an unexpected kind, {answer!r}: this is a defect")
