"""The front of the load generator: one process, one session, a compiled core, and a histogram at the end.

Theory. The generator is a client like any other: it follows the leader, and on a broken or silent link it sends what
is unanswered
again elsewhere. A warm-up of a second is not counted. Latencies are counted in C in HdrHistogram's buckets.
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from multipaxos.client_link import ClientLink, dial, fetch_statuses, find_leader
from multipaxos.errors import HandshakeRefused, SessionExpired
from multipaxos.load import Load

WARM_UP_S = 1.0
SILENCE_S = 0.5
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What `multipaxos bench` takes."""

    outstanding: int = 1
    duration_s: float = 10.0
    key_size: int = 8
    value_size: int = 64
    keys: int = 1000
    rate_per_s: float = 0.0
    read_share: float = 0.0
    seed: int = 1


class Generator:
    """Drives one `Load` over one link at a time."""

    def __init__(self, addresses: list[tuple[str, int]], options: Options) -> None:
        self.addresses = addresses
        self.options = options
        self.load = Load(
            secrets.randbits(63) | 1,
            outstanding=options.outstanding,
            rate_per_s=options.rate_per_s,
            key_size=options.key_size,
            value_size=options.value_size,
            keys=options.keys,
            seed=options.seed,
            read_share=options.read_share,
        )
        self.loop = asyncio.get_running_loop()
        self.link: ClientLink | None = None
        self.reconnects = 0
        self._lost = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None

    def on_data(self, data: bytes) -> None:
        """The hot path: one call into the core and one write per chunk."""
        out = self.load.pump(time.monotonic_ns(), data)
        if out and self.link is not None:
            self.link.write(out)

    async def connect(self, timeout_s: float) -> None:
        """To the leader; everything unanswered is sent again."""
        deadline = self.loop.time() + timeout_s
        while True:
            address = await find_leader(self.addresses, max(0.1, deadline - self.loop.time()))
            self._lost = lost = asyncio.Event()
            try:
                self.link = await dial(address, self.on_data, lost.set)
                break
            except (OSError, HandshakeRefused):
                await asyncio.sleep(0.02)
        self.load.connected()
        self.link.write(self.load.pump(time.monotonic_ns()))

    async def tend(self) -> None:
        """Follows the leader for ever: after a broken link, or silence while something is unanswered."""
        answered, since = self.load.answered, self.loop.time()
        while True:
            if self.load.expired:
                raise SessionExpired("the cluster no longer knows this session; start the benchmark again")
            if self.load.rewind_wanted:
                self.load.rewind()
                self.pump()
            if self.load.answered != answered or not self.load.unanswered:
                answered, since = self.load.answered, self.loop.time()
            if self._lost.is_set() or self.loop.time() - since > SILENCE_S:
                self.reconnects += 1
                if self.link is not None:
                    self.link.close()
                await self.connect(60.0)
                since = self.loop.time()
            await asyncio.sleep(0.02)

    def pump(self) -> None:
        """Sends what is due."""
        out = self.load.pump(time.monotonic_ns())
        if out and self.link is not None and not self.link.paused:
            self.link.write(out)

    async def pace(self) -> None:
        """Wakes an open loop about every millisecond."""
        while self.options.rate_per_s:
            self.pump()
            await asyncio.sleep(0.0005)

    async def run(self, progress: Callable[[float], None]) -> dict[str, Any]:
        """Warm-up, measurement, result. `progress` gets the share done."""
        options = self.options
        await self.connect(30.0)
        helpers = [self.loop.create_task(self.tend()), self.loop.create_task(self.pace())]
        try:
            await self._wait(WARM_UP_S, helpers[0], lambda share: None)
            self.load.measuring = True
            began = time.monotonic()
            await self._wait(options.duration_s, helpers[0], progress)
            self.load.measuring = False
            return self.result(time.monotonic() - began)
        finally:
            self.load.draining = True
            for helper in helpers:
                helper.cancel()
            await asyncio.gather(*helpers, return_exceptions=True)
            if self.link is not None:
                self.link.close()

    async def _wait(self, seconds: float, tending: asyncio.Task[None], progress: Callable[[float], None]) -> None:
        began = self.loop.time()
        while (passed := self.loop.time() - began) < seconds:
            progress(passed / seconds)
            if tending.done():
                tending.result()
            await asyncio.sleep(min(0.25, seconds - passed))

    def result(self, duration_s: float) -> dict[str, Any]:
        """The object that `bench --json` prints, but for the cluster's own facts."""
        histogram, options = self.load.histogram, self.options
        latency_us: dict[str, float] = {"min": 0.0, "mean": 0.0, **dict.fromkeys(PERCENTILES, 0.0), "max": 0.0}
        if histogram.total:
            latency_us = {
                "min": histogram.min / 1000,
                "mean": round(histogram.mean / 1000, 3),
                **{name: histogram.percentile(percent) / 1000 for name, percent in PERCENTILES.items()},
                "max": histogram.max / 1000,
            }
        return {
            "throughput_per_s": round(self.load.completed / duration_s, 1),
            "completed": self.load.completed,
            "errors": self.load.errors,
            "reconnects": self.reconnects,
            "duration_s": round(duration_s, 3),
            "outstanding": options.outstanding,
            "rate_per_s": options.rate_per_s or None,
            "key_size": options.key_size,
            "value_size": options.value_size,
            "keys": options.keys,
            "latency_us": latency_us,
        }


async def run(
    addresses: list[tuple[str, int]], options: Options, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Measures a running cluster."""
    generator = Generator(addresses, options)
    result = await generator.run(progress)
    statuses = [status for status in await fetch_statuses(addresses) if status is not None]
    result["nodes"] = len(addresses)
    result["storage"] = statuses[0]["storage"] if statuses else "unknown"
    return result
