"""``make demo``: a durable cluster on this machine takes writes, loses its leader, goes on, and gets it back.

Every step says what happened; the end checks what was promised: no acknowledged write lost, all replicas equal.
"""

from __future__ import annotations

import asyncio
import shutil
import sys
import time
from pathlib import Path

import click
import uvloop
from rich.console import Console

from multipaxos import bench
from multipaxos.client import Client
from multipaxos.config import Config
from multipaxos.errors import MultipaxosError
from multipaxos.local import LocalCluster, disk_directory, free_base_port

WRITERS = 8
LOAD_S = 3.0


class Writers:
    """Writes keys that nobody else writes, one after the other each, and remembers what was acknowledged."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.acknowledged: dict[bytes, bytes] = {}
        self.latest_s = 0.0
        self.longest_gap_s = 0.0
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """They write until `stop`."""
        self.latest_s = time.monotonic()
        self._tasks = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]

    async def _write(self, number: int) -> None:
        count = 0
        while True:
            key, value = b"writer-%d-%d" % (number, count), b"value %d" % count
            await self.client.create(key, value, timeout_s=30)  # a second effect would be refused: KeyExists
            now_s = time.monotonic()
            self.longest_gap_s = max(self.longest_gap_s, now_s - self.latest_s)
            self.latest_s = now_s
            self.acknowledged[key] = value
            count += 1

    async def next_write_s(self, since_s: float) -> float:
        """Waits for the first write acknowledged that was begun and ended after `since_s`; how long that took."""
        await self.reach(len(self.acknowledged) + WRITERS)  # some of those in flight may have been decided before
        return time.monotonic() - since_s

    async def reach(self, count: int) -> None:
        """Waits until so many writes are acknowledged."""
        while len(self.acknowledged) < count:
            self._raise_if_ended()
            await asyncio.sleep(0.002)

    def _raise_if_ended(self) -> None:
        for task in self._tasks:
            if task.done():
                task.result()

    async def stop(self) -> None:
        """No more writes; raises what went wrong in any of them."""
        self._raise_if_ended()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def lost(self) -> list[bytes]:
        """The acknowledged keys that the store does not hold as they were written."""
        held = {key: value async for key, value, _ in self.client.scan_all(b"writer-")}
        return [key for key, value in self.acknowledged.items() if held.get(key) != value]


async def demo(console: Console, directory: Path) -> None:
    """The whole story; raises MultipaxosError where a promise does not hold."""
    config = Config.local(3, free_base_port(3))
    console.print(f"[bold]1.[/] Three nodes start on LMDB, each a process with a disk of its own, in {directory}")
    async with LocalCluster(config, directory) as cluster, Client(cluster.addresses) as client:
        leader = await cluster.leader()
        rows = await cluster.wait_until_level()
        console.print(f"   founded; node {leader} leads at ballot {rows[leader]['ballot']}")

        console.print(
            f"[bold]2.[/] A load of 1,000 outstanding writes of 64 bytes for {LOAD_S:g} s, "
            "each synced by two nodes before its answer"
        )
        result = await bench.run(cluster.addresses, bench.Options(outstanding=1000, duration_s=LOAD_S))
        latency = result["latency_us"]
        console.print(
            f"   {result['throughput_per_s']:,.0f} writes/s, latency p50 {latency['p50'] / 1000:.2f} ms, "
            f"p99 {latency['p99'] / 1000:.2f} ms, "
            f"{result['errors']} errors"
        )

        writers = Writers(client)
        writers.start()
        await asyncio.sleep(1.0)
        console.print(
            f"[bold]3.[/] {WRITERS} writers write keys of their own; {len(writers.acknowledged):,} are acknowledged. "
            f"SIGKILL to the leader, node {leader}"
        )
        killed_s = time.monotonic()
        cluster.kill(leader)
        gap_s = await writers.next_write_s(killed_s)
        successor = await cluster.leader()
        console.print(f"   node {successor} leads; writes are acknowledged again {gap_s * 1000:.0f} ms after the kill")

        await asyncio.sleep(1.0)
        console.print(
            f"[bold]4.[/] It goes on with two nodes: {len(writers.acknowledged):,} acknowledged. "
            f"Node {leader} comes back with its disk"
        )
        cluster.start_node(leader)
        await cluster.wait_until_up([leader])
        await asyncio.sleep(1.0)
        await writers.stop()
        rows = await cluster.wait_until_level()
        console.print(
            f"   it caught up from the others' logs to slot {rows[leader]['slot_out'] - 1:,}, "
            f"and votes: {rows[leader]['voting']}"
        )

        console.print("[bold]5.[/] What was promised")
        await check(console, cluster, writers)


async def check(console: Console, cluster: LocalCluster, writers: Writers) -> None:
    """No acknowledged write is lost, none was applied twice, all replicas are equal."""
    lost = await writers.lost()
    if lost:
        raise MultipaxosError(f"{len(lost)} acknowledged writes are lost, {lost[0]!r} among them")
    console.print(f"   all {len(writers.acknowledged):,} acknowledged writes are there, none was applied twice")
    rows = await cluster.wait_until_level()
    for row in rows:
        console.print(f"   node {row['id']}: slot_out {row['slot_out']:,}, state {row['state_hash']}")
    if len({row["state_hash"] for row in rows}) != 1:
        raise MultipaxosError("the replicas differ")
    console.print("   the three replicas are equal")


@click.command()
def main() -> None:
    """Runs the demo in a temporary directory on a disk; ends 0 if every promise held."""
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
