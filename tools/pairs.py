"""Compares two checkouts as clusters, in turn: ``python tools/pairs.py OLD NEW --storage memory --outstanding 100``.

Theory. The speed of a shared machine drifts, so only a ratio of two runs that follow each other says anything. A pair
is one run of each checkout; every second pair begins with the other one. Two ratios are reported, new to old, each as
the median over the pairs with a 95 % interval (bootstrap): of the throughput, and of the commands per CPU second of all
nodes and of the client together. A ratio above 1 says that the new checkout is better.

Rules. A checkout is a directory with the command `.venv/bin/multipaxos`, as `make setup` leaves it. Its nodes run on a
disk directory of their own, which is removed; every process is started here and ended here. What a run costs before its
load begins is not counted for nodes, and counted for the client.
"""

from __future__ import annotations

import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click

from multipaxos.local_cluster import free_base_port

NODES = 3
START_S = 30.0
RESAMPLES = 4000
TICKS_PER_S = os.sysconf("SC_CLK_TCK")

Run = tuple[float, float]  # commands per second; commands per CPU second


def cpu_s(pid: int) -> float:
    """CPU seconds that a process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def children_s() -> float:
    """CPU seconds of the children of this process that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def call(checkout: Path, *words: str) -> Any:
    """What a command of the checkout answers in JSON. Raises ClickException with what it said if it fails."""
    command = [str(checkout / ".venv" / "bin" / "multipaxos"), *words, "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise click.ClickException(f"{' '.join(command)}: {done.stderr.strip()}")
    return json.loads(done.stdout)


@contextmanager
def cluster(checkout: Path, storage: str) -> Iterator[str]:
    """A cluster of the checkout's own processes; its addresses."""
    directory, port = tempfile.mkdtemp(prefix="multipaxos-pairs-", dir="/var/tmp"), free_base_port(NODES)
    command = [str(checkout / ".venv" / "bin" / "multipaxos"), "cluster", "--nodes", str(NODES)]
    command += ["--data-dir", directory, "--storage", storage, "--base-port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    addresses = ",".join(f"127.0.0.1:{port + i}" for i in range(NODES))
    try:
        end_s = time.monotonic() + START_S
        while not any(row.get("leading") for row in call(checkout, "status", "--cluster", addresses)):
            if time.monotonic() > end_s or process.poll() is not None:
                raise click.ClickException(f"{checkout}: no leader within {START_S:g} s")
            time.sleep(0.1)
        yield addresses
    finally:
        process.send_signal(signal.SIGINT)
        process.wait()
        shutil.rmtree(directory, ignore_errors=True)


def measure(checkout: Path, storage: str, outstanding: int, duration_s: float) -> Run:
    """One run of one checkout."""
    with cluster(checkout, storage) as addresses:
        before = call(checkout, "status", "--cluster", addresses)
        nodes_s, client_s = sum(cpu_s(row["pid"]) for row in before), children_s()
        load = ["--cluster", addresses, "--outstanding", str(outstanding), "--duration", str(duration_s)]
        result = call(checkout, "bench", *load)
        used_s = sum(cpu_s(row["pid"]) for row in before) - nodes_s + children_s() - client_s
        after = call(checkout, "status", "--cluster", addresses)
    slots = max(row["slot_out"] for row in after) - max(row["slot_out"] for row in before)
    return result["throughput_per_s"], slots / used_s


def pairs(old: Path, new: Path, count: int, run: Callable[[Path], Run]) -> list[tuple[Run, Run]]:
    """`count` pairs of (old, new); every second one begins with the new checkout."""
    found = []
    for i in range(count):
        one, two = (old, new) if i % 2 == 0 else (new, old)
        results = {one: run(one), two: run(two)}
        found.append((results[old], results[new]))
        click.echo(f"pair {i + 1}: old {results[old][0]:,.0f}/s, new {results[new][0]:,.0f}/s", err=True)
    return found


def interval(ratios: Sequence[float]) -> tuple[float, float, float]:
    """The median, and the 95 % interval of the median over resampled pairs."""
    chance = random.Random(1)
    medians = sorted(statistics.median(chance.choices(ratios, k=len(ratios))) for _ in range(RESAMPLES))
    return statistics.median(ratios), medians[RESAMPLES // 40], medians[-RESAMPLES // 40]


@click.command()
@click.argument("old", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.argument("new", type=click.Path(exists=True, file_okay=False, resolve_path=True, path_type=Path))
@click.option("--pairs", "count", type=click.IntRange(2), default=10, show_default=True)
@click.option("--storage", default="memory", show_default=True, help="As for `multipaxos cluster`.")
@click.option("--outstanding", type=click.IntRange(1), default=100, show_default=True, help="Commands in flight.")
@click.option("--duration", type=click.FloatRange(0.1), default=4.0, show_default=True, help="Seconds of each run.")
def main(old: Path, new: Path, count: int, storage: str, outstanding: int, duration: float) -> None:
    """Compare the checkouts OLD and NEW, each a directory with its own .venv."""
    if old == new:
        raise click.UsageError("OLD and NEW are the same directory")
    for checkout in (old, new):
        if not (checkout / ".venv" / "bin" / "multipaxos").exists():
            raise click.ClickException(f"{checkout} has no .venv/bin/multipaxos: run `make setup` there")
    found = pairs(old, new, count, lambda checkout: measure(checkout, storage, outstanding, duration))
    for place, what in enumerate(("throughput", "commands per CPU second")):
        median, low, high = interval([two[place] / one[place] for one, two in found])
        click.echo(f"{what}, new to old: {median:.3f} ({low:.3f} to {high:.3f}), {count} pairs")


if __name__ == "__main__":
    main()
