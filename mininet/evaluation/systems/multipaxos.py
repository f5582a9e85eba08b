"""multipaxos itself, as a user runs it: `multipaxos serve` on every node, `multipaxos bench` on every client.

Options: `election_timeout_ms`, `ping_interval_ms`, `window`; `leaders`: how many nodes, from the first on, may lead
(where it matters at which site the leader is). Its clients talk to the leader, which executes a command before it
answers: four message delays, of which the first and the last are the client's.

Rules. Every client has a session and a file of records of its own. After a run on LMDB the logs are read and held
against what clients were told; on memory only the nodes' hashes of their states are compared.
"""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import log_check, namespaces, records
from evaluation.errors import EvaluationError, SystemFailed
from evaluation.model import Spec
from evaluation.provenance import version_of
from evaluation.systems import Ground, Settings, System
from multipaxos.cli_serve import status_rows
from multipaxos.client_link import fetch_statuses
from multipaxos.config import ROLES, Config, Grid, Node, Quorum, Sizes
from multipaxos.operations import HEADER_BYTES, ROW_BYTES

PORT = 7400
FOLLOWS = ("replica", "acceptor")
CLUSTER = "evaluation"
START_S = 30.0
LEVEL_S = 20.0
ENDLESS_S = 100_000  # the load is ended by a signal
POLL_S = 0.05


def quorum_of(text: str) -> Quorum:
    """What a spec says of quorums, as the configuration has it."""
    match text.split():
        case ["majority"]:
            return "majority"
        case ["sizes", phase1, phase2]:
            return Sizes(int(phase1), int(phase2))
        case ["grid", rows, columns]:
            return Grid(int(rows), int(columns))
    raise EvaluationError(f"no quorum system {text!r}: majority, sizes Q1 Q2, or grid ROWS COLUMNS")


