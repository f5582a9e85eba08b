"""What a run used: recorded texts of the kernel, and the differences of two readings."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from evaluation import usage
from evaluation.usage import TICKS_PER_S, Sample, between, cpu_ticks, process_s

STAT = """cpu  432661 102 153000 5110323 2042 10 12094 77 5 6
cpu0 216330 51 76500 2555161 1021 5 6047 38 2 3
intr 88 0 9
"""
# as a kernel 6.18 wrote it; utime is 1234, stime 567
OF_PROCESS = (
    "4242 (NAME) S 4100 4242 4100 34817 4242 4194304 8310 0 12 0 1234 567 8 9 20 0 5 0 1234567 300000000 8000 "
    "18446744073709551615 1 1 0 0 0 0 0 16781312 2 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n"
)


def test_ticks_of_all_processors() -> None:
    """Guests' time is part of users' time and is not counted twice."""
    assert cpu_ticks(STAT) == {
        "user": 432661,
        "nice": 102,
        "system": 153000,
        "idle": 5110323,
        "iowait": 2042,
        "irq": 10,
        "softirq": 12094,
        "steal": 77,
    }


@pytest.mark.parametrize(
    "name", ["python", "a b", "(sd-pam)", "ends) S 1 2 3", ") R 0 (", "", "tmux: server", "1 2 3 4 5 6 7 8 9 10 11 12"]
)
def test_time_of_a_process_whatever_its_name(name: str) -> None:
    assert process_s(OF_PROCESS.replace("NAME", name)) == pytest.approx((1234 + 567) / TICKS_PER_S)


def sample(
    at_s: float, ticks: dict[str, int], processes: dict[str, tuple[int, float]], links: dict[str, dict[str, int]]
) -> Sample:
    """A reading; counters that are not given are 0."""
    return Sample(round(at_s * 1e9), {name: ticks.get(name, 0) for name in usage.CPU_FIELDS}, processes, links)


LINKS = {"node0": {"tx_bytes": 1000, "rx_bytes": 10}, "client0": {"tx_bytes": 5, "rx_bytes": 6}}
LATER = {"node0": {"tx_bytes": 1700, "rx_bytes": 10}, "client0": {"tx_bytes": 105, "rx_bytes": 206}}


def test_differences() -> None:
    before = sample(10, {"user": 100, "idle": 1000, "iowait": 50, "steal": 7}, {"node0": (11, 1.5)}, LINKS)
    after = sample(12.5, {"user": 150, "idle": 1030, "iowait": 60, "steal": 17}, {"node0": (11, 2.25)}, LATER)
    assert between(before, after) == {
        "seconds": 2.5,
        "cpu": {"idle_share": 0.4, "steal_share": 0.1, "processes": {"node0": 0.75}},
        "links": {
            "node0": {"tx_bytes": 700, "rx_bytes": 0},
            "client0": {"tx_bytes": 100, "rx_bytes": 200},
        },
    }


def test_a_process_that_was_restarted_counts_from_its_second_begin() -> None:
    """Another id under the same name: the time that the first process had used is not subtracted."""
    before = sample(0, {}, {"node0": (11, 5.0), "node1": (12, 6.0)}, {})
    after = sample(1, {}, {"node0": (31, 0.25), "node1": (12, 6.5)}, {})
    assert between(before, after)["cpu"]["processes"] == {"node0": 0.25, "node1": 0.5}


def test_a_process_that_began_or_ended_in_between() -> None:
    before = sample(0, {}, {"node0": (11, 5.0)}, {})
    after = sample(1, {}, {"node2": (32, 0.125)}, {})
    assert between(before, after)["cpu"]["processes"] == {"node2": 0.125}


def test_two_readings_at_one_moment() -> None:
    """There is no tick in between: no share, and no division by it."""
    one = sample(1, {"user": 5, "idle": 5}, {}, {})
    assert between(one, one)["cpu"] == {"idle_share": 0.0, "steal_share": 0.0, "processes": {}}


def test_a_reading_of_this_machine() -> None:
    """One process works, one sleeps, one has ended: the work is seen, and the end does not disturb."""
    script = "while True: pass"
    working = subprocess.Popen([sys.executable, "-c", script])
    sleeping = subprocess.Popen(["sleep", "60"])
    ended = subprocess.Popen(["true"])
    try:
        ended.wait()
        processes = {"node0": working, "node1": sleeping, "node2": ended}
        before = usage.sample(processes, {})
        deadline = time.monotonic() + 20
        while process_s(Path(f"/proc/{working.pid}/stat").read_text()) < before.processes["node0"][1] + 0.2:
            assert time.monotonic() < deadline
            time.sleep(0.01)
        found = between(before, usage.sample(processes, {}))
    finally:
        for process in (working, sleeping):
            process.kill()
            process.wait()
    used = found["cpu"]["processes"]
    assert set(used) == {"node0", "node1"}
    assert used["node0"] >= 0.2
    assert used["node1"] <= 0.02
    assert 0 <= found["cpu"]["idle_share"] <= 1
    assert found["seconds"] > 0
