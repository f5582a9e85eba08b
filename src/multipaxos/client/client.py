"""The asyncio client: pipelined, one session, exactly once.

Theory. Commands go into a compiled `Session`, which keeps each one until its answer arrives. This file is the shell of
that session: it keeps a link to a node, to the leader where it is known (`route`), and turns answers into futures. All
commands submitted in one turn of the event loop are sent in one write.

Rules.
- A command keeps its sequence number over every change of link or leader, and takes effect at most once.
- A time-out or a cancellation ends the wait only: the command stays in the session, and its answer is dropped.
- If a command is unanswered and the node is silent for too long (`patience`), the client leaves the node and avoids it
  for a while.
- The commands in flight are bounded by number and bytes, and narrower while the cluster has no room (`window`). Beyond
  that a call waits for room (`waiting`), or raises
  Overloaded with ``wait=False``; each answer lets as many calls in as fit. The client's own time-out counts from the
  moment when a call gets room, a caller's from the call. While the cluster answers nothing at all, no call waits for
  room for longer than the client's time-out.
- A link gets one request's bytes at a time, the next when the kernel has taken them: what waits here can still go to
  another node. On a new link the second request waits for the first answer (`Session`).
- A node that ends a link soon after its start has refused it.
- Time-outs and patience count the time in which the event loop ran (`_awake_s`): while it was busy with something else,
  or the process was stopped, answers could arrive and not be read. A caller's own time-out counts all time.
- If the session has expired, the commands in flight fail with SessionExpired; later calls use a new session. If none of
  them was applied or ever will be, they go on in the new session instead: so a client that was idle for long sees no
  error.
- A client that was idle leaves a follower before it sends: a command that two nodes got may have been applied.
- All nodes are of one cluster (`one_cluster`). Where the cluster is another one now, the session has expired.
- A client that ends closes its session, so that the cluster keeps nothing of it. It waits for the answer up to CLOSE_S.
"""

from __future__ import annotations

import asyncio
import math
import secrets
from collections import deque
from collections.abc import Sequence
from types import TracebackType
from typing import Any

from multipaxos.client.call import Call, Calls
from multipaxos.client.deadlines import Deadlines
from multipaxos.client.link import ClientLink, dial
from multipaxos.client.one_cluster import OneCluster
from multipaxos.client.patience import Patience
from multipaxos.client.route import REFUSED_S, Route
from multipaxos.client.session import Session
from multipaxos.client.store import Store, checked
from multipaxos.client.waiting import Queue
from multipaxos.client.window import Window
from multipaxos.config.addresses import parse_cluster
from multipaxos.errors import (
    ClientClosed,
    ConfigurationError,
    HandshakeRefused,
    MultipaxosError,
    NoQuorum,
    NotSent,
    Overloaded,
    SessionExpired,
    TooLarge,
)
from multipaxos.wire.codec import PAYLOAD_BYTES_MAX, CodecError

POLL_S = 0.02
LATE_S = 0.1
HINT = "look at `multipaxos status`, then ask again"
CLOSE_S = 1.0  # a client that ends waits so long for its session to be closed
OUTSTANDING_MAX = 8192
OUTSTANDING_BYTES_MAX = 8 << 20  # two copies of them take 7 s on a link of 20 Mbit/s: less than the default time-out


