"""A node while it runs: the core, with sockets, a disk and a clock around it.

Theory. Every wake-up is the same: give the core the time, hand it what happened, carry out its output. On an immediate
storage (memory) a batch is durable at once, so the core is asked again in the same wake-up. On a disk the commit runs
in a thread, one at a time, and its end is a wake-up of its own. That is the group commit: what arrives during a commit
gathers in the core for the next one. A user's machine applies in a thread of its own, one job at a time too.

Rules.
- Work is done per wake-up, not per message: one `receive` per chunk, one `write` per link.
- A batch is reported as done only after `commit` has returned. A commit that fails, or a core that raises, ends the
  node.
- All times when something is due are the core's (`next_tick_ns`); this file keeps one timer for the earliest of them.
- The core hands up at most one request for status of each link in a wake-up, and the answer to all of them is made
  once. So requests cost no more than the bytes in which they arrive.
"""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from multipaxos.config.cluster import Config
from multipaxos.config.keys import Keys
from multipaxos.errors import StorageError
from multipaxos.machine.user_machine import Answer
from multipaxos.node.node import Node
from multipaxos.node.output import ApplyJob, Batch, Output, Read
from multipaxos.server.machine_thread import MachineThread
from multipaxos.storage.interface import Storage
from multipaxos.storage.records import Record
from multipaxos.trace.file import Trace
from multipaxos.trace.traced_node import TracedNode
from multipaxos.transport.identity import Identity
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import Hello, encode_status_reply

log = logging.getLogger("multipaxos.server")

LONGEST_SLEEP_NS = 50_000_000

Core = Node | TracedNode


