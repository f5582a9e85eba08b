"""A cluster of processes on this machine: for `multipaxos cluster`, `bench --spawn`, the demo and the tests.

Rules. This interpreter starts every process, and ends each by its own process id. The output of a process goes to a
file in the cluster's directory, so no unread pipe can block it. Nothing is left behind: leaving the context ends every
process. The cluster has a key, which lies in its directory: other users of this machine can connect to it too.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from multipaxos.client.discovery import fetch_status, fetch_statuses, find_leader
from multipaxos.config.addresses import format_address
from multipaxos.config.cluster import Config
from multipaxos.config.keys import write_new_key
from multipaxos.errors import ConfigurationError, MultipaxosError, NoQuorum
from multipaxos.storage.directory import is_memory_filesystem

START_S = 30.0
PORT_MIN = 10_000
WRONG_USE = 2  # the exit code of a node that was started wrongly
EPHEMERAL = Path("/proc/sys/net/ipv4/ip_local_port_range")


def free_base_port(count: int) -> int:
    """A port p such that p to p + count - 1 can be listened on now. Raises MultipaxosError if there are none.

    None of them is an ephemeral port: until a node listens on such a port, a dial to it may get that port for its own
    end, reach itself, and so keep the port from the node.
    """
    low, high = (int(bound) for bound in EPHEMERAL.read_text().split())
    places = [base for base in range(PORT_MIN, 65536 - count) if base + count <= low or base > high]
    for base in random.sample(places, min(200, len(places))):
        if all(is_free(base + i) for i in range(count)):
            return base
    raise MultipaxosError(
        f"found no {count} free ports in a row on 127.0.0.1 outside {low} to {high}, the ephemeral ports: "
        "end some servers, or narrow net.ipv4.ip_local_port_range"
    )


def is_free(port: int) -> bool:
    """Whether the port can be listened on at 127.0.0.1."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def disk_directory(prefix: str) -> Path:
    """A new temporary directory on a disk, because on a file system in memory a sync means nothing.

    Raises ConfigurationError if no place for temporary files lies on a disk.
    """
    for place in (Path(tempfile.gettempdir()), Path("/var/tmp"), Path.cwd(), Path.home()):
        if place.is_dir() and not is_memory_filesystem(place):
            return Path(tempfile.mkdtemp(prefix=prefix, dir=place))
    raise ConfigurationError("no temporary directory lies on a disk: set TMPDIR to one that does")


