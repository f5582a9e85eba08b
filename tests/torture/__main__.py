"""``python -m tests.torture``: see the package. Ends 0 only if every promise was kept."""

from __future__ import annotations

import asyncio
import contextlib
import json
import secrets
import shutil
import signal
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import click
import uvloop

from multipaxos.local_cluster import disk_directory
from tests.torture import judge
from tests.torture.run import HISTORY, Options, Play, Verdict

BROKEN, INTERRUPTED = 1, 130


@contextlib.contextmanager
def kept_if_it_fails(prefix: str) -> Iterator[Path]:
    """A directory on a disk, removed in the end, but for a failure: then it is kept, and named."""
    directory = disk_directory(prefix)
    try:
        yield directory
    except (KeyboardInterrupt, asyncio.CancelledError):
        shutil.rmtree(directory)
        raise
    except BaseException:
        click.echo(f"logs, faults and history are kept in {directory}", err=True)
        raise
    shutil.rmtree(directory)


class Broken(Exception):
    """A promise was not kept: the verdict says which."""


async def played(play: Play) -> None:
    """The play; SIGTERM ends it as Ctrl-C does, which counts also where a shell in the background had it ignored."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await play.run()


def words(verdict: Verdict) -> str:
    """For people."""
    unknown = ", ".join(f"{why} {count:,}" for why, count in sorted(verdict.unknown.items())) or "none"
    return "\n".join(
        [
            f"seed {verdict.seed}: {verdict.nodes} nodes on {verdict.storage}, {verdict.duration_s:g} s of faults",
            f"operations {verdict.operations:,} on {verdict.keys:,} keys, acknowledged {verdict.acknowledged:,}; "
            f"unknown outcome: {unknown}",
            f"faults {sum(verdict.faults.values()):,}: "
            + ", ".join(f"{kind} {count:,}" for kind, count in verdict.faults.items()),
            f"elections {verdict.elections:,}, slots {verdict.slots:,}, longest time without any answer "
            f"{verdict.longest_gap_s:.2f} s, without faults until everybody was answered at most "
            f"{verdict.longest_recovery_s:.2f} s",
            f"the history was judged in {verdict.check_s:.1f} s",
        ]
    )


def again(verdict: Verdict) -> str:
    """What plays the same plan once more."""
    return f"python -m tests.torture --seed {verdict.seed} --duration {verdict.duration_s:g} --nodes {verdict.nodes}"


def tell(verdict: Verdict, directory: Path, as_json: bool) -> None:
    """The verdict; raises Broken."""
    click.echo(json.dumps(asdict(verdict)) if as_json else words(verdict))
    if verdict.failures:
        click.echo("\n".join(["BROKEN", *verdict.failures]), err=True)
        click.echo(f"the whole history: {directory / HISTORY}", err=True)
        click.echo(f"again with: {again(verdict)}", err=True)
        raise Broken
    if not as_json:
        click.echo("all is well: linearizable, nothing lost, all nodes level and equal; nothing is left behind")


def check(path: Path) -> None:
    """Judges a history that was kept."""
    history = judge.load(path)
    failures = judge.judge(history)
    click.echo("\n".join(failures) if failures else f"{len(history):,} operations, all is well")
    if failures:
        sys.exit(BROKEN)


@click.command()
@click.option("--duration", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds of faults.")
@click.option("--seed", type=int, help="Of the plan of faults; default: a random one, which is told.")
@click.option("--nodes", type=click.IntRange(2, 9), default=3, show_default=True)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--check", "history", type=click.Path(path_type=Path), help="Judge a kept history instead.")
def main(duration: float, seed: int | None, nodes: int, as_json: bool, history: Path | None) -> None:
    """Torture a cluster of real processes, and judge what its clients saw."""
    if history is not None:
        check(history)
        return
    options = Options(secrets.randbits(32) if seed is None else seed, duration, nodes)
    click.echo(f"seed {options.seed}", err=True)
    try:
        with kept_if_it_fails("multipaxos-torture-") as directory:
            play = Play(options, directory, lambda text: click.echo(text, err=True))
            uvloop.run(played(play))
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
            tell(play.judge(), directory, as_json)
    except Broken:
        sys.exit(BROKEN)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
