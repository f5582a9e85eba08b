"""etcd, as Debian packages it: a third system, another protocol (Raft), on disk always.

Theory. etcd answers a put when it is applied, like multipaxos; its clients speak gRPC or, as here, JSON over HTTP to
the same processes. Its log is synced before it answers, to a file of its own kind. Four message delays, where the
client talks to the leader, which it does here.

Options: `election_timeout_ms` (etcd wants it at least five times `heartbeat_ms`), `heartbeat_ms`.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation import namespaces
from evaluation.errors import SystemFailed
from evaluation.provenance import ROOT, sha256
from evaluation.systems import Ground, Settings, System
from multipaxos.operations import HEADER_BYTES, ROW_BYTES

CLIENTS_PORT, PEERS_PORT = 2379, 2380
START_S = 30.0
POLL_S = 0.1


def status_of(place: str) -> dict[str, Any] | None:
    """What a node says of itself, or None where it does not answer."""
    ask = urllib.request.Request(f"http://{place}/v3/maintenance/status", b"{}")
    try:
        with urllib.request.urlopen(ask, timeout=1) as answer:
            row: dict[str, Any] = json.load(answer)
            return row
    except (OSError, ValueError):
        return None


def with_path(environment: Mapping[str, str]) -> dict[str, str]:
    """As this process has it, and this package can be found too."""
    paths = [str(ROOT / "mininet"), *filter(None, [environment.get("PYTHONPATH")])]
    return {**environment, "PYTHONPATH": os.pathsep.join(paths)}


class Etcd(System):
    """See the module."""

    name = "etcd"
    title = "etcd"
    message_delays = 4
    differences = (
        "etcd: always on disk, synced; a client of our own in Python over etcd's JSON gateway, a connection for each "
        "command outstanding, so both its ends do more work for a command than with gRPC"
    )
    storages = ("disk",)

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.clients: list[subprocess.Popen[bytes]] = []

    @classmethod
    def missing(cls, settings: Settings) -> str | None:
        """The program."""
        return None if shutil.which("etcd") else "etcd is not here: install Debian's etcd-server, or leave it out"

    @classmethod
    def provenance(cls, settings: Settings) -> Mapping[str, Any]:
        """Its version, and the hash of its program."""
        program = shutil.which("etcd")
        assert program is not None
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        return {"version": told.splitlines()[0], "etcd": sha256(Path(program))}

    # -- nodes

    def place(self, node: int) -> str:
        """Where clients reach it."""
        return f"{self.network.nodes[node].address}:{CLIENTS_PORT}"

    def start(self) -> None:
        """Every node, until one leads."""
        for host in self.network.nodes:
            self.start_node(host.index)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            self.look_for_ended()
            if self.find_leader() is not None:
                return
            time.sleep(POLL_S)
        raise SystemFailed(f"etcd has no leader after {START_S:g} s: see {self.folder}/node*.log")

    def start_node(self, node: int) -> None:
        """Its own command line."""
        host = self.network.nodes[node]
        peers = ",".join(f"n{each.index}=http://{each.address}:{PEERS_PORT}" for each in self.network.nodes)
        own, peer = f"http://{self.place(node)}", f"http://{host.address}:{PEERS_PORT}"
        command = ["etcd", "--name", f"n{node}", "--data-dir", str(self.folder / "data" / f"node{node}")]
        command += ["--listen-client-urls", own, "--advertise-client-urls", own]
        command += ["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer]
        command += ["--initial-cluster", peers, "--logger", "zap", "--log-level", "warn"]
        if self.spec.option("election_timeout_ms"):
            command += ["--election-timeout", str(self.spec.option("election_timeout_ms"))]
        if self.spec.option("heartbeat_ms"):
            command += ["--heartbeat-interval", str(self.spec.option("heartbeat_ms"))]
        self.processes[node] = host.popen(command, self.folder / f"node{node}.log", append=True)

    def find_leader(self) -> int | None:
        """Who the nodes say leads."""
        places = [self.place(host.index) for host in self.network.nodes]
        rows = namespaces.inside(self.network.clients[0].pid, lambda: [status_of(place) for place in places])
        for node, row in enumerate(rows):
            if row is not None and row.get("leader") and row["leader"] == row["header"]["member_id"]:
                return node
        return None

    def leader(self) -> int:
        """Waits for one."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            node = self.find_leader()
            if node is not None:
                return node
            time.sleep(POLL_S)
        raise SystemFailed(f"etcd has no leader after {START_S:g} s")

    # -- load

    def begin_load(self) -> None:
        """Puts by a client of our own, the leader first."""
        work, leader = self.spec.workload, self.leader()
        order = [leader, *(host.index for host in self.network.nodes if host.index != leader)]
        for client in self.network.clients:
            number = client.index - len(self.network.nodes)
            command = [sys.executable, "-m", "evaluation.etcd_load", "--endpoints", ",".join(map(self.place, order))]
            command += ["--records", str(self.folder / f"operations-{number}.npy"), "--client", str(number)]
            command += ["--outstanding", str(work.outstanding), "--keys", str(work.keys), "--seed", str(number + 1)]
            command += ["--key-size", str(work.key_size), "--value-size", str(work.value_size)]
            log = self.folder / f"client{number}.log"
            self.clients.append(client.popen(command, log, env=with_path(os.environ)))
        end = time.monotonic() + START_S
        while not all(self.has_answers(number) for number in range(len(self.clients))):
            if time.monotonic() > end or any(client.poll() is not None for client in self.clients):
                raise SystemFailed(f"a client of etcd has no answer after {START_S:g} s: see {self.folder}/client*.log")
            time.sleep(POLL_S)

    def has_answers(self, number: int) -> bool:
        """Are there rows in its file?"""
        path = self.folder / f"operations-{number}.npy"
        return path.exists() and path.stat().st_size >= HEADER_BYTES + ROW_BYTES

    def end_load(self) -> list[dict[str, Any]]:
        """SIGINT."""
        for client in self.clients:
            client.send_signal(signal.SIGINT)
        for number, client in enumerate(self.clients):
            try:
                code = client.wait(30)
            except subprocess.TimeoutExpired:
                raise SystemFailed(f"client {number} does not end: see {self.folder}/client{number}.log") from None
            if code != 0:
                raise SystemFailed(f"client {number} ended with code {code}: {self.last_words(f'client{number}.log')}")
        return [{"client": number, "records": f"operations-{number}.npy"} for number in range(len(self.clients))]

    def check(self) -> dict[str, Any]:
        """Its revisions are told; its log is its own affair."""
        return {"failures": self.ended_by_themselves(), "note": "etcd's log is not read: only that its nodes live"}

    def stop(self) -> None:
        """The clients too."""
        for client in self.clients:
            if client.poll() is None:
                client.kill()
                client.wait()
        super().stop()