class LocalCluster:
    """Nodes as processes. `directory` holds the configuration, each node's data and its log. `machine`: as for
    `serve --machine`. `arguments`: more arguments for `serve`, in which {node} stands for the node's id. `listen`: the
    (host, port) on which each node listens, by id, if something stands between the nodes and their addresses.
    """

    def __init__(
        self,
        config: Config,
        directory: Path,
        storage: str = "lmdb",
        machine: str = "",
        arguments: list[str] | None = None,
        listen: list[tuple[str, int]] | None = None,
    ) -> None:
        self.config = config if config.key_file else replace(config, key_file=directory.absolute() / "cluster.key")
        self.directory = directory
        self.storage = storage
        self.machine = machine
        self.arguments = arguments or []
        self.listen = listen
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    @property
    def addresses(self) -> list[tuple[str, int]]:
        """(host, port) of the nodes themselves, by id."""
        return self.listen or [(node.host, node.port) for node in self.config.nodes]

    @property
    def key_file(self) -> Path:
        """The file of the cluster's key."""
        assert self.config.key_file is not None, "a local cluster has a key"
        return self.config.key_file

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    async def start(self) -> None:
        """Starts all nodes and waits until each answers. Raises ConfigurationError if the directory cannot be used, and
        as `wait_until_up`."""
        try:
            self.directory.mkdir(parents=True, exist_ok=True)
            if not self.key_file.exists():
                write_new_key(self.key_file)
            (self.directory / "cluster.toml").write_text(self.config.to_toml(), encoding="utf-8")
        except OSError as error:
            raise ConfigurationError(
                f"{error.filename or self.directory}: {error.strerror}; choose a directory that can be written"
            ) from error
        try:
            for node in self.config.nodes:
                self.start_node(node.id)
            await self.wait_until_up()
        except BaseException:
            self.stop()
            raise

    def start_node(self, node_id: int) -> None:
        """Starts one node's process."""
        with self.log_path(node_id).open("ab") as log:
            self.processes[node_id] = subprocess.Popen(
                self.command(node_id), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )

    def command(self, node_id: int) -> list[str]:
        """The command line of one node's process."""
        config, data = self.directory / "cluster.toml", self.directory / f"node{node_id}"
        command = [sys.executable, "-m", "multipaxos", "serve", "--config", str(config), "--node", str(node_id)]
        command += ["--data-dir", str(data), "--storage", self.storage]
        command += [argument.replace("{node}", str(node_id)) for argument in self.arguments]
        if self.machine:
            command += ["--machine", self.machine]
        if self.listen is not None:
            command += ["--listen", format_address(*self.listen[node_id])]
        return command

    def log_path(self, node_id: int) -> Path:
        """The file with a node's output."""
        return self.directory / f"node{node_id}.log"

    async def wait_until_up(self, node_ids: list[int] | None = None) -> None:
        """Waits until each of the nodes (None: all that were started) answers. Raises MultipaxosError if one does not
        within START_S, and as `check` if one ended instead."""
        end = asyncio.get_running_loop().time() + START_S
        waiting = set(self.processes if node_ids is None else node_ids)
        while waiting:
            for node_id in list(waiting):
                self.check(node_id, "ended at its start")
                if await fetch_status(self.addresses[node_id]) is not None:
                    waiting.discard(node_id)
            if asyncio.get_running_loop().time() > end:
                raise MultipaxosError(
                    f"nodes {sorted(waiting)} do not answer after {START_S:g} s: see {self.directory}/node*.log"
                )
            await asyncio.sleep(0.02)

    def check(self, node_id: int, what: str) -> None:
        """Raises MultipaxosError, with what the node said last, if its process has ended; ConfigurationError if it was
        started wrongly."""
        code = self.processes[node_id].poll()
        if code is not None:
            kind = ConfigurationError if code == WRONG_USE else MultipaxosError
            raise kind(f"node {node_id} {what}: {self.last_words(node_id)}")

    def last_words(self, node_id: int) -> str:
        """The last line of a node's log."""
        path = self.log_path(node_id)
        lines = path.read_text(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("multipaxos: ") if lines else f"see {path}"

    async def leader(self, timeout_s: float = 10.0) -> int:
        """The id of the node that leads. Waits until there is one; raises NoQuorum after `timeout_s`."""
        return self.addresses.index(await find_leader(self.addresses, timeout_s))

    async def status(self) -> list[dict[str, Any] | None]:
        """The rows of `multipaxos status`, by node id; None for a node that does not answer."""
        return await fetch_statuses(self.addresses)

    async def wait_until_level(self, timeout_s: float = 30.0) -> list[dict[str, Any]]:
        """Waits until all nodes answer and have applied the same slots; returns their rows of status. Raises NoQuorum
        after `timeout_s`."""
        end = asyncio.get_running_loop().time() + timeout_s
        while asyncio.get_running_loop().time() < end:
            rows = [row for row in await self.status() if row is not None]
            if len(rows) == len(self.addresses) and len({row["slot_out"] for row in rows}) == 1:
                return rows
            await asyncio.sleep(0.05)
        raise NoQuorum(f"the nodes are not level after {timeout_s:g} s: {await self.status()}")

    def signal(self, node_id: int, number: signal.Signals) -> None:
        """Sends a signal to one node's process."""
        os.kill(self.processes[node_id].pid, number)

    def kill(self, node_id: int) -> None:
        """Kills one node's process with SIGKILL and waits for its end."""
        self.signal(node_id, signal.SIGKILL)
        self.processes.pop(node_id).wait()

    def stop(self) -> None:
        """Ends every process: with SIGTERM, and with SIGKILL if that does not end it in five seconds."""
        for process in self.processes.values():
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self.processes.clear()
