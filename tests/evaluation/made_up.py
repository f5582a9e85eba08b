"""Made-up folders of runs: what a run of a spec would have left if it had gone in a known way."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.model import Spec
from evaluation.records import OPERATION, Operations
from evaluation.run import folder_of
from multipaxos.load.operation_log import OPERATIONS, OUTCOMES, header
from tests.evaluation.rows import START_NS

SECOND_NS = 1_000_000_000
WARM_UP_NS, LATE_NS = 300_000_000, 50_000_000  # a load goes on for a while after the measurement
PROVENANCE = {
    "commit": "0123456789abcdef0123456789abcdef01234567",
    "dirty": False,
    "compiled": {},
    "python": "3.11.7",
    "packages": {},
    "kernel": "6.18.0",
    "processor": "Some processor",
    "processors": 2,
    "memory_mib": 8192,
    "system": {},
}


def operations(spec: Spec, rate_per_s: float, stalls_s: Sequence[tuple[float, float]] = ()) -> Operations:
    """The rows of a closed loop, evenly spread; no operation is answered in a stall, and those on their way wait
    until its end."""
    latency_ns = round(spec.workload.outstanding / rate_per_s * 1e9)
    early_ns = WARM_UP_NS + latency_ns
    count = round(rate_per_s * (spec.workload.duration_s + (early_ns + LATE_NS) / 1e9))
    sent = START_NS - early_ns + (np.arange(count) * (1e9 / rate_per_s)).astype(np.int64)
    answered = sent + latency_ns
    for begin_s, end_s in stalls_s:
        begin, end = START_NS + round(begin_s * 1e9), START_NS + round(end_s * 1e9)
        gone = (sent >= begin) & (sent < end)
        sent, answered = sent[~gone], answered[~gone]
        answered = np.where((answered >= begin) & (answered < end), end + 1000, answered)
    rows = np.zeros(len(sent), dtype=OPERATION)
    rows["planned_ns"], rows["sent_ns"], rows["answered_ns"] = sent, sent, answered
    rows["slot"] = rows["sequence"] = np.arange(1, len(rows) + 1)
    rows["operation"], rows["outcome"] = OPERATIONS["put"], OUTCOMES["ok"]
    never = rows["answered_ns"] > START_NS + round(spec.workload.duration_s * 1e9) + LATE_NS + latency_ns
    rows["answered_ns"][never], rows["outcome"][never] = 0, OUTCOMES["unanswered"]
    return rows


def seconds(spec: Spec, rate_per_s: float, stalls_s: Sequence[tuple[float, float]] = ()) -> str:
    """The rows of a client that reports whole seconds, which begin at any time; no row covers the end of the
    measurement."""
    shift_ns = 400_000_000
    lines = ["at_ns,completed"]
    for number in range(int(spec.workload.duration_s) + 1):
        end_ns = START_NS - shift_ns + number * SECOND_NS
        middle_s = (end_ns - START_NS) / 1e9 - 0.5
        stalled = any(begin_s <= middle_s < end_s for begin_s, end_s in stalls_s)
        lines.append(f"{end_ns},{0 if stalled else round(rate_per_s)}")
    return "\n".join(lines) + "\n"


def make_run(
    out: Path,
    spec: Spec,
    repetition: int,
    rate_per_s: float,
    *,
    failures: Sequence[str] = (),
    idle_share: float = 0.5,
    outage_s: float = 0.3,
) -> Path:
    """A complete run; each fault that kills or cuts off stops all clients for the stall. The rate is that of all
    clients."""
    folder = folder_of(out, spec, repetition)
    folder.mkdir(parents=True)
    ended_ns = START_NS + round(spec.workload.duration_s * 1e9)
    stalls_s = [
        (fault.at_s, fault.at_s + outage_s) for fault in spec.faults if fault.kind in ("kill", "partition", "stop")
    ]
    load = []
    clients = spec.topology.clients
    for client in range(clients):
        if spec.system == "libpaxos":
            name = f"seconds-{client}.csv"
            (folder / name).write_text(seconds(spec, rate_per_s / clients, stalls_s))
        else:
            name = f"operations-{client}.npy"
            rows = operations(spec, rate_per_s / clients, stalls_s)
            rows["client"] = client
            (folder / name).write_bytes(header(len(rows)) + rows.tobytes())
        load.append({"client": client, "records": name})
    result = {
        "spec": spec.to_json(),
        "repetition": repetition,
        "began_at": "2026-01-02T03:04:05+00:00",
        "network": {},
        "marks": {
            "load_began_ns": START_NS - WARM_UP_NS,
            "measure_began_ns": START_NS,
            "measure_ended_ns": ended_ns,
        },
        "faults": faults(spec),
        "usage": usage(spec, rate_per_s, idle_share),
        "load": load,
        "checks": checks(spec, failures),
        "provenance": PROVENANCE,
        "complete": True,
    }
    if spec.trace:
        per_slot = {"phase2a": 0.25, "phase2b": 0.125, "all": 0.5}  # of a cluster of one node; larger ones have more
        rows = {kind: {"messages_per_slot": share * spec.topology.nodes} for kind, share in per_slot.items()}
        result["trace"] = {"between_nodes": rows}
    (folder / "run.json").write_text(json.dumps(result))
    return folder


def faults(spec: Spec) -> list[dict[str, Any]]:
    """Faults that took effect a millisecond after they were asked for."""
    target = {"leader": 0, "follower": 1}
    return [
        {
            "kind": fault.kind,
            "target": target.get(str(fault.target), fault.target),
            "asked_ns": START_NS + round(fault.at_s * 1e9),
            "began_ns": START_NS + round(fault.at_s * 1e9),
            "took_effect_ns": START_NS + round(fault.at_s * 1e9) + 1_000_000,
            "evidence": {},
        }
        for fault in spec.faults
    ]


def usage(spec: Spec, rate_per_s: float, idle_share: float) -> dict[str, Any]:
    """100 bytes and one packet for each operation and node, and two microseconds of a processor."""
    operations_count = round(rate_per_s * spec.workload.duration_s)
    hosts = [f"node{node}" for node in range(spec.topology.nodes)]
    hosts += [f"client{client}" for client in range(spec.topology.clients)]
    counters = {
        "tx_bytes": operations_count * 100,
        "tx_packets": operations_count,
        "rx_bytes": operations_count * 100,
        "rx_packets": operations_count,
    }
    return {
        "seconds": spec.workload.duration_s,
        "cpu": {
            "idle_share": idle_share,
            "steal_share": 0.0,
            "processes": {name: operations_count * 2e-6 for name in hosts if name.startswith("node")},
        },
        "links": dict.fromkeys(hosts, counters),
    }


def checks(spec: Spec, failures: Sequence[str]) -> dict[str, Any]:
    """The checks that the system reports."""
    told: dict[str, Any] = {"failures": list(failures)}
    if spec.system == "multipaxos" and spec.storage == "lmdb":
        told |= {"log_slots": {"0": 9, "1": 9, "2": 9}, "lost_writes": len(failures), "proposed_again": 0}
    return told


def cut_off(out: Path, spec: Spec, repetition: int, ending: str = ".part") -> Path:
    """An attempt that has no result, or that failed."""
    whole = make_run(out, spec, repetition, 1000.0)
    folder = whole.with_name(whole.name + ending)
    whole.rename(folder)
    if ending.startswith(".failed"):
        told = {"spec": spec.to_json(), "repetition": repetition, "complete": False, "error": "SystemFailed: no"}
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "run.json").write_text(json.dumps(told))
    return folder
