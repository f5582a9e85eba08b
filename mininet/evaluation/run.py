"""One run: a fresh network, a system on it, a load, faults, and a folder of raw records.

Rules. A folder whose name ends with `.part` belongs to a run that was cut off: it is removed, and the run is carried
out again. A run that failed leaves its folder as `.failed1`, with the error; it is reported, and carried out again the
next time, but its folder is never removed: otherwise a system that fails one time in ten would look as if it never did.
Only a complete run has a folder without such an ending. Nothing is drawn or averaged here. However a run ends, its
processes and its network end too.
"""

from __future__ import annotations

import datetime
import itertools
import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from evaluation import provenance, trace_merge, usage
from evaluation.errors import EvaluationError
from evaluation.faults import Injector
from evaluation.model import Spec
from evaluation.network import LOSSY_SYSCTLS, Network
from evaluation.systems import Ground, Settings, System, system

TRACED_SLOTS = 3  # of the diagram


def folder_of(out: Path, spec: Spec, repetition: int) -> Path:
    """The folder of a complete run's records."""
    return out / spec.experiment / "runs" / f"{spec.digest()}-{repetition}"


def carry_out(out: Path, spec: Spec, repetition: int, settings: Settings) -> dict[str, Any]:
    """Carries out one run; returns the contents of its run.json. Raises EvaluationError."""
    whole = folder_of(out, spec, repetition)
    part = whole.with_name(f"{whole.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    began_at = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    head = {"spec": spec.to_json(), "repetition": repetition, "began_at": began_at}
    try:
        found = {**head, **on_network(part, spec, settings), "complete": True}
    except EvaluationError as error:
        words = f"{type(error).__name__}: {error}".replace(f"{part}/", "")
        write(part / "run.json", {**head, "complete": False, "error": words})
        part.rename(next_failed(whole))
        raise
    shutil.rmtree(part / "data", ignore_errors=True)  # the nodes' disks: they have been read by now
    write(part / "run.json", found)
    part.rename(whole)
    return found


def next_failed(whole: Path) -> Path:
    """The folder of the next failed attempt."""
    return next(
        path for number in itertools.count(1) if not (path := whole.with_name(f"{whole.name}.failed{number}")).exists()
    )


def write(path: Path, values: dict[str, Any]) -> None:
    """Writes values as JSON."""
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")


def on_network(folder: Path, spec: Spec, settings: Settings) -> dict[str, Any]:
    """Builds the network, measures on it, and takes it down."""
    kind = system(spec.system)
    with Network(spec.topology, sysctls=sysctls_of(spec)) as network:
        network.verify()
        under_test = kind(Ground(spec, network, folder, settings))
        try:
            told = measure(spec, network, under_test)
        finally:
            under_test.stop()
        if spec.trace:
            told["trace"] = traced(folder, told)
        network.check()
        return {
            "network": network.provenance(),
            **told,
            "provenance": {**provenance.of_machine(), "system": dict(kind.provenance(settings))},
        }


def sysctls_of(spec: Spec) -> Mapping[str, str] | None:
    """The kernel settings of every host: TCP is less patient if packets get lost; the option `kernel_defaults` leaves
    the settings as they are."""
    if spec.option("kernel_defaults", False):
        return {}
    return LOSSY_SYSCTLS if any(fault.kind == "loss" for fault in spec.faults) else None


def measure(spec: Spec, network: Network, under_test: System) -> dict[str, Any]:
    """Starts the system and its load, carries out the faults, and checks the promises."""
    work = spec.workload
    under_test.start()
    with Injector(network, under_test) as injector:
        load_began_ns = time.monotonic_ns()
        under_test.begin_load()
        time.sleep(work.warm_up_s)
        before = usage.sample(processes_of(under_test), links_of(network))
        until_ns = before.at_ns + int(work.duration_s * 1e9)
        injected = injector.schedule(spec.faults, before.at_ns, until_ns)
        after = usage.sample(processes_of(under_test), links_of(network))
        load = under_test.end_load()
    return {
        "marks": {"load_began_ns": load_began_ns, "measure_began_ns": before.at_ns, "measure_ended_ns": after.at_ns},
        "faults": [each.to_json() for each in injected],
        "usage": usage.between(before, after),
        "load": load,
        "checks": under_test.check(),
    }


def traced(folder: Path, told: dict[str, Any]) -> dict[str, Any]:
    """Merges the traces of all nodes, adds what is wrong on them to the failures, and draws some slots: those near the
    first fault, or in the middle of the measurement. Returns a summary."""
    merged = trace_merge.merge(sorted(folder.glob("trace-*.jsonl")))
    merged.write(folder / "trace.jsonl")
    told["checks"]["failures"] += merged.failures
    marks = told["marks"]
    about_ns = (marks["measure_began_ns"] + marks["measure_ended_ns"]) // 2
    if told["faults"]:
        about_ns = told["faults"][0]["took_effect_ns"]
    first = next(
        (each["first"] for each in merged.events if each["event"] == "applied" and each["at_ns"] >= about_ns), 1
    )
    picture = trace_merge.diagram(merged, first, first + TRACED_SLOTS)
    (folder / "trace.svg").write_text(picture, encoding="utf-8")
    return {"slots": [first, first + TRACED_SLOTS], **trace_merge.summary(merged)}


def links_of(network: Network) -> dict[str, dict[str, int]]:
    """Each host's counters, by the host's part: node0, node1, client0."""
    counters, nodes = network.counters(), len(network.nodes)
    return {
        f"node{host.index}" if host.index < nodes else f"client{host.index - nodes}": counters[host.name]
        for host in network.hosts
    }


def processes_of(under_test: System) -> dict[str, subprocess.Popen[bytes]]:
    """The nodes' processes by name."""
    return {f"node{node}": process for node, process in under_test.processes.items()}
