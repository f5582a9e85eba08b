"""Faults: a plan from a seed, and the adversary that carries it out on real processes.

Theory. Hostile phases and calm ones take turns. In a hostile phase faults begin at random moments, last for random
times and so overlap; all of them end with the phase. A calm phase lasts until every worker has an answer, so progress
is asserted again and again. The plan is a function of the seed alone, but its effect on a cluster depends on the
moment. So a fault is counted only if it took effect: a process ended by our SIGKILL, a process that the kernel shows as
stopped, a cut that held something back, a reset of a link that was open.

Rules. A fault undoes what it did itself and nothing else: it starts the nodes that it killed, continues the nodes that
it stopped, heals its own cut. A fault that finds nothing to act on (no leader, or a node that is already dead) does
nothing and is not counted.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from subprocess import Popen

from multipaxos.client.discovery import fetch_status
from multipaxos.errors import MultipaxosError
from multipaxos.local_cluster import LocalCluster
from tests.torture.network import CLIENT, Network, Pair, both_ways

HOSTILE_S = (4.0, 10.0)
EVERY_S = 0.5  # between the beginnings of faults, on average
LENGTH_S = (0.1, 3.0)
LED_S = 0.6  # a node that led not longer ago is taken for the leader
LOOK_S = 0.2
STOPPED_S = 2.0  # how long a process may take to stop: its threads may be inside the kernel

# How often each kind of fault is planned, in proportion.
WEIGHTS = {
    "kill": 3,
    "kill leader": 3,
    "kill all": 1,
    "stop": 2,
    "stop leader": 3,
    "cut both ways": 2,
    "cut one way": 3,
    "partition": 2,
    "leader cut off": 3,
    "clients cut off": 1,
    "reset": 3,
}
KINDS = tuple(WEIGHTS)


@dataclass(frozen=True)
class Fault:
    """One fault: when it begins in its phase, how long it lasts, and the seed of its other choices."""

    kind: str
    begin_s: float
    length_s: float
    seed: int


@dataclass(frozen=True)
class Phase:
    """A hostile phase and its faults."""

    length_s: float
    faults: tuple[Fault, ...]


def plan(seed: int, kinds: Sequence[str] = KINDS) -> Iterator[Phase]:
    """Hostile phases without end; equal seeds and kinds give equal phases."""
    chance = Random(f"faults {seed}")
    weights = [WEIGHTS[kind] for kind in kinds]
    while True:
        length_s, faults = chance.uniform(*HOSTILE_S), []
        begin_s = chance.expovariate(1 / EVERY_S)
        while begin_s < length_s:
            (kind,) = chance.choices(kinds, weights)
            lasts_s = min(chance.uniform(*LENGTH_S), length_s - begin_s)
            faults.append(Fault(kind, begin_s, lasts_s, chance.getrandbits(32)))
            begin_s += chance.expovariate(1 / EVERY_S)
        yield Phase(length_s, tuple(faults))


class NodeEnded(MultipaxosError):
    """A node's process ended by itself."""


