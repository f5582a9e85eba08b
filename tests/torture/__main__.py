"""``python -m tests.torture``: see the package. The exit code is 0 only if the cluster kept every promise."""

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
from tests.torture.run import HISTORY, Options, Torture, Verdict

BROKEN, INTERRUPTED = 1, 130


@contextlib.contextmanager
def kept_if_it_fails(prefix: str) -> Iterator[Path]:
    """A directory on a disk that is removed at the end, unless the torture fails: then its name is printed."""
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
    """The cluster did not keep a promise: the verdict says which."""


async def run(torture: Torture) -> None:
    """Runs the torture. SIGTERM and Ctrl-C both cancel it, also if a shell in the background had Ctrl-C ignored."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    await torture.run()


def words(verdict: Verdict) -> str:
    """The verdict as text for people."""
    unknown = ", ".join(f"{why} {count:,}" for why, count in sorted(verdict.unknown.items())) or "none"
    return "\n".join(
        [
            f"seed {verdict.seed}: {verdict.nodes} nodes on {verdict.storage}, {verdict.duration_s:g} s of faults",
            f"operations {verdict.operations:,} on {verdict.keys:,} keys, acknowledged {verdict.acknowledged:,}; "
            f"unknown outcome: {unknown}",
            f"faults {sum(verdict.faults.values()):,}: "
            + ", ".join(f"{kind} {count:,}" for kind, count in verdict.faults.items()),
            f"elections {verdict.elections:,}, slots {verdict.slots:,}, longest time without any answer "
            f"{verdict.longest_gap_s:.2f} s, without faults until every worker was answered at most "
            f"{verdict.longest_recovery_s:.2f} s",
            f"the history was judged in {verdict.check_s:.1f} s",
        ]
    )


def again(verdict: Verdict) -> str:
    """The command that runs the same plan once more."""
    rate = f" --rate {verdict.rate}" if verdict.rate else ""
    plan = f"--seed {verdict.seed} --duration {verdict.duration_s:g} --nodes {verdict.nodes}"
    return f"python -m tests.torture {plan}{rate}"


def report(verdict: Verdict, directory: Path, as_json: bool) -> None:
    """Prints the verdict. Raises Broken if the cluster did not keep a promise."""
    click.echo(json.dumps(asdict(verdict)) if as_json else words(verdict))
    if verdict.failures:
        click.echo("\n".join(["BROKEN", *verdict.failures]), err=True)
        click.echo(f"the whole history: {directory / HISTORY}", err=True)
        click.echo(f"again with: {again(verdict)}", err=True)
        raise Broken
    if not as_json:
        click.echo("passed: linearizable, nothing lost, all nodes level and equal; nothing is left behind")


def check(path: Path) -> None:
    """Judges the history in a file."""
    history = judge.load(path)
    failures = judge.judge(history)
    click.echo("\n".join(failures) if failures else f"{len(history):,} operations, passed")
    if failures:
        sys.exit(BROKEN)


@click.command()
@click.option("--duration", type=click.FloatRange(1), default=60.0, show_default=True, help="Seconds of faults.")
@click.option("--seed", type=int, help="Of the plan of faults; default: a random one, which is printed.")
@click.option("--nodes", type=click.IntRange(2, 9), default=3, show_default=True)
@click.option("--rate", type=click.IntRange(0), default=0, help="Bytes a second of each link; 0: unlimited.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object.")
@click.option("--check", "history", type=click.Path(path_type=Path), help="Judge the history in a file instead.")
def main(duration: float, seed: int | None, nodes: int, rate: int, as_json: bool, history: Path | None) -> None:
    """Torture a cluster of real processes, and judge what its clients saw."""
    if history is not None:
        check(history)
        return
    options = Options(secrets.randbits(32) if seed is None else seed, duration, nodes, rate=rate)
    click.echo(f"seed {options.seed}", err=True)
    try:
        with kept_if_it_fails("multipaxos-torture-") as directory:
            torture = Torture(options, directory, lambda text: click.echo(text, err=True))
            uvloop.run(run(torture))
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.default_int_handler)
            report(torture.judge(), directory, as_json)
    except Broken:
        sys.exit(BROKEN)
    except (KeyboardInterrupt, asyncio.CancelledError):
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
