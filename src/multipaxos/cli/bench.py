"""`bench`: the load generator's command line."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import uvloop
from rich.console import Console
from rich.progress import Progress

from multipaxos.cli.options import USAGE, Finite, cluster_option, fail, reports_errors
from multipaxos.client.session import UNACKNOWLEDGED_MAX
from multipaxos.config.cluster import Config
from multipaxos.load import generator
from multipaxos.local_cluster import LocalCluster, disk_directory, free_base_port

LOAD_OPTIONS = (  # by the names of generator.Options
    click.option(
        "--outstanding",
        type=click.IntRange(1, UNACKNOWLEDGED_MAX),
        default=1,
        show_default=True,
        help="Commands in flight.",
    ),
    click.option(
        "--duration",
        "duration_s",
        type=Finite(0.1),
        default=10.0,
        show_default=True,
        help="Seconds, after 1 s of warm-up.",
    ),
    click.option("--key-size", type=click.IntRange(1, 480), default=8, show_default=True),
    click.option("--value-size", type=click.IntRange(0, 1 << 20), default=64, show_default=True),
    click.option("--keys", type=click.IntRange(1, 1 << 31), default=1000, show_default=True),
    click.option(
        "--rate",
        "rate_per_s",
        type=Finite(0),
        default=0.0,
        help="Open loop: so many per second; latency from the planned time.",
    ),
    click.option(
        "--arrivals",
        type=click.Choice(["fixed", "poisson"]),
        default="fixed",
        show_default=True,
        help="Of an open loop: evenly, or at random.",
    ),
    click.option("--zipf", type=Finite(0, 10), default=0.0, help="Exponent of the keys' popularity; 0: all alike."),
    click.option("--read-share", type=Finite(0, 1), default=0.0, show_default=True),
    click.option("--seed", type=int, default=1, show_default=True),
    click.option("--client", type=click.IntRange(0, 65535), default=0, help="This client's number in its records."),
    click.option(
        "--records",
        type=click.Path(path_type=Path, dir_okay=False),
        help="A new file for every operation (planned, sent, answered, outcome), as a numpy structured array.",
    ),
)


def load_options(command: Callable[..., None]) -> Callable[..., None]:
    """Adds the options that describe a load."""
    for option in reversed(LOAD_OPTIONS):
        command = option(command)
    return command


async def on_spawned(
    count: int, storage: str, options: generator.Options, progress: Callable[[float], None]
) -> dict[str, Any]:
    """Starts a cluster of `count` nodes, measures it, and leaves nothing behind."""
    directory = disk_directory("multipaxos-bench-")
    try:
        async with LocalCluster(Config.local(count, free_base_port(count)), directory, storage) as cluster:
            return await generator.run(cluster.addresses, options, progress)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def show(result: dict[str, Any]) -> None:
    """Prints a result as text."""
    latency = result["latency_us"]
    click.echo(
        f"{result['throughput_per_s']:,.0f} commands/s, {result['completed']:,} in {result['duration_s']:.1f} s, "
        f"{result['errors']} errors"
    )
    click.echo("latency, us: " + ", ".join(f"{name} {value:,.1f}" for name, value in latency.items()))


@click.command()
@cluster_option(required=False)
@click.option(
    "--spawn", type=click.IntRange(1, 64), help="Start so many nodes on this machine for it, instead of --cluster."
)
@click.option(
    "--storage", type=click.Choice(["memory", "lmdb"]), default="memory", show_default=True, help="Of spawned nodes."
)
@load_options
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@reports_errors
def bench(cluster: list[tuple[str, int]] | None, spawn: int | None, storage: str, as_json: bool, **load: Any) -> None:
    """Load a cluster and measure throughput and latency."""
    if cluster is None and spawn is None:
        fail("give --cluster (or MULTIPAXOS_CLUSTER), or --spawn N", USAGE)
    options = generator.Options(**load)
    if options.records is not None and options.records.exists():
        fail(f"{options.records} exists: records go to a new file", USAGE)
    if options.records is not None and not options.records.absolute().parent.is_dir():
        fail(f"{options.records}: there is no such folder: make it first", USAGE)
    with Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty()) as bar:
        task = bar.add_task("measuring", total=1.0)

        def progress(share: float) -> None:
            bar.update(task, completed=share)

        if spawn is not None:
            result = uvloop.run(on_spawned(spawn, storage, options, progress))
        else:
            result = uvloop.run(generator.run(cluster or [], options, progress))
    if as_json:
        click.echo(json.dumps(result))
    else:
        show(result)


COMMANDS = [bench]
