"""What every case of `tools/limits` shares: clusters that are watched, and figures with their bars.

Rules. A cluster whose largest node is over the ceiling is ended, and what goes wrong then is reported as a figure. A
figure is one line of JSON: `holds` says whether its bar is kept, and is null where it has none.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
from tied import tied

from multipaxos.client.client import Client
from multipaxos.client.discovery import fetch_statuses
from multipaxos.config.cluster import Config
from multipaxos.errors import MultipaxosError, NoQuorum
from multipaxos.local_cluster import LocalCluster, disk_directory, free_base_port

NODES = 3
MIB = 1 << 20
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
    fill: int = 3 * Config.local(NODES, 1).window  # slots; 2 windows stay in memory
    seconds: float = 10.0
    minute_s: float = 60.0
    answer_limit_s: float = 60.0


QUICK = Sizes(
    puts=2, undecided=4, undecided_small=500, behind_mib=4, learner_behind_mib=4, fill=10, seconds=1.0, minute_s=2.0
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
    """Follows the memory of every node; over the ceiling it ends the nodes and remembers that.

    Resident memory holds pages of the log's file that the kernel may take back at any time, up to the whole file. So
    the ceiling is of what a node holds itself, and both are reported.
    """

    def __init__(self, cluster: LocalCluster, ceiling_mib: float) -> None:
        self.cluster = cluster
        self.ceiling_mib = ceiling_mib
        self.peak_mib = 0.0  # resident
        self.held_peak_mib = 0.0  # without pages of files
        self.over = False
        self._task = asyncio.create_task(self._follow())

    def now_mib(self) -> float:
        """What the node that has most holds now, without pages of files."""
        resident_mib, held_mib = 0.0, 0.0
        for each in self.cluster.processes.values():
            with contextlib.suppress(OSError, IndexError):
                resident, shared = map(int, Path(f"/proc/{each.pid}/statm").read_text().split()[1:3])
                resident_mib = max(resident_mib, resident * PAGE / MIB)
                held_mib = max(held_mib, (resident - shared) * PAGE / MIB)
        self.peak_mib = max(self.peak_mib, resident_mib)
        self.held_peak_mib = max(self.held_peak_mib, held_mib)
        return held_mib

    async def _follow(self) -> None:
        while True:
            if self.now_mib() > self.ceiling_mib:
                self.over = True
                for each in self.cluster.processes.values():
                    each.kill()
                return
            await asyncio.sleep(LOOK_S)

    def check(self) -> None:
        """Raises Over if the nodes were ended."""
        if self.over:
            raise Over(f"a node holds {self.held_peak_mib:,.0f} MiB")

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
            rows.add("held_peak_mib", watch.held_peak_mib)


@asynccontextmanager
async def directory() -> AsyncIterator[Path]:
    """A directory on a disk, which is removed."""
    path = disk_directory("multipaxos-limits-")
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


class TiedCluster(LocalCluster):
    """A cluster whose nodes end with this process."""

    def command(self, node_id: int) -> list[str]:
        """See `tied`."""
        return [*tied(), *super().command(node_id)]


def local(path: Path, **settings: Any) -> LocalCluster:
    """Three nodes on LMDB at free ports of the loopback."""
    return TiedCluster(replace(Config.local(NODES, free_base_port(NODES)), **settings), path)


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


async def slots(cluster: LocalCluster) -> int:
    """How many slots are applied where most are."""
    return max(int(row["slot_out"]) for row in await statuses(cluster))


def ratio(during: dict[str, Any], before: dict[str, Any], figure: str) -> float | None:
    """How much greater a probe's figure became; None if a probe has none."""
    return during[figure] / before[figure] if during["count"] and before["count"] else None


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
