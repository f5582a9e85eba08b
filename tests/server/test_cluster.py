"""Clusters of real processes: sockets, disks, SIGKILL and SIGSTOP. No acknowledged write is lost, none is applied
twice.

Times are bounded generously: how fast a failover is, is measured by `tools/measure.py`, not asserted here.
"""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import uvloop
from click.testing import CliRunner

from multipaxos import demo
from multipaxos.client.client import Client
from multipaxos.config.cluster import Config, Grid, Sizes
from multipaxos.config.members import Member
from multipaxos.demo import PromiseBroken, Writers
from multipaxos.errors import NoQuorum
from multipaxos.load import operation_log
from multipaxos.local_cluster import LocalCluster, free_base_port

pytestmark = pytest.mark.timeout(180)

Story = Callable[[LocalCluster, Client], Awaitable[None]]


def play(
    directory: Path, story: Story, *, nodes: int = 3, storage: str = "lmdb", machine: str = "", **config: Any
) -> None:
    """Starts a cluster and a client, and tells them the story."""

    async def run() -> None:
        base = Config.local(nodes, free_base_port(nodes))
        whole = Config(name=base.name, nodes=config.pop("places", base.nodes), **config)
        async with (
            LocalCluster(whole, directory, storage, machine) as cluster,
            Client(cluster.addresses, timeout_s=30) as client,
        ):
            await cluster.leader(30)
            await story(cluster, client)

    uvloop.run(run())


@asynccontextmanager
async def writing(cluster: LocalCluster, client: Client, writes: int = 50) -> AsyncIterator[Writers]:
    """Writers in three sessions that have written something."""
    async with Client(cluster.addresses, timeout_s=30) as second, Client(cluster.addresses, timeout_s=30) as third:
        writers = Writers([client, second, third])
        writers.start()
        try:
            await writers.reach(writes)
            yield writers
        finally:
            writers.cancel()


async def verify(cluster: LocalCluster, writers: Writers) -> list[dict[str, Any]]:
    """Everything acknowledged is there, nothing was done twice, and all replicas are equal."""
    await writers.stop()
    await writers.verify(writers.clients[0])
    return await equal(cluster)


async def equal(cluster: LocalCluster) -> list[dict[str, Any]]:
    """All replicas are level and have the same state; their status."""
    rows = await cluster.wait_until_level()
    assert len({row["state_hash"] for row in rows}) == 1
    return rows


def test_the_leader_is_killed(tmp_path: Path) -> None:
    """SIGKILL under load, three times; each time the others go on and the dead one comes back level."""

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
    """SIGSTOP under load, twice: the others go on; when it continues it follows, and comes level."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client) as writers:
            for _ in range(2):
                leader = await cluster.leader()
                cluster.signal(leader, signal.SIGSTOP)
                await writers.next_write_s(time.monotonic())
                cluster.signal(leader, signal.SIGCONT)
                await cluster.wait_until_up([leader])
                await writers.next_write_s(time.monotonic())
            rows = await verify(cluster, writers)
        assert [row["leading"] for row in rows].count(True) == 1
        assert not rows[leader]["leading"]

    play(tmp_path, story)


def test_a_second_effect_and_a_loss_are_noticed(tmp_path: Path) -> None:
    """A write that is done again, and one that is gone: or the tests above could not fail."""

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
    """Every process dies under load; on their disks is every acknowledged write - also on a disk that keeps only what
    was synced. What was in flight is sent again by its session, and takes effect once."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client, 300) as writers:
            await restart_all(cluster)
            async with Client(cluster.addresses) as reader:
                await writers.verify(reader)
            await writers.next_write_s(time.monotonic())
            await verify(cluster, writers)

    play(tmp_path, story, storage=storage)


def test_a_missing_sync_is_noticed(tmp_path: Path) -> None:
    """The same on that disk without the sync: acknowledged writes are gone, or the test above could not fail."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        async with writing(cluster, client, 300) as writers:
            writers.cancel()  # their sessions will be gone with the rest
            await restart_all(cluster)
            async with Client(cluster.addresses) as reader:
                with pytest.raises(PromiseBroken, match="lost"):
                    await writers.verify(reader)

    play(tmp_path, story, storage="test-dropping-unsynced")


async def restart_all(cluster: LocalCluster) -> None:
    """SIGKILL to every process, then a start of each."""
    for id in cluster.processes:
        cluster.signal(id, signal.SIGKILL)
    for id in list(cluster.processes):
        cluster.kill(id)
        cluster.start_node(id)
    await cluster.wait_until_up()
    await cluster.leader(30)


def test_a_replica_that_was_away_catches_up_from_the_others_disks(tmp_path: Path) -> None:
    """More slots pass than the others keep in memory."""

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
    """A wiped directory, and memory after a restart: said in status and in the log."""

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


@pytest.mark.parametrize("nodes", [1, 2, 5])
def test_other_sizes(tmp_path: Path, nodes: int) -> None:
    """One, two and five nodes."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"k", b"v")
        assert await client.get(b"k") == b"v"
        assert len(await equal(cluster)) == nodes

    play(tmp_path, story, nodes=nodes)


