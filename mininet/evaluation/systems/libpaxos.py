"""LibPaxos3, by its own sample programs `replica` and `client`, from the folder that `--libpaxos-bin` names.

What was measured: LibPaxos3 in the repository fpaxos/fpaxos-lib (commit dc4b331), which adds settable quorums. With
quorum-1 = quorum-2 = majority and group-1 = group-2 = n it is plain LibPaxos3.

Theory. The client sends values to one proposer and learns from the acceptors itself, so a value takes three message
delays: nothing is executed, and no node answers. The client keeps a number of values outstanding, and prints once a
second how many it has learnt in that second. The average latency that it prints is a running mean cut to whole numbers,
which is wrong; by Little's law the mean is outstanding / throughput.

Every replica is a proposer. It runs phase 1 when it starts, and for new instances as others close; when it is preempted
it asks again at once with a higher ballot. So the replicas duel, above all if acceptors are slow (synced, or many):
some runs decide nothing, or next to nothing, no matter how long one waits. Replicas that are started one after another
duel more. Such an attempt is reported and repeated.

Options: `sync` (of LMDB; LibPaxos's default is off), `group1`, `group2` (to how many acceptors each phase is sent),
`catch_up` (of a replica that starts; its default is on), `proposer_timeout_s`.

Rules. The first replica is the proposer that clients use: there is no election. The programs are found, never built.
"""

from __future__ import annotations

import re
import signal
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation import libpaxos_log
from evaluation.errors import EvaluationError, SystemFailed
from evaluation.provenance import sha256
from evaluation.systems import POLL_S, Ground, Settings, System

PORT = 8800
NEXT_LINE_S = 5.0
PROGRAMS = ("replica", "client")
LINE = re.compile(r"^(\d+) value/sec, [\d.]+ Mbps, latency min (\d+) us max (\d+) us avg (\d+) us$")


def parse_line(line: str) -> int | None:
    """How many values were learnt in a second; None for a line with other contents."""
    match = LINE.match(line.strip())
    return int(match[1]) if match else None


def quorums_of(text: str, nodes: int) -> tuple[int, int]:
    """The sizes of the quorums of both phases. Raises EvaluationError."""
    match text.split():
        case ["majority"]:
            return nodes // 2 + 1, nodes // 2 + 1
        case ["sizes", phase1, phase2]:
            return int(phase1), int(phase2)
    raise EvaluationError(f"LibPaxos has no quorum system {text!r}: majority, or sizes Q1 Q2")


