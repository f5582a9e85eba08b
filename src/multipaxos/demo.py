"""``make demo``: a durable cluster on this machine takes writes, loses its leader, goes on, and gets the node back.

Every step prints what happened. The last step checks what was promised: no acknowledged write is lost, none took effect
twice, and all replicas are equal.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import click
import uvloop
from rich.console import Console

from multipaxos import commands
from multipaxos.client.client import Client
from multipaxos.config.cluster import Config
from multipaxos.errors import MultipaxosError
from multipaxos.load import generator
from multipaxos.local_cluster import LocalCluster, disk_directory, free_base_port

WRITERS = 8
LOAD_S = 3.0
WRITING_S = 1.0  # of the writers, before each step
TWICE = b"twice"


class Writers:
    """WRITERS tasks, each of which writes keys of its own one after the other, and what was acknowledged to them.

    Each write is a transaction: it puts the value if the key is missing, else TWICE. So if a write takes effect a
    second time, the store shows it, whichever answer arrived first. The writers are spread over the clients, and each
    client is a session.
    """

    def __init__(self, clients: Sequence[Client]) -> None:
        self.clients = clients
        self.acknowledged: dict[bytes, bytes] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._newest_begun_s = 0.0  # of the acknowledged write that was begun last: when it was begun
        self._newest_done_s = 0.0  # and when it was acknowledged

    def start(self) -> None:
        """The writers write until `stop` or `cancel`."""
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]

    async def _write(self, number: int) -> None:
        client = self.clients[number % len(self.clients)]
        count = 0
        while True:
            key, value = b"writer-%d-%d" % (number, count), b"value %d" % count
            begun_s = time.monotonic()
            await self.write_once(client, key, value)
            if begun_s > self._newest_begun_s:
                self._newest_begun_s, self._newest_done_s = begun_s, time.monotonic()
            self.acknowledged[key] = value
            count += 1

    @staticmethod
    async def write_once(client: Client, key: bytes, value: bytes) -> None:
        """One write. If it is done again as another command, it leaves TWICE."""
        compares = [commands.missing(key)]
        await client.transact(compares, [commands.put(key, value)], [commands.put(key, TWICE)], timeout_s=30)

    async def next_write_s(self, since_s: float) -> float:
        """Waits until a write that was begun after `since_s` (of time.monotonic) is acknowledged; returns how many
        seconds after `since_s` that was. Raises what ended a writer."""
        while self._newest_begun_s <= since_s:
            self._raise_if_ended()
            await asyncio.sleep(0.0005)
        return self._newest_done_s - since_s

    async def reach(self, count: int) -> None:
        """Waits until so many writes are acknowledged. Raises what ended a writer."""
        while len(self.acknowledged) < count:
            self._raise_if_ended()
            await asyncio.sleep(0.002)

    def _raise_if_ended(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    def cancel(self) -> None:
        """Ends the writers; the outcome of the writes in flight is unknown."""
        for task in self._tasks:
            task.cancel()

    async def stop(self) -> None:
        """Ends the writers; raises what ended any of them before."""
        self._raise_if_ended()
        self.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def verify(self, client: Client) -> None:
        """Raises PromiseBroken if an acknowledged write is lost, or if a write took effect twice."""
        acknowledged = dict(self.acknowledged)  # up to now: the writers may go on meanwhile
        held = {key: value async for key, value, _ in client.scan_all(b"writer-")}
        twice = [key for key, value in held.items() if value == TWICE]
        if twice:
            raise PromiseBroken(f"{len(twice)} writes took effect twice, {twice[0]!r} among them")
        lost = [key for key, value in acknowledged.items() if held.get(key) != value]
        if lost:
            count = len(acknowledged)
            raise PromiseBroken(f"{len(lost)} of {count} acknowledged writes are lost, {lost[0]!r} among them")


class PromiseBroken(MultipaxosError):
    """An acknowledged write is lost or took effect twice, or replicas differ: a bug in multipaxos."""


async def demo(console: Console, directory: Path) -> None:
    """Plays all five steps; raises PromiseBroken if a promise does not hold."""
    config = Config.local(3, free_base_port(3))
    console.print(f"[bold]1.[/] Three nodes start on LMDB, each a process with a disk of its own, in {directory}")
    async with (
        LocalCluster(config, directory) as cluster,
        Client(cluster.addresses) as client,
        Client(cluster.addresses) as other,
    ):
        leader = await cluster.leader()
        rows = await cluster.wait_until_level()
        console.print(f"   founded; node {leader} leads at ballot {rows[leader]['ballot']}")
        await load(console, cluster)
        writers = Writers([client, other])
        writers.start()
        await kill_leader(console, cluster, writers, leader)
        await bring_back(console, cluster, writers, leader)
        await check(console, cluster, writers, leader)


async def load(console: Console, cluster: LocalCluster) -> None:
    """The second step: throughput and latency."""
    console.print(
        f"[bold]2.[/] A load of 1,000 outstanding writes of 64 bytes for {LOAD_S:g} s, "
        "each synced by two nodes before its answer"
    )
    result = await generator.run(cluster.addresses, generator.Options(outstanding=1000, duration_s=LOAD_S))
    latency = result["latency_us"]
    console.print(
        f"   {result['throughput_per_s']:,.0f} writes/s, latency p50 {latency['p50'] / 1000:.2f} ms, "
        f"p99 {latency['p99'] / 1000:.2f} ms, "
        f"{result['errors']} errors"
    )


async def kill_leader(console: Console, cluster: LocalCluster, writers: Writers, leader: int) -> None:
    """The third step: SIGKILL under load, and how long no new write is acknowledged."""
    await asyncio.sleep(WRITING_S)
    console.print(
        f"[bold]3.[/] {WRITERS} writers in two sessions write keys of their own; "
        f"{len(writers.acknowledged):,} are acknowledged. "
        f"SIGKILL to the leader, node {leader}"
    )
    killed_s = time.monotonic()
    cluster.kill(leader)
    gap_s = await writers.next_write_s(killed_s)
    successor = await cluster.leader()
    console.print(f"   node {successor} leads; writes are acknowledged again {gap_s * 1000:.0f} ms after the kill")


async def bring_back(console: Console, cluster: LocalCluster, writers: Writers, killed: int) -> None:
    """The fourth step: the killed node starts again on its disk."""
    await asyncio.sleep(WRITING_S)
    console.print(
        f"[bold]4.[/] It goes on with two nodes: {len(writers.acknowledged):,} acknowledged. "
        f"Node {killed} comes back with its disk"
    )
    cluster.start_node(killed)
    await cluster.wait_until_up([killed])
    await asyncio.sleep(WRITING_S)
    await writers.stop()
    rows = await cluster.wait_until_level()
    console.print(f"   it caught up from the others' logs to slot {rows[killed]['slot_out'] - 1:,}")


async def check(console: Console, cluster: LocalCluster, writers: Writers, returned: int) -> None:
    """The fifth step. No acknowledged write is lost, none was applied twice, all replicas are equal, and the node that
    returned votes."""
    console.print("[bold]5.[/] What was promised")
    await writers.verify(writers.clients[0])
    console.print(f"   all {len(writers.acknowledged):,} acknowledged writes are there, none was applied twice")
    rows = await cluster.wait_until_level()
    for row in rows:
        console.print(f"   node {row['id']}: slot_out {row['slot_out']:,}, state {row['state_hash']}")
    if len({row["state_hash"] for row in rows}) != 1:
        raise PromiseBroken("the replicas differ")
    if not rows[returned]["voting"]:
        raise PromiseBroken(f"node {returned} came back with its disk, but does not vote")
    console.print("   the three replicas are equal, and all of them vote")


@click.command()
def main() -> None:
    """Run the demo in a temporary directory on a disk. Exit code 0: every promise held."""
    console = Console(highlight=False, soft_wrap=True)
    directory = disk_directory("multipaxos-demo-")
    try:
        uvloop.run(demo(console, directory))
    except MultipaxosError as error:
        console.print(f"[red]failed:[/] {error}")
        sys.exit(1)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    console.print("done; nothing is left behind")


if __name__ == "__main__":
    main()