class Client(Store):
    """A client of a cluster, ``async with Client("host:port,host:port,...") as kv:``.

    `timeout_s`: how long a call waits for its answer before it raises NoQuorum, from the moment when there is room for
    it. `retry_s`: how long a node may be silent before the client tries another. All calls belong to one session, so
    they take effect in the order in which they were made; but a read whose answer is lost is executed again, and may
    see later calls that were in flight.
    """

    def __init__(
        self, cluster: str | Sequence[tuple[str, int]], *, timeout_s: float = 10.0, retry_s: float = 0.4
    ) -> None:
        self.addresses = parse_cluster(cluster) if isinstance(cluster, str) else list(cluster)
        self.timeout_s = timeout_s
        self.retry_s = retry_s
        self._session = self._new_session()
        self._calls = Calls(self._begin)
        self._waiting: dict[int, Call[Any]] = {}  # by sequence: the calls in flight
        self._due: deque[Call[Any]] = deque()  # those in flight whose callers did not say how long they wait
        self._deadlines = Deadlines()  # those whose callers did
        self._alarm: asyncio.Handle | None = None  # at the earliest of these, `_alarm_s`
        self._alarm_s = math.inf
        self._queue = Queue()  # the calls that wait for room
        self._window = Window(OUTSTANDING_MAX, OUTSTANDING_BYTES_MAX)
        self._cluster = OneCluster()
        self._refusal: ConfigurationError | None = None
        self._route = Route(self.addresses, retry_s, secrets.randbelow(len(self.addresses)))
        self._link: ClientLink | None = None
        self._lost = asyncio.Event()
        self._work = asyncio.Event()
        self._flushing = False
        self._up_s = 0.0  # when the present link came up
        self._patience = Patience(retry_s)
        self._answers = 0  # so far
        self._awake_s = 0.0  # for so long the loop ran while there was something to do; see _tick
        self._answered_s = 0.0  # when the last answer came, by _awake_s
        self._ticked_s = 0.0
        self._ticking: asyncio.TimerHandle | None = None
        self._tending: asyncio.Task[None] | None = None
        self._closed = False
        self._trouble = "no node was reached"
        self._loop: asyncio.AbstractEventLoop

    # -- life

    async def __aenter__(self) -> Client:
        self._loop = asyncio.get_running_loop()
        self._calls.open(self._loop)
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
        for timer in (self._ticking, self._alarm):
            if timer is not None:
                timer.cancel()
        if self._link is not None:
            self._link.close()
            self._link = None
        self._queue.fail(ClientClosed("the client was closed, and the command was not sent: it has no effect"))
        self._fail_in_flight(ClientClosed("the client was closed before the answer arrived: the outcome is unknown"))

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
        return Session(secrets.randbits(64) or 1, in_steps=True)

    def _fail_all(self, error: MultipaxosError) -> None:
        self._fail_in_flight(error)
        self._queue.fail(error)

    def _fail_in_flight(self, error: MultipaxosError) -> None:
        waiting, self._waiting = self._waiting, {}
        for call in waiting.values():
            call.fail(error)

    # -- commands

    def apply(self, command: bytes, *, timeout_s: float | None = None, wait: bool = True) -> Call[bytes]:
        """Applies a command to the replicated machine and returns the machine's answer. Raises Refused if the machine
        raised, NoQuorum (NotSent if it had no room), SessionExpired, TooLarge, ClientClosed, and with ``wait=False``
        Overloaded at once if there is no room."""
        return self._calls.make(_read_answer, timeout_s, wait, _payload, command)

    def _begin(self, call: Call[Any]) -> None:
        """Submits the command, or lets it wait for room."""
        if self._closed or self._tending is None:
            call.fail(ClientClosed("the client is not open: use it in `async with`"))
        elif self._refusal is not None:
            call.fail(self._refusal)
        elif not self._queue and self._fits(call.command):
            self._submit(call)
        elif call.may_wait:
            call.since_s = self._awake_s if call.timeout_s is None else math.inf
            self._queue.add(call)
        else:
            call.fail(Overloaded(f"{self._session.unanswered} commands are unanswered: wait for some of them"))
        if call.timeout_s is not None and not call.done():
            call.due_s = self._loop.time() + call.timeout_s
            self._deadlines.add(call)
            self._set_alarm()

    def _set_alarm(self) -> None:
        """For the earliest of the callers' time-outs."""
        due_s = self._deadlines.next_s
        if due_s < self._alarm_s:
            if self._alarm is not None:
                self._alarm.cancel()
            self._alarm, self._alarm_s = self._loop.call_at(due_s, self._on_alarm), due_s

    def _on_alarm(self) -> None:
        self._alarm, self._alarm_s = None, math.inf
        for call in self._deadlines.due(self._loop.time()):
            self._time_out(call, call.timeout_s or 0.0)
        self._set_alarm()

    def _time_out(self, call: Call[Any], limit_s: float) -> None:
        said = f"no answer in {limit_s:g} s ({self._trouble})"
        if call.has_room:
            call.fail(NoQuorum(f"{said}; the command may yet take effect, once: {HINT}"))
        else:
            call.fail(NotSent(f"{said}; the command had no room and was not sent: {HINT}"))

    def _fits(self, command: bytes) -> bool:
        session = self._session
        return self._window.has_room(session.last - session.acknowledged, session.unanswered_bytes, len(command))

    def _submit(self, call: Call[Any]) -> None:
        """There is room for the command: the client's own time-out counts from now."""
        self._waiting[self._session.submit(call.command)] = call
        call.has_room = True
        if call.timeout_s is None:
            call.due_s = self._awake_s + self.timeout_s
            self._due.append(call)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon(self._flush)

    def _let_in(self) -> None:
        """As many of the calls that wait as there is room for."""
        queue = self._queue
        while (call := queue.next()) is not None and self._fits(call.command):
            self._submit(queue.pop())

    def _tick(self) -> None:
        """Counts time while there is something to do, and ends the calls that have waited for too long."""
        now_s = self._loop.time()
        self._awake_s += min(now_s - self._ticked_s, LATE_S)
        self._ticked_s = now_s
        while self._due and (self._due[0].due_s <= self._awake_s or self._due[0].done()):
            self._time_out(self._due.popleft(), self.timeout_s)
        began_s = self._awake_s - self.timeout_s
        if self._queue and self._answered_s <= began_s:
            error = NotSent(
                f"nothing was answered in {self.timeout_s:g} s ({self._trouble}), so the command had no room "
                f"and was not sent: {HINT}"
            )
            self._queue.end_before(began_s, error)
        busy = self._session.unanswered or self._due or self._queue
        self._ticking = self._loop.call_later(POLL_S, self._tick) if busy else None

    def _flush(self) -> None:
        """One write for all that was submitted in this turn of the loop, up to a request; then the next turn."""
        self._flushing = False
        if self._session.unanswered and self._ticking is None:  # it may have ended while `_work` is still set
            self._ticked_s = self._loop.time()
            self._ticking = self._loop.call_later(POLL_S, self._tick)
        if self._session.unanswered and not self._work.is_set():
            self._patience.begin(self._awake_s, self._session.last)
            self._work.set()
            self._leave_follower()
        if self._link is not None and not self._lost.is_set() and not self._link.paused:
            self._session.set_window(self._window.commands, self._window.bytes)
            out = self._session.output()
            if out:
                self._link.write(out)
                if self._session.sent < self._session.last:
                    self._flushing = True
                    self._loop.call_soon(self._flush)

    def _on_data(self, data: bytes) -> None:
        session = self._session
        was_overloaded, unanswered_bytes = session.overloaded, session.unanswered_bytes
        try:
            replies = session.receive(data)
        except CodecError as error:
            self._trouble = str(error)
            self._drop_link()
            return
        if replies:
            self._answers += len(replies)
            self._answered_s = self._awake_s
            self._window.answered(len(replies), unanswered_bytes - session.unanswered_bytes)
        if session.overloaded and not was_overloaded:
            self._window.refused()
        for sequence, status, slot, answer in replies:
            call = self._waiting.pop(sequence, None)
            if call is not None:
                call.answer(status, slot, answer)
        while self._due and self._due[0].done():
            self._due.popleft()
        self._let_in()
        if self._session.closed:
            self._lost.set()
        elif self._closed or (self._session.sent < self._session.last and not self._flushing):
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
        now_s, session, patience = self._awake_s, self._session, self._patience
        unsent_bytes = link.unsent_bytes()
        patience.look(
            now_s, answers=self._answers, received_bytes=link.received_bytes, written_bytes=link.written_bytes,
            unsent_bytes=unsent_bytes, sent=session.sent, last=session.last,
        )  # fmt: skip
        if patience.is_over(now_s, session.unanswered_bytes):
            self._trouble = f"node {link.node_id} is silent"
            self._route.avoid_silent(self._route.address_of[link.node_id], self._loop.time())
            self._drop_link()
            patience.lose()
        elif session.rewind_wanted and patience.may_rewind(now_s, unsent_bytes):
            session.rewind()
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
            self._fail_in_flight(
                SessionExpired("the cluster no longer knows this session: the outcome of what was in flight is unknown")
            )
        waiting, self._waiting = self._waiting, {}
        for sequence, command in old.unanswered_commands():
            call = waiting.get(sequence)
            if call is not None and not call.done():
                self._waiting[self._session.submit(command)] = call
        self._let_in()
        self._drop_link()

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
        up_s = self._loop.time()
        if not self._is_of_our_cluster(link, address):
            link.close()
            lost.set()
            return
        self._route.met(link.node_id, address, up_s - began_s)
        self._up_s = up_s
        self._link = link
        link.on_room = self._flush
        self._session.connected()
        self._patience.begin(self._awake_s, self._session.last)
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


def _payload(command: bytes) -> bytes:
    if len(command) > PAYLOAD_BYTES_MAX:
        raise TooLarge(f"a command of {len(command)} bytes is over the limit of {PAYLOAD_BYTES_MAX}: split it")
    return bytes(command)


def _read_answer(command: bytes, status: int, slot: int, answer: bytes) -> bytes:
    return checked(status, answer)
