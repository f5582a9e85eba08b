"""Code that is replaced node by node, and a machine that is not deterministic, with real processes."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from multipaxos.client.client import Client
from multipaxos.local_cluster import LocalCluster
from tests.support.processes import ANSWER_S, multipaxos, play

pytestmark = pytest.mark.timeout(180)
MACHINE = "tests.support.rolling:Rolling"


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Processes that are started meanwhile get these variables."""
    os.environ.update(values)
    try:
        yield
    finally:
        for name in values:
            del os.environ[name]


async def restart(cluster: LocalCluster, node: int, **values: str) -> None:
    """A node comes back with other code, and is linked with all others."""
    cluster.kill(node)
    with environment(**values):
        cluster.start_node(node)
    await cluster.wait_until_up([node])

    async def is_linked() -> bool:
        rows = await cluster.status()
        return all(row is not None and len(row["peers"]) == len(rows) - 1 for row in rows)

    await until(is_linked)


async def until(holds: Callable[[], Awaitable[bool]]) -> None:
    """Waits until it holds."""
    end = asyncio.get_running_loop().time() + ANSWER_S
    while not await holds():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(0.05)


async def command(cluster: LocalCluster, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command of an admin."""
    where = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
    options = ["--cluster", where, "--key-file", str(cluster.key_file)]
    return await asyncio.to_thread(multipaxos, arguments[0], *options, *arguments[1:])


def test_code_is_rolled_node_by_node(tmp_path: Path) -> None:
    """All replicas change what they do at one slot; no node with older code serves after that."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        assert await client.apply(b"x") == b"x 1"
        early = await command(cluster, "machine-version", "2")
        assert early.returncode == 1
        assert "knows machine version 1 at most: start it with newer code first" in early.stderr
        for node in range(3):
            await restart(cluster, node, ROLLING_VERSION="2")
            assert await client.apply(b"x") == b"x 1"
        done = await command(cluster, "machine-version", "2")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith("machine version 2 is in force on every node, from slot ")
        assert await client.apply(b"x") == b"x 2"
        again = await command(cluster, "machine-version", "2")
        assert again.returncode == 0
        lower = await command(cluster, "machine-version", "1")
        assert lower.returncode == 1
        assert "machine version 2 is in force, and it never goes down" in lower.stderr
        cluster.kill(1)
        cluster.start_node(1)  # with the old code
        assert await asyncio.to_thread(cluster.processes[1].wait, ANSWER_S) != 0
        words = cluster.last_words(1)
        assert "raises the machine's version to 2, this node's machine is version 1: start the node with" in words
        del cluster.processes[1]
        down = await command(cluster, "machine-version", "2")
        assert down.returncode == 1
        assert "node 1 is not linked" in down.stderr
        assert await client.apply(b"x") == b"x 2"

    play(tmp_path, story, machine=MACHINE)


def test_semantics_that_nobody_knows(tmp_path: Path) -> None:
    async def story(cluster: LocalCluster, client: Client) -> None:
        refused = await command(cluster, "semantics", "2")
        assert refused.returncode == 1
        assert "knows semantics 1 at most" in refused.stderr
        assert (await command(cluster, "semantics", "1")).returncode == 0
        without = cluster.addresses[0]
        plain = await asyncio.to_thread(multipaxos, "semantics", "--cluster", f"{without[0]}:{without[1]}", "1")
        assert plain.returncode == 2
        assert "key" in plain.stderr

    play(tmp_path, story)


@pytest.mark.parametrize("odd", [0, 2])
def test_a_machine_that_is_not_deterministic(tmp_path: Path, odd: int) -> None:
    """One of three answers otherwise: it says so, stops serving and leading, and votes on."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await restart(cluster, odd, ROLLING_ODD="1")
        await client.apply(b"x")

        async def is_told() -> bool:
            await client.apply(b"x")
            row = (await cluster.status())[odd]
            return row is not None and row["differs"] == "minority"

        await until(is_told)
        for _ in range(20):
            assert await client.apply(b"x") == b"x 1"
        rows: list[Any] = await cluster.status()
        assert [row["differs"] for row in rows] == ["minority" if i == odd else None for i in range(3)]
        assert [row["voting"] for row in rows] == [True] * 3
        assert not rows[odd]["leading"]
        assert "this replica's state differs from that of a majority" in cluster.log_path(odd).read_text()
        where = ",".join(f"{host}:{port}" for host, port in cluster.addresses)
        shown = await asyncio.to_thread(multipaxos, "status", "--cluster", where)
        assert f"node {odd}: its state differs from that of a majority" in shown.stdout
        cluster.kill((odd + 1) % 3)  # the two that are left are a quorum, with the vote of the odd one
        assert await client.apply(b"x") == b"x 1"

    play(tmp_path, story, machine=MACHINE)
