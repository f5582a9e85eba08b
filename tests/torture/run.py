"""One torture from beginning to end, and its verdict.

Theory. A cluster starts on LMDB, with every link through the proxy, and clients call it. Hostile phases and calm ones
take turns. A calm phase lasts until every worker has an answer to an operation that it called in that phase, and fails
after CALM_S. At the end the faults stop for good, the outstanding operations are answered, every key is read, all nodes
apply the same slots and reach the same state, and each node ends when it is asked to. Then the history is judged.

Rules.
- Every problem is a line of the verdict, and the history up to it is judged nevertheless.
- Every process and socket ends with the torture, however it ends.
- The directory with logs, faults and history belongs to the caller.
- Nodes are processes, so their elections are counted from the files of events that they leave, also where they are
  killed (see `node`).
"""

from __future__ import annotations

import asyncio
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

from multipaxos.config.cluster import Config
from multipaxos.errors import MultipaxosError, NoQuorum
from multipaxos.local_cluster import LocalCluster, free_base_port
from multipaxos.paxos.ballot import describe
from tests.torture import faults, judge
from tests.torture.faults import Adversary, Phase, Watch, ended, plan
from tests.torture.network import Network
from tests.torture.node import adoptions
from tests.torture.workload import Workload

CALM_S = 60.0  # machines are slow and shared; the verdict has the time that was needed, `longest_recovery_s`
WARM_S = 1.0  # without faults, at the beginning and between phases
END_S = 30.0
ERRORS_SHOWN = 10
HISTORY = "history.jsonl"

Say = Callable[[str], None]


@dataclass(frozen=True)
class Options:
    """What to do to which cluster; `kinds` are those of the faults."""

    seed: int
    duration_s: float
    nodes: int = 3
    storage: str = "lmdb"
    kinds: Sequence[str] = faults.KINDS
    rate: int = 0  # bytes a second of each direction of each link; 0: as many as there are


@dataclass
class Verdict:
    """What happened, and every promise that the cluster did not keep (`failures`)."""

    seed: int
    duration_s: float
    nodes: int
    storage: str
    rate: int = 0
    operations: int = 0
    acknowledged: int = 0
    unknown: dict[str, int] = field(default_factory=dict)
    keys: int = 0
    faults: dict[str, int] = field(default_factory=dict)
    elections: int = 0
    slots: int = 0
    longest_gap_s: float = 0.0
    longest_recovery_s: float = 0.0
    check_s: float = 0.0
    failures: list[str] = field(default_factory=list)


class Cluster(LocalCluster):
    """The nodes, each with a file of its events."""

    def events_path(self, node_id: int) -> Path:
        """The file of one node's events, over all of its lives."""
        return self.directory / f"node{node_id}.events"

    def command(self, node_id: int) -> list[str]:
        """`multipaxos` with its arguments becomes `tests.torture.node` with the same."""
        python, flag, _, *arguments = super().command(node_id)
        return [python, flag, "tests.torture.node", str(self.events_path(node_id)), *arguments]


