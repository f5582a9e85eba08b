"""Clusters of real processes of other shapes: sizes, roles, quorums, machines."""

from __future__ import annotations

from pathlib import Path

import pytest

from multipaxos.client.client import Client
from multipaxos.config.cluster import Grid, Sizes
from multipaxos.errors import NoQuorum
from multipaxos.local_cluster import LocalCluster
from tests.support.processes import equal, play

pytestmark = pytest.mark.timeout(180)


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_other_sizes(tmp_path: Path, nodes: int) -> None:
    """One, two and five nodes."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"k", b"v")
        assert await client.get(b"k") == b"v"
        assert len(await equal(cluster)) == nodes

    play(tmp_path, story, nodes=nodes)


def test_roles_apart(tmp_path: Path) -> None:
    """Two replicas with leaders, three acceptors: one of each may die."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        leader = await cluster.leader()
        assert leader in (0, 1)
        await client.put(b"k", b"v")
        cluster.kill(leader)
        cluster.kill(4)
        assert await client.get(b"k") == b"v"
        assert await cluster.leader() == 1 - leader

    front, back = ("replica", "leader"), ("acceptor",)
    play(tmp_path, story, roles=[front, front, back, back, back])


def test_flexible_quorums(tmp_path: Path) -> None:
    """Of four acceptors phase 1 needs three and phase 2 two: with two dead, a leader that lives goes on."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"k", b"v")
        leader = await cluster.leader()
        for after in (1, 2):
            cluster.kill((leader + after) % 4)
        await client.put(b"l", b"w")
        cluster.kill(leader)
        with pytest.raises(NoQuorum):
            await client.put(b"m", b"x", timeout_s=1.5)
        cluster.start_node((leader + 1) % 4)
        cluster.start_node((leader + 2) % 4)
        assert await client.get(b"k") == b"v"
        assert await client.get(b"l") == b"w"

    play(tmp_path, story, nodes=4, quorum=Sizes(3, 2))


def test_a_grid(tmp_path: Path) -> None:
    """Two rows of two columns: without node 3 a row and a column are left; without nodes 2 and 3 no column is left."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"k", b"v")
        cluster.kill(3)
        await client.put(b"k", b"w")
        cluster.kill(2)
        with pytest.raises(NoQuorum):
            await client.put(b"k", b"x", timeout_s=1.0)
        cluster.start_node(2)
        assert await client.get(b"k") == b"x"

    play(tmp_path, story, nodes=4, quorum=Grid(2, 2))


def test_no_quorum_is_reported_in_time(tmp_path: Path) -> None:
    """Two of three are dead: NoQuorum, and the command takes effect once when they are back."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"k", b"v")
        for node_id in (1, 2):
            cluster.kill(node_id)
        with pytest.raises(NoQuorum):
            await client.create(b"once", b"1", timeout_s=1.0)
        for node_id in (1, 2):
            cluster.start_node(node_id)
        await cluster.wait_until_up([1, 2])
        assert await client.get(b"once") == b"1"

    play(tmp_path, story)


def test_a_machine_of_ones_own(tmp_path: Path) -> None:
    """--machine: a journal. A command that makes it raise is answered with the error, and the log goes on."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        assert await client.apply(b"first") == bytes(8)
        with pytest.raises(Exception, match="ValueError: asked to raise at length 1"):
            await client.apply(b"raise")
        assert int.from_bytes(await client.apply(b"second"), "little") == 1
        rows = await cluster.wait_until_level()
        assert len({row["state_hash"] for row in rows}) == 1

    play(tmp_path, story, machine="tests.support.journal:Journal", storage="memory")
