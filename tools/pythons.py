"""Two minor versions of Python in one cluster: ``python tools/pythons.py /path/to/another/python``.

Theory. How deep a machine may recurse depends on the version of Python, so a command may be answered on one node and
refused on another. Nodes tell each other their version and refuse to mix, unless all are told to; then a command that
is too deep ends the node instead of being answered. This shows all of that with real processes: a cluster is founded on
this Python, then node 2 goes on with the other one.

Rules. Both interpreters have multipaxos installed. Every process is started here and ended here. One JSON object goes
to standard output; the exit code is 0, or 1 if something is not as it must be.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

import click

from multipaxos.client.client import Client
from multipaxos.config.cluster import Config
from multipaxos.errors import MultipaxosError, NoQuorum, Refused
from multipaxos.local_cluster import LocalCluster, disk_directory, free_base_port
from multipaxos.machine.state_machine import Context, StateMachine
from multipaxos.server.machine_thread import MachineThread

ROOT = Path(__file__).resolve().parent.parent
OTHER = 2  # the node that goes on with the other Python
NODES = 3
POISON = 100_000  # brackets
DEEPEST = 1 << 17


class Brackets(StateMachine):
    """Reads JSON and answers how many bytes it had."""

    def apply(self, command: bytes, context: Context) -> bytes:
        """Refuses what is no JSON, or too deep."""
        json.loads(command)
        return b"%d" % len(command)

    def snapshot(self) -> Iterator[bytes]:
        """There is no state."""
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None:
        """There is no state."""


def nested(depth: int) -> bytes:
    """So many brackets."""
    return b"[" * depth + b"]" * depth


def deepest() -> int:
    """How many brackets this Python reads in the thread of a machine."""
    thread = MachineThread(Brackets())
    low, high = 1, DEEPEST
    while high - low > 1:
        middle = (low + high) // 2
        [(refused, _)] = thread.run([(1, 0, 0, 1, nested(middle))], 0)
        low, high = (low, middle) if refused else (middle, high)
    thread.stop()
    thread.join()
    return low


class Mixed(LocalCluster):
    """A cluster whose nodes run on the interpreters in `pythons`, by id; the others on this one."""

    def __init__(self, directory: Path, pythons: dict[int, str]) -> None:
        super().__init__(Config.local(NODES, free_base_port(NODES)), directory, machine="tools.pythons:Brackets")
        self.pythons = pythons

    def command(self, node_id: int) -> list[str]:
        """The command line of one node's process."""
        command = super().command(node_id)
        return [self.pythons.get(node_id, command[0]), *command[1:]]

    def start_again(self, node_ids: list[int], *arguments: str) -> None:
        """Ends these nodes and starts them again."""
        self.arguments = list(arguments)
        for node_id in node_ids:
            if node_id in self.processes:
                self.kill(node_id)
        for node_id in node_ids:
            self.start_node(node_id)

    async def last_words_of(self, node_id: int, text: str) -> str:
        """Waits until the node has ended, with this text in its last line."""
        for _ in range(600):
            if self.processes[node_id].poll() is not None and text in self.last_words(node_id):
                return self.last_words(node_id)
            await asyncio.sleep(0.05)
        raise MultipaxosError(f"node {node_id} has not ended with {text!r}: {self.last_words(node_id)}")

    async def log_line(self, node_id: int, text: str) -> str:
        """Waits for a line in the node's log."""
        for _ in range(600):
            for line in self.log_path(node_id).read_text(errors="replace").splitlines():
                if text in line:
                    return line[line.index(text) :]
            await asyncio.sleep(0.05)
        raise MultipaxosError(f"node {node_id} has no line with {text!r}: see {self.log_path(node_id)}")


async def refused(client: Client, depth: int) -> str:
    """Why the cluster refuses so many brackets; empty if it reads them."""
    try:
        await client.apply(nested(depth))
    except Refused as error:
        return str(error)
    return ""


async def poisoned(directory: Path, python: str) -> str:
    """100,000 brackets on three nodes that run on this interpreter: what the client is answered. Raises MultipaxosError
    if the nodes do not live on, or not in one state, also after a restart."""
    pythons = dict.fromkeys(range(NODES), python)
    async with Mixed(directory, pythons) as cluster, Client(cluster.addresses, timeout_s=30) as client:
        answer = await refused(client, POISON)
        if not answer.startswith("RecursionError"):
            raise MultipaxosError(f"{POISON:,} brackets are answered with {answer!r}")
        for _ in range(2):
            if await refused(client, 1):
                raise MultipaxosError("the cluster does not go on")
            await level(cluster)
            cluster.start_again(list(range(NODES)))
            await cluster.wait_until_up()
    return answer


async def mixed(directory: Path, python: str, depths: tuple[int, int]) -> dict[str, str]:
    """Node OTHER goes on with the other interpreter. Raises MultipaxosError if that is not refused, or if the nodes do
    not end where they would differ."""
    async with Mixed(directory, {}) as cluster, Client(cluster.addresses, timeout_s=30) as client:
        await refused(client, 1)
        cluster.pythons = {OTHER: python}
        cluster.start_again([OTHER])
        refusal = await cluster.log_line(0, "it runs its machine on Python")
        if await refused(client, 1):
            raise MultipaxosError("the other two do not go on")
        cluster.start_again(list(range(NODES)), "--mixed-python")
        await cluster.wait_until_up()
        await refused(client, 1)
        await level(cluster)
        shallow = 0 if depths[0] < depths[1] else OTHER
        with contextlib.suppress(NoQuorum, TimeoutError):  # perhaps nobody is left to answer
            await asyncio.wait_for(refused(client, sum(depths) // 2), 5)
        return {"refusal": refusal, "last_words": await cluster.last_words_of(shallow, "RecursionError")}


async def level(cluster: LocalCluster) -> None:
    """Waits until all nodes have applied the same slots. Raises MultipaxosError if their states differ."""
    rows = await cluster.wait_until_level()
    if len({row["state_hash"] for row in rows}) != 1:
        raise MultipaxosError(f"the replicas differ: {[row['state_hash'] for row in rows]}")


@click.command()
@click.argument("python", required=False)
@click.option("--depth", is_flag=True, help="Only print how many brackets this Python reads.")
def main(python: str | None, depth: bool) -> None:
    """Show what two versions of Python do in one cluster."""
    os.environ["PYTHONPATH"] = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    ours = deepest()
    if depth or python is None:
        click.echo(json.dumps({"python": platform.python_version(), "depth": ours}))
        return
    told = subprocess.run([python, __file__, "--depth"], capture_output=True, check=True, text=True)
    other = json.loads(told.stdout)
    directory = disk_directory("multipaxos-pythons-")
    try:
        found = {
            "answers": [
                asyncio.run(poisoned(directory / "ours", sys.executable)),
                asyncio.run(poisoned(directory / "other", python)),
            ],
            **asyncio.run(mixed(directory / "mixed", python, (ours, other["depth"]))),
        }
    except MultipaxosError as error:
        click.echo(f"not as it must be: {error}", err=True)
        sys.exit(1)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    depths = {platform.python_version(): ours, other["python"]: other["depth"]}
    click.echo(json.dumps({"depths": depths, **found}, indent=2))


if __name__ == "__main__":
    main()
