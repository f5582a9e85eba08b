"""The asyncio client: pipelined, one session, exactly once.

Theory. Commands go into a compiled `Session`, which keeps each one until its answer arrives. This file is the shell of
that session: it keeps a link to a node, to the leader where it is known (`route`), and turns answers into futures. All
commands submitted in one turn of the event loop are sent in one write.

Rules.
- A command keeps its sequence number over every change of link or leader, and takes effect at most once.
- A time-out or a cancellation ends the wait only: the command stays in the session, and its answer is dropped.
- If a command is unanswered and the node is silent for `retry_s`, the client leaves the node and avoids it for a while.
  It waits longer with each node that is silent, until one answers: an answer may take longer than `retry_s`.
- The commands in flight are bounded by number and bytes. Beyond that a call waits for room, or raises Overloaded with
  ``wait=False``.
- A node that ends a link soon after its start has refused it.
- If the session has expired, the commands in flight fail with SessionExpired; later calls use a new session. If none of
  them was applied or ever will be, they go on in the new session instead: so a client that was idle for long sees no
  error.
- A client that was idle leaves a follower before it sends: a command that two nodes got may have been applied.
- All nodes are of one cluster (`one_cluster`). Where the cluster is another one now, the session has expired.
- A client that ends closes its session, so that the cluster keeps nothing of it. It waits for the answer up to CLOSE_S.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from types import TracebackType
from typing import Any

from multipaxos import commands
from multipaxos.client.link import ClientLink, dial
from multipaxos.client.one_cluster import OneCluster
from multipaxos.client.route import REFUSED_S, RETRY_MAX_S, Route
from multipaxos.client.session import Session
from multipaxos.config.addresses import parse_cluster
from multipaxos.errors import (
    ClientClosed,
    CompareFailed,
    ConfigurationError,
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
from multipaxos.wire.codec import PAYLOAD_BYTES_MAX, CodecError, ReplyStatus

POLL_S = 0.02
CLOSE_S = 1.0  # a client that ends waits so long for its session to be closed
OUTSTANDING_MAX = 8192
OUTSTANDING_BYTES_MAX = 32 << 20
REPLY_OK, REPLY_REFUSED = int(ReplyStatus.OK), int(ReplyStatus.REFUSED)
REPORT = "this is a bug in multipaxos, please report it"


class Client:
    """A client of a cluster, ``async with Client("host:port,host:port,...") as kv:``.

    `timeout_s`: how long a call waits for its answer before it raises NoQuorum. `retry_s`: how long a node may be
    silent before the client tries another. All calls belong to one session, so they take effect in the order in which
    they were made; but a read whose answer is lost is executed again, and may see later calls that were in flight.
    """

    def __init__(
        self, cluster: str | Sequence[tuple[str, int]], *, timeout_s: float = 10.0, retry_s: float = 0.4
    ) -> None:
        self.addresses = parse_cluster(cluster) if isinstance(cluster, str) else list(cluster)
        self.timeout_s = timeout_s
        self.retry_s = retry_s
        self._session = self._new_session()
        self._waiting: dict[int, asyncio.Future[tuple[int, int, bytes]]] = {}  # sequence -> (status, slot, answer)
        self._cluster = OneCluster()
        self._refusal: ConfigurationError | None = None
        self._route = Route(self.addresses, retry_s, secrets.randbelow(len(self.addresses)))
        self._link: ClientLink | None = None
        self._lost = asyncio.Event()
        self._work = asyncio.Event()
        self._room = asyncio.Event()
        self._flushing = False
        self._up_s = 0.0  # when the present link came up
        self._heard_s = 0.0
        self._patience_s = retry_s  # of the present link: grows while nodes are silent
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
        """Ends the client and its session; the calls in flight raise ClientClosed."""
        self._closed = True
        if self._tending is not None:
            self._tending.cancel()
            await asyncio.gather(self._tending, return_exceptions=True)
            self._tending = None
            await self._close_session()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._fail_all(ClientClosed("the client was closed before the answer arrived: the outcome is unknown"))
        self._room.set()

    async def _close_session(self) -> None:
        """Tells the cluster that the session ends, if there is a link for it."""
        if self._link is None or self._lost.is_set() or not self._session.close():
            return
        self._flush()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._lost.wait()
        except TimeoutError:
            return

    async def _renew_session(self) -> None:
        """Ends the session; the next call opens another one."""
        await self._close_session()
        self._session = self._new_session()
        self._drop_link()

    @staticmethod
    def _new_session() -> Session:
        return Session(secrets.randbits(64) or 1)

    def _fail_all(self, error: MultipaxosError) -> None:
        waiting, self._waiting = self._waiting, {}
        for future in waiting.values():
            if not future.done():
                future.set_exception(error)

    # -- commands

    async def apply(self, command: bytes, *, timeout_s: float | None = None, wait: bool = True) -> bytes:
        """Applies a command to the replicated machine and returns the machine's answer. Raises Refused if the machine
        raised, NoQuorum, SessionExpired, TooLarge, Overloaded (only with ``wait=False``), ClientClosed."""
        return (await self._call(command, timeout_s, wait))[1]

    async def _call(self, command: bytes, timeout_s: float | None, wait: bool = True) -> tuple[int, bytes]:
        """(slot, answer)"""
        if self._closed or self._tending is None:
            raise ClientClosed("the client is not open: use it in `async with`")
        if self._refusal is not None:
            raise self._refusal
        if len(command) > PAYLOAD_BYTES_MAX:
            raise TooLarge(f"a command of {len(command)} bytes is over the limit of {PAYLOAD_BYTES_MAX}: split it")
        limit_s = self.timeout_s if timeout_s is None else timeout_s
        try:
            async with asyncio.timeout(limit_s):
                if self._is_full(len(command)):
                    await self._wait_for_room(len(command), wait)
                status, slot, answer = await self._submit(command)
        except TimeoutError:
            raise NoQuorum(
                f"no answer in {limit_s:g} s ({self._trouble}); the command may yet take effect, once: "
                "look at `multipaxos status`, then ask again"
            ) from None
        if status == REPLY_REFUSED:
            raise Refused(answer.decode("utf-8", "replace"))
        if status != REPLY_OK:
            raise MultipaxosError(f"the cluster discarded this answer before it arrived (status {status}); {REPORT}")
        return slot, answer

    async def _wait_for_room(self, size_bytes: int, wait: bool) -> None:
        while self._is_full(size_bytes):
            if not wait:
                raise Overloaded(f"{self._session.unanswered} commands are unanswered: wait for some of them")
            self._room.clear()
            await self._room.wait()

    def _is_full(self, size_bytes: int) -> bool:
        if self._closed:
            raise ClientClosed("the client was closed")
        session = self._session
        return session.last - session.acknowledged >= OUTSTANDING_MAX or (
            session.unanswered_bytes > 0 and session.unanswered_bytes + size_bytes > OUTSTANDING_BYTES_MAX
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
            self._leave_follower()
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
            self._drop_link()
            return
        if replies:
            self._patience_s = self.retry_s
        for sequence, status, slot, answer in replies:
            future = self._waiting.pop(sequence, None)
            if future is not None and not future.done():
                future.set_result((status, slot, answer))
        if not self._room.is_set():
            self._room.set()
        if self._session.closed:
            self._lost.set()
        elif self._closed or self._session.sent < self._session.last:
            self._flush()

    # -- the link

    async def _tend(self) -> None:
        """Keeps a link while a command is unanswered, to the leader where it is known."""
        while True:
            if not self._session.unanswered:
                self._work.clear()
                await self._work.wait()
            if self._session.expired:
                self._start_over()
            if self._link is not None and self._lost.is_set():
                await self._note_end(self._link)
            if self._link is None or self._lost.is_set():
                await self._connect()
            elif not self._leave_follower():
                self._look_after(self._link)
            await self._pause()

    def _look_after(self, link: ClientLink) -> None:
        """Leaves a node that is silent; sends again what the cluster could not take."""
        now_s = self._loop.time()
        if now_s - self._heard_s > self._patience_s:
            self._trouble = f"node {link.node_id} is silent"
            self._route.avoid_silent(self._route.address_of[link.node_id], now_s)
            self._drop_link()
            self._patience_s = min(self._patience_s * 1.5, RETRY_MAX_S)
        elif self._session.rewind_wanted:
            self._session.rewind()
            self._flush()

    async def _note_end(self, link: ClientLink) -> None:
        """The node has ended the link. If that is a refusal, the other nodes are tried first, after a pause."""
        self._link = None
        self._trouble = f"node {link.node_id} closed the link"
        now_s = self._loop.time()
        if now_s - self._up_s < REFUSED_S:
            self._route.avoid_refused(self._route.address_of[link.node_id], now_s)
            await self._pause()

    def _leave_follower(self) -> bool:
        """Drops the link if another node than that at its end leads, and can be tried."""
        link, ballot = self._link, self._session.leading_ballot
        if link is None or self._closed or not self._route.is_led_elsewhere(ballot, link.node_id, self._loop.time()):
            return False
        self._drop_link()
        return True

    async def _pause(self) -> None:
        """Waits for POLL_S, or until the link is lost."""
        try:
            async with asyncio.timeout(POLL_S):
                await self._lost.wait()
                if self._link is None:
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            return

    def _start_over(self) -> None:
        """A new session, which takes over what the old one had in flight if none of it was or will be applied."""
        old, self._session = self._session, self._new_session()
        if not old.untouched:
            self._fail_all(
                SessionExpired("the cluster no longer knows this session: the outcome of what was in flight is unknown")
            )
        waiting, self._waiting = self._waiting, {}
        for sequence, command in old.unanswered_commands():
            future = waiting.get(sequence)
            if future is not None and not future.done():
                self._waiting[self._session.submit(command)] = future
        self._drop_link()
        self._room.set()

    def _drop_link(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None
        self._lost.set()

    async def _dial(self, address: tuple[str, int], lost: asyncio.Event) -> ClientLink:
        """A link to the node there; it sets `lost` at its end. Raises OSError or HandshakeRefused."""
        return await dial(address, self._on_data, lost.set, limit_s=self._route.dial_s)

    async def _connect(self) -> None:
        """One attempt."""
        began_s = self._loop.time()
        address = self._route.next(self._session.leading_ballot, began_s)
        self._lost = lost = asyncio.Event()
        self._link = None
        try:
            link = await self._dial(address, lost)
        except (OSError, HandshakeRefused) as error:
            self._trouble = f"{address[0]}:{address[1]}: {error}"
            if isinstance(error, TimeoutError):
                self._route.avoid_slow(address, self._loop.time())
            else:
                self._route.avoid_refused(address, self._loop.time())
            lost.set()
            return
        self._heard_s = self._loop.time()
        if not self._is_of_our_cluster(link, address):
            link.close()
            lost.set()
            return
        self._route.met(link.node_id, address, self._heard_s - began_s)
        self._up_s = self._heard_s
        self._link = link
        self._session.connected()
        self._flush()

    def _is_of_our_cluster(self, link: ClientLink, address: tuple[str, int]) -> bool:
        """Can the session use this link? If not, another node is tried, or the session has expired, or the addresses
        are of two clusters and every call is refused from now on."""
        try:
            self._cluster.meet(address, link.theirs)
        except ConfigurationError as error:
            self._refusal = error
            self._fail_all(error)
            self._session = self._new_session()
            return False
        if self._session.met(link.theirs.cluster_id):
            return True
        self._trouble = f"{address[0]}:{address[1]}: node {link.node_id} does not know its cluster yet"
        self._route.avoid_refused(address, self._loop.time())
        return False

    # -- the key-value store

    async def _store(self, command: bytes, timeout_s: float | None) -> Any:
        slot, answer = await self._call(command, timeout_s)
        try:
            return commands.read_answer(command, answer, slot)
        except ValueError as error:
            raise MultipaxosError(
                f"the command was applied, and its answer is none of the key-value store's ({error}): if the nodes run "
                "a machine of your own, use Client.apply"
            ) from None

    async def get(self, key: bytes, *, timeout_s: float | None = None) -> bytes | None:
        """The value, linearizable; None if the key does not exist."""
        answer = await self._store(commands.get(key), timeout_s)
        return answer.value if isinstance(answer, commands.Value) else None

    async def get_versioned(self, key: bytes, *, timeout_s: float | None = None) -> tuple[bytes, int] | None:
        """(value, version), or None if the key does not exist. The version is the slot that last changed the key."""
        answer = await self._store(commands.get(key), timeout_s)
        return (answer.value, answer.version) if isinstance(answer, commands.Value) else None

    async def put(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets the key, whether or not it exists; returns its version."""
        return _version(await self._store(commands.put(key, value), timeout_s), key)

    async def create(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets a key that does not exist; returns its version. Raises KeyExists."""
        return _version(await self._store(commands.create(key, value), timeout_s), key)

    async def update(self, key: bytes, value: bytes, *, timeout_s: float | None = None) -> int:
        """Sets a key that exists; returns its version. Raises NoSuchKey."""
        return _version(await self._store(commands.update(key, value), timeout_s), key)

    async def remove(self, key: bytes, *, timeout_s: float | None = None) -> None:
        """Removes a key. Raises NoSuchKey."""
        _version(await self._store(commands.remove(key), timeout_s), key)

    async def cas(self, key: bytes, expected: bytes | int, new: bytes, *, timeout_s: float | None = None) -> int:
        """Sets the key if its value (or, given an int, its version) is `expected`; returns the new version. Raises
        NoSuchKey, or CompareFailed with the present value and version."""
        return _version(await self._store(commands.cas(key, expected, new), timeout_s), key)

    async def scan(
        self, prefix: bytes, limit: int = 0, after: bytes = b"", *, timeout_s: float | None = None
    ) -> commands.Pairs:
        """(key, value, version) of the keys with the prefix, after `after`, in key order. If `limit` (0: none) or the
        size of an answer cut the list, `more` is true: go on after the last key."""
        answer = await self._store(commands.scan(prefix, limit, after), timeout_s)
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
        answer = await self._store(commands.transact(list(compares), list(then), list(otherwise)), timeout_s)
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
