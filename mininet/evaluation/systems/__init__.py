"""Systems under test: one file each. What this package's modules define as a `System` is found by its name.

Rules. A system is put on a network that stands, in a folder of its own, and started by its own commands; every process
is started inside a host and ended by its own id. Its load is its own: what differs in the workloads of two systems is
said in `differences`, which every figure that compares them repeats.
"""

from __future__ import annotations

import importlib
import pkgutil
import signal
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from evaluation.errors import EvaluationError, SystemFailed
from evaluation.model import Spec
from evaluation.network import Network

POLITE_S = 5.0


@dataclass
class Settings:
    """What the person who evaluates has told, for all runs."""

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
    message_delays: ClassVar[int]  # from a client's request to its answer, without failures
    open_loop: ClassVar[bool] = False  # can its client plan commands at a rate?
    traces: ClassVar[bool] = False  # can its nodes write down their protocol?
    differences: ClassVar[str] = ""  # of its workload, from ours
    storages: ClassVar[tuple[str, ...]]
    quorums: ClassVar[tuple[str, ...]] = ("majority",)  # the first words of what it can be told

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.spec = ground.spec
        self.network = ground.network
        self.folder = ground.folder
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    @classmethod
    @abstractmethod
    def missing(cls, settings: Settings) -> str | None:
        """Why it cannot be run here, and what to do; None where it can."""

    @classmethod
    @abstractmethod
    def provenance(cls, settings: Settings) -> Mapping[str, Any]:
        """Which version this is, and the hashes of its binaries."""

    @abstractmethod
    def start(self) -> None:
        """Starts every node and waits until they take writes. Raises SystemFailed."""

    @abstractmethod
    def start_node(self, node: int) -> None:
        """Starts one node's process: the first time, or again after it was killed."""

    @abstractmethod
    def leader(self) -> int:
        """Which node leads now."""

    @abstractmethod
    def begin_load(self) -> None:
        """Starts every client and waits until each has its first answers."""

    @abstractmethod
    def end_load(self) -> list[dict[str, Any]]:
        """Ends every client. Its records are in the folder: `operations-N.npy`, or `seconds-N.csv` where a client tells
        of seconds only. Returns a summary of each client, with the name of its file as `records`."""

    @abstractmethod
    def check(self) -> dict[str, Any]:
        """After the load: what of its promises was looked at, and how that went. `failures` is a list of sentences."""

    def look_for_ended(self) -> None:
        """A node that has ended while it should run has a reason. Raises SystemFailed."""
        for node, process in self.processes.items():
            if process.poll() is not None:
                raise SystemFailed(f"node {node} of {self.title} ended: {self.last_words(f'node{node}.log')}")

    def ended_by_themselves(self) -> list[str]:
        """A sentence for each node that is dead, but not by a fault's SIGKILL."""
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
        """Ends every process: politely, then not."""
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
    """All that there are, by name."""
    found: dict[str, type[System]] = {}
    for module in pkgutil.iter_modules(__path__):
        for value in vars(importlib.import_module(f"{__name__}.{module.name}")).values():
            if isinstance(value, type) and issubclass(value, System) and value.__module__.startswith(__name__ + "."):
                found[value.name] = value
    return found


def system(name: str) -> type[System]:
    """One by its name."""
    known = systems()
    if name not in known:
        raise EvaluationError(f"no system {name!r}: choose of {', '.join(sorted(known))}")
    return known[name]
