"""`multipaxos bench`: what it prints and what it keeps."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path

import pytest

from multipaxos.load import operation_log
from tests.support.processes import multipaxos

pytestmark = pytest.mark.timeout(180)


def test_bench_prints_its_object() -> None:
    """`bench --spawn --json`: a closed and an open loop."""
    for extra in ([], ["--rate", "2000"]):
        result = multipaxos(
            "bench", "--spawn", "3", "--storage", "memory", "--outstanding", "10", "--duration", "1", "--json", *extra
        )
        assert result.returncode == 0, result.stderr
        found = json.loads(result.stdout)
        assert set(found) >= {
            *("throughput_per_s", "completed", "errors", "duration_s", "outstanding"),
            *("key_size", "value_size", "nodes", "storage"),
        }
        assert set(found["latency_us"]) == {"min", "mean", "p50", "p90", "p99", "p999", "max"}
        assert found["completed"] > 0
        assert found["errors"] == 0
        assert (found["nodes"], found["storage"]) == (3, "memory")


def test_bench_keeps_records(tmp_path: Path) -> None:
    """`bench --records`: a row for every operation of an open loop. SIGINT ends the load, and the result is whole."""
    path = tmp_path / "operations.npy"
    command = ["bench", "--spawn", "3", "--storage", "memory", "--rate", "2000", "--arrivals", "poisson", "--json"]
    command += ["--zipf", "1", "--duration", "60", "--records", str(path)]
    process = subprocess.Popen(
        [sys.executable, "-m", "multipaxos", *command], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    try:
        end = time.monotonic() + 120
        while not path.exists() or path.stat().st_size < operation_log.HEADER_BYTES + 2000 * operation_log.ROW_BYTES:
            assert process.poll() is None
            assert time.monotonic() < end
            time.sleep(0.02)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=120)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    found = json.loads(out)
    kept = path.read_bytes()
    rows = (len(kept) - operation_log.HEADER_BYTES) // operation_log.ROW_BYTES
    assert kept[: operation_log.HEADER_BYTES] == operation_log.header(rows)
    assert rows >= found["completed"]
    sequences = [row[4] for row in struct.iter_unpack("<QQQQIBBH", kept[operation_log.HEADER_BYTES :])]
    assert sorted(sequences) == list(range(1, rows + 1))
    again = multipaxos(*command)
    assert again.returncode == 2
    assert "exists" in again.stderr
    assert path.read_bytes() == kept


def test_numbers_and_places_that_cannot_be_used(tmp_path: Path) -> None:
    for wrong in (["--duration", "nan"], ["--rate", "inf"], ["--zipf", "nan"], ["--records", tmp_path / "none" / "f"]):
        result = multipaxos("bench", "--cluster", "127.0.0.1:1", *wrong)
        assert (result.returncode, "Traceback" in result.stderr) == (2, False)
