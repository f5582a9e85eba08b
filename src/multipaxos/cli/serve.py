"""`serve` and `cluster`: one node in the foreground, or a whole cluster on this machine."""

from __future__ import annotations

import asyncio
import importlib
import logging
import signal
from pathlib import Path

import click
import uvloop

from multipaxos.cli.options import USAGE, Address, export_line, fail, reports_errors
from multipaxos.config.cluster import Config
from multipaxos.errors import ConfigurationError
from multipaxos.local_cluster import LocalCluster, is_free
from multipaxos.machine.state_machine import StateMachine
from multipaxos.machine.user_machine import refusal_text
from multipaxos.server.server import Server
from multipaxos.storage.dropping import DroppingStorage
from multipaxos.storage.interface import Storage
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.wire.codec import SLOTS_END

# The last two are for tests: a disk that loses all that was not synced, with the sync and without it.
STORAGES = ["lmdb", "memory", "test-dropping", "test-dropping-unsynced"]


REFUSE = (
    "--refuse-slot has the command of the slot refused although it was decided: a client may have been answered from "
    "it, and what it was told is then not so. Stop all nodes, start each of them with the same slots, and with --yes"
)


def load_machine(name: str) -> StateMachine:
    """An instance of ``package.module:Class``. Raises ConfigurationError if there is no such StateMachine, or if the
    user's code fails while it is imported or makes one: whatever it raises, also `sys.exit`."""
    module_name, _, class_name = name.partition(":")
    try:
        machine = getattr(importlib.import_module(module_name), class_name)()
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ConfigurationError(
            f"--machine {name}: {' '.join(refusal_text(error).decode().split())}; give package.module:Class of a class "
            "that can be imported, and made without arguments"
        ) from error
    if not isinstance(machine, StateMachine):
        raise ConfigurationError(f"--machine {name}: {class_name} is not a multipaxos.StateMachine")
    return machine


def open_storage(kind: str, directory: Path, config: Config, node: int) -> Storage:
    """The storage that --storage names. Raises StorageError if the directory cannot be used."""
    if kind == "memory":
        return MemoryStorage()
    if kind == "lmdb":
        return LmdbStorage(directory, config.name, node)
    return DroppingStorage(directory, config.name, node, broken=kind.endswith("unsynced"))


def set_by_signals() -> asyncio.Event:
    """An event that SIGINT and SIGTERM set, instead of ending the process."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    return stop


async def run_server(server: Server) -> None:
    """Serves until SIGINT or SIGTERM; raises what ended the node if it ends by itself."""
    stop = set_by_signals()
    loop = asyncio.get_running_loop()
    async with server:
        click.echo(f"ready node={server.node_id} port={server.transport.port}")
        serving = loop.create_task(server.serve_forever())
        stopping = loop.create_task(stop.wait())
        await asyncio.wait([serving, stopping], return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if serving.done():
            serving.result()
        serving.cancel()
        await asyncio.gather(serving, return_exceptions=True)


@click.command()
@click.option("--config", "config_path", type=click.Path(path_type=Path), required=True, help="The cluster, as TOML.")
@click.option("--node", type=int, required=True, help="Which of its nodes this is.")
@click.option("--data-dir", type=click.Path(path_type=Path), required=True, help="Where this node keeps its log.")
@click.option("--storage", type=click.Choice(STORAGES), metavar="[lmdb|memory]", default="lmdb", show_default=True)
@click.option("--machine", default="", help="package.module:Class of a StateMachine; default: the key-value store.")
@click.option(
    "--listen",
    type=Address(),
    help="HOST:PORT to listen on; default: the node's address in the configuration, where the others dial it.",
)
@click.option(
    "--trace", type=click.Path(path_type=Path), help="Write what this node does to this file, and when. Slow."
)
@click.option("--mixed-python", is_flag=True, help="Nodes with a --machine may run different versions of Python.")
@click.option(
    "--refuse-slot",
    "refused_slots",
    type=click.IntRange(1, SLOTS_END - 1),
    multiple=True,
    help="Refuse the command of this slot instead of applying it, for ever, on every node; needs --yes.",
)
@click.option("--yes", is_flag=True, help="Yes, --refuse-slot: a client may have been answered from this slot.")
@click.option("--verbose", is_flag=True, help="Log more.")
@reports_errors
def serve(
    config_path: Path,
    node: int,
    data_dir: Path,
    storage: str,
    machine: str,
    listen: tuple[str, int] | None,
    trace: Path | None,
    mixed_python: bool,
    refused_slots: tuple[int, ...],
    yes: bool,
    verbose: bool,
) -> None:
    """Run one node of a cluster, in the foreground."""
    logging.basicConfig(
        level=logging.DEBUG if verbose else logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    config = Config.load(config_path)
    if not 0 <= node < len(config.nodes):
        known = ", ".join(str(each.id) for each in config.nodes)
        raise ConfigurationError(f"{config_path}: no node {node} in cluster {config.name!r}; its nodes are {known}")
    if refused_slots and not yes:
        raise ConfigurationError(REFUSE)
    user_machine = load_machine(machine) if machine else None
    opened = open_storage(storage, data_dir, config, node)
    server = Server(
        config, node, opened, user_machine, listen, trace, mixed_python=mixed_python, refused_slots=refused_slots
    )
    uvloop.run(run_server(server))


@click.command()
@click.option("--nodes", type=click.IntRange(1, 64), default=3, show_default=True)
@click.option(
    "--data-dir", type=click.Path(path_type=Path), required=True, help="Made if missing; holds all nodes' data."
)
@click.option("--storage", type=click.Choice(STORAGES[:2]), default="lmdb", show_default=True)
@click.option(
    "--base-port", type=click.IntRange(1, 65535), default=7400, show_default=True, help="Node i listens on this + i."
)
@reports_errors
def cluster(nodes: int, data_dir: Path, storage: str, base_port: int) -> None:
    """Run a local cluster, in the foreground, until Ctrl-C."""
    for port in range(base_port, base_port + nodes):
        if port > 65535 or not is_free(port):
            fail(f"port {port} is taken: choose another --base-port", USAGE)
    config = Config.local(nodes, base_port)
    uvloop.run(run_cluster(LocalCluster(config, data_dir, storage)))


async def run_cluster(local: LocalCluster) -> None:
    """Starts all nodes, prints their addresses, and waits for SIGINT or SIGTERM. Raises MultipaxosError if a node
    ends."""
    stop = set_by_signals()
    async with local:
        for node in local.config.nodes:
            click.echo(f"node {node.id} at {node.address}, log {local.log_path(node.id)}")
        click.echo(export_line(local.config, local.key_file))
        click.echo("Ctrl-C ends it")
        while not stop.is_set():
            for node_id, process in local.processes.items():
                local.check(node_id, f"ended with {process.poll()}")
            try:
                await asyncio.wait_for(stop.wait(), 0.5)
            except TimeoutError:
                continue


COMMANDS = [serve, cluster]
