"""multipaxos itself, as a user runs it: `multipaxos serve` on every node, `multipaxos bench` on every client.

Options: `election_timeout_ms`, `ping_interval_ms`, `window`; `leaders`: how many nodes, from the first on, may lead (if
it matters at which site the leader is). Clients talk to the leader, which executes a command before it answers: four
message delays, of which the first and the last are the client's.

Rules. Every client has a session and a file of records of its own. After a run on LMDB the logs are read and compared
with the answers that clients received; on memory only the hashes of the nodes' states are compared.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from evaluation import log_check, namespaces, records
from evaluation.errors import EvaluationError, SystemFailed
from evaluation.model import Spec
from evaluation.processes import wait_for
from evaluation.provenance import version_of
from evaluation.systems import POLL_S, START_S, Ground, Settings, System
from multipaxos.cli.status import fetch_rows
from multipaxos.config.cluster import Config, Grid, Quorum, Sizes
from multipaxos.config.keys import write_new_key
from multipaxos.config.members import ROLES, Member

PORT = 7400
FOLLOWS = ("replica", "acceptor")
CLUSTER = "evaluation"
LEVEL_S = 20.0
ENDLESS_S = 100_000  # the load is ended by a signal


def quorum_of(text: str) -> Quorum:
    """The quorums of a spec, as the configuration has them. Raises EvaluationError."""
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
        self.sessions: list[int] = []  # of each client, when it has ended
        self.key_file = self.folder.absolute() / "cluster.key"
        self.config = self.config_of(self.spec)
        if not self.key_file.exists():
            write_new_key(self.key_file)
        self.config_path = self.folder / "cluster.toml"
        self.config_path.write_text(self.config.to_toml(), encoding="utf-8")

    def config_of(self, spec: Spec) -> Config:
        """The configuration, with one node on each host."""
        leaders = spec.option("leaders", len(self.network.nodes))
        nodes = tuple(
            Member(host.index, f"{host.address}:{PORT}", ROLES if host.index < leaders else FOLLOWS)
            for host in self.network.nodes
        )
        times = {
            name: spec.option(name)
            for name in ("election_timeout_ms", "ping_interval_ms", "window")
            if spec.option(name)
        }
        return Config(CLUSTER, nodes, quorum_of(spec.quorum), key_file=self.key_file, **times)

    @classmethod
    def missing(cls, settings: Settings) -> str | None:
        """Nothing: multipaxos is here."""
        return None

    @classmethod
    def provenance(cls, settings: Settings) -> Mapping[str, Any]:
        """The version; the machine's provenance has the hashes of the compiled modules."""
        return {"version": version_of("multipaxos")}

    # -- nodes

    def start(self) -> None:
        """Starts every node and waits until one leads and all vote."""
        self.start_nodes()
        self.wait_until(self.leads_and_votes, "does not lead and vote")

    def leads_and_votes(self) -> bool:
        """Does one node lead, and do all nodes vote?"""
        rows = self.statuses()
        return any(row.get("leading") for row in rows) and all(row.get("voting") for row in rows)

    def start_node(self, node: int) -> None:
        """Starts a node by the command that a user types."""
        command = [sys.executable, "-m", "multipaxos", "serve", "--config", str(self.config_path)]
        command += ["--node", str(node), "--data-dir", str(self.directory(node)), "--storage", self.spec.storage]
        if self.spec.trace:
            command += ["--trace", str(self.folder / f"trace-{node}.jsonl")]
        log = self.folder / f"node{node}.log"
        self.processes[node] = self.network.nodes[node].popen(command, log, append=True)

    def directory(self, node: int) -> Path:
        """The folder of a node's log."""
        return self.folder / "data" / f"node{node}"

    def statuses(self) -> list[dict[str, Any]]:
        """The rows of `multipaxos status`, asked from the first client's host in this process, because a new process
        would take processor time from the measurement. A row of a dead node has `alive` false."""
        addresses = [(node.host, node.port) for node in self.config.nodes]
        return namespaces.inside(
            self.network.clients[0].pid,
            lambda: asyncio.run(fetch_rows(addresses)),
        )

    def leader(self) -> int:
        """The node that says it leads, at the highest ballot; waits for one. Raises SystemFailed."""
        leading: list[dict[str, Any]] = []

        def found() -> bool:
            leading[:] = [row for row in self.statuses() if row.get("leading")]
            return bool(leading)

        if not wait_for(found, START_S, POLL_S):
            raise SystemFailed(f"no node of multipaxos leads after {START_S:g} s")
        return int(max(leading, key=lambda row: tuple(map(int, row["ballot"].split("."))))["id"])

    # -- load

    def begin_load(self) -> None:
        """Starts `multipaxos bench --records`, once for each client."""
        for number, host in enumerate(self.network.clients):
            self.start_client(host, self.load_command(number))
        self.wait_until(lambda: all(map(self.has_answers, range(len(self.clients)))), "answers no client")

    def load_command(self, number: int) -> list[str]:
        """The workload as a command line."""
        work = self.spec.workload
        addresses = ",".join(node.address for node in self.config.nodes)
        command = [sys.executable, "-m", "multipaxos", "bench", "--cluster", addresses, "--json"]
        command += ["--duration", str(ENDLESS_S), "--records", str(self.records_of(number))]
        command += ["--client", str(number), "--seed", str(number + 1), "--outstanding", str(work.outstanding)]
        command += ["--keys", str(work.keys), "--key-size", str(work.key_size), "--value-size", str(work.value_size)]
        command += ["--zipf", str(work.zipf), "--read-share", str(work.read_share)]
        if work.rate_per_s is not None:
            command += ["--rate", str(work.rate_per_s), "--arrivals", work.arrivals]
        return command

    def end_load(self) -> list[dict[str, Any]]:
        """Ends the clients; returns the last line of each."""
        self.end_clients()
        told = [
            {**json.loads(self.last_words(f"client{number}.log")), "client": number, "records": path.name}
            for number, path in enumerate(map(self.records_of, range(len(self.clients))))
        ]
        self.sessions = [int(each["session"]) for each in told]
        return told

    # -- promises

    def check(self) -> dict[str, Any]:
        """Checks that all nodes reach the same slot with one state; on LMDB, that their logs hold every acknowledged
        write."""
        failures = self.ended_by_themselves()
        rows = self.wait_until_level()
        if not rows:
            return {"failures": [*failures, "no node lives"]}
        hashes = {row["state_hash"] for row in rows}
        if len({row["slot_out"] for row in rows}) > 1:
            failures.append(f"the nodes are not level after {LEVEL_S:g} s: {[row['slot_out'] for row in rows]}")
        elif len(hashes) > 1:
            failures.append(f"the nodes' states differ at one slot: {sorted(hashes)}")
        rows_of = [records.read(self.records_of(number)) for number in range(len(self.clients))]
        failures += log_check.one_log(np.concatenate(rows_of))
        told: dict[str, Any] = {"slot_out": max(row["slot_out"] for row in rows), "failures": failures}
        if self.spec.storage == "lmdb":
            self.stop()
            told |= self.check_logs(rows_of, {row["id"]: row["slot_out"] for row in rows}, failures)
        return told

    def wait_until_level(self) -> list[dict[str, Any]]:
        """The status of the living nodes, after they have applied the same slots or the time is over."""
        rows: list[dict[str, Any]] = []

        def level() -> bool:
            rows[:] = [row for row in self.statuses() if row["alive"]]
            return len({row["slot_out"] for row in rows}) == 1

        wait_for(level, LEVEL_S, POLL_S)
        return rows

    def check_logs(
        self, rows_of: list[records.Operations], slot_out: Mapping[int, int], failures: list[str]
    ) -> dict[str, Any]:
        """Checks the logs of the nodes whose status is known. Adds what is wrong to `failures`."""
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