def places(*roles: tuple[str, ...]) -> tuple[Member, ...]:
    """Nodes with these roles, on free ports."""
    base = free_base_port(len(roles))
    return tuple(Member(id, f"127.0.0.1:{base + id}", each) for id, each in enumerate(roles))


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
    play(tmp_path, story, places=places(front, front, back, back, back))


def test_flexible_quorums(tmp_path: Path) -> None:
    """Of four acceptors phase 1 needs three and phase 2 two: with two dead a leader that lives goes on."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"k", b"v")
        leader = await cluster.leader()
        for id in (leader + 1, leader + 2):
            cluster.kill(id % 4)
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
    """Two rows of two columns: without node 3 there is a row and a column left, without 2 as well no column 0."""

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


def test_no_quorum_is_said_in_time(tmp_path: Path) -> None:
    """Two of three dead: NoQuorum, and the command takes effect once when they are back."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        await client.put(b"k", b"v")
        for id in (1, 2):
            cluster.kill(id)
        with pytest.raises(NoQuorum):
            await client.create(b"once", b"1", timeout_s=1.0)
        for id in (1, 2):
            cluster.start_node(id)
        await cluster.wait_until_up([1, 2])
        assert await client.get(b"once") == b"1"

    play(tmp_path, story)


def test_a_machine_of_ones_own(tmp_path: Path) -> None:
    """--machine: a journal; what raises is answered with its error, and the log goes on."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        assert await client.apply(b"first") == bytes(8)
        with pytest.raises(Exception, match="ValueError: asked to raise at length 1"):
            await client.apply(b"raise")
        assert int.from_bytes(await client.apply(b"second"), "little") == 1
        rows = await cluster.wait_until_level()
        assert len({row["state_hash"] for row in rows}) == 1

    play(tmp_path, story, machine="tests.support.journal:Journal", storage="memory")


# -- the command line


def multipaxos(*arguments: str | Path, timeout: float = 60) -> subprocess.CompletedProcess[str]:
    """Runs the command line."""
    command = [sys.executable, "-m", "multipaxos", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout, check=False)


GOOD = '[cluster]\nname = "c"\nquorum = "majority"\n[[node]]\nid = 0\naddress = "127.0.0.1:{port}"\n'


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[cluster]\nname = "c"\nquorum = \n', ":3:"),
        (GOOD + '[[node]]\nid = 0\naddress = "127.0.0.1:1"\n', "id"),
        (
            GOOD.replace('"majority"', "{ phase1 = 1, phase2 = 1 }") + '[[node]]\nid = 1\naddress = "127.0.0.1:1"\n',
            "intersect",
        ),
        (GOOD.replace('"majority"', "{ grid = [2, 3] }"), "grid"),
        (GOOD + 'roles = ["replica", "leader"]\n', "acceptor"),
    ],
    ids=["bad TOML", "equal ids", "no intersection", "grid", "nobody accepts"],
)
def test_a_configuration_that_cannot_be_run(tmp_path: Path, text: str, says: str) -> None:
    """Refused at start with the reason, code 2."""
    path = tmp_path / "c.toml"
    path.write_text(text.replace("{port}", str(free_base_port(1))))
    result = multipaxos("serve", "--config", path, "--node", "0", "--data-dir", tmp_path / "d")
    assert result.returncode == 2
    assert says in result.stderr
    assert "Traceback" not in result.stderr


def test_serve_refuses_by_name(tmp_path: Path) -> None:
    """Unknown node, a directory in use, another cluster's directory, a port that is taken."""
    port = free_base_port(2)
    path = tmp_path / "c.toml"
    path.write_text(GOOD.replace("{port}", str(port)))
    arguments = ["serve", "--config", path, "--data-dir", tmp_path / "d", "--node"]
    unknown = multipaxos(*arguments, "7")
    assert (unknown.returncode, "no node 7" in unknown.stderr) == (2, True)
    nowhere = multipaxos(*arguments, "0", "--listen", "127.0.0.1")
    assert (nowhere.returncode, "HOST:PORT" in nowhere.stderr) == (2, True)
    command = [sys.executable, "-m", "multipaxos", *map(str, arguments), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as first:
        try:
            assert first.stdout is not None
            assert first.stdout.readline().startswith("ready node=0")
            second = multipaxos(*arguments, "0")
            assert (second.returncode, str(first.pid) in second.stderr) == (2, True)
            elsewhere = multipaxos("serve", "--config", path, "--data-dir", tmp_path / "e", "--node", "0")
            assert (elsewhere.returncode, str(port) in elsewhere.stderr) == (2, True)
            taken = multipaxos("cluster", "--nodes", "1", "--data-dir", tmp_path / "f", "--base-port", str(port))
            assert (taken.returncode, str(port) in taken.stderr) == (2, True)
        finally:
            first.terminate()
    assert first.returncode == 0
    path.write_text(GOOD.replace("{port}", str(port)).replace('"c"', '"other"'))
    other = multipaxos(*arguments, "0")
    assert (other.returncode, "'c'" in other.stderr) == (2, True)


def test_the_commands_of_the_store(tmp_path: Path) -> None:
    """Names, exit codes and JSON of put, get, create, update, remove, cas, scan, status, bench."""

    async def story(cluster: LocalCluster, client: Client) -> None:
        where = ",".join(f"{host}:{port}" for host, port in cluster.addresses)

        async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
            return await asyncio.to_thread(multipaxos, arguments[0], "--cluster", where, *arguments[1:])

        assert (await run("put", "a", "1")).returncode == 0
        assert (await run("get", "a")).stdout == "1\n"
        assert (await run("create", "a", "2")).returncode == 1
        assert (await run("update", "b", "2")).returncode == 1
        assert (await run("cas", "a", "1", "3")).returncode == 0
        failed = await run("cas", "a", "1", "4", "--json")
        assert failed.returncode == 1
        assert json.loads(failed.stdout)["value"] == "3"
        assert (await run("get", "nothing")).returncode == 1
        assert (await run("put", "k" * 481, "v")).returncode == 2
        await client.put(b"ab", b"x")
        await client.put(b"ac", b"y")
        scanned = await run("scan", "a", "--limit", "2", "--after", "a", "--json")
        assert [json.loads(line)["key"] for line in scanned.stdout.splitlines()] == ["ab", "ac"]
        assert (await run("remove", "a")).returncode == 0
        cluster.kill(2)
        rows = json.loads((await run("status", "--json")).stdout)
        assert [row["alive"] for row in rows] == [True, True, False]
        assert {
            "id",
            "address",
            "alive",
            "leading",
            "ballot",
            "slot_in",
            "slot_out",
            "mark",
            "voting",
            "state_hash",
            "storage",
        } <= set(rows[0])
        cluster.kill(1)
        assert (await run("put", "a", "1", "--timeout", "1")).returncode == 3

    play(tmp_path, story)


def test_bench_prints_its_object() -> None:
    """`bench --spawn --json`, closed and open loop."""
    for extra in ([], ["--rate", "2000"]):
        result = multipaxos(
            "bench", "--spawn", "3", "--storage", "memory", "--outstanding", "10", "--duration", "1", "--json", *extra
        )
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        assert set(found) >= {
            *("throughput_per_s", "completed", "errors", "duration_s", "outstanding"),
            *("key_size", "value_size", "nodes", "storage"),
        }
        assert set(found["latency_us"]) == {"min", "mean", "p50", "p90", "p99", "p999", "max"}
        assert found["completed"] > 0
        assert found["errors"] == 0
        assert (found["nodes"], found["storage"]) == (3, "memory")


def test_bench_keeps_records(tmp_path: Path) -> None:
    """`bench --records`: every operation, of an open loop too; SIGINT ends it with its result; nothing is lost."""
    path = tmp_path / "operations.npy"
    command = ["bench", "--spawn", "3", "--storage", "memory", "--rate", "2000", "--arrivals", "poisson", "--json"]
    command += ["--zipf", "1", "--duration", "60", "--records", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "multipaxos", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 60
        while not path.exists() or path.stat().st_size < operation_log.HEADER_BYTES + 2000 * operation_log.ROW_BYTES:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    found = json.loads(out)
    kept = path.read_bytes()
    rows = (len(kept) - operation_log.HEADER_BYTES) // operation_log.ROW_BYTES
    assert kept[: operation_log.HEADER_BYTES] == operation_log.header(rows)
    assert rows >= found["completed"]
    sequences = [row[4] for row in struct.iter_unpack("<QQQQIBBH", kept[operation_log.HEADER_BYTES :])]
    assert sorted(sequences) == list(range(1, rows + 1))
    again = multipaxos(*command)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert path.read_bytes() == kept


def test_the_demo_ends_well() -> None:
    """`python -m multipaxos.demo`, plainly where there is no terminal."""
    result = subprocess.run(
        [sys.executable, "-m", "multipaxos.demo"], capture_output=True, text=True, timeout=90, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "none was applied twice" in result.stdout
    assert "\x1b" not in result.stdout
    place = re.search(r"in (\S*multipaxos-demo-\S*)", result.stdout)
    assert place is not None
    assert not Path(place[1]).exists()


def test_the_demo_tells_a_broken_promise(monkeypatch: pytest.MonkeyPatch) -> None:
    """Code 1, and the reason."""

    async def broken(*_: object) -> None:
        raise PromiseBroken("two replicas differ")

    monkeypatch.setattr(demo, "demo", broken)
    result = CliRunner().invoke(demo.main)
    assert result.exit_code == 1
    assert "two replicas differ" in result.output
