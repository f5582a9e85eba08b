"""`simulate`: whole clusters on virtual time, a schedule of faults per seed."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.progress import track

from multipaxos.cli_common import REFUSED
from multipaxos.errors import MultipaxosError
from multipaxos.world import World

SIZES = (3, 5, 1, 2, 4)


class Seeds(click.ParamType[range]):
    """A:B, B excluded."""

    name = "A:B"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """To a range that is not empty."""
        if isinstance(value, range):
            return value
        first, _, end = str(value).partition(":")
        if not (first.isdigit() and end.isdigit() and int(first) < int(end)):
            self.fail(f"{value!r} is no range of seeds: give A:B with A below B, as 0:100", param, ctx)
        return range(int(first), int(end))


@click.command()
@click.option("--seeds", type=Seeds(), required=True, help="A:B, B excluded.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
def simulate(seeds: range, as_json: bool) -> None:
    """Run simulated clusters under random faults; ends 1 if a promise was broken."""
    result: dict[str, Any] = {"seeds": len(seeds), "violations": 0}
    failures = []
    console = Console(stderr=True)
    for seed in track(seeds, "simulating", console=console, disable=not sys.stderr.isatty(), transient=True):
        world = World(seed, nodes=SIZES[seed % len(SIZES)])
        try:
            world.run(operations=300)
        except (MultipaxosError, AssertionError) as error:
            result["violations"] += 1
            failures.append(f"{error}; again with: multipaxos simulate --seeds {seed}:{seed + 1}")
        for name, count in world.counts.items():
            result[name] = result.get(name, 0) + count
    for failure in failures:
        click.echo(failure, err=True)
    click.echo(json.dumps(result) if as_json else ", ".join(f"{name} {count:,}" for name, count in result.items()))
    if failures:
        sys.exit(REFUSED)


COMMANDS = [simulate]
