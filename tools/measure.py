"""Measures clusters of processes on this machine: ``python tools/measure.py failover --runs 10``.

Theory. One run says little: each measurement is repeated on fresh clusters with default settings, and reported as
median, least and greatest value. A failover is timed from the signal to the leader until a write that was begun after
the signal is acknowledged, for two kinds of clients: those that were writing all along, and one that is made at that
moment. Each run of a failover ends with a check of what was promised; if a promise does not hold, the run gives an
error instead of a number. `kept` shows what one-shot clients that die without closing their sessions leave in the
memory of the nodes: the growth of the resident memory of the largest node, also after a restart. `gather` has one
`Client` put all of a list at once, and compares the rate with that of tasks that put in a loop through the same
`Client`. Beside them stand the floor, which is the rate at which asyncio gathers as many bare futures with no cluster,
and this process's greatest resident memory so far.

Rules. The table goes to standard error, one JSON object to standard output. Durable clusters lie on a disk. Every
process is started here and ended here. The exit code is 0, or 1 if a promise did not hold.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import resource
import secrets
import shutil
import signal
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.table import Table

from multipaxos import commands
from multipaxos.client.client import Client
from multipaxos.client.link import dial
from multipaxos.client.session import Session
from multipaxos.config.cluster import Config
from multipaxos.demo import PromiseBroken, Writers
from multipaxos.errors import MultipaxosError
from multipaxos.load import generator
from multipaxos.local_cluster import LocalCluster, disk_directory, free_base_port
from multipaxos.machine.semantics import VERSIONS
from multipaxos.wire.codec import VALUE_BYTES_MAX

NODES = 3
BEFORE_S, AFTER_S = 0.5, 0.5
RESTART_WRITES = 100_000
ONE_SHOTS = 400
LOOPS = 1000
MIB = 1 << 20

Figures = dict[str, float]
Measurement = Callable[[Path, float], Awaitable[Figures]]


def fresh(directory: Path, storage: str) -> LocalCluster:
    """A cluster with default settings on free ports."""
    return LocalCluster(Config.local(NODES, free_base_port(NODES)), directory, storage)


# -- failover


def failover(number: signal.Signals) -> Measurement:
    """The leader gets the signal under load; the others must go on, and the old leader must catch up with them."""

    async def measure(directory: Path, duration_s: float) -> Figures:
        async with (
            fresh(directory, "lmdb") as cluster,
            Client(cluster.addresses) as one,
            Client(cluster.addresses) as two,
        ):
            leader = await cluster.leader()
            writers = Writers([one, two])
            writers.start()
            await asyncio.sleep(BEFORE_S)
            signalled_s = time.monotonic()
            cluster.signal(leader, number)
            fresh_s, ongoing_s = await asyncio.gather(
                first_write_s(cluster, signalled_s), writers.next_write_s(signalled_s)
            )
            await asyncio.sleep(AFTER_S)
            await bring_back(cluster, leader, number)
            await writers.stop()
            acknowledged = await promised(cluster, writers)
        return {
            "ongoing_client_ms": ongoing_s * 1000,
            "fresh_client_ms": fresh_s * 1000,
            "acknowledged_writes": acknowledged,
        }

    return measure


async def first_write_s(cluster: LocalCluster, since_s: float) -> float:
    """How many seconds after `since_s` the first write of a client that is made now is acknowledged."""
    async with Client(cluster.addresses, timeout_s=60) as client:
        await client.put(b"fresh", b"1")
        return time.monotonic() - since_s


async def bring_back(cluster: LocalCluster, node_id: int, number: signal.Signals) -> None:
    """Lets the node that was signalled go on, or starts it again on its disk."""
    if number == signal.SIGSTOP:
        cluster.signal(node_id, signal.SIGCONT)
    else:
        cluster.kill(node_id)  # it is dead already: this takes it off the list
        cluster.start_node(node_id)
    await cluster.wait_until_up([node_id])


async def promised(cluster: LocalCluster, writers: Writers) -> int:
    """How many writes were acknowledged. Raises PromiseBroken if one is lost or took effect twice, or if replicas
    differ."""
    await writers.verify(writers.clients[0])
    rows = await cluster.wait_until_level()
    if len({row["state_hash"] for row in rows}) != 1:
        hashes = [row["state_hash"] for row in rows]
        raise PromiseBroken(f"replicas at slot {rows[0]['slot_out']} differ: {hashes}")
    return len(writers.acknowledged)


# -- load


def load(storage: str, outstanding: int) -> Measurement:
    """A closed loop, like that of `multipaxos bench --spawn 3`."""

    async def measure(directory: Path, duration_s: float) -> Figures:
        async with fresh(directory, storage) as cluster:
            options = generator.Options(outstanding=outstanding, duration_s=duration_s)
            result = await generator.run(cluster.addresses, options)
        if result["errors"]:
            raise MultipaxosError(f"{result['errors']} commands were answered with an error")
        latency = {f"{name}_us": value for name, value in result["latency_us"].items()}
        return {"per_s": result["throughput_per_s"], **latency}

    return measure


# -- many calls of one client


def gather(count: int) -> Measurement:
    """So many puts at once through one `Client`, all of them answered; before and after that LOOPS tasks that put in a
    loop, as many in all."""

    async def measure(directory: Path, duration_s: float) -> Figures:
        async with fresh(directory, "memory") as cluster, Client(cluster.addresses) as client:

            def put(i: int) -> Awaitable[int]:
                return client.put(b"key %d" % (i % 1000), b"v" * 64)

            async def loop() -> None:
                for i in range(count // LOOPS):
                    await put(i)

            await client.put(b"first", b"1")
            before_s = await timed_s(loop() for _ in range(LOOPS))
            gathered_s = await timed_s(put(i) for i in range(count))
            after_s = await timed_s(loop() for _ in range(LOOPS))
        rss_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        loops_per_s = 2 * count / (before_s + after_s)
        return {
            "gather_per_s": count / gathered_s,
            "loops_per_s": loops_per_s,
            "ratio_percent": 100 * count / gathered_s / loops_per_s,
            "floor_per_s": count / await futures_alone_s(count),
            "rss_mib": rss_mib,
        }

    return measure


async def futures_alone_s(count: int) -> float:
    """How long asyncio takes to gather so many futures that nothing but a loop answers."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[None]] = []

    def bare() -> asyncio.Future[None]:
        futures.append(loop.create_future())
        return futures[-1]

    async def answer() -> None:
        for first in range(0, count, 100):
            for future in futures[first : first + 100]:
                future.set_result(None)
            await asyncio.sleep(0)

    return await timed_s([*(bare() for _ in range(count)), answer()])


