"""Values over slow links, a leader that dies with much undecided, and nodes that are far behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import signal
import time
from collections.abc import Sequence

from probe import Probe
from slow_links import Net, PlacedCluster, config_of
from watched import LOOK_S, MIB, NODES, Rows, Sizes, directory, local, next_answer_s, ratio, rounds, statuses, watched

from multipaxos import commands
from multipaxos.client.client import Client
from multipaxos.client.discovery import fetch_statuses
from multipaxos.client.link import dial
from multipaxos.client.session import Session
from multipaxos.errors import MultipaxosError, NoQuorum
from multipaxos.load import generator
from multipaxos.local_cluster import LocalCluster

MBIT = 1_000_000 / 8
KERNEL_BYTES = 256 << 20
UNDECIDED_BYTES = 64 << 20  # the most that may be in flight
SENDING_S, ACCEPTING_S = 3.0, 1.5
PATIENT = {"election_timeout_ms": 5000}  # so that nobody gives up meanwhile


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
    """Values that the followers have accepted and whose leader heard of no vote; then it dies. No load besides.

    The followers are stopped while the leader proposes, into the buffers of their kernels; then the leader is stopped
    and they go on, for less than a time-out.
    """
    count = sizes.undecided if value_bytes > 4096 else sizes.undecided_small
    window = 8192 if count < 8192 else 65536
    with Net([0] * (NODES + 1)) as net:
        for index in range(NODES):
            net.take_in(index, KERNEL_BYTES)
        async with directory() as path:
            cluster = PlacedCluster(
                net, config_of(NODES, window=window, in_flight_bytes=UNDECIDED_BYTES, **PATIENT), path
            )
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
    round_before, sent_before, wanted = await rounds(cluster), net.sent_bytes()[leader], 2 * sum(map(len, values))
    for each in followers:
        cluster.signal(each, signal.SIGSTOP)
    for index, raw in enumerate(raws):
        raw.send([commands.put(b"undecided %d" % at, values[at]) for at in range(index, len(values), len(raws))])
    sent, end_s = 0, time.monotonic() + SENDING_S
    while time.monotonic() < end_s and sent < wanted:
        await asyncio.sleep(LOOK_S)
        sent = net.sent_bytes()[leader] - sent_before
    rows.add("sent_mib", sent / MIB)
    cluster.signal(leader, signal.SIGSTOP)
    for each in followers:
        cluster.signal(each, signal.SIGCONT)
    await asyncio.sleep(ACCEPTING_S)
    cluster.kill(leader)
    killed_s = time.monotonic()
    for raw in raws:
        raw.close()
    rows.add("next_answer_s", await next_answer_s(cluster, killed_s, sizes.answer_limit_s), 2)
    rows.add("elections", await rounds(cluster) - round_before, 1)
    rows.add("were_accepted", await _read(cluster, len(values)), 0.9 * len(values), least=True)


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
            cluster.processes[follower].send_signal(signal.SIGSTOP)
            others = [address for node_id, address in enumerate(cluster.addresses) if node_id != follower]
            await _fill(others, sizes.behind_mib, value_bytes)
            watch.check()
            rows.add("held_before_mib", watch.now_mib())
            cluster.kill(leader)
            killed_s = time.monotonic()
            cluster.signal(follower, signal.SIGCONT)
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
                rows.add("p99_to_before", ratio(during, before, "p99_ms"), 2)
                watch.check()


async def _learner_level_s(cluster: LocalCluster, limit_s: float) -> float | None:
    began_s = time.monotonic()
    while (passed_s := time.monotonic() - began_s) < limit_s:
        leading, last = await fetch_statuses([cluster.addresses[0], cluster.addresses[NODES]])
        if leading is not None and last is not None and last["slot_out"] + 2 >= leading["slot_out"]:
            return passed_s
        await asyncio.sleep(LOOK_S)
    return None
