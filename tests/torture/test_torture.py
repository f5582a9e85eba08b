"""Short tortures, and their plan and workload. `make torture` runs longer ones."""

from __future__ import annotations

import asyncio
import itertools
import json
import logging
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import uvloop

from multipaxos.errors import NoQuorum
from multipaxos.local_cluster import free_base_port
from multipaxos.node.output import Event
from multipaxos.paxos.ballot import make
from tests.support.link_by_hand import until
from tests.torture import judge
from tests.torture.faults import KINDS, plan
from tests.torture.node import EventFile, adoptions
from tests.torture.run import Options, Torture, Verdict, shortened
from tests.torture.workload import Workload

pytestmark = pytest.mark.timeout(300)

TORTURE = [sys.executable, "-m", "tests.torture"]
ROOT = Path(__file__).resolve().parents[2]


# -- whole runs


def test_a_short_torture(tmp_path: Path) -> None:
    """Fifteen seconds of all kinds of faults: the cluster keeps every promise, and nothing is left behind."""
    result = subprocess.run(
        [*TORTURE, "--duration", "15", "--json"], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = json.loads(result.stdout)
    assert f"seed {verdict['seed']}" in result.stderr
    assert not verdict["failures"]
    assert verdict["acknowledged"] > 300
    assert set(verdict["faults"]) == set(KINDS)
    assert sum(verdict["faults"].values()) > 3
    assert verdict["elections"] > 0
    assert verdict["unknown"]["session expired"] > 0
    assert not list(tmp_path.iterdir())


def test_an_interrupted_torture_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C ends every process and removes the directory."""
    command = [*TORTURE, "--duration", "100", "--seed", "5"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        try:
            assert process.stderr is not None
            while "operations" not in process.stderr.readline():
                assert process.poll() is None
            nodes = children(process.pid)
            assert nodes
            process.send_signal(signal.SIGINT)
            assert process.wait(100) == 130
        finally:
            process.kill()
    assert not [pid for pid in nodes if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.iterdir())


def children(parent: int) -> list[int]:
    """The processes that a process has started and not waited for."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # the process has ended meanwhile
            continue
        if int(fields[1]) == parent:
            found.append(int(place.name))
    return found


def verdict_of(directory: Path, **options: Any) -> Verdict:
    """The verdict of a torture whose clients and proxy run in this process."""
    torture = Torture(Options(**options), directory, lambda text: None)
    uvloop.run(torture.run())
    return torture.judge()


def test_a_disk_that_keeps_only_what_was_synced(tmp_path: Path) -> None:
    """All nodes are killed at once."""
    verdict = verdict_of(tmp_path, seed=3, duration_s=2, storage="test-dropping", kinds=["kill all"])
    assert not verdict.failures, verdict
    assert verdict.faults["kill all"] > 0


def test_a_missing_sync_is_noticed(tmp_path: Path) -> None:
    """Without the sync acknowledged writes are lost, and the history shows it."""
    verdict = verdict_of(tmp_path, seed=3, duration_s=2, storage="test-dropping-unsynced", kinds=["kill all"])
    assert verdict.faults["kill all"] > 0
    assert any("not linearizable" in failure for failure in verdict.failures), verdict
    assert len(judge.load(tmp_path / "history.jsonl")) == verdict.operations


def test_a_leader_that_is_cut_off_is_replaced(tmp_path: Path) -> None:
    """Cuts act on the links between real processes: another node leads, and every promise is kept."""
    verdict = verdict_of(tmp_path, seed=4, duration_s=5, kinds=["leader cut off"])
    assert not verdict.failures, verdict
    assert verdict.faults["leader cut off"] > 0
    assert verdict.elections > 1


def test_a_node_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    """Killed by another process than the adversary: the verdict has its code and log, and the torture ends at once."""
    torture = Torture(Options(seed=1, duration_s=100_000, kinds=["reset"]), tmp_path, lambda text: None)

    async def main() -> None:
        async def interfere() -> None:
            await until(lambda: len(torture.workload.history) > 50)
            torture.cluster.signal(1, signal.SIGKILL)

        interfering = asyncio.create_task(interfere())
        await torture.run()
        await interfering

    uvloop.run(main())
    failures = torture.judge().failures
    assert any("node 1 ended by itself with code -9; its log ends:\n" in failure for failure in failures)
    assert not torture.cluster.processes


# -- the plan


def test_a_plan_depends_on_the_seed_alone() -> None:
    """Equal seeds give equal plans, others do not; every kind is planned; all faults end with their phase."""
    phases = list(itertools.islice(plan(1), 40))
    assert phases == list(itertools.islice(plan(1), 40))
    assert phases != list(itertools.islice(plan(2), 40))
    assert {fault.kind for phase in phases for fault in phase.faults} == set(KINDS)
    for phase in [*phases, *(shortened(phase, 2.0) for phase in phases)]:
        assert all(fault.begin_s + fault.length_s <= phase.length_s + 1e-9 for fault in phase.faults)


# -- liveness


def test_a_cluster_that_does_not_answer_is_noticed() -> None:
    workload = Workload([("127.0.0.1", free_base_port(1))], 1)

    async def main() -> None:
        calling = asyncio.create_task(workload.run())
        try:
            with pytest.raises(NoQuorum, match="got no answer"):
                await workload.until_all_are_answered(0.3)
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            await workload.close()

    uvloop.run(main())
    assert all(operation.answer is None for operation in workload.history)


def test_adoptions_are_counted_from_events(tmp_path: Path) -> None:
    """By kind and ballot, over the files of all nodes; what is no event is not written."""
    paths = [tmp_path / "node0.events", tmp_path / "node1.events", tmp_path / "node2.events"]
    log = logging.getLogger("test of torture's events")
    log.setLevel(logging.INFO)
    handlers = [EventFile(str(path)) for path in paths[:2]]
    for handler, ballot in zip(handlers, (make(1, 0), make(2, 1)), strict=True):
        log.addHandler(handler)
        log.info("adopted", extra={"event": Event("adopted", ballot, 1, "adopted")})
        log.info("adopted at ballot 9.9: a text that nobody reads")
        log.info("preempted", extra={"event": Event("preempted", make(4, 0), 0, "preempted")})
        log.removeHandler(handler)
        handler.close()
    assert adoptions(paths) == {make(1, 0): 1, make(2, 1): 1}
    assert adoptions([*paths, paths[0]])[make(1, 0)] == 2
