"""One host of a network: a namespace with an address, and the processes in it.

Rules. A process is started by its list of words, never by a shell, so its id is that of the real process. Its output
goes to a file, because a pipe that nobody reads would block it. Processes are detached from the terminal, because the
harness handles Ctrl-C. Every process that is started here is remembered here until the network is taken down.
"""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluation import filters
from evaluation.errors import EvaluationError

COMMAND_TIMEOUT_S = 20


def here(command: Sequence[str], words: str | None = None) -> str:
    """Runs a short command in the namespace of this process, with `words` as its input; returns its output. Raises
    EvaluationError."""
    return _run(command, words, COMMAND_TIMEOUT_S)


def _run(command: Sequence[str], words: str | None, timeout_s: float) -> str:
    try:
        done = subprocess.run(
            list(command),
            input=words or "",
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise EvaluationError(f"{' '.join(command)}: not done after {timeout_s} s") from error
    if done.returncode != 0:
        said = (done.stderr or done.stdout).strip() or "no word"
        raise EvaluationError(f"{' '.join(command)}: ended with {done.returncode}: {said}")
    return done.stdout


@dataclass
class Host:
    """A host. `port`: the bridge's side of its link, in the root namespace. `wire`: its own side of it. `interface`:
    the interface of its routes, which is the wire or the entrance of its delay element."""

    index: int
    name: str
    address: str
    mac: str
    pid: int
    port: str
    wire: str
    interface: str
    cut_off: frozenset[str] = frozenset()  # addresses whose packets it does not receive
    losses: tuple[float, ...] = ()  # shares of the packets that come in: of the topology, of a fault
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def popen(
        self,
        command: Sequence[str],
        log: Path,
        *,
        append: bool = False,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Starts a process in this host, with all its output in `log`. Its pid is its own, so signals reach it."""
        with log.open("ab" if append else "wb") as file:
            process = subprocess.Popen(
                ["mnexec", "-da", str(self.pid), *command],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                env=env,
                cwd=cwd,
            )
        self.processes.append(process)
        return process

    def run(self, command: Sequence[str], timeout_s: float = COMMAND_TIMEOUT_S, words: str | None = None) -> str:
        """Runs a command in this host to its end, with `words` as its input; returns its output. Raises EvaluationError
        with the command's own words if it fails."""
        return _run(["mnexec", "-a", str(self.pid), *command], words, timeout_s)

    # -- packets that it does not receive

    def filter_command(self, cut_off: Iterable[str], losses: Iterable[float]) -> list[str]:
        """The command that puts a filter at this host's entry, in place of the present one."""
        code = filters.bytecode(filters.program(cut_off, losses))
        words = f"tc filter replace dev {self.wire} ingress pref 1 handle 1 protocol all bpf direct-action bytecode"
        return ["mnexec", "-a", str(self.pid), *words.split(), code]

    def filter_found(self) -> list[filters.Instruction]:
        """The program at this host's entry, as the kernel has it; empty if there is none."""
        for one in json.loads(self.run(["tc", "-j", "filter", "show", "dev", self.wire, "ingress"]) or "[]"):
            if "bytecode" in one.get("options", {}):
                return filters.parse(one["options"])
        return []

    def dropped(self) -> int:
        """How many packets this host's filters have dropped since the network was built."""
        for one in self.disciplines(self.wire):
            if one["kind"] == "clsact":
                return int(one["drops"])
        raise EvaluationError(f"{self.name} has no entry for filters any more: build the network again")

    def disciplines(self, interface: str) -> list[dict[str, Any]]:
        """The queueing disciplines of an interface, with their counters."""
        found: list[dict[str, Any]] = json.loads(self.run(["tc", "-s", "-j", "qdisc", "show", "dev", interface]))
        return found


Filters = Mapping[int, tuple[frozenset[str], tuple[float, ...]]]  # by host: cut-off addresses, losses


def set_filters(hosts: Sequence[Host], wanted: Filters) -> None:
    """Puts filters into many hosts at nearly one time. Raises EvaluationError if one of them fails; the others are set
    then."""
    running = []
    for index, (cut_off, losses) in wanted.items():
        command = hosts[index].filter_command(cut_off, losses)
        running.append((index, subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)))
    failures = []
    for index, process in running:
        _, said = process.communicate(timeout=COMMAND_TIMEOUT_S)
        if process.returncode == 0:
            hosts[index].cut_off, hosts[index].losses = wanted[index]
        else:
            failures.append(f"{hosts[index].name}: {said.decode(errors='replace').strip()}")
    if failures:
        raise EvaluationError(f"tc accepted no filter: {'; '.join(failures)}")
