"""etcd, as Debian packages it: a third system, with another protocol (Raft), always on disk.

Theory. etcd answers a put after it is applied, like multipaxos. Its clients speak gRPC or, as here, JSON over HTTP to
the same processes. It syncs its log before it answers, to files in a format of its own. A put takes four message delays
if the client talks to the leader, as it does here.

Options: `election_timeout_ms` (etcd wants it to be at least five times `heartbeat_ms`), `heartbeat_ms`.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation import namespaces
from evaluation.errors import SystemFailed
from evaluation.processes import wait_for
from evaluation.provenance import ROOT, sha256
from evaluation.systems import POLL_S, START_S, Settings, System

CLIENTS_PORT, PEERS_PORT = 2379, 2380


def status_of(place: str) -> dict[str, Any] | None:
    """A node's status, or None if the node does not answer."""
    ask = urllib.request.Request(f"http://{place}/v3/maintenance/status", b"{}")
    try:
        with urllib.request.urlopen(ask, timeout=1) as answer:
            row: dict[str, Any] = json.load(answer)
            return row
    except (OSError, ValueError):
        return None


def with_path(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with a PYTHONPATH that has this package."""
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

    @classmethod
    def missing(cls, settings: Settings) -> str | None:
        """Says whether the program is there."""
        return None if shutil.which("etcd") else "etcd is not here: install Debian's etcd-server, or leave it out"

    @classmethod
    def provenance(cls, settings: Settings) -> Mapping[str, Any]:
        """The program's version and hash."""
        program = shutil.which("etcd")
        assert program is not None
        told = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
        return {"version": told.splitlines()[0], "etcd": sha256(Path(program))}

    # -- nodes

    def place(self, node: int) -> str:
        """The address of a node for clients."""
        return f"{self.network.nodes[node].address}:{CLIENTS_PORT}"

    def start(self) -> None:
        """Starts every node and waits until one leads."""
        self.start_nodes()
        self.wait_until(lambda: self.find_leader() is not None, "has no leader")

    def start_node(self, node: int) -> None:
        """Starts the program with its own command line."""
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
        """The node that leads by its own status; None if there is none."""
        places = [self.place(host.index) for host in self.network.nodes]
        rows = namespaces.inside(self.network.clients[0].pid, lambda: [status_of(place) for place in places])
        for node, row in enumerate(rows):
            if row is not None and row.get("leader") and row["leader"] == row["header"]["member_id"]:
                return node
        return None

    def leader(self) -> int:
        """The node that leads; waits for one. Raises SystemFailed."""
        found: list[int] = []

        def leads() -> bool:
            node = self.find_leader()
            found[:] = [] if node is None else [node]
            return bool(found)

        if not wait_for(leads, START_S, POLL_S):
            raise SystemFailed(f"etcd has no leader after {START_S:g} s")
        return found[0]

    # -- load

    def begin_load(self) -> None:
        """Starts clients of our own, which put on the leader first."""
        work, leader = self.spec.workload, self.leader()
        order = [leader, *(host.index for host in self.network.nodes if host.index != leader)]
        for number, host in enumerate(self.network.clients):
            command = [sys.executable, "-m", "evaluation.etcd_load", "--endpoints", ",".join(map(self.place, order))]
            command += ["--records", str(self.records_of(number)), "--client", str(number)]
            command += ["--outstanding", str(work.outstanding), "--keys", str(work.keys), "--seed", str(number + 1)]
            command += ["--key-size", str(work.key_size), "--value-size", str(work.value_size)]
            self.start_client(host, command, with_path(os.environ))
        self.wait_until(lambda: all(map(self.has_answers, range(len(self.clients)))), "answers no client")

    def end_load(self) -> list[dict[str, Any]]:
        """Ends the clients, which report nothing beside their records."""
        self.end_clients()
        return [{"client": number, "records": self.records_of(number).name} for number in range(len(self.clients))]

    def check(self) -> dict[str, Any]:
        """Checks that the nodes live; etcd's log is not read."""
        return {"failures": self.ended_by_themselves(), "note": "etcd's log is not read: only that its nodes live"}