def now_ns() -> int:
    """A clock that counts suspension and never goes back."""
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class Running:
    """All that exists only while a node runs. `first`: what the storage has to keep before the first wake-up.
    `machine`: the thread of a user's machine. `listen` and `trace` are those of `Server`; `keys` are the cluster's.

    `ended` gets the error that ended the node: StorageError if the disk failed, MachineStopped if the machine could not
    apply a command, else what the core raised.
    """

    def __init__(
        self,
        config: Config,
        identity: Identity,
        storage: Storage,
        core: Node,
        first: Mapping[bytes, bytes],
        machine: MachineThread | None,
        listen: tuple[str, int] | None,
        trace: Path | None,
        keys: Keys,
    ) -> None:
        self.config = config
        self.node_id = identity.node_id
        self.storage = storage
        self.machine = machine
        self._first = first
        self.transport = Transport(config, identity, self, listen, keys)
        self.core: Core = core if trace is None else self._traced(core, trace)
        self.ended: asyncio.Future[None] = self.transport.loop.create_future()
        self._loop = self.transport.loop
        self._live = True  # not ended, not stopped
        self._timer: asyncio.TimerHandle | None = None
        self._timer_due_ns = 0
        # Two, of one thread each: a commit never queues behind reads for nodes that catch up.
        self._committer = ThreadPoolExecutor(1, thread_name_prefix="storage-commit")
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="storage-read")
        self._jobs: set[asyncio.Future[Any]] = set()

    def _traced(self, core: Node, path: Path) -> TracedNode:
        """The core with a trace: everything that it does is written to a file."""
        links = self.transport.links
        trace = Trace(path, self.node_id, self.storage.incarnation)
        return TracedNode(core, trace, self.storage, lambda link: links[link].handshake.link_name)

    # -- life

    async def start(self) -> None:
        """Listens and dials. Nothing is written before it is certain that the node can listen: a start that fails must
        not found a cluster."""
        gc.freeze()  # what exists now lives as long as the process: it need not be walked at every collection
        await self.transport.start(self._begin)

    def _begin(self) -> None:
        """The first wake-up."""
        if self._first:
            self.storage.commit(self._first, b"")
        self._wake(lambda: None)

    async def stop(self) -> None:
        """Closes all links and waits for the commit that runs, and for the command that the machine applies."""
        self._live = False
        if self.machine is not None:
            self.machine.stop()
        if self._timer is not None:
            self._timer.cancel()
        try:
            await self.transport.stop()
            if self._jobs:
                await asyncio.wait(self._jobs)
        finally:
            self._committer.shutdown()
            self._reader.shutdown()
            if isinstance(self.core, TracedNode):
                self.core.close(self._why_ended())

    def _why_ended(self) -> str:
        """The reason of the end, for the trace."""
        error = self.ended.exception() if self.ended.done() and not self.ended.cancelled() else None
        return str(error or "stopped")

    def fail(self, error: BaseException) -> None:
        """Ends the node, because it can no longer keep its promises."""
        self._live = False
        if not self.ended.done():
            log.critical("node %d stops: %s", self.node_id, error)
            self.ended.set_exception(error)
            self.ended.exception()  # marks it as retrieved: `serve_forever` raises it, if it is called

    # -- wake-ups

    def received(self, link: int, data: bytes) -> None:
        """A chunk arrived."""
        if not self._live:
            return
        try:
            self.core.tick(now_ns(), time.time_ns())
            self.core.receive(link, data)
            self._carry_out()
        except Exception as error:
            self.fail(error)

    def link_up(self, link: int, other: Hello) -> None:
        """A handshake is done."""
        self._wake(
            lambda: self.core.link_up(
                link,
                other.node,
                other.incarnation,
                process=other.process,
                admin=other.kind == "admin",
                cluster_id=other.cluster_id,
                refused_slots=other.refused_slots,
                semantics_max=other.semantics_max,
                machine_version=other.machine_version,
            )
        )

    def link_down(self, link: int) -> None:
        """A link is gone."""
        self._wake(lambda: self.core.link_down(link))

    def link_backlog(self, link: int, backlog: int) -> None:
        """Something of what waited for a peer has reached the kernel, or more waits than should."""
        self._wake(lambda: self.core.link_backlog(link, backlog))

    def unread(self, link: int, held_bytes: int) -> None:
        """A client does not read, or reads again. The core only takes note: this is no wake-up, and may lie in one."""
        if self._live:
            self.core.link_backlog(link, held_bytes)

    def _on_timer(self) -> None:
        self._timer = None
        self._wake(lambda: None)

    def _wake(self, act: Callable[[], None]) -> None:
        """Any wake-up that is not a chunk: the time, `act`, the output."""
        if not self._live:
            return
        try:
            self.core.tick(now_ns(), time.time_ns())
            act()
            self._carry_out()
        except Exception as error:
            self.fail(error)

    def _carry_out(self) -> None:
        """Carries out the core's output, until there is nothing left that can be done at once."""
        links = self.transport.links
        while True:
            output = self.core.output()
            for link, data in output.writes:
                connection = links.get(link)
                if connection is not None:
                    connection.traffic.sent_bytes += len(data)
                    connection.write(data)
            for link, pieces in output.bulk:
                connection = links.get(link)
                if connection is not None:
                    connection.traffic.sent_bytes += connection.write_bulk(pieces)
            if not output.is_plain:
                self._carry_out_rare(output)
            batch = output.batch
            if batch is None or not self._live:
                break
            if not self.storage.immediate:
                self._commit(batch)
                break
            self.storage.commit(batch.meta, batch.records)
            self.core.done(batch.token, True)
        self._schedule()

    def _carry_out_rare(self, output: Output) -> None:
        """Carries out the effects that most outputs do not have."""
        for event in output.events:
            log.info("node %d: %s", self.node_id, event.text, extra={"event": event})
        for link, reason in output.closes:
            connection = self.transport.links.get(link)
            if connection is not None:
                connection.close(reason)
        for read in output.reads:
            self._read(read)
        if output.job is not None:
            self._apply(output.job)
        if output.status_requests:
            self._answer_status(output.status_requests)
        if output.failed:
            self.fail(StorageError(output.failed))

    def _answer_status(self, requests: list[tuple[int, int]]) -> None:
        """Answers requests for status: (link, nonce)."""
        text = json.dumps(self.facts())
        for link, nonce in requests:
            connection = self.transport.links.get(link)
            if connection is not None:
                reply = encode_status_reply(nonce, text)
                connection.traffic.sent_bytes += len(reply)
                connection.write(reply)

    def _schedule(self) -> None:
        """Keeps one timer, for the core's next tick."""
        due_ns = self.core.next_tick_ns()
        if self._timer is not None:
            if self._timer_due_ns <= due_ns:
                return
            self._timer.cancel()
        now = now_ns()
        self._timer_due_ns = max(now, min(due_ns, now + LONGEST_SLEEP_NS))
        self._timer = self._loop.call_later((self._timer_due_ns - now) / 1e9, self._on_timer)

    # -- jobs: commits and reads of a disk, commands of a user's machine

    def _job(self, executor: ThreadPoolExecutor, work: Callable[..., Any], *arguments: Any) -> asyncio.Future[Any]:
        """Runs `work` in a thread; `stop` waits for it."""
        return self._awaited(self._loop.run_in_executor(executor, work, *arguments))

    def _awaited(self, job: asyncio.Future[Any]) -> asyncio.Future[Any]:
        """A job that `stop` waits for."""
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
            self._wake(lambda: self.core.done(batch.token, True))
        else:
            self.core.done(batch.token, False)
            self.fail(error if isinstance(error, StorageError) else StorageError(f"a commit failed: {error!r}"))

    def _read(self, read: Read) -> None:
        if self.storage.immediate:
            self._loop.call_soon(self._read_now, read)
            return
        job = self._job(self._reader, self.storage.read, read.first, read.end, read.max_bytes)
        job.add_done_callback(lambda done: self._has_read(read, done))

    def _read_now(self, read: Read) -> None:
        self._wake(lambda: self.core.done(read.token, True, self.storage.read(read.first, read.end, read.max_bytes)))

    def _has_read(self, read: Read, job: asyncio.Future[tuple[int, list[Record]]]) -> None:
        if job.cancelled():
            return
        error = job.exception()
        if error is not None:
            log.error("node %d could not read slots %d to %d: %s", self.node_id, read.first, read.end, error)
            self._wake(lambda: self.core.done(read.token, False))
        else:
            self._wake(lambda: self.core.done(read.token, True, job.result()))

    def _apply(self, job: ApplyJob) -> None:
        assert self.machine is not None, "the core has a job for a machine that is not here"
        future = asyncio.wrap_future(self.machine.submit(job.commands, job.answer_bytes_max), loop=self._loop)
        self._awaited(future).add_done_callback(lambda done: self._applied(job, done))

    def _applied(self, job: ApplyJob, done: asyncio.Future[list[Answer]]) -> None:
        if done.cancelled():
            return
        error = done.exception()
        if error is None:
            self._wake(lambda: self.core.done(job.token, True, done.result()))
        else:
            self.core.done(job.token, False)
            self.fail(error)

    # -- queries

    def facts(self) -> dict[str, Any]:
        """One row of `multipaxos status`."""
        return {
            "address": self.config.nodes[self.node_id].address,
            "alive": True,
            **self.core.status(),
            "storage": self.storage.kind,
            "pid": os.getpid(),
            "links": len(self.transport.links),
            "traffic": {kind: asdict(traffic) for kind, traffic in self.transport.traffic.items()},
            "held": self.transport.held(),
            "closes": dict(self.transport.closes),
        }

    def cluster_id(self) -> int:
        """The id of the cluster, 0 while the node has none."""
        return self.core.cluster_id

    def refused_slots(self) -> tuple[int, ...]:
        """The slots that an operator has told the cluster to refuse."""
        return self.core.refused_slots
