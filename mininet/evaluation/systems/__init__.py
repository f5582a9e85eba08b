"""Systems under test: one file each. Every `System` that this package's modules define is found by its name.

Rules. A system is put on a network that stands, in a folder of its own, and started by its own commands. Every process
is started inside a host and ended by its own id. Each system has a load of its own; `differences` says how its workload
differs from ours, and every report that compares systems repeats that, with the message delays of each.
"""

from __future__ import annotations

import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from evaluation.discovery import classes_in
from evaluation.errors import EvaluationError, SystemFailed
from evaluation.host import Host
from evaluation.model import Spec
from evaluation.network import Network
from evaluation.processes import wait_for
from multipaxos.load.operation_log import HEADER_BYTES, ROW_BYTES

START_S = 30.0  # until nodes lead, or clients have answers
END_S = 30.0  # until a client has written its records
POLL_S = 0.05
POLITE_S = 5.0


@dataclass
class Settings:
    """The user's settings for all runs."""

    libpaxos_bin: Path | None = None


@dataclass
class Ground:
    """What a system is put on: one run's spec, network and folder."""

    spec: Spec
    network: Network
    folder: Path
    settings: Settings = field(default_factory=Settings)


class System(ABC):
    """One system on one network, for one run."""

    name: ClassVar[str]
    title: ClassVar[str]  # for axes and tables
    message_delays: ClassVar[int]  # from a client's command to its answer, without failures
    open_loop: ClassVar[bool] = False  # can its client plan commands at a rate?
    traces: ClassVar[bool] = False  # can its nodes trace their protocol?
    client_ends_by: ClassVar[signal.Signals] = signal.SIGINT  # SIGKILL if a client has nothing left to write
    differences: ClassVar[str] = ""  # of its workload from ours
    storages: ClassVar[tuple[str, ...]]
    quorums: ClassVar[tuple[str, ...]] = ("majority",)  # the first words of the quorum systems that it has

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.spec = ground.spec
        self.network = ground.network
        self.folder = ground.folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}
        self.clients: list[subprocess.Popen[bytes]] = []  # by number
        self.refuse()

    def refuse(self) -> None:
        """Raises EvaluationError if the system lacks something that the spec asks for."""
        spec = self.spec
        if spec.storage not in self.storages:
            known = ", ".join(self.storages)
            raise EvaluationError(f"{self.title} has no storage {spec.storage!r}: choose one of {known}")
        if spec.quorum.partition(" ")[0] not in self.quorums:
            known = ", ".join(self.quorums)
            raise EvaluationError(f"{self.title} has no quorums {spec.quorum!r}: choose one of {known}")
        if spec.workload.rate_per_s is not None and not self.open_loop:
            raise EvaluationError(f"the client of {self.title} has no open loop: give it a number outstanding")

    @classmethod
    @abstractmethod
    def missing(cls, settings: Settings) -> str | None:
        """Why the system cannot be run here, and what to do; None if it can."""

    @classmethod
    @abstractmethod
    def provenance(cls, settings: Settings) -> Mapping[str, Any]:
        """The system's version, and the hashes of its binaries."""

    @abstractmethod
    def start(self) -> None:
        """Starts every node and waits until they accept writes. Raises SystemFailed."""

    @abstractmethod
    def start_node(self, node: int) -> None:
        """Starts one node's process: the first time, or again after it was killed."""

    @abstractmethod
    def leader(self) -> int:
        """The node that leads now."""

    @abstractmethod
    def begin_load(self) -> None:
        """Starts every client and waits until each has its first answers. Raises SystemFailed."""

    @abstractmethod
    def end_load(self) -> list[dict[str, Any]]:
        """Ends every client. Its records are in the folder: `operations-N.npy`, or `seconds-N.csv` if a client only
        reports seconds. Returns a summary of each client, with the name of its file as `records`. Raises
        SystemFailed."""

    @abstractmethod
    def check(self) -> dict[str, Any]:
        """Checks the system's promises after the load; `failures` is a list of sentences."""

    # -- what all of them need

    def start_nodes(self) -> None:
        """Starts every node."""
        for host in self.network.nodes:
            self.start_node(host.index)

    def start_client(self, host: Host, command: Sequence[str], env: Mapping[str, str] | None = None) -> None:
        """Starts the next client; its output goes to a log of its own."""
        log = self.folder / f"client{len(self.clients)}.log"
        self.clients.append(host.popen(command, log, env=env))

    def records_of(self, client: int) -> Path:
        """The file with every operation of a client."""
        return self.folder / f"operations-{client}.npy"

    def has_answers(self, client: int) -> bool:
        """Does a client's file have a row?"""
        path = self.records_of(client)
        return path.exists() and path.stat().st_size >= HEADER_BYTES + ROW_BYTES

    def wait_until(self, done: Callable[[], bool], what: str) -> None:
        """Waits for a condition. Raises SystemFailed if it does not come true in time, or if a process ends."""

        def looked() -> bool:
            self.look_for_ended()
            return done()

        if not wait_for(looked, START_S, POLL_S):
            raise SystemFailed(f"{self.title} {what} in {START_S:g} s: see {self.folder}/*.log")

    def look_for_ended(self) -> None:
        """Raises SystemFailed, with the last words, if a node or client has ended."""
        nodes = [(f"node {node}", f"node{node}.log", process) for node, process in self.processes.items()]
        clients = [(f"client {i}", f"client{i}.log", process) for i, process in enumerate(self.clients)]
        for name, log, process in (*nodes, *clients):
            if process.poll() is not None:
                raise SystemFailed(f"{name} of {self.title} ended: {self.last_words(log)}")

    def end_clients(self) -> None:
        """Ends all clients, which write their records. Raises SystemFailed if one does not end, or had ended before."""
        wanted = -signal.SIGKILL if self.client_ends_by == signal.SIGKILL else 0
        for client in self.clients:
            client.send_signal(self.client_ends_by)
        for number, client in enumerate(self.clients):
            log = f"client{number}.log"
            try:
                code = client.wait(END_S)
            except subprocess.TimeoutExpired:
                raise SystemFailed(f"client {number} of {self.title} does not end: see {self.folder / log}") from None
            if code != wanted:
                raise SystemFailed(f"client {number} of {self.title} ended with {code}: {self.last_words(log)}")

    def ended_by_themselves(self) -> list[str]:
        """A sentence for each node that has ended, except by the SIGKILL of a fault."""
        return [
            f"node {node} ended by itself with code {process.returncode}: {self.last_words(f'node{node}.log')}"
            for node, process in self.processes.items()
            if process.poll() not in (None, -signal.SIGKILL)
        ]

    def last_words(self, log: str) -> str:
        """The last line that a process wrote."""
        words = (self.folder / log).read_text(errors="replace").strip().splitlines()
        return words[-1] if words else "without a word"

    def stop(self) -> None:
        """Ends every process: clients by SIGKILL, nodes by SIGTERM and, if that is not enough, by SIGKILL."""
        for client in self.clients:
            client.kill()
            client.wait()
        for process in self.processes.values():
            if process.poll() is None:
                process.terminate()
        for process in self.processes.values():
            try:
                process.wait(POLITE_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def systems() -> dict[str, type[System]]:
    """All systems by name."""
    return {found.name: found for found in classes_in(__name__, System)}  # type: ignore[type-abstract]


def system(name: str) -> type[System]:
    """The system of that name. Raises EvaluationError."""
    known = systems()
    if name not in known:
        raise EvaluationError(f"no system {name!r}: choose one of {', '.join(sorted(known))}")
    return known[name]
