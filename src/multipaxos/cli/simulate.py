"""`simulate`: whole clusters on virtual time, a scenario per seed.

Rules. The seeds are distributed over processes; the result does not depend on how many there are. A violation is
reported with the command that runs its seed again and the file of its diagram.
"""

from __future__ import annotations

import gc
import json
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from multipaxos.cli.options import REFUSED
from multipaxos.simulation.drawing import scenario
from multipaxos.simulation.report import Result, Total, add_up, run_seed, story
from multipaxos.simulation.world import World

OBJECTS_BETWEEN_COLLECTIONS = 50_000  # some 40 MiB
SHARE = 8  # seeds that a process takes at a time


class Seeds(click.ParamType[range]):
    """The type of a range of seeds: A:B, B excluded, or A:B:STEP."""

    name = "A:B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """Converts text to a range that is not empty."""
        if isinstance(value, range):
            return value
        parts = str(value).split(":")
        numbers = [int(part) for part in parts if part.isdigit()]
        whole = len(numbers) == len(parts) in (2, 3) and 0 not in numbers[2:]
        seeds = range(*numbers) if whole else range(0)
        if not seeds:
            self.fail(f"{value!r} is not a range of seeds: give A:B with A below B, as 0:100", param, ctx)
        return seeds


@click.command()
@click.option("--seeds", type=Seeds(), required=True, help="A:B, B excluded; A:B:STEP for each STEP-th one.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option(
    "--jobs", type=click.IntRange(1), default=os.cpu_count() or 1, help="Processes; by default one for each core."
)
@click.option("--first", is_flag=True, help="Stop at the first violation.")
@click.option(
    "--diagrams",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(),
    help="The folder for diagrams of violations.",
)
@click.option("--timeline", "show_timeline", is_flag=True, help="Print all that happened; for one seed.")
def simulate(seeds: range, as_json: bool, jobs: int, first: bool, diagrams: Path, show_timeline: bool) -> None:
    """Run simulated clusters under random faults; the exit code is 1 if a promise was broken."""
    if show_timeline:
        tell_story(seeds)
    console = Console(stderr=True)
    shown = track(
        run(seeds, jobs),
        "simulating",
        total=len(seeds),
        console=console,
        disable=not sys.stderr.isatty(),
        transient=True,
    )
    results = []
    for result in shown:
        results.append(result)
        if result.violation:
            explain(result, diagrams)
            if first:
                break
    total = add_up(results)
    click.echo(json.dumps(asdict(total)) if as_json else words(total))
    if total.violations:
        sys.exit(REFUSED)


def run(seeds: range, jobs: int) -> Iterator[Result]:
    """The results, in the order of the seeds."""
    if jobs == 1 or len(seeds) == 1:
        collect_seldom()
        yield from map(run_seed, seeds)
        return
    with ProcessPoolExecutor(jobs, initializer=collect_seldom) as pool:
        try:
            yield from pool.map(run_seed, seeds, chunksize=max(1, min(SHARE, len(seeds) // jobs)))
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def collect_seldom() -> None:
    """A world makes many objects and few circles: the collector would look at them again and again in vain."""
    gc.set_threshold(OBJECTS_BETWEEN_COLLECTIONS)


def tell_story(seeds: range) -> None:
    """Runs one seed and prints its notes."""
    if len(seeds) != 1:
        raise click.UsageError(f"--timeline shows one seed, these are {len(seeds)}: give --seeds A:A+1")
    world = World(seeds[0], scenario(seeds[0]))
    click.echo(world.scenario.describe())
    try:
        world.run()
    finally:
        click.echo("\n".join(story(world)))


def explain(result: Result, diagrams: Path) -> None:
    """Reports the broken promise, how to see it again, and the file of its diagram."""
    diagrams.mkdir(parents=True, exist_ok=True)
    path = diagrams / f"violation-{result.seed}.svg"
    path.write_text(result.diagram, encoding="utf-8")
    click.echo(
        f"{result.violation}\n  again with: multipaxos simulate --seeds {result.seed}:{result.seed + 1}"
        f"\n  its last messages: {path}",
        err=True,
    )


def words(total: Total) -> str:
    """The sum in words."""
    numbers = asdict(total)
    faults = numbers.pop("faults")
    lines = [", ".join(f"{name} {count:,}" for name, count in numbers.items())]
    lines.append("faults: " + ", ".join(f"{name} {count:,}" for name, count in faults.items()))
    return "\n".join(lines)


COMMANDS = [simulate]
