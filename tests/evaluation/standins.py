"""Stand-ins for tests of the evaluation's systems: a network of one machine, and programs like LibPaxos's samples."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from evaluation.model import Spec
from evaluation.systems import Ground, Settings

REPLICA = """
import signal, socket, sys, time
node, path = sys.argv[1:]
address, port = next(line.split()[2:] for line in open(path) if line.startswith(f"replica {node} "))
server = socket.create_server((address, int(port)))
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
connections = []
while True:
    connections.append(server.accept())
"""

# A line a second, for ever; nothing is done while no client is connected, and no client connects again.
CLIENT = """
import select, signal, socket, sys, time
path, words = sys.argv[1], dict(zip(sys.argv[2::2], sys.argv[3::2]))
outstanding, proposer = int(words["-o"]), words["-p"]
def caught(number, _frame):
    print(f"Caught signal {number}")
    sys.exit(0)
signal.signal(signal.SIGINT, caught)
address, port = next(line.split()[2:] for line in open(path) if line.startswith(f"replica {proposer} "))
connection = None
while connection is None:
    try:
        connection = socket.create_connection((address, int(port)))
    except ConnectionRefusedError:
        time.sleep(0.01)
print("Connected to proposer")
due = time.monotonic()
while True:
    due += 1
    while (left := due - time.monotonic()) > 0:
        if connection is None:
            time.sleep(left)
        elif select.select([connection], [], [], left)[0]:
            connection = None
            print("Connection reset by peer")
    count = 0 if connection is None else outstanding * 1000
    mbps = count * int(words["-v"]) * 8 / 1024**2
    print(f"{count} value/sec, {mbps:.2f} Mbps, latency min 120 us max 900 us avg 181 us")
"""


def libpaxos_programs(folder: Path) -> Path:
    """A folder with a `replica` and a `client`."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in (("replica", REPLICA), ("client", CLIENT)):
        path = folder / name
        path.write_text(f"#!{sys.executable} -uS\n{text}")
        path.chmod(0o755)
    return folder


@dataclass
class StandInHost:
    """This machine itself, under an address of loopback."""

    index: int
    address: str
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)
    commands: list[list[str]] = field(default_factory=list)
    pid: int = 0  # this process is in the host's namespace

    def popen(
        self, command: Sequence[str], log: Path, *, append: bool = False, env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[bytes]:
        """Starts a process, as a host does."""
        self.commands.append(list(command))
        with log.open("ab" if append else "wb") as file:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=file, stderr=subprocess.STDOUT, env=env
            )
        self.started.append(process)
        return process


class StandInNetwork:
    """Some hosts, which are all this machine; they have addresses of their own, so that tests do not disturb each
    other."""

    def __init__(self, nodes: int = 3, clients: int = 1) -> None:
        a, b = (random.SystemRandom().randrange(1, 255) for _ in range(2))
        self.hosts = [StandInHost(index, f"127.{a}.{b}.{index + 1}") for index in range(nodes + clients)]
        self.nodes, self.clients = self.hosts[:nodes], self.hosts[nodes:]

    def close(self) -> None:
        """Ends the processes that were started, by their ids."""
        for process in (process for host in self.hosts for process in host.started):
            process.kill()
            process.wait()


def ground(spec: Spec, network: StandInNetwork, folder: Path, settings: Settings | None = None) -> Ground:
    """What a system is put on."""
    return Ground(spec, cast(Any, network), folder, settings or Settings())
