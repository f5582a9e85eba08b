"""Clusters of real processes: sockets, disks, SIGKILL and SIGSTOP. No acknowledged write is lost, none is applied
twice.

Times are bounded generously: how fast a failover is, is measured by `tools/measure.py`, not asserted here.
"""

from __future__ import annotations

import asyncio
import shutil
import signal
import time
from pathlib import Path

import pytest

from multipaxos.client.client import Client
from multipaxos.demo import PromiseBroken, Writers
from multipaxos.local_cluster import LocalCluster
from tests.support.processes import ANSWER_S, equal, play, verify, writing

pytestmark = pytest.mark.timeout(180)


def test_the_leader_is_killed(tmp_path: Path) -> None:
    """SIGKILL under load, three times: each time the others go on, and the node that comes back catches up."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client) as writers:
            for _ in range(3):
                leader = await cluster.leader()
                cluster.kill(leader)
                await writers.next_write_s(time.monotonic())
                cluster.start_node(leader)
                await cluster.wait_until_up([leader])
            rows = await verify(cluster, writers)
        assert all(row["voting"] for row in rows)

    play(tmp_path, story)


def test_the_leader_is_stopped(tmp_path: Path) -> None:
    """SIGSTOP under load, twice: the others go on; when the node continues, it follows and catches up."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client) as writers:
            for _ in range(2):
                leader = await cluster.leader()
                cluster.signal(leader, signal.SIGSTOP)
                await writers.next_write_s(time.monotonic())
                assert await cluster.leader() != leader
                cluster.signal(leader, signal.SIGCONT)
                await cluster.wait_until_up([leader])
                await writers.next_write_s(time.monotonic())
            rows = await verify(cluster, writers)
            while [row["leading"] for row in rows].count(True) != 1:
                rows = await equal(cluster)

    play(tmp_path, story)


def test_a_second_effect_and_a_loss_are_noticed(tmp_path: Path) -> None:
    """The tests above can fail: they see a write that is done again, and one that is lost."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client) as writers:
            await writers.stop()
        key, value = next(iter(writers.acknowledged.items()))
        await client.remove(key)
        with pytest.raises(PromiseBroken, match="lost"):
            await writers.verify(client)
        await Writers.write_once(client, key, value)
        await writers.verify(client)
        await Writers.write_once(client, key, value)
        with pytest.raises(PromiseBroken, match="twice"):
            await writers.verify(client)

    play(tmp_path, story, storage="memory")


@pytest.mark.parametrize("storage", ["lmdb", "test-dropping"])
def test_all_are_killed_at_once(tmp_path: Path, storage: str) -> None:
    """Every process dies under load; their disks hold every acknowledged write, also if a disk keeps only what was
    synced. A session sends again what was in flight, and that takes effect once."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client, 300) as writers:
            await restart_all(cluster)
            async with Client(cluster.addresses) as reader:
                await writers.verify(reader)
            await writers.next_write_s(time.monotonic())
            await verify(cluster, writers)

    play(tmp_path, story, storage=storage)


def test_a_missing_sync_is_noticed(tmp_path: Path) -> None:
    """The test above can fail: on that disk without the sync, acknowledged writes are lost."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client, 300) as writers:
            writers.cancel()  # their sessions will be lost with the rest
            await restart_all(cluster)
            async with Client(cluster.addresses) as reader:
                with pytest.raises(PromiseBroken, match="lost"):
                    await writers.verify(reader)

    play(tmp_path, story, storage="test-dropping-unsynced")


async def restart_all(cluster: LocalCluster) -> None:
    """SIGKILL to every process, then a start of each."""
    for node_id in cluster.processes:
        cluster.signal(node_id, signal.SIGKILL)
    for node_id in list(cluster.processes):
        cluster.kill(node_id)
        cluster.start_node(node_id)
    await cluster.wait_until_up()
    await cluster.leader(ANSWER_S)


def test_a_replica_that_was_away_catches_up_from_the_others_disks(tmp_path: Path) -> None:
    """More slots are decided meanwhile than the others keep in memory."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        leader = await cluster.leader()
        away = (leader + 1) % 3
        cluster.kill(away)
        for start in range(0, 2000, 100):
            await asyncio.gather(*(client.put(b"key %d" % i, b"v" * 50) for i in range(start, start + 100)))
        cluster.start_node(away)
        await cluster.wait_until_up([away])
        rows = await equal(cluster)
        assert rows[away]["slot_out"] > 2000 > 4 * 64  # which is what a node with this window keeps in memory
        assert rows[away]["voting"]

    play(tmp_path, story, window=64)


@pytest.mark.parametrize("storage", ["lmdb", "memory"])
def test_a_node_that_forgot_learns_and_does_not_vote(tmp_path: Path, storage: str) -> None:
    """A wiped directory, and memory after a restart: status and log report that the node does not vote."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"a", b"1")
        leader = await cluster.leader()
        victim = (leader + 1) % 3
        cluster.kill(victim)
        shutil.rmtree(tmp_path / f"node{victim}", ignore_errors=True)
        await client.put(b"b", b"2")
        cluster.start_node(victim)
        await cluster.wait_until_up([victim])
        rows = await equal(cluster)
        assert not rows[victim]["voting"]
        assert not rows[victim]["founded"]
        assert "does not vote" in (tmp_path / f"node{victim}.log").read_text()

    play(tmp_path, story, storage=storage)