async def timed_s(calls: Iterable[Awaitable[Any]]) -> float:
    """How long all of them take together."""
    began_s = time.monotonic()
    await asyncio.gather(*calls)
    return time.monotonic() - began_s


# -- restart


async def restart(directory: Path, duration_s: float) -> Figures:
    """Kills all nodes after many writes and starts them again: how long until the next write is acknowledged."""
    async with fresh(directory, "lmdb") as cluster, Client(cluster.addresses, timeout_s=120) as client:
        await client.put(b"before", b"1")
        for start in range(0, RESTART_WRITES, 5000):
            await asyncio.gather(*(client.put(b"key %d" % (i % 1000), b"v" * 64) for i in range(start, start + 5000)))
        for node_id in list(cluster.processes):
            cluster.kill(node_id)
        began_s = time.monotonic()
        for node in cluster.config.nodes:
            cluster.start_node(node.id)
        await cluster.wait_until_up()
        up_s = time.monotonic() - began_s
        await client.put(b"after", b"1")
        written_s = time.monotonic() - began_s
        if await client.get(b"before") != b"1":
            raise MultipaxosError("a write that was acknowledged before the restart is lost")
        rows = await cluster.wait_until_level()
        if len({row["state_hash"] for row in rows}) != 1:
            raise MultipaxosError("the replicas differ after the restart")
    return {
        "until_up_ms": up_s * 1000,
        "until_next_write_ms": written_s * 1000,
        "slots": rows[0]["slot_out"] - 1,
    }


# -- what dead clients leave


def kept(command: bytes) -> Measurement:
    """Clients send this command, about a value of 1 MiB, and die when they have their answer."""

    async def measure(directory: Path, duration_s: float) -> Figures:
        async with fresh(directory, "lmdb") as cluster, Client(cluster.addresses, timeout_s=60) as client:
            await client.put(b"key", b"v" * VALUE_BYTES_MAX)
            before = resident_mib(cluster)
            leader = cluster.addresses[await cluster.leader()]
            for _ in range(ONE_SHOTS):
                await one_shot(leader, command)
            await cluster.wait_until_level()
            after = resident_mib(cluster)
            for node_id in list(cluster.processes):
                cluster.kill(node_id)
            for node in cluster.config.nodes:
                cluster.start_node(node.id)
            await cluster.wait_until_up()
            rows = await cluster.wait_until_level()
            again = resident_mib(cluster)
        bound = VERSIONS[0].kept_bytes_max
        if any(row["kept_bytes"] > bound for row in rows):
            raise PromiseBroken(f"sessions keep {[row['kept_bytes'] for row in rows]} bytes, the bound is {bound}")
        return {
            "growth_mib": after - before,
            "growth_after_restart_mib": again - before,
            "kept_mib": max(row["kept_bytes"] for row in rows) / MIB,
            "bound_mib": bound / MIB,
        }

    return measure


