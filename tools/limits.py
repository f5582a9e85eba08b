"""Measures what large values, slow links and floods do: ``python tools/limits.py large --quick``.

Theory. Each case has a bar: what a good cluster reaches on links of this kind, from the bytes that must travel, or as a
ratio of two measurements on one machine. A case makes a fresh cluster of processes, on this machine's loopback or in
network namespaces with links of a given rate (`slow_links`), and prints a line of JSON for each figure with its bar:
`holds` says whether it is kept, and is null for a figure that has none. `load` is the machine's load meanwhile: on a
busy machine counts and ratios say more than times. Elections are counted as the rounds by which the highest ballot
grew. What a good client sees is measured by a process of its own (`probe`), and floods are processes too (`floods`).

Rules. A cluster whose largest node is over `--ceiling` is ended, and the case says so instead of the rest of its
figures. Every process is started here and ended here, by its id; namespaces are removed. `--quick` makes small sizes,
which show that a case runs, and say nothing about the bars.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shutil
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import click
import uvloop
from floods import BIG, FLOODS
from probe import Probe, quantile
from slow_links import Net, PlacedCluster, config_of

from multipaxos import commands
from multipaxos.client.client import Client
from multipaxos.client.discovery import fetch_statuses
from multipaxos.client.link import dial
from multipaxos.client.session import Session
from multipaxos.config.cluster import Config
from multipaxos.errors import MultipaxosError, NoQuorum, Overloaded
from multipaxos.load import generator
from multipaxos.local_cluster import LocalCluster, disk_directory, free_base_port

NODES = 3
MIB = 1 << 20
MBIT = 1_000_000 / 8
PAGE = os.sysconf("SC_PAGE_SIZE")
LOOK_S = 0.02


@dataclass(frozen=True)
class Sizes:
    """How much a case does."""

    puts: int = 10  # of 1 MiB, one at a time
    undecided: int = 64  # values of 1 MiB
    undecided_small: int = 65_000  # of 64 bytes: the greatest window's worth
    behind_mib: int = 300
    learner_behind_mib: int = 40
    seconds: float = 10.0
    minute_s: float = 60.0
    answer_limit_s: float = 60.0


QUICK = Sizes(
    puts=2, undecided=4, undecided_small=500, behind_mib=4, learner_behind_mib=4, seconds=1.0, minute_s=2.0
)


class Over(MultipaxosError):
    """A node holds more memory than `--ceiling`."""


class Rows:
    """Prints the figures of one case, each with its bar. `ceiling_mib`: over which a cluster is ended."""

    def __init__(self, case: str, ceiling_mib: float) -> None:
        self.case = case
        self.ceiling_mib = ceiling_mib

    def add(self, figure: str, value: float | str | None, bar: float | None = None, *, least: bool = False) -> None:
        """`value` may be at most `bar` (with `least`: at least); None: it was never reached."""
        holds = None
        if bar is not None:
            holds = isinstance(value, int | float) and (value >= bar if least else value <= bar)
        shown = round(value, 3) if isinstance(value, float) else value
        row = {"case": self.case, "figure": figure, "value": shown, "bar": bar and round(bar, 3), "holds": holds}
        click.echo(json.dumps({**row, "load": round(os.getloadavg()[0], 1)}))


# -- clusters that are watched


class Watch:
    """Follows the resident memory of every node; over the ceiling it ends the nodes and remembers that."""

    def __init__(self, cluster: LocalCluster, ceiling_mib: float) -> None:
        self.cluster = cluster
        self.ceiling_mib = ceiling_mib
        self.peak_mib = 0.0
        self.over = False
        self._task = asyncio.create_task(self._follow())

    def now_mib(self) -> float:
        """Of the node that has most, now."""
        found = [0.0]
        for each in self.cluster.processes.values():
            with contextlib.suppress(OSError, IndexError):
                found.append(int(Path(f"/proc/{each.pid}/statm").read_text().split()[1]) * PAGE / MIB)
        return max(found)

    async def _follow(self) -> None:
        while True:
            self.peak_mib = max(self.peak_mib, self.now_mib())
            if self.peak_mib > self.ceiling_mib:
                self.over = True
                for each in self.cluster.processes.values():
                    each.kill()
                return
            await asyncio.sleep(LOOK_S)

    def check(self) -> None:
        """Raises Over if the nodes were ended."""
        if self.over:
            raise Over(f"a node has {self.peak_mib:,.0f} MiB")

    def end(self) -> None:
        """Follows no longer."""
        self._task.cancel()


@asynccontextmanager
async def watched(rows: Rows, cluster: LocalCluster) -> AsyncIterator[Watch]:
    """The cluster runs, led, and is watched. What goes wrong because the nodes were ended is reported as a figure."""
    async with cluster:
        watch = Watch(cluster, rows.ceiling_mib)
        try:
            await cluster.leader(30)
            yield watch
            watch.check()
        except (MultipaxosError, OSError, ValueError) as error:
            rows.add("failed", f"{type(error).__name__}: {error}"[:200], 0)
        finally:
            watch.end()
            rows.add("rss_peak_mib", watch.peak_mib)


@asynccontextmanager
async def directory() -> AsyncIterator[Path]:
    """A directory on a disk, which is removed."""
    path = disk_directory("multipaxos-limits-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def local(path: Path, **settings: Any) -> LocalCluster:
    """Three nodes on LMDB at free ports of the loopback."""
    return LocalCluster(replace(Config.local(NODES, free_base_port(NODES)), **settings), path)


async def statuses(cluster: LocalCluster, limit_s: float = 20.0) -> list[dict[str, Any]]:
    """The rows of the nodes that live; waits until each of them answers. Raises NoQuorum after `limit_s`."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        found = await fetch_statuses([cluster.addresses[node_id] for node_id in cluster.processes])
        if all(row is not None for row in found):
            return [row for row in found if row is not None]
        await asyncio.sleep(LOOK_S)
    raise NoQuorum(f"nodes do not answer for their status in {limit_s:g} s")


