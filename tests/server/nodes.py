"""Whole nodes in the test's own loop, for the tests of the server."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import AsyncIterator, Iterator, Mapping

from multipaxos.config.cluster import Config
from multipaxos.server.server import Server
from multipaxos.storage.interface import Storage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.storage.records import Record
from multipaxos.wire.codec import ReplyStatus
from tests.support.link_by_hand import PATIENCE_S, local_config, until

OK, REFUSED = ReplyStatus.OK, ReplyStatus.REFUSED


@contextlib.asynccontextmanager
async def cluster(config: Config, storages: list[Storage] | None = None) -> AsyncIterator[list[Server]]:
    """All nodes of a cluster, one of them leading."""
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for node in config.nodes:
            storage = storages[node.id] if storages else MemoryStorage()
            servers.append(await stack.enter_async_context(Server(config, node.id, storage)))
        await until(lambda: any(server.facts()["leading"] for server in servers), "a leader")
        yield servers


def one_node() -> Config:
    """A cluster of one: alone it is a majority."""
    return local_config(1, election_timeout_ms=50, ping_interval_ms=10)


def three_nodes() -> Config:
    """A cluster whose elections are quick."""
    return local_config(3, election_timeout_ms=100, ping_interval_ms=20)


class FailingStorage:
    """A disk that fails, or waits, when the test says so. `asked_after`: commits that it was asked for after a failure;
    `committing`: commits that were begun; `finished`: commits that are done; `reading`: reads that were begun."""

    kind = "lmdb"
    immediate = False

    def __init__(self) -> None:
        self._memory = MemoryStorage()
        self.incarnation = self._memory.incarnation
        self.error: Exception | None = None
        self.asked_after = 0
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()
        self.committing = 0
        self.finished = 0
        self.read_gate = threading.Event()
        self.read_gate.set()
        self.reading = 0

    def meta(self) -> dict[bytes, bytes]:
        return self._memory.meta()

    def records(self) -> Iterator[Record]:
        return self._memory.records()

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        assert not self.closed
        self.committing += 1
        assert self.gate.wait(PATIENCE_S), "the test never opened the gate"
        if self.error is not None:
            self.asked_after += 1
            raise self.error
        self._memory.commit(meta, records)
        self.finished += 1

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        self.reading += 1
        assert self.read_gate.wait(PATIENCE_S), "the test never opened the gate of reads"
        return self._memory.read(first, end, max_bytes)

    def close(self) -> None:
        self.closed = True
