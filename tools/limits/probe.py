"""A good client in a process of its own, ``python tools/limits/probe.py ADDRESSES``: puts, and how long each took.

Theory. Who floods a cluster from the process that also measures it measures himself. So the latency of a good client is
taken by another process, which puts one value after the other (or at a given pace) and prints one line of JSON.

Rules. A call that raises counts under the name of its error, and as the time that it took. In a paced run a latency
counts from the planned time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import Counter
from typing import Any

import click
import uvloop
from tied import tied

from multipaxos.client.client import Client
from multipaxos.errors import MultipaxosError


def quantile(values: list[float], share: float) -> float:
    """The value below which `share` of the values lie; 0 without values."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0


def summary(latencies_s: list[float], errors: Counter[str]) -> dict[str, Any]:
    """What a probe prints."""
    figures = {"p50_ms": 0.5, "p99_ms": 0.99, "max_ms": 1.0}
    found = {name: round(quantile(latencies_s, share) * 1000, 3) for name, share in figures.items()}
    return {"count": len(latencies_s), **found, "errors": dict(errors)}


async def probe(addresses: str, seconds: float, value_bytes: int, pause_s: float) -> dict[str, Any]:
    """Puts until the time is over; the first put is not counted."""
    latencies_s: list[float] = []
    errors: Counter[str] = Counter()
    async with Client(addresses) as client:
        with contextlib.suppress(MultipaxosError):  # if nobody answers, the puts below tell it
            await client.put(b"probe", b"first", timeout_s=30)
        began_s = planned_s = time.monotonic()
        while time.monotonic() - began_s < seconds:
            try:
                await client.put(b"probe %d" % (len(latencies_s) % 100), b"p" * value_bytes)
            except MultipaxosError as error:
                errors[type(error).__name__] += 1
            now_s = time.monotonic()
            latencies_s.append(now_s - planned_s)
            planned_s = max(now_s, planned_s + pause_s) if not pause_s else planned_s + pause_s
            await asyncio.sleep(max(0.0, planned_s - now_s) if pause_s else 0)
            if not pause_s:
                planned_s = time.monotonic()
    return summary(latencies_s, errors)


class Probe:
    """The probe as a process of its own: start it, do something, and take its `result`."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    @classmethod
    async def start(
        cls, addresses: list[tuple[str, int]], seconds: float, value_bytes: int = 16, pause_s: float = 0.0
    ) -> Probe:
        """Starts it; its measurement begins when its first put is answered."""
        words = [
            *tied(),
            sys.executable,
            __file__,
            ",".join(f"{host}:{port}" for host, port in addresses),
            "--seconds",
            str(seconds),
        ]
        words += ["--value-bytes", str(value_bytes), "--pause", str(pause_s)]
        return cls(await asyncio.create_subprocess_exec(*words, stdout=asyncio.subprocess.PIPE))

    async def result(self) -> dict[str, Any]:
        """What it printed; waits for its end."""
        said, _ = await self._process.communicate()
        return json.loads(said) if self._process.returncode == 0 else summary([], Counter({"Failed": 1}))

    def stop(self) -> None:
        """Ends it, if it has not ended."""
        if self._process.returncode is None:
            self._process.kill()


@click.command()
@click.argument("addresses")
@click.option("--seconds", type=float, default=5.0, show_default=True)
@click.option("--value-bytes", type=click.IntRange(0), default=16, show_default=True)
@click.option("--pause", "pause_s", type=float, default=0.0, help="Seconds from one put to the next; 0: none.")
def main(addresses: str, seconds: float, value_bytes: int, pause_s: float) -> None:
    """Put values for some seconds and print how long each took."""
    click.echo(json.dumps(uvloop.run(probe(addresses, seconds, value_bytes, pause_s))))


if __name__ == "__main__":
    main()