class Libpaxos(System):
    """See the module."""

    name = "libpaxos"
    title = "LibPaxos3"
    message_delays = 3
    differences = (
        "LibPaxos3: its own sample client, which learns from the acceptors by itself; no execution, no sessions; "
        "latency by Little's law, from its lines of a second each"
    )
    client_ends_by = signal.SIGKILL  # SIGINT crashes it now and then, after its last line
    storages = ("memory", "lmdb")
    quorums = ("majority", "sizes")

    def __init__(self, ground: Ground) -> None:
        super().__init__(ground)
        if ground.settings.libpaxos_bin is None:
            raise EvaluationError(str(self.missing(ground.settings)))
        self.programs = ground.settings.libpaxos_bin.resolve()

    @classmethod
    def missing(cls, settings: Settings) -> str | None:
        """Says whether the programs are there."""
        folder = settings.libpaxos_bin
        if folder is None:
            return "LibPaxos is not here: give the folder of its sample programs by --libpaxos-bin"
        lacking = [name for name in PROGRAMS if not (folder / name).is_file()]
        return f"{folder} lacks {', '.join(lacking)}: give the folder of LibPaxos's samples" if lacking else None

    @classmethod
    def provenance(cls, settings: Settings) -> Mapping[str, Any]:
        """The hashes of the programs."""
        assert settings.libpaxos_bin is not None
        return {name: sha256(settings.libpaxos_bin / name) for name in PROGRAMS}

    # -- nodes

    def start(self) -> None:
        """Every replica; they take values when the first of them has run phase 1, which the client waits for."""
        self.start_nodes()

    def start_node(self, node: int) -> None:
        """Starts one replica; each has a configuration of its own, because its path of LMDB is in it."""
        path = self.folder / f"paxos-{node}.conf"
        path.write_text(self.configuration(node), encoding="utf-8")
        log = self.folder / f"node{node}.log"
        command = [str(self.programs / "replica"), str(node), str(path)]
        self.processes[node] = self.network.nodes[node].popen(command, log, append=True)

    def configuration(self, node: int | None) -> str:
        """The configuration of one replica, or of a client."""
        nodes = len(self.network.nodes)
        phase1, phase2 = quorums_of(self.spec.quorum, nodes)
        lines = [f"replica {host.index} {host.address} {PORT}" for host in self.network.nodes]
        lines += ["verbosity error", f"quorum-1 {phase1}", f"quorum-2 {phase2}"]
        lines += [f"group-1 {self.spec.option('group1', nodes)}", f"group-2 {self.spec.option('group2', nodes)}"]
        if not self.spec.option("catch_up", True):
            lines.append("learner-catch-up no")
        if self.spec.option("proposer_timeout_s"):
            lines.append(f"proposer-timeout {self.spec.option('proposer_timeout_s')}")
        if node is not None and self.spec.storage == "lmdb":
            self.data(node).mkdir(parents=True, exist_ok=True)
            lines += ["storage-backend lmdb", f"lmdb-env-path {self.data(node)}/acceptor", "lmdb-mapsize 4gb"]
            lines.append(f"lmdb-sync {'yes' if self.spec.option('sync', False) else 'no'}")
        else:
            lines.append("storage-backend memory")
        return "\n".join(lines) + "\n"

    def leader(self) -> int:
        """The proposer that clients use."""
        return 0

    # -- load

    def begin_load(self) -> None:
        """Starts LibPaxos's own clients."""
        path = self.folder / "paxos-client.conf"
        path.write_text(self.configuration(None), encoding="utf-8")
        work = self.spec.workload
        for host in self.network.clients:
            command = [str(self.programs / "client"), str(path), "-o", str(work.outstanding)]
            command += ["-v", str(work.value_size), "-p", "0"]
            self.start_client(host, ["stdbuf", "-oL", *command])  # each line is written when it is printed
        # each client has had a second with values in it
        self.wait_until(lambda: all(any(self.counts(i)) for i in range(len(self.clients))), "decides nothing")

    def counts(self, number: int) -> list[int]:
        """The counts that a client has printed so far."""
        lines = (self.folder / f"client{number}.log").read_text(errors="replace").splitlines()
        return [count for count in map(parse_line, lines) if count is not None]

    def end_load(self) -> list[dict[str, Any]]:
        """Waits for the second under way: the time of its line is when the line is seen, and the other lines came a
        second apart before it. The file's own time would not do, because any line may be the last one."""
        told = []
        for number in range(len(self.clients)):
            counts, told_ns = self.after_next_line(number)
            name = f"seconds-{number}.csv"
            self.write_seconds(self.folder / name, counts, told_ns)
            told.append({"client": number, "records": name, "outstanding": self.spec.workload.outstanding})
        self.end_clients()
        return told

    def after_next_line(self, number: int) -> tuple[list[int], int]:
        """All counts of a client after its next one, and the time of that. Raises SystemFailed."""
        before, end = len(self.counts(number)), time.monotonic() + NEXT_LINE_S
        while len(counts := self.counts(number)) == before:
            if self.clients[number].poll() is not None:
                raise SystemFailed(f"client {number} of {self.title} ended: {self.last_words(f'client{number}.log')}")
            if time.monotonic() > end:
                raise SystemFailed(f"client {number} of {self.title} has reported no second for {NEXT_LINE_S:g} s")
            time.sleep(POLL_S)
        return counts, time.monotonic_ns()

    @staticmethod
    def write_seconds(path: Path, counts: list[int], last_ns: int) -> None:
        """Writes when each second ended, and how many values were learnt in it."""
        rows = [f"{last_ns - (len(counts) - 1 - i) * 10**9},{count}" for i, count in enumerate(counts)]
        path.write_text("\n".join(["at_ns,completed", *rows]) + "\n", encoding="utf-8")

    def check(self) -> dict[str, Any]:
        """Checks on LMDB whether the disks hold the values that were learnt; the programs keep no state and report
        no slots."""
        failures = self.ended_by_themselves()
        if self.spec.storage != "lmdb":
            return {"failures": failures, "note": "only that its nodes live"}
        self.stop()
        nodes = range(len(self.network.nodes))
        _, phase2 = quorums_of(self.spec.quorum, len(nodes))
        learnt = sum(sum(self.counts(number)) for number in range(len(self.clients)))
        told = libpaxos_log.check({node: self.data(node) / f"acceptor_{node}" for node in nodes}, phase2, learnt)
        return {**told, "failures": failures + told["failures"], "learnt": learnt}

    def data(self, node: int) -> Path:
        """The folder of a replica's LMDB; the programs append the acceptor's number."""
        return self.folder / "data" / f"node{node}"