def is_stopped(pid: int) -> bool:
    """Does the kernel show the process as stopped?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


class Watch:
    """Watches the nodes: which one leads, and whether one ended by itself."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self._led: dict[int, float] = {}  # by node: when its status last said that it leads

    async def run(self) -> None:
        """Watches for ever. Raises NodeEnded, in an exception group."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._processes())
            for node in self.cluster.config.nodes:
                group.create_task(self._leading(node.id))

    async def _processes(self) -> None:
        while True:
            for id, process in self.cluster.processes.items():
                if process.poll() is not None:
                    raise NodeEnded(ended(self.cluster, id, process.returncode))
            await asyncio.sleep(0.05)

    async def _leading(self, id: int) -> None:
        while True:
            row = await fetch_status(self.cluster.addresses[id])
            if row is not None and row["leading"]:
                self._led[id] = time.monotonic()
            else:
                self._led.pop(id, None)
            await asyncio.sleep(LOOK_S)

    def leader(self) -> int | None:
        """The node that last reported to lead, if that was not long ago."""
        led = {when_s: id for id, when_s in self._led.items() if when_s > time.monotonic() - LED_S}
        return led[max(led)] if led else None


def ended(cluster: LocalCluster, id: int, code: int) -> str:
    """The failure that a node ended by itself, with the end of its log."""
    lines = (cluster.directory / f"node{id}.log").read_text(errors="replace").splitlines()
    return "\n".join([f"node {id} ended by itself with code {code}; its log ends:", *lines[-20:]])


class Adversary:
    """Carries out a plan; `note` is called with a line for each fault that took effect."""

    def __init__(self, cluster: LocalCluster, network: Network, watch: Watch, note: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.network = network
        self.watch = watch
        self.note = note
        self.counts: Counter[str] = Counter()
        self.nodes = [node.id for node in cluster.config.nodes]

    async def run(self, phase: Phase) -> None:
        """Carries out a phase; when it returns, every process runs, and every link is whole."""
        async with asyncio.TaskGroup() as group:
            for fault in phase.faults:
                group.create_task(self._carry_out(fault))
            await asyncio.sleep(phase.length_s)

    async def _carry_out(self, fault: Fault) -> None:
        await asyncio.sleep(fault.begin_s)
        acts: dict[str, Callable[[Fault, Random], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "reset": self._reset,
        }
        await acts.get(fault.kind.split(" ")[0], self._cut)(fault, Random(fault.seed))

    def _count(self, fault: Fault, what: str) -> None:
        """Counts a fault that took effect."""
        self.counts[fault.kind] += 1
        self.note(f"{fault.kind}: {what}, for {fault.length_s:.2f} s")

    def _victims(self, fault: Fault, chance: Random) -> list[int]:
        """The nodes that a fault acts on."""
        if fault.kind.endswith("all"):
            return self.nodes
        if "leader" in fault.kind:
            leader = self.watch.leader()
            return [] if leader is None else [leader]
        return [chance.choice(self.nodes)]

    # -- processes

    async def _kill(self, fault: Fault, chance: Random) -> None:
        """Kills nodes, and starts them again when the fault's time is over."""
        processes = self.cluster.processes
        killed = {id: processes.pop(id) for id in self._victims(fault, chance) if id in processes}
        for process in killed.values():
            process.kill()
        for id, process in killed.items():
            code = await asyncio.to_thread(process.wait)
            if code != -signal.SIGKILL:
                raise NodeEnded(ended(self.cluster, id, code))
        if killed:
            self._count(fault, f"nodes {sorted(killed)}")
        await asyncio.sleep(fault.length_s)
        for id in killed:
            self.cluster.start_node(id)

    async def _stop(self, fault: Fault, chance: Random) -> None:
        """Stops nodes one by one, and continues each when the fault's time is over, unless it was killed meanwhile."""
        for id in self._victims(fault, chance):
            process = self.cluster.processes.get(id)
            if process is None or is_stopped(process.pid):
                return
            process.send_signal(signal.SIGSTOP)
            try:
                if await self._has_stopped(process):
                    self._count(fault, f"node {id}")
                await asyncio.sleep(fault.length_s)
            finally:
                if self.cluster.processes.get(id) is process:
                    process.send_signal(signal.SIGCONT)

    @staticmethod
    async def _has_stopped(process: Popen[bytes]) -> bool:
        """Waits until the kernel has stopped a process. False if it was killed meanwhile."""
        end_s = time.monotonic() + STOPPED_S
        while not is_stopped(process.pid):
            if process.poll() is not None or time.monotonic() > end_s:
                return False
            await asyncio.sleep(0.001)
        return True

    # -- links

    async def _cut(self, fault: Fault, chance: Random) -> None:
        """Cuts some links for a time."""
        pairs = self._pairs(fault, chance)
        if not pairs:
            return
        reset = chance.random() < 0.5
        cut = self.network.cut(pairs)
        try:
            await asyncio.sleep(fault.length_s)
        finally:
            cut.heal(reset)
        if cut.took_effect:
            self._count(fault, f"{sorted(pairs)}, then {'reset' if reset else 'passed on'}")

    def _pairs(self, fault: Fault, chance: Random) -> Iterable[Pair]:
        """The pairs that a fault cuts; each direction is a pair of its own."""
        if fault.kind == "leader cut off":
            leader = self.watch.leader()
            return set() if leader is None else self._around(leader, chance)
        if fault.kind == "partition":
            side = chance.sample(self.nodes, chance.randint(1, len(self.nodes) - 1))
            return both_ways(side, set(self.nodes) - set(side))
        if fault.kind == "clients cut off":
            pairs = both_ways([CLIENT], [chance.choice(self.nodes)])
            return pairs if chance.random() < 0.5 else {chance.choice(sorted(pairs))}
        one, other = chance.sample(self.nodes, 2)
        return both_ways([one], [other]) if fault.kind == "cut both ways" else {(one, other)}

    def _around(self, leader: int, chance: Random) -> set[Pair]:
        """Pairs that cut the leader off: what it sends, what it receives, or both. Clients mostly still reach it."""
        others = [id for id in self.nodes if id != leader]
        if chance.random() < 0.3:
            others.append(CLIENT)
        pairs = both_ways([leader], others)
        ways = chance.random()
        if ways < 0.25:
            return {pair for pair in pairs if pair[0] == leader}
        if ways < 0.5:
            return {pair for pair in pairs if pair[1] == leader}
        return pairs

    async def _reset(self, fault: Fault, chance: Random) -> None:
        """Resets all links between two nodes, or between clients and one node."""
        one = chance.choice(self.nodes)
        other = chance.choice([CLIENT, *(id for id in self.nodes if id != one)])
        count = self.network.reset(both_ways([one], [other]))
        if count:
            self._count(fault, f"{count} links between {one} and {other}")
