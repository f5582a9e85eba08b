"""Clusters of servers in the test's own process, for the tests of clients."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

from multipaxos.server.server import Server
from multipaxos.storage.memory import MemoryStorage
from tests.support.link_by_hand import local_config


@contextlib.asynccontextmanager
async def cluster(nodes: int = 1) -> AsyncIterator[list[tuple[str, int]]]:
    """Servers on memory; their addresses."""
    config = local_config(nodes)
    async with contextlib.AsyncExitStack() as stack:
        for node in config.nodes:
            await stack.enter_async_context(Server(config, node.id, MemoryStorage()))
        yield [(node.host, node.port) for node in config.nodes]


def nowhere() -> tuple[str, int]:
    """An address where nobody listens."""
    (node,) = local_config(1).nodes
    return node.host, node.port
