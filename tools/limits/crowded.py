"""Many large values at once, small ones beside them, more than a cluster can take, and floods."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from floods import BIG
from probe import Probe, quantile
from tied import tied
from watched import MIB, Rows, Sizes, directory, local, ratio, rounds, slots, watched

from multipaxos import commands
from multipaxos.client.call import Call
from multipaxos.client.client import Client
from multipaxos.errors import MultipaxosError, NoQuorum, Overloaded

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
            rows.add("p50_to_alone", ratio(during, alone, "p50_ms"), 10)
            rows.add("large_per_s", sum(each["count"] for each in large_) / (sizes.seconds + 2))
            rows.add("errors", sum(sum(each["errors"].values()) for each in [during, *large_]), 0)
            rows.add("elections", await rounds(cluster) - round_before, 0)


# -- 6 floods

SETTLE_S = 1.0  # after a flood: its links end, and free memory goes back to the system


async def flood(rows: Rows, sizes: Sizes, name: str) -> None:
    """The flood twice, at the leader, beside a good client. First the slots that nodes keep in memory are filled,
    because the good client alone would fill them too. What the second one adds is what stays when both have ended."""
    async with directory() as path:
        cluster = local(path)
        async with watched(rows, cluster) as watch:
            async with Client(cluster.addresses) as client:
                await client.put(BIG, os.urandom(MIB))
                await asyncio.gather(*(client.put(b"fill", b"16 bytes of text") for _ in range(sizes.fill)))
            before = await (await Probe.start(cluster.addresses, sizes.seconds)).result()
            round_before, start_mib = await rounds(cluster), watch.now_mib()
            slots_before, stays, ratios, errors, puts = await slots(cluster), [], [], 0, 0
            watch.held_peak_mib = 0.0
            for _ in range(2):
                good = await Probe.start(cluster.addresses, sizes.seconds + 2)
                told = await _run_flood(name, cluster.addresses[await cluster.leader()], sizes.seconds)
                during = await good.result()
                await asyncio.sleep(SETTLE_S)
                stays.append(watch.now_mib())
                ratios.append(ratio(during, before, "p99_ms"))
                puts += during["count"]
                errors += sum(during["errors"].values())
                watch.check()
            rows.add("sent_mib", told["sent_bytes"] / MIB)
            rows.add("links_closed", told["closed"])
            rows.add("elections", await rounds(cluster) - round_before, 0)
            rows.add("rss_growth_mib", watch.held_peak_mib - start_mib, 256)
            rows.add("first_leaves_mib", stays[0] - start_mib)
            rows.add("second_adds_mib", stays[1] - stays[0], 16)
            rows.add("good_errors", errors, 0)
            rows.add("good_p99_to_before", None if None in ratios else max(each for each in ratios if each), 3)
            rows.add("slots_of_the_flood", await slots(cluster) - slots_before - puts)


async def _run_flood(name: str, address: tuple[str, int], seconds: float) -> dict[str, Any]:
    words = [
        *tied(),
        sys.executable,
        str(Path(__file__).with_name("floods.py")),
        name,
        f"{address[0]}:{address[1]}",
        "--seconds",
        str(seconds),
    ]
    process = await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE)
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
    """An open loop at a multiple of the peak of a closed one, which is measured before and after: disks become slower
    while much is written."""
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
            after = await _closed(clients, sizes.seconds)
            watch.check()
            rows.add("peak_per_s", peak)
            rows.add("peak_after_to_before", after / peak)
            rows.add("asked_to_peak", asked / sizes.seconds / peak)
            rows.add("answered_to_peak", outcomes["answered"] / sizes.seconds / ((peak + after) / 2), 0.85, least=True)
            rows.add("overloaded", outcomes["overloaded"])
            rows.add("timed_out", outcomes["failed"], 0)
            rows.add("overloaded_after_p99_ms", quantile(refused_s, 0.99) * 1000)
            rows.add("probe_p99_to_before", ratio(during, before, "p99_ms"), 5)
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
    """What became of the calls, how long those took that were refused, how many were made. A call costs this process as
    little as can be, because the cluster shares the machine: it is no task, and has a callback only if it waits."""
    outcomes: Counter[Outcome] = Counter()
    refused_s: list[float] = []
    command, calls = commands.put(b"open", os.urandom(VALUE_BYTES)), set()
    began_s = time.monotonic()
    end_s = began_s + seconds

    def end(call: Call[bytes]) -> None:
        calls.discard(call)
        error = call.exception()
        if error is None:
            outcomes["answered"] += time.monotonic() < end_s
        else:
            outcomes["overloaded" if isinstance(error, Overloaded) else "failed"] += 1

    asked = 0
    while (passed_s := time.monotonic() - began_s) < seconds:
        for _ in range(min(int(passed_s * rate_per_s) - asked, 2000)):
            asked_s = time.monotonic()
            call = clients[asked % len(clients)].apply(command, wait=False)
            if call.done():
                refused_s.append(time.monotonic() - asked_s)
                end(call)
            else:
                calls.add(call)
                call.add_done_callback(end)
            asked += 1
        await asyncio.sleep(0.001)
    await asyncio.gather(*calls, return_exceptions=True)
    return outcomes, refused_s, asked