def round_of(rows: Sequence[dict[str, Any]]) -> int:
    """The highest ballot's round."""
    return max(int(row["ballot"].split(".")[0]) for row in rows)


async def rounds(cluster: LocalCluster) -> int:
    """How many rounds of ballots have begun."""
    return round_of(await statuses(cluster))


async def next_answer_s(cluster: LocalCluster, since_s: float, limit_s: float) -> float | None:
    """Seconds from `since_s` until a put of a client that is made now is answered; None: not within the limit."""
    async with Client(cluster.addresses, timeout_s=limit_s) as client:
        try:
            await client.put(b"next", b"1")
        except NoQuorum:
            return None
    return time.monotonic() - since_s


# -- 1 large values on slow links


async def large(rows: Rows, sizes: Sizes, rate_mbit: float) -> None:
    """Puts of 1 MiB, one at a time, links of this rate. The leader's link carries each in once and out twice."""
    rate = rate_mbit * MBIT
    with Net([rate] * (NODES + 1)) as net:
        async with directory() as path:
            cluster = PlacedCluster(net, config_of(NODES), path)
            async with watched(rows, cluster) as watch:
                await _large(rows, sizes, net, cluster, NODES * MIB / rate)
                watch.check()


async def _large(rows: Rows, sizes: Sizes, net: Net, cluster: LocalCluster, needed_s: float) -> None:
    async with Client(cluster.addresses) as client:
        await client.put(b"first", b"1")
        before, round_before = sum(net.sent_bytes()), await rounds(cluster)
        took_s, failed = [], 0
        for index in range(sizes.puts):
            began_s = time.monotonic()
            try:
                await client.put(b"key %d" % index, os.urandom(MIB))
            except MultipaxosError:
                failed += 1
            took_s.append(time.monotonic() - began_s)
            if failed >= 3:
                break
        carried = sum(net.sent_bytes()) - before
        rows.add("seconds_each", " ".join(f"{each:.2f}" for each in took_s))
        rows.add("failed_puts", failed, 0)
        rows.add("slowest_to_needed", max(took_s) / needed_s, 2)
        rows.add("carried_to_needed", carried / (len(took_s) * NODES * MIB), 1.2)
        rows.add("elections", await rounds(cluster) - round_before, 0)


# -- 2 a leader dies with much undecided, or with a follower far behind


