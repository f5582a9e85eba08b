"""What a run used: processors, and each host's link.

Theory. The kernel's counters are read when the measurement begins and when it ends; their difference was used in
between. All hosts share the machine's processors, so the share of idle time says whether the processors or the network
limited a throughput.

Rules. A process that ended in between is left out, because its use after the first reading is not known. A process that
began in between counts from its beginning.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
CPU_FIELDS = ("user", "nice", "system", "idle", "iowait", "irq", "softirq", "steal")

Links = Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Sample:
    """The counters at one moment."""

    at_ns: int
    cpu: Mapping[str, int]  # ticks of all processors together, by CPU_FIELDS
    processes: Mapping[str, tuple[int, float]]  # by name: its pid, and seconds of processor time
    links: Links


def cpu_ticks(text: str) -> dict[str, int]:
    """The processors' ticks, from the text of /proc/stat."""
    numbers = [int(word) for word in text.splitlines()[0].split()[1:]]
    return dict(zip(CPU_FIELDS, numbers, strict=False))


def process_s(stat: str) -> float:
    """User and system time of one process in seconds, from /proc/PID/stat; its name may have any characters."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S


def sample(processes: Mapping[str, subprocess.Popen[bytes]], links: Links) -> Sample:
    """Reads all counters now."""
    used: dict[str, tuple[int, float]] = {}
    for name, process in processes.items():
        try:
            used[name] = process.pid, process_s(Path(f"/proc/{process.pid}/stat").read_text())
        except (FileNotFoundError, ProcessLookupError):
            continue  # the process has ended
    return Sample(time.monotonic_ns(), cpu_ticks(Path("/proc/stat").read_text()), used, links)


def between(before: Sample, after: Sample) -> dict[str, Any]:
    """What was used: shares of all processors' time, seconds of each process, bytes and packets of each link."""
    ticks = {name: after.cpu[name] - before.cpu[name] for name in before.cpu}
    total = sum(ticks.values()) or 1
    processes = {}
    for name, (pid, used_s) in after.processes.items():
        old_pid, old_s = before.processes.get(name, (pid, 0.0))
        processes[name] = round(used_s - old_s if pid == old_pid else used_s, 3)
    links = {
        host: {name: count - before.links[host][name] for name, count in counters.items()}
        for host, counters in after.links.items()
    }
    return {
        "seconds": (after.at_ns - before.at_ns) / 1e9,
        "cpu": {
            "idle_share": (ticks["idle"] + ticks["iowait"]) / total,
            "steal_share": ticks["steal"] / total,
            "processes": processes,
        },
        "links": links,
    }