async def one_shot(address: tuple[str, int], command: bytes) -> None:
    """One command in a session that is left behind."""
    session, answered = Session(secrets.randbits(64) or 1), asyncio.Event()

    def on_data(data: bytes) -> None:
        if session.receive(data):
            answered.set()
        link.write(session.output())

    link = await dial(address, on_data, answered.set)
    session.submit(command)
    session.connected()
    link.write(session.output())
    await answered.wait()
    link.close()


def resident_mib(cluster: LocalCluster) -> float:
    """The resident memory of the node that has most."""
    pages = [int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) for each in cluster.processes.values()]
    return max(pages) * os.sysconf("SC_PAGE_SIZE") / MIB


# -- the measurements

MEASUREMENTS: dict[str, dict[str, Measurement]] = {
    "failover": {"SIGKILL": failover(signal.SIGKILL), "SIGSTOP": failover(signal.SIGSTOP)},
    "throughput": {f"memory, {n} outstanding": load("memory", n) for n in (1, 100, 1000, 10000)},
    "latency": {"memory, 1 outstanding": load("memory", 1)},
    "durable": {f"lmdb, {n} outstanding": load("lmdb", n) for n in (1, 100, 1000, 10000)},
    "gather": {
        "100,000 puts at once": gather(100_000),
        "1,000,000 puts at once": gather(1_000_000),
    },
    "kept": {
        f"{ONE_SHOTS} clients get 1 MiB": kept(commands.get(b"key")),
        f"{ONE_SHOTS} clients' cas answers 1 MiB": kept(commands.cas(b"key", b"other", b"new")),
    },
    "restart": {f"after {RESTART_WRITES:,} writes": restart},
}


async def repeat(
    measure: Measurement, runs: int, duration_s: float, report: Callable[[Figures], None]
) -> list[Figures]:
    """Measures so many times, each time on a fresh cluster in a directory that is removed; `report` gets each."""
    found: list[Figures] = []
    for _ in range(runs):
        directory = disk_directory("multipaxos-measure-")
        try:
            found.append(await measure(directory, duration_s))
        finally:
            shutil.rmtree(directory, ignore_errors=True)
        report(found[-1])
    return found


def summary(runs: list[Figures]) -> dict[str, dict[str, Any]]:
    """Median, least, greatest and all values of each figure, rounded to 0.1."""
    return {
        name: {
            "median": round(statistics.median(run[name] for run in runs), 1),
            "min": round(min(run[name] for run in runs), 1),
            "max": round(max(run[name] for run in runs), 1),
            "runs": [round(run[name], 1) for run in runs],
        }
        for name in runs[0]
    }


def table(results: dict[str, dict[str, dict[str, Any]]], runs: int) -> Table:
    """The results as a table for the terminal."""
    shown = Table("measurement", "figure", "median", "min", "max", title=f"{runs} runs, {os.cpu_count()} cores")
    for case, figures in results.items():
        for name, figure in figures.items():
            shown.add_row(case, name, *(f"{figure[each]:,.1f}" for each in ("median", "min", "max")))
    return shown


@click.command()
@click.argument("what", type=click.Choice(list(MEASUREMENTS)))
@click.option("--runs", type=click.IntRange(1), default=10, show_default=True)
@click.option(
    "--duration",
    type=click.FloatRange(0.1),
    default=5.0,
    show_default=True,
    help="Seconds of each run under load.",
)
def main(what: str, runs: int, duration: float) -> None:
    """Measure on fresh local clusters of three nodes."""
    console = Console(stderr=True, highlight=False)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for case, measure in MEASUREMENTS[what].items():

        def report(figures: Figures, case: str = case) -> None:
            console.print(f"{case}: " + ", ".join(f"{name} {value:,.1f}" for name, value in figures.items()))

        try:
            results[case] = summary(uvloop.run(repeat(measure, runs, duration, report)))
        except MultipaxosError as error:
            console.print(f"[red]{case} failed:[/] {error}")
            sys.exit(1)
    console.print(table(results, runs))
    facts = {
        "what": what,
        "runs": runs,
        "nodes": NODES,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    click.echo(json.dumps({**facts, "results": results}))


if __name__ == "__main__":
    main()