class Torture:
    """The parts of one torture; `say` is called with lines about its progress."""

    def __init__(self, options: Options, directory: Path, say: Say) -> None:
        self.options = options
        self.directory = directory
        self.say = say
        base = free_base_port(2 * options.nodes)
        self.config = Config.local(options.nodes, base, name="torture")
        fronts = [(node.host, node.port) for node in self.config.nodes]
        behind = [(host, port + options.nodes) for host, port in fronts]
        self.cluster = Cluster(self.config, directory, options.storage, listen=behind)
        self.network = Network(fronts, behind, options.rate)
        self.watch = Watch(self.cluster)
        self.adversary = Adversary(self.cluster, self.network, self.watch, self.note)
        self.workload = Workload(fronts, options.seed)
        self.began_s = time.monotonic()
        self.verdict = Verdict(options.seed, options.duration_s, options.nodes, options.storage, options.rate)
        self.settled_ns: int | None = None  # when the reads of all keys began

    def note(self, what: str) -> None:
        """Adds a line to the record of faults."""
        with (self.directory / "faults.log").open("a", encoding="utf-8") as file:
            file.write(f"{time.monotonic() - self.began_s:9.3f} s  {what}\n")

    async def run(self) -> None:
        """Runs the torture; problems go into the verdict."""
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self.network)
                await stack.enter_async_context(self.cluster)
                stack.push_async_callback(self.workload.close)
                await self._guarded()
        except MultipaxosError as error:
            self.verdict.failures.append(f"{type(error).__name__}: {error}")
        finally:
            judge.save(self.workload.history, self.directory / HISTORY)

    async def _guarded(self) -> None:
        """The story, which ends at once if a node ends by itself or a worker fails."""
        story = asyncio.create_task(self._story())
        calling = asyncio.create_task(self.workload.run())
        watching = asyncio.create_task(self.watch.run())
        tasks = [story, calling, watching]
        try:
            waiting = set(tasks)
            while not story.done():
                done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    raise_first(task)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        await self._end()

    async def _story(self) -> None:
        await self.cluster.leader(CALM_S)
        await self._calm(None)
        end_s = time.monotonic() + self.options.duration_s
        for phase in plan(self.options.seed, self.options.kinds):
            left_s = end_s - time.monotonic()
            if left_s <= 0:
                break
            await self.adversary.run(shortened(phase, left_s))
            await self._calm(phase)
        self.workload.stop()
        await self._until_idle()
        self.settled_ns = await self.workload.read_all()
        await self._level()

    async def _calm(self, phase: Phase | None) -> None:
        """Waits, with all processes running and all links whole, until every worker is answered."""
        began_s = time.monotonic()
        await self.cluster.wait_until_up()
        await self.workload.until_all_are_answered(CALM_S)
        took_s = time.monotonic() - began_s
        if phase is not None:
            self.verdict.longest_recovery_s = max(self.verdict.longest_recovery_s, took_s)
        self.note(f"calm: every worker was answered after {took_s:.2f} s")
        self.say(self._progress())
        await asyncio.sleep(WARM_S)

    def _progress(self) -> str:
        count = sum(self.adversary.counts.values())
        passed_s = time.monotonic() - self.began_s
        return f"{passed_s:6.0f} s  {len(self.workload.history):,} operations, {count:,} faults"

    async def _until_idle(self) -> None:
        """Waits until the last operations end: each with an answer, or because its worker gives up."""
        end_s = time.monotonic() + CALM_S
        while self.workload.active:
            if time.monotonic() > end_s:
                raise NoQuorum(f"without faults for {CALM_S:g} s, but not every operation has ended")
            await asyncio.sleep(0.02)

    async def _level(self) -> None:
        """Waits until all nodes have applied the same slots, and compares their states."""
        rows = await self.cluster.wait_until_level(CALM_S)
        self.verdict.slots = rows[0]["slot_out"] - 1
        for name, wanted in (("state_hash", rows[0]["state_hash"]), ("voting", True), ("bad_frames", 0)):
            found = [row[name] for row in rows]
            if found != [wanted] * len(rows):
                self.verdict.failures.append(f"{name} of the nodes at slot {self.verdict.slots}: {found}")

    async def _end(self) -> None:
        """Asks every node to end, and expects code 0."""
        for process in self.cluster.processes.values():
            process.send_signal(signal.SIGTERM)
        for id, process in self.cluster.processes.items():
            try:
                code = await asyncio.to_thread(process.wait, END_S)
            except subprocess.TimeoutExpired:
                self.verdict.failures.append(f"node {id} did not end in {END_S:g} s when asked to")
                continue
            if code != 0:
                self.verdict.failures.append(ended(self.cluster, id, code))

    # -- the verdict

    def judge(self) -> Verdict:
        """The verdict. Call this after `run`, outside of the event loop: judging a history may take long."""
        verdict, history = self.verdict, self.workload.history
        verdict.operations = len(history)
        verdict.acknowledged = sum(operation.answer is not None for operation in history)
        verdict.unknown = dict(self.workload.unknown)
        verdict.keys = len({key for operation in history for key in operation.keys})
        verdict.faults = {kind: self.adversary.counts[kind] for kind in self.options.kinds}
        verdict.longest_gap_s = judge.longest_gap_s(history)
        verdict.failures += some(self.workload.errors)
        verdict.failures += self._elections()
        began_s = time.monotonic()
        verdict.failures += judge.judge(history)
        verdict.check_s = time.monotonic() - began_s
        if self.settled_ns is not None:
            verdict.failures += judge.never_read(history, self.settled_ns)
        return verdict

    def _elections(self) -> list[str]:
        """Counts the ballots that were adopted; none may be adopted twice."""
        adopted = adoptions(self.cluster.events_path(node.id) for node in self.config.nodes)
        self.verdict.elections = len(adopted)
        return [f"ballot {describe(one)} was adopted {count} times" for one, count in adopted.items() if count > 1]


def some(errors: list[str]) -> list[str]:
    """The first errors, and how many more there are."""
    more = len(errors) - ERRORS_SHOWN
    return errors[:ERRORS_SHOWN] + ([f"and {more} more errors of clients"] if more > 0 else [])


def raise_first(task: asyncio.Task[None]) -> None:
    """Raises the task's exception, if it has one; from a group of exceptions the first."""
    error = task.exception()
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    if error is not None:
        raise error


def shortened(phase: Phase, length_s: float) -> Phase:
    """The phase, cut to `length_s` if it is longer."""
    if phase.length_s <= length_s:
        return phase
    kept = [fault for fault in phase.faults if fault.begin_s < length_s]
    ends = [min(fault.length_s, length_s - fault.begin_s) for fault in kept]
    shorter = [faults.Fault(f.kind, f.begin_s, end_s, f.seed) for f, end_s in zip(kept, ends, strict=True)]
    return Phase(length_s, tuple(shorter))
