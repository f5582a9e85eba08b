"""A node as a process: the core, with sockets, a disk and a clock around it.

Theory. Every wake-up is the same: tell the core the time, hand it the chunk, carry out what comes out. On
memory storage a batch is durable at once, so the core is asked again in the same wake-up; on a disk the
commit runs in a thread, one at a time, and its end is a wake-up of its own. That is the group commit: what
comes meanwhile gathers in the core.

Rules.
- Per wake-up, not per message: one `receive` per chunk, one `write` per link.
- A batch is reported done only after `commit` has returned; a commit that fails, or a core that raises, ends
  the node.
- All timers are the core's (`next_tick_ns`); this module owns one handle for them.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import secrets
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any

from multipaxos.config.cluster import Config
from multipaxos.errors import ConfigurationError, MultipaxosError, StorageError
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import Machine, PythonMachine
from multipaxos.machine.state_machine import StateMachine
from multipaxos.node.node import Node
from multipaxos.node.output import Batch, Output, Read
from multipaxos.storage.interface import Storage
from multipaxos.trace.file import Trace
from multipaxos.trace.traced_node import TracedNode
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import flatten

log = logging.getLogger("multipaxos.server")

LONGEST_SLEEP_NS = 50_000_000


def now_ns() -> int:
    """A clock that counts suspension and never goes back."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Server:
    """One node of a cluster. `machine`: a StateMachine of the user's; without one, the key-value store. `listen`: the
    (host, port) to listen on, where that is not the node's address in the configuration. `trace`: a file for what the
    node does, see `multipaxos.trace.traced_node`.

    Use as ``async with Server(config, 0, storage) as server: await server.serve_forever()``. Raises ConfigurationError
    for a node that the configuration does not have or whose port is taken, and from `serve_forever` StorageError when
    the disk fails.
    """

    def __init__(
        self,
        config: Config,
        node: int,
        storage: Storage,
        machine: StateMachine | None = None,
        listen: tuple[str, int] | None = None,
        trace: Path | None = None,
    ) -> None:
        if not 0 <= node < len(config.nodes):
            known = ", ".join(str(each.id) for each in config.nodes)
            raise ConfigurationError(
                f"the configuration of cluster {config.name!r} has no node {node}: its nodes are {known}"
            )
        self.config = config
        self.id = node
        self.storage = storage
        self.listen = listen
        self.trace = trace
        self._user_machine = machine
        self.node: Node | TracedNode
        self.transport: Transport
        self._failed: asyncio.Future[None]
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ns = 0
        self._committer: ThreadPoolExecutor | None = None
        self._reader: ThreadPoolExecutor | None = None
        self._jobs: set[asyncio.Future[Any]] = set()
        self._started = False
        self._stopped = False

    # -- life

    async def __aenter__(self) -> Server:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Recovers from the storage, listens and dials. If that fails, everything is let go of again."""
        if self._started:
            raise MultipaxosError(f"node {self.id} was started before: make a new Server for a new start")
        self._started = True
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._failed = self._loop.create_future()
        self.transport = Transport(self.config, self.id, self.storage.incarnation, self, self.listen)
        self.node = self._recover()
        if self.trace is not None:
            trace = Trace(self.trace, self.id, self.storage.incarnation)
            self.node = TracedNode(self.node, trace, self.storage, lambda link: self.transport.links[link].identity)
        if not self.storage.immediate:
            # Two, of one thread each: a commit never queues behind reads for nodes that catch up.
            self._committer = ThreadPoolExecutor(1, thread_name_prefix="storage-commit")
            self._reader = ThreadPoolExecutor(1, thread_name_prefix="storage-read")
        gc.freeze()  # what exists now lives as long as the process: no need to walk it at every collection
        self._wake(lambda: None)
        await self.transport.start()

    def _recover(self) -> Node:
        """Makes the core, from what the storage holds."""
        machine: Machine = (
            PythonMachine(self._user_machine) if self._user_machine is not None else KeyValue(seed=secrets.randbits(63))
        )
        began = time.monotonic()
        node = Node(
            node=self.id,
            roles=self.config.role_masks(),
            quorums=self.config.quorums(),
            incarnation=self.storage.incarnation,
            seed=secrets.randbits(63),
            machine=machine,
            meta=self.storage.meta(),
            records=self.storage.records(),
            flatten=flatten,
            window=self.config.window,
            election_timeout_ns=self.config.election_timeout_ms * 1_000_000,
            ping_interval_ns=self.config.ping_interval_ms * 1_000_000,
        )
        log.info(
            "node %d recovered to slot %d in %.3f s",
            self.id,
            node.slot_out - 1,
            time.monotonic() - began,
        )
        return node

    async def stop(self) -> None:
        """Stops serving; what is being committed is waited for. Leaves no task, socket or thread."""
        if self._stopped:
            return
        self._stopped = True
        if self._timer is not None:
            self._timer.cancel()
        try:
            if self._started and hasattr(self, "transport"):
                await self.transport.stop()
            if self._jobs:
                await asyncio.wait(self._jobs)
        finally:
            for executor in (self._committer, self._reader):
                if executor is not None:
                    executor.shutdown()
            self.storage.close()
            node = getattr(self, "node", None)
            if isinstance(node, TracedNode):
                node.close(self._why_ended())

    def _why_ended(self) -> str:
        """For the trace."""
        error = self._failed.exception() if self._failed.done() and not self._failed.cancelled() else None
        return str(error or "stopped")

    async def serve_forever(self) -> None:
        """Until cancelled; raises what ended the node if it ends by itself."""
        await asyncio.shield(self._failed)

    def fail(self, error: BaseException) -> None:
        """The node can no longer keep its promises."""
        if not self._failed.done():
            log.critical("node %d stops: %s", self.id, error)
            self._failed.set_exception(error)
            self._failed.add_done_callback(lambda future: future.exception())

    # -- wake-ups

    def received(self, link: int, data: bytes) -> None:
        """A chunk came."""
        if self._stopped or self._failed.done():
            return
        try:
            self.node.tick(now_ns(), time.time_ns())
            self.node.receive(link, data)
            self._flush()
        except Exception as error:
            self.fail(error)

    def _wake(self, act: Callable[[], None]) -> None:
        """Any other wake-up."""
        if self._stopped or self._failed.done():
            return
        try:
            self.node.tick(now_ns(), time.time_ns())
            act()
            self._flush()
        except Exception as error:
            self.fail(error)

    def link_up(self, link: int, node: int, incarnation: int) -> None:
        """A handshake is done."""
        self._wake(lambda: self.node.link_up(link, node, incarnation))

    def link_down(self, link: int) -> None:
        """A link is gone."""
        self._wake(lambda: self.node.link_down(link))

    def _flush(self) -> None:
        """Carries out what the core wants, until it wants nothing that can be done at once."""
        links = self.transport.links
        while True:
            output = self.node.output()
            for link, data in output.writes:
                connection = links.get(link)
                if connection is not None:
                    connection.sent_bytes += len(data)
                    connection.write(data)
            if output.closes or output.events or output.reads or output.failed:
                self._rare(output)
            batch = output.batch
            if batch is None or self._failed.done():
                break
            if not self.storage.immediate:
                self._commit(batch)
                break
            self.storage.commit(batch.meta, batch.records)
            self.node.done(batch.token, True)
        self._schedule()

    def _rare(self, output: Output) -> None:
        """What most outputs do not have."""
        for event in output.events:
            log.info("node %d: %s", self.id, event.text)
        for link, reason in output.closes:
            connection = self.transport.links.get(link)
            if connection is not None:
                connection.close(reason)
        for read in output.reads:
            self._read(read)
        if output.failed:
            self.fail(StorageError(output.failed))

    def _schedule(self) -> None:
        """Keeps one timer, for the core's next tick."""
        due_ns = self.node.next_tick_ns()
        if self._timer is not None:
            if self._timer_due_ns <= due_ns:
                return
            self._timer.cancel()
        now = now_ns()
        self._timer_due_ns = max(now, min(due_ns, now + LONGEST_SLEEP_NS))
        self._timer = self._loop.call_later((self._timer_due_ns - now) / 1e9, self._on_timer)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake(lambda: None)

    # -- jobs

    def _job(
        self, executor: ThreadPoolExecutor | None, work: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """In a thread; `stop` waits for it."""
        job = self._loop.run_in_executor(executor, work, *arguments)
        self._jobs.add(job)
        job.add_done_callback(self._jobs.discard)
        return job

    def _commit(self, batch: Batch) -> None:
        job = self._job(self._committer, self.storage.commit, batch.meta, batch.records)
        job.add_done_callback(lambda done: self._committed(batch, done))

    def _committed(self, batch: Batch, job: asyncio.Future[None]) -> None:
        if job.cancelled():
            return
        error = job.exception()
        if error is None:
            self._wake(lambda: self.node.done(batch.token, True))
        else:
            self.node.done(batch.token, False)
            self.fail(error if isinstance(error, StorageError) else StorageError(f"a commit failed: {error!r}"))

    def _read(self, read: Read) -> None:
        if self.storage.immediate:
            self._loop.call_soon(self._read_now, read)
            return
        job = self._job(self._reader, self.storage.read, read.first, read.end, read.max_bytes)
        job.add_done_callback(lambda done: self._has_read(read, done))

    def _read_now(self, read: Read) -> None:
        self._wake(lambda: self.node.done(read.token, True, self.storage.read(read.first, read.end, read.max_bytes)))

    def _has_read(self, read: Read, job: asyncio.Future[tuple[int, list[tuple[int, int, int, bytes]]]]) -> None:
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            log.error("node %d could not read slots %d to %d: %s", self.id, read.first, read.end, error)
            self._wake(lambda: self.node.done(read.token, False))
        else:
            self._wake(lambda: self.node.done(read.token, True, job.result()))

    # -- queries

    def facts(self) -> dict[str, Any]:
        """One row of `multipaxos status`."""
        node = self.config.nodes[self.id]
        return {
            "address": node.address,
            "alive": True,
            **self.node.status(),
            "storage": self.storage.kind,
            "pid": os.getpid(),
            "links": len(self.transport.links),
            "traffic": self.transport.traffic(),
            "closes": dict(self.transport.closes),
        }

    def status(self) -> str:
        """For an admin link."""
        return json.dumps(self.facts())


async def serve(server: Server) -> None:
    """Starts and serves until cancelled."""
    async with server:
        await server.serve_forever()


__all__ = ["MultipaxosError", "Server", "serve"]
