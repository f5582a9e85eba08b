"""The front of the load generator: one process with one session drives a compiled `Load` and reports its histogram.

Theory. The generator is a client like any other: it follows the leader, and when its link breaks or stays silent
(`client.patience` says for how long) it sends the unanswered commands again over a new link. In the end it closes its
session. A warm-up of WARM_UP_S is not counted. Latencies are counted in C, in HdrHistogram's buckets. With `records`
every operation is kept too, including those of the warm-up and those that are never answered. A load with records can
be ended early (`stop`), and waits up to DRAIN_S for the last answers.
"""

from __future__ import annotations

import asyncio
import secrets
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from multipaxos.client.client import CLOSE_S
from multipaxos.client.discovery import fetch_statuses, find_leader
from multipaxos.client.link import ClientLink, dial
from multipaxos.client.one_cluster import OneCluster
from multipaxos.client.patience import Patience
from multipaxos.errors import HandshakeRefused, SessionExpired
from multipaxos.load.load import Load
from multipaxos.load.operation_log import OperationLog
from multipaxos.load.timerfd import Timer

WARM_UP_S = 1.0
SILENCE_S = 0.5  # of a node while commands are unanswered: then the link is replaced
POLL_S = 0.02
DRAIN_S = 2.0
RECORDS_EVERY_S = 0.05
CONNECT_S = 30.0  # at the start
RECONNECT_S = 60.0
PACE_NS = 50_000  # an open loop does not wake more often; at higher rates several commands share a wake-up
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p99": 99.0, "p999": 99.9}


@dataclass(frozen=True, kw_only=True)
class Options:
    """What to load the cluster with; see `multipaxos bench --help`. A `rate_per_s` above 0 makes an open loop."""

    outstanding: int = 1
    duration_s: float = 10.0
    key_size: int = 8
    value_size: int = 64
    keys: int = 1000
    rate_per_s: float = 0.0
    arrivals: Literal["fixed", "poisson"] = "fixed"
    zipf: float = 0.0
    read_share: float = 0.0
    seed: int = 1
    client: int = 0
    records: Path | None = None