class Raw:
    """A session by hand: it sends each command once, to one node, and never again."""

    def __init__(self) -> None:
        self.session = Session(secrets.randbits(64) or 1)
        self._answered = asyncio.Event()

    async def open(self, address: tuple[str, int]) -> None:
        """Connects, and has the session opened."""
        self._link = await dial(address, self._on_data, self._answered.set)
        self.session.connected()
        self.send([commands.put(b"raw", b"1")])
        await asyncio.wait_for(self._answered.wait(), 10)

    def _on_data(self, data: bytes) -> None:
        if self.session.receive(data):
            self._answered.set()
        self._link.write(self.session.output())

    def send(self, payloads: Sequence[bytes]) -> None:
        """Sends commands."""
        for payload in payloads:
            self.session.submit(payload)
        self._link.write(self.session.output())

    def close(self) -> None:
        """The session is left behind."""
        self._link.close()


async def undecided(rows: Rows, sizes: Sizes, value_bytes: int) -> None:
    """Values that both followers have accepted and whose leader heard of none; then it dies. No load besides."""
    count = sizes.undecided if value_bytes >= MIB else sizes.undecided_small
    window = 8192 if count < 8192 else 65536
    with Net([0] * (NODES + 1)) as net:
        async with directory() as path:
            cluster = PlacedCluster(net, config_of(NODES, window=window), path)
            async with watched(rows, cluster) as watch:
                await _undecided(rows, sizes, net, cluster, [os.urandom(value_bytes)] * count)
                watch.check()