class Multipaxos(System):
    """See the module."""

    name = "multipaxos"
    title = "multipaxos"
    message_delays = 4
    open_loop = True
    traces = True
    storages = ("memory", "lmdb")
    quorums = ("majority", "sizes", "grid")

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        self.clients: list[subprocess.Popen[bytes]] = []
        self.sessions: list[int] = []  # of each client, when it has ended
        self.config = self.config_of(self.spec)
        self.config_path = self.folder / "cluster.toml"
        self.config_path.write_text(self.config.to_toml(), encoding="utf-8")

    def config_of(self, spec: Spec) -> Config:
        """One node on each host."""
        leaders = spec.option("leaders", len(self.network.nodes))
        nodes = tuple(
            Node(host.index, f"{host.address}:{PORT}", ROLES if host.index < leaders else FOLLOWS)
            for host in self.network.nodes
        )
        times = {
            name: spec.option(name)
            for name in ("election_timeout_ms", "ping_interval_ms", "window")
            if spec.option(name)
        }
        return Config(CLUSTER, nodes, quorum_of(spec.quorum), **times)

    @classmethod
    def missing(cls, settings: Settings) -> str | None:
        """It is here."""
        return None

    @classmethod
    def provenance(cls, settings: Settings) -> Mapping[str, Any]:
        """The hashes of its compiled modules are those of the machine's provenance."""
        return {"version": version_of("multipaxos")}

    # -- nodes

    def start(self) -> None:
        """Every node, until one leads and all vote."""
        for host in self.network.nodes:
            self.start_node(host.index)
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            self.look_for_ended()
            rows = self.statuses()
            if any(row.get("leading") for row in rows) and all(row.get("voting") for row in rows):
                return
            time.sleep(POLL_S)
        raise SystemFailed(f"multipaxos does not lead and vote after {START_S:g} s: see {self.folder}/node*.log")

    def start_node(self, node: int) -> None:
        """The command that a user types."""
        command = [sys.executable, "-m", "multipaxos", "serve", "--config", str(self.config_path)]
        command += ["--node", str(node), "--data-dir", str(self.directory(node)), "--storage", self.spec.storage]
        if self.spec.trace:
            command += ["--trace", str(self.folder / f"trace-{node}.jsonl")]
        log = self.folder / f"node{node}.log"
        self.processes[node] = self.network.nodes[node].popen(command, log, append=True)

    def directory(self, node: int) -> Path:
        """Where it keeps its log."""
        return self.folder / "data" / f"node{node}"

    def statuses(self) -> list[dict[str, Any]]:
        """What `multipaxos status` shows, asked from the first client's host, in this process: a new one would take
        processor time from what is measured. A row of a dead node has `alive` false."""
        addresses = [(node.host, node.port) for node in self.config.nodes]
        return namespaces.inside(
            self.network.clients[0].pid,
            lambda: status_rows(addresses, asyncio.run(fetch_statuses(addresses))),
        )

    def leader(self) -> int:
        """Who says so, at the highest ballot; waits for one."""
        end = time.monotonic() + START_S
        while time.monotonic() < end:
            leading = [row for row in self.statuses() if row.get("leading")]
            if leading:
                return int(max(leading, key=lambda row: tuple(map(int, row["ballot"].split("."))))["id"])
            time.sleep(POLL_S)
        raise SystemFailed(f"no node of multipaxos leads after {START_S:g} s")

    # -- load

    def begin_load(self) -> None:
        """`multipaxos bench --records`, one for each client."""
        for client in self.network.clients:
            number = client.index - len(self.network.nodes)
            log = self.folder / f"client{number}.log"
            self.clients.append(client.popen(self.load_command(number), log))
        end = time.monotonic() + START_S
        wanted = HEADER_BYTES + ROW_BYTES
        while any(not self.records_exist(number, wanted) for number in range(len(self.clients))):
            if time.monotonic() > end or any(client.poll() is not None for client in self.clients):
                raise SystemFailed(f"a client has no answer after {START_S:g} s: see {self.folder}/client*.log")
            time.sleep(POLL_S)

    def records_exist(self, number: int, size: int) -> bool:
        """Has a client's file reached that size?"""
        path = self.folder / f"operations-{number}.npy"
        return path.exists() and path.stat().st_size >= size

    def load_command(self, number: int) -> list[str]:
        """The workload as options."""
        work = self.spec.workload
        addresses = ",".join(node.address for node in self.config.nodes)
        command = [sys.executable, "-m", "multipaxos", "bench", "--cluster", addresses, "--json"]
        command += ["--duration", str(ENDLESS_S), "--records", str(self.folder / f"operations-{number}.npy")]
        command += ["--client", str(number), "--seed", str(number + 1), "--outstanding", str(work.outstanding)]
        command += ["--keys", str(work.keys), "--key-size", str(work.key_size), "--value-size", str(work.value_size)]
        command += ["--zipf", str(work.zipf), "--read-share", str(work.read_share)]
        if work.rate_per_s is not None:
            command += ["--rate", str(work.rate_per_s), "--arrivals", work.arrivals]
        return command

    def end_load(self) -> list[dict[str, Any]]:
        """SIGINT: a client writes down what it saw, and tells."""
        for client in self.clients:
            client.send_signal(signal.SIGINT)
        told = []
        for number, client in enumerate(self.clients):
            try:
                code = client.wait(30)
            except subprocess.TimeoutExpired:
                raise SystemFailed(f"client {number} does not end: see {self.folder}/client{number}.log") from None
            lines = (self.folder / f"client{number}.log").read_text(errors="replace").strip().splitlines()
            if code != 0 or not lines:
                raise SystemFailed(f"client {number} ended with code {code}: {lines[-1] if lines else 'no word'}")
            told.append({**json.loads(lines[-1]), "client": number, "records": f"operations-{number}.npy"})
        self.sessions = [int(each["session"]) for each in told]
        return told

    # -- promises

    def check(self) -> dict[str, Any]:
        """All nodes come level with one state; on LMDB, their logs hold all that was acknowledged."""
        failures = self.ended_by_themselves()
        rows = self.wait_until_level()
        if not rows:
            return {"failures": [*failures, "no node lives"]}
        hashes = {row["state_hash"] for row in rows}
        if len({row["slot_out"] for row in rows}) > 1:
            failures.append(f"the nodes are not level after {LEVEL_S:g} s: {[row['slot_out'] for row in rows]}")
        elif len(hashes) > 1:
            failures.append(f"the nodes' states differ at one slot: {sorted(hashes)}")
        rows_of = [records.read(self.folder / f"operations-{number}.npy") for number in range(len(self.clients))]
        failures += log_check.one_log(np.concatenate(rows_of))
        told: dict[str, Any] = {"slot_out": max(row["slot_out"] for row in rows), "failures": failures}
        if self.spec.storage == "lmdb":
            self.stop()
            told |= self.check_logs(rows_of, {row["id"]: row["slot_out"] for row in rows}, failures)
        return told

    def wait_until_level(self) -> list[dict[str, Any]]:
        """The status of the nodes that live, level if they come to be so in time."""
        end = time.monotonic() + LEVEL_S
        while True:
            rows = [row for row in self.statuses() if row["alive"]]
            if len({row["slot_out"] for row in rows}) == 1 or time.monotonic() > end:
                return rows
            time.sleep(POLL_S)

    def check_logs(
        self, rows_of: list[records.Operations], slot_out: Mapping[int, int], failures: list[str]
    ) -> dict[str, Any]:
        """Of the nodes that told how far they are. Adds what is wrong to `failures`."""
        logs = {node: log_check.read_log(self.directory(node), CLUSTER, node, end) for node, end in slot_out.items()}
        failures += log_check.same_prefix(logs)
        longest = max(logs.values(), key=len)
        lost = sum(
            log_check.lost_writes(rows, session, longest) for rows, session in zip(rows_of, self.sessions, strict=True)
        )
        if lost:
            failures.append(f"{lost} acknowledged writes are not in the log")
        return {
            "log_slots": {node: len(log) for node, log in logs.items()},
            "lost_writes": lost,
            "proposed_again": log_check.proposed_again(logs.values()),
        }

    def stop(self) -> None:
        """The clients too."""
        for client in self.clients:
            if client.poll() is None:
                client.kill()
                client.wait()
        super().stop()
