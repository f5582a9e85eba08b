"""Clusters of real processes and the command line, for tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import uvloop

from multipaxos.client.client import Client
from multipaxos.config.cluster import Config
from multipaxos.config.members import Member
from multipaxos.demo import Writers
from multipaxos.local_cluster import LocalCluster
from tests.support.link_by_hand import local_config

ANSWER_S = 60  # how long anything may take on a loaded machine before a test fails

Story = Callable[[LocalCluster, Client], Awaitable[None]]


def play(
    directory: Path,
    story: Story,
    *,
    nodes: int = 3,
    storage: str = "lmdb",
    machine: str = "",
    roles: Sequence[tuple[str, ...]] = (),
    **config: Any,
) -> None:
    """Starts a cluster and a client, and plays the story with them. `roles`: of each node; `config`: other fields of
    the configuration."""

    async def run() -> None:
        base = local_config(len(roles) or nodes)
        members = tuple(Member(each.id, each.address, *roles[each.id : each.id + 1]) for each in base.nodes)
        async with (
            LocalCluster(Config("processes", members, **config), directory, storage, machine) as cluster,
            Client(cluster.addresses, timeout_s=ANSWER_S) as client,
        ):
            await cluster.leader(ANSWER_S)
            await story(cluster, client)

    uvloop.run(run())


@asynccontextmanager
async def writing(cluster: LocalCluster, client: Client, writes: int = 50) -> AsyncIterator[Writers]:
    """Writers in three sessions that have written something."""
    async with (
        Client(cluster.addresses, timeout_s=ANSWER_S) as second,
        Client(cluster.addresses, timeout_s=ANSWER_S) as third,
    ):
        writers = Writers([client, second, third])
        writers.start()
        try:
            await writers.reach(writes)
            yield writers
        finally:
            writers.cancel()


async def verify(cluster: LocalCluster, writers: Writers) -> list[dict[str, Any]]:
    """All acknowledged writes are there, none was done twice, and all replicas are equal; their rows of status."""
    await writers.stop()
    await writers.verify(writers.clients[0])
    return await equal(cluster)


async def equal(cluster: LocalCluster) -> list[dict[str, Any]]:
    """All replicas have applied the same slots and have the same state; their rows of status."""
    rows = await cluster.wait_until_level()
    assert len({row["state_hash"] for row in rows}) == 1
    return rows


def multipaxos(*arguments: str | Path, timeout_s: float = 120) -> subprocess.CompletedProcess[str]:
    """Runs the command line to its end."""
    command = [sys.executable, "-m", "multipaxos", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