async def _undecided(rows: Rows, sizes: Sizes, net: Net, cluster: LocalCluster, values: list[bytes]) -> None:
    leader = await cluster.leader()
    followers = [node_id for node_id in range(NODES) if node_id != leader]
    raws = [Raw() for _ in range(max(4, len(values) // 4096 + 1))]
    for raw in raws:
        await raw.open(cluster.addresses[leader])
    await cluster.wait_until_level()
    before = {row["id"]: row["traffic"]["peer"]["received_bytes"] for row in await statuses(cluster)}
    round_before = await rounds(cluster)
    net.hold_back(leader, followers)
    for index, raw in enumerate(raws):
        raw.send([commands.put(b"undecided %d" % at, values[at]) for at in range(index, len(values), len(raws))])
    wanted, accepted = sum(map(len, values)), 0
    end_s, still_s = time.monotonic() + 10, time.monotonic()
    while time.monotonic() < end_s and (accepted < wanted or time.monotonic() - still_s < 0.3):
        found = {row["id"]: row["traffic"]["peer"]["received_bytes"] for row in await statuses(cluster)}
        least = min(found[each] - before[each] for each in followers)
        still_s = time.monotonic() if least != accepted else still_s
        accepted = least
        await asyncio.sleep(LOOK_S)
    await asyncio.sleep(0.2)  # for the followers' disks
    rows.add("accepted_mib", accepted / MIB, 0.9 * wanted / MIB, least=True)
    cluster.kill(leader)
    killed_s = time.monotonic()
    for raw in raws:
        raw.close()
    rows.add("next_answer_s", await next_answer_s(cluster, killed_s, sizes.answer_limit_s), 2)
    rows.add("elections", await rounds(cluster) - round_before, 1)
    rows.add("undecided_now_read", await _read(cluster, len(values)))


async def _read(cluster: LocalCluster, count: int) -> int:
    async with Client(cluster.addresses) as client:
        step = max(1, count // 64)
        found = [await client.get(b"undecided %d" % at) for at in range(0, count, step)]
    return sum(value is not None for value in found) * step


async def behind(rows: Rows, sizes: Sizes, value_bytes: int) -> None:
    """A follower is stopped while much is written, and goes on at the moment at which the leader dies."""
    async with directory() as path:
        cluster = local(path)
        async with watched(rows, cluster) as watch:
            leader = await cluster.leader()
            follower = next(node_id for node_id in cluster.processes if node_id != leader)
            cluster.processes[follower].send_signal(19)  # SIGSTOP
            others = [address for node_id, address in enumerate(cluster.addresses) if node_id != follower]
            await _fill(others, sizes.behind_mib, value_bytes)
            watch.check()
            rows.add("rss_before_mib", watch.now_mib())
            cluster.kill(leader)
            killed_s = time.monotonic()
            cluster.signal(follower, 18)  # type: ignore[arg-type]  # SIGCONT
            rows.add("next_answer_s", await next_answer_s(cluster, killed_s, sizes.answer_limit_s), 3)
            began_s = time.monotonic()
            with contextlib.suppress(NoQuorum):
                await _level(cluster, 60)
            rows.add("then_level_after_s", time.monotonic() - began_s)
            watch.check()
            rows.add("rss_mib", watch.peak_mib, 1024)


async def _fill(addresses: list[tuple[str, int]], mib: int, value_bytes: int) -> None:
    """Writes so much, a few values at a time."""
    if value_bytes < 4096:
        options = generator.Options(outstanding=1000, duration_s=2.0, value_size=value_bytes)
        done = 0.0
        while done < mib * MIB:
            done += (await generator.run(addresses, options))["completed"] * (value_bytes + 48)
        return
    async with Client(addresses, timeout_s=60) as client:
        value, count = os.urandom(value_bytes), mib * MIB // value_bytes
        for first in range(0, count, 4):
            await asyncio.gather(*(client.put(b"fill %d" % (at % 100), value) for at in range(first, first + 4)))


async def _level(cluster: LocalCluster, limit_s: float) -> None:
    """Waits until the nodes that live have applied the same slots. Raises NoQuorum."""
    end_s = time.monotonic() + limit_s
    while time.monotonic() < end_s:
        if len({row["slot_out"] for row in await statuses(cluster)}) == 1:
            return
        await asyncio.sleep(LOOK_S)
    raise NoQuorum(f"not level in {limit_s:g} s")


# -- 3 a learner on slow links


async def learner(rows: Rows, sizes: Sizes) -> None:
    """A learner on links of 2 MiB/s comes back, 40 MiB behind, while 0.5 MiB/s are written."""
    rate, written = 2 * MIB, 0.5 * MIB
    with Net([0, 0, 0, rate, 0]) as net:
        async with directory() as path:
            cluster = PlacedCluster(net, config_of(NODES, learners=1), path)
            async with watched(rows, cluster) as watch:
                value_bytes, pause_s = 64 << 10, (64 << 10) / written
                voters = cluster.addresses[:NODES]
                before = await (await Probe.start(voters, sizes.seconds, value_bytes, pause_s)).result()
                cluster.kill(NODES)
                await _fill(voters, sizes.learner_behind_mib, value_bytes)
                round_before, sent_before = await rounds(cluster), net.sent_bytes()
                needed_s = sizes.learner_behind_mib * MIB / (rate - written)
                probe = await Probe.start(voters, 2 * needed_s, value_bytes, pause_s)
                cluster.start_node(NODES)
                await cluster.wait_until_up([NODES])
                took_s = await _learner_level_s(cluster, 4 * needed_s)
                during = await probe.result()
                rows.add("level_s", took_s, 1.5 * needed_s)
                rows.add("carried_mib", (sum(net.sent_bytes()) - sum(sent_before)) / MIB)
                rows.add("elections", await rounds(cluster) - round_before, 0)
                rows.add("writes_failed", sum(during["errors"].values()), 0)
                rows.add("p99_before_ms", before["p99_ms"])
                rows.add("p99_to_before", during["p99_ms"] / max(before["p99_ms"], 0.001), 2)
                watch.check()


async def _learner_level_s(cluster: LocalCluster, limit_s: float) -> float | None:
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < limit_s:
        leading, last = await fetch_statuses([cluster.addresses[0], cluster.addresses[NODES]])
        if leading is not None and last is not None and last["slot_out"] + 2 >= leading["slot_out"]:
            return passed_s
        await asyncio.sleep(LOOK_S)
    return None


# -- 4 and 5 large values in flight, and small ones beside them


async def put_for(client: Client, end_s: float, value: bytes, took_s: list[float], errors: Counter[str]) -> None:
    """Puts one value after the other until then."""
    while time.monotonic() < end_s:
        began_s = time.monotonic()
        try:
            await client.put(b"key %d" % secrets.randbelow(64), value)
        except MultipaxosError as error:
            errors[type(error).__name__] += 1
        took_s.append(time.monotonic() - began_s)


async def flight(rows: Rows, sizes: Sizes) -> None:
    """30 puts of 1 MiB in flight from one client."""
    async with directory() as path:
        cluster = local(path)
        async with watched(rows, cluster) as watch, Client(cluster.addresses) as client:
            took_s: list[float] = []
            errors: Counter[str] = Counter()
            round_before, value = await rounds(cluster), os.urandom(MIB)
            end_s = time.monotonic() + sizes.minute_s
            await asyncio.gather(*(put_for(client, end_s, value, took_s, errors) for _ in range(30)))
            watch.check()
            rows.add("per_s", len(took_s) / sizes.minute_s)
            rows.add("longest_s", max(took_s))
            rows.add("errors", sum(errors.values()), 0)
            rows.add("elections", await rounds(cluster) - round_before, 0)


async def beside(rows: Rows, sizes: Sizes) -> None:
    """Puts of 16 bytes, alone and beside 8 writers of 1 MiB, each a client of its own."""
    async with directory() as path:
        cluster = local(path)
        async with watched(rows, cluster) as watch:
            alone = await (await Probe.start(cluster.addresses, sizes.seconds)).result()
            round_before = await rounds(cluster)
            end_s = time.monotonic() + sizes.seconds + 2
            writers = [Probe.start(cluster.addresses, sizes.seconds + 2, MIB) for _ in range(8)]
            running = [await each for each in writers]
            await asyncio.sleep(1)
            during = await (await Probe.start(cluster.addresses, max(1.0, end_s - time.monotonic()))).result()
            large_ = [await each.result() for each in running]
            watch.check()
            rows.add("alone_p50_ms", alone["p50_ms"])
            rows.add("beside_p50_ms", during["p50_ms"])
            rows.add("p50_to_alone", during["p50_ms"] / max(alone["p50_ms"], 0.001), 10)
            rows.add("large_per_s", sum(each["count"] for each in large_) / (sizes.seconds + 2))
            rows.add("errors", sum(sum(each["errors"].values()) for each in [during, *large_]), 0)
            rows.add("elections", await rounds(cluster) - round_before, 0)


# -- 6 floods


async def flood(rows: Rows, sizes: Sizes, name: str) -> None:
    """The flood twice, at the leader, beside a good client."""
    async with directory() as path:
        cluster = local(path)
        async with watched(rows, cluster) as watch:
            async with Client(cluster.addresses) as client:
                await client.put(BIG, os.urandom(MIB))
            before = await (await Probe.start(cluster.addresses, sizes.seconds)).result()
            round_before, start_mib = await rounds(cluster), watch.now_mib()
            peaks, p99s, errors = [], [], 0
            for _ in range(2):
                watch.peak_mib = 0.0
                good = await Probe.start(cluster.addresses, sizes.seconds + 2)
                told = await _run_flood(name, cluster.addresses[await cluster.leader()], sizes.seconds)
                during = await good.result()
                peaks.append(watch.peak_mib)
                p99s.append(during["p99_ms"])
                errors += sum(during["errors"].values())
                watch.check()
            rows.add("sent_mib", told["sent_bytes"] / MIB)
            rows.add("links_closed", told["closed"])
            rows.add("elections", await rounds(cluster) - round_before, 0)
            rows.add("rss_growth_mib", peaks[0] - start_mib, 256)
            rows.add("second_adds_mib", peaks[1] - peaks[0], 16)
            rows.add("good_errors", errors, 0)
            rows.add("good_p99_to_before", max(p99s) / max(before["p99_ms"], 0.001), 3)


async def _run_flood(name: str, address: tuple[str, int], seconds: float) -> dict[str, Any]:
    words = [str(Path(__file__).with_name("floods.py")), name, f"{address[0]}:{address[1]}", "--seconds", str(seconds)]
    process = await asyncio.create_subprocess_exec(sys.executable, *words, stdout=asyncio.subprocess.PIPE)
    try:
        said, _ = await asyncio.wait_for(process.communicate(), 60 + 4 * seconds)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise NoQuorum(f"the flood {name} did not end") from None
    if process.returncode:
        raise MultipaxosError(f"the flood {name} failed")
    told: dict[str, Any] = json.loads(said)
    return told


# -- 7 overload

VALUE_BYTES = 16 << 10  # so that the cluster, and not this process, is what is full
CLIENTS = 4
Outcome = Literal["answered", "overloaded", "failed"]


async def overload(rows: Rows, sizes: Sizes, times: float) -> None:
    """An open loop at a multiple of the peak of a closed one."""
    async with directory() as path:
        cluster = local(path)
        async with watched(rows, cluster) as watch, contextlib.AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(Client(cluster.addresses)) for _ in range(CLIENTS)]
            before = await (await Probe.start(cluster.addresses, sizes.seconds / 2)).result()
            peak = await _closed(clients, sizes.seconds)
            round_before = await rounds(cluster)
            good = await Probe.start(cluster.addresses, sizes.seconds)
            outcomes, refused_s, asked = await _open(clients, sizes.seconds, peak * times)
            during = await good.result()
            watch.check()
            rows.add("peak_per_s", peak)
            rows.add("asked_to_peak", asked / sizes.seconds / peak, 0.8 * times, least=True)
            rows.add("answered_to_peak", outcomes["answered"] / sizes.seconds / peak, 0.85, least=True)
            rows.add("overloaded", outcomes["overloaded"])
            rows.add("timed_out", outcomes["failed"], 0)
            rows.add("overloaded_after_p99_ms", quantile(refused_s, 0.99) * 1000)
            rows.add("probe_p99_to_before", during["p99_ms"] / max(before["p99_ms"], 0.001), 5)
            rows.add("probe_errors", sum(during["errors"].values()), 0)
            rows.add("elections", await rounds(cluster) - round_before, 0)


async def _closed(clients: list[Client], seconds: float) -> float:
    """The throughput of a closed loop."""
    took_s: list[float] = []
    errors: Counter[str] = Counter()
    end_s, value = time.monotonic() + seconds, os.urandom(VALUE_BYTES)
    await asyncio.gather(*(put_for(client, end_s, value, took_s, errors) for client in clients for _ in range(64)))
    return max(1.0, len(took_s) / seconds)


async def _open(clients: list[Client], seconds: float, rate_per_s: float) -> tuple[Counter[Outcome], list[float], int]:
    """What became of the calls, how long those took that were refused, how many were made."""
    outcomes: Counter[Outcome] = Counter()
    refused_s: list[float] = []
    command, calls = commands.put(b"open", os.urandom(VALUE_BYTES)), set()
    began_s = time.monotonic()
    end_s = began_s + seconds

    async def call(client: Client) -> None:
        asked_s = time.monotonic()
        try:
            await client.apply(command, wait=False)
        except Overloaded:
            outcomes["overloaded"] += 1
            refused_s.append(time.monotonic() - asked_s)
        except MultipaxosError:
            outcomes["failed"] += 1
        else:
            outcomes["answered"] += time.monotonic() < end_s

    asked = 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        for _ in range(min(int(passed_s * rate_per_s) - asked, 2000)):
            task = asyncio.create_task(call(clients[asked % len(clients)]))
            calls.add(task)
            task.add_done_callback(calls.discard)
            asked += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*calls)
    return outcomes, refused_s, asked


# -- the cases

Case = Callable[[Rows, Sizes], Awaitable[None]]


def _with(measure: Callable[..., Awaitable[None]], *arguments: Any) -> Case:
    return lambda rows, sizes: measure(rows, sizes, *arguments)


CASES: dict[str, dict[str, Case]] = {
    "large": {f"1 MiB, {rate} Mbit/s": _with(large, rate) for rate in (100, 20)},
    "undecided": {f"{size} bytes undecided": _with(undecided, size) for size in (MIB - 64, 64)},
    "behind": {f"behind by {size} byte values": _with(behind, size) for size in (MIB, 64)},
    "learner": {"learner at 2 MiB/s": learner},
    "flight": {"30 of 1 MiB in flight": flight},
    "beside": {"small beside large": beside},
    "flood": {f"flood {name}": _with(flood, name) for name in FLOODS},
    "overload": {f"open loop at {times} times peak": _with(overload, times) for times in (2, 10)},
}


@click.command()
@click.argument("what", type=click.Choice(list(CASES)))
@click.option("--only", default="", help="Only the cases whose name holds this.")
@click.option("--quick", is_flag=True, help="Small sizes: shows that it runs.")
@click.option("--ceiling", type=click.FloatRange(64), default=4096, show_default=True, help="MiB of a node.")
def main(what: str, only: str, quick: bool, ceiling: float) -> None:
    """Measure on fresh clusters of three nodes, and compare with the bars."""
    for case, measure in CASES[what].items():
        if only in case:
            uvloop.run(measure(Rows(case, ceiling), QUICK if quick else Sizes()))  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