class Generator:
    """Drives one `Load` over one link at a time. Made inside the event loop that it runs in."""

    def __init__(self, addresses: list[tuple[str, int]], options: Options) -> None:
        self.addresses = addresses
        self.options = options
        self.load = Load(
            secrets.randbits(64) or 1,
            outstanding=options.outstanding,
            rate_per_s=options.rate_per_s,
            poisson=options.arrivals == "poisson",
            key_size=options.key_size,
            value_size=options.value_size,
            keys=options.keys,
            zipf=options.zipf,
            seed=options.seed,
            read_share=options.read_share,
            client=options.client,
        )
        self.load.recording = options.records is not None
        self.loop = asyncio.get_running_loop()
        self.link: ClientLink | None = None
        self.reconnects = 0
        self._cluster = OneCluster()
        self._patience = Patience(SILENCE_S)
        self._lost = asyncio.Event()
        self._stop = asyncio.Event()
        self._drained = asyncio.Event()

    def stop(self) -> None:
        """Ends the measurement early."""
        self._stop.set()

    def on_data(self, data: bytes) -> None:
        """Takes a chunk of bytes. The hot path: one call into the compiled load and one write."""
        out = self.load.pump(time.monotonic_ns(), data)
        if out and self.link is not None:
            self.link.write(out)
            if self.load.sent < self.load.last:
                self.loop.call_soon(self.pump)
        if self.load.draining and not self.load.unanswered:
            self._drained.set()
        if self.load.closed:
            self._lost.set()

    async def connect(self, timeout_s: float) -> None:
        """Connects to the leader and sends the unanswered commands again. Raises NoQuorum after `timeout_s`,
        SessionExpired, ConfigurationError."""
        deadline = self.loop.time() + timeout_s
        while True:
            address = await find_leader(self.addresses, max(0.1, deadline - self.loop.time()))
            self._lost = lost = asyncio.Event()
            try:
                link = await dial(address, self.on_data, lost.set)
                self._cluster.meet(address, link.theirs)
                if self.load.met(link.theirs.cluster_id):
                    self.link = link
                    break
                link.close()
            except (OSError, HandshakeRefused):
                pass
            if self.load.expired:
                raise SessionExpired("the cluster was founded again meanwhile: start the benchmark again")
            await asyncio.sleep(POLL_S)
        self.load.connected()
        self._patience.begin(self.loop.time(), self.load.last)
        link.on_room = self.pump
        self.pump()

    async def tend(self) -> None:
        """Reconnects for ever: when the link breaks, or stays silent while commands are unanswered.

        Raises SessionExpired, NoQuorum.
        """
        while True:
            if self.load.expired:
                raise SessionExpired("the cluster no longer knows this session; start the benchmark again")
            if not self.load.unanswered:
                self._patience.begin(self.loop.time(), self.load.last)
            if self._lost.is_set() or (self.link is not None and self._is_silent(self.link)):
                self.reconnects += 1
                if self.link is not None:
                    self.link.close()
                await self.connect(RECONNECT_S)
            await asyncio.sleep(POLL_S)

    def _is_silent(self, link: ClientLink) -> bool:
        """Has the node been silent for too long? If not, what the cluster could not take is sent again when it is
        time."""
        now_s, load, patience = self.loop.time(), self.load, self._patience
        unsent_bytes = link.unsent_bytes()
        patience.look(
            now_s, answers=load.answered, received_bytes=link.received_bytes, written_bytes=link.written_bytes,
            unsent_bytes=unsent_bytes, sent=load.sent, last=load.last,
        )  # fmt: skip
        if load.unanswered and patience.is_over(now_s, load.unanswered_bytes):
            patience.lose()
            return True
        if load.rewind_wanted and patience.may_rewind(now_s, unsent_bytes):
            load.rewind()
            self.pump()
        return False

    def pump(self) -> None:
        """Sends the commands that are due, a request at a time, while the kernel takes them."""
        if self.link is None or self.link.paused:
            return
        out = self.load.pump(time.monotonic_ns())
        if out:
            self.link.write(out)
            if self.load.sent < self.load.last:
                self.loop.call_soon(self.pump)

    def pace(self) -> Timer:
        """A timer that sends the commands of an open loop when they are due."""

        def on_due() -> None:
            self.pump()
            timer.arm(max(self.load.next_due_ns(), time.monotonic_ns() + PACE_NS))

        timer = Timer(self.loop, on_due)
        timer.arm(1)
        return timer

    async def keep_records(self, file: OperationLog) -> None:
        """Writes the answered operations to the file, for ever."""
        while True:
            file.write(self.load.take_rows())
            await asyncio.sleep(RECORDS_EVERY_S)

    async def run(self, progress: Callable[[float], None]) -> dict[str, Any]:
        """Warms up, measures, and returns what `result` says. `progress` is called with the share done, 0 to 1.

        Raises SessionExpired, NoQuorum, OSError.
        """
        if self.options.records is None:
            return await self._run(progress)
        with OperationLog(self.options.records) as file:
            keeping = self.loop.create_task(self.keep_records(file))
            try:
                return await self._run(progress)
            finally:
                keeping.cancel()
                await asyncio.gather(keeping, return_exceptions=True)
                file.write(self.load.take_rows())
                file.write(self.load.unanswered_rows())

    async def _run(self, progress: Callable[[float], None]) -> dict[str, Any]:
        options = self.options
        await self.connect(CONNECT_S)
        tending = self.loop.create_task(self.tend())
        pacing = self.pace() if options.rate_per_s else None
        try:
            await self._wait(WARM_UP_S, tending, lambda share: None)
            self.load.measuring = True
            began = time.monotonic()
            await self._wait(options.duration_s, tending, progress)
            self.load.measuring = False
            result = self.result(time.monotonic() - began)
            if options.records is not None:
                await self._drain(tending)
            return result
        finally:
            self.load.draining = True
            if pacing is not None:
                pacing.close()
            tending.cancel()
            await asyncio.gather(tending, return_exceptions=True)
            if self.link is not None:
                await self._close_session()
                self.link.close()

    async def _close_session(self) -> None:
        """Tells the cluster that the session ends, if the link is up."""
        if self._lost.is_set() or not self.load.close():
            return
        self.pump()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._lost.wait()
        except TimeoutError:
            return

    async def _wait(self, seconds: float, tending: asyncio.Task[None], progress: Callable[[float], None]) -> None:
        began = self.loop.time()
        while (passed := self.loop.time() - began) < seconds and not self._stop.is_set():
            progress(passed / seconds)
            if tending.done():
                tending.result()
            try:
                async with asyncio.timeout(min(0.25, seconds - passed)):
                    await self._stop.wait()
            except TimeoutError:
                pass

    async def _drain(self, tending: asyncio.Task[None]) -> None:
        """Sends nothing new, and waits up to DRAIN_S for the answers that are missing."""
        self.load.draining = True
        if self.load.unanswered:
            drained = self.loop.create_task(self._drained.wait())
            await asyncio.wait([drained, tending], timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
            drained.cancel()

    def result(self, duration_s: float) -> dict[str, Any]:
        """The object that `bench --json` prints, without the facts of the cluster. Latencies are in microseconds."""
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
            "session": self.load.id,
            "unanswered": self.load.unanswered,
            "latency_us": latency_us,
        }


async def run(
    addresses: list[tuple[str, int]], options: Options, progress: Callable[[float], None] = lambda share: None
) -> dict[str, Any]:
    """Measures a running cluster; see `Generator.run`.

    With records SIGINT and SIGTERM end the measurement early, and the result is still returned.
    """
    generator = Generator(addresses, options)
    if options.records is not None:
        for number in (signal.SIGINT, signal.SIGTERM):
            generator.loop.add_signal_handler(number, generator.stop)
    result = await generator.run(progress)
    statuses = [status for status in await fetch_statuses(addresses) if status is not None]
    result["nodes"] = len(addresses)
    result["storage"] = statuses[0]["storage"] if statuses else "unknown"
    return result
