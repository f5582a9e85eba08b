"""What goes wrong: a plan from a seed, and who carries it out on real processes.

Theory. Hostile phases and calm ones take turns. In a hostile phase faults begin at random moments, last for random
times and so overlap; all end with the phase. The calm one lasts until everybody has an answer: progress is asserted
again and again, not hoped for. The plan is a function of the seed alone; what it does to a cluster depends on the
moment, so a fault is counted only when it really took effect: a process that ended by our SIGKILL, one that the kernel
shows as stopped, a cut that held something back, a reset of a link that was open.

Rules. A fault undoes what it did itself and nothing else: it starts the nodes that it killed, continues those that it
stopped, heals its own cut. Where there is nothing to be done - no leader, a node that is dead already - it does nothing
and is not counted.
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
LED_S = 0.6  # who led so long ago is taken for the leader
LOOK_S = 0.2
STOPPED_S = 2.0  # how long a process may take to stop: its threads may be inside the kernel

# How often each kind, in proportion.
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
    """One fault: when it begins in its phase, how long it lasts, and the seed of all else."""

    kind: str
    begin_s: float
    length_s: float
    seed: int


@dataclass(frozen=True)
class Phase:
    """A hostile phase."""

    length_s: float
    faults: tuple[Fault, ...]


def plan(seed: int, kinds: Sequence[str] = KINDS) -> Iterator[Phase]:
    """Hostile phases without end, the same for the same seed and kinds."""
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
    """A node's process ended though nobody ended it."""


def is_stopped(pid: int) -> bool:
    """Does the kernel show the process as stopped?"""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
    except OSError:
        return False


class Watch:
    """Looks at the nodes all the time: who leads, and whether one ended by itself."""

    def __init__(self, cluster: LocalCluster) -> None:
        self.cluster = cluster
        self._led: dict[int, float] = {}  # node: when it last said that it leads

    async def run(self) -> None:
        """Raises NodeEnded."""
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
        """The node that led when last looked at, if that was not long ago."""
        led = {when_s: id for id, when_s in self._led.items() if when_s > time.monotonic() - LED_S}
        return led[max(led)] if led else None


def ended(cluster: LocalCluster, id: int, code: int) -> str:
    """What is to be said of a node that ended by itself."""
    lines = (cluster.directory / f"node{id}.log").read_text(errors="replace").splitlines()
    return "\n".join([f"node {id} ended by itself with code {code}; its log ends:", *lines[-20:]])


class Adversary:
    """Carries out a plan. `note`: is told what was done, for the record."""

    def __init__(self, cluster: LocalCluster, network: Network, watch: Watch, note: Callable[[str], None]) -> None:
        self.cluster = cluster
        self.network = network
        self.watch = watch
        self.note = note
        self.counts: Counter[str] = Counter()
        self.nodes = [node.id for node in cluster.config.nodes]

    async def play(self, phase: Phase) -> None:
        """The whole phase; when it returns, every process runs, and every link is whole."""
        async with asyncio.TaskGroup() as group:
            for fault in phase.faults:
                group.create_task(self._play(fault))
            await asyncio.sleep(phase.length_s)

    async def _play(self, fault: Fault) -> None:
        await asyncio.sleep(fault.begin_s)
        acts: dict[str, Callable[[Fault, Random], Awaitable[None]]] = {
            "kill": self._kill,
            "stop": self._stop,
            "reset": self._reset,
        }
        await acts.get(fault.kind.split(" ")[0], self._cut)(fault, Random(fault.seed))

    def _done(self, fault: Fault, what: str) -> None:
        """The fault took effect."""
        self.counts[fault.kind] += 1
        self.note(f"{fault.kind}: {what}, for {fault.length_s:.2f} s")

    def _victims(self, fault: Fault, chance: Random) -> list[int]:
        """Whom it is about."""
        if fault.kind.endswith("all"):
            return self.nodes
        if "leader" in fault.kind:
            leader = self.watch.leader()
            return [] if leader is None else [leader]
        return [chance.choice(self.nodes)]

    # -- processes

    async def _kill(self, fault: Fault, chance: Random) -> None:
        """SIGKILL; and a new start when the time is over."""
        processes = self.cluster.processes
        killed = {id: processes.pop(id) for id in self._victims(fault, chance) if id in processes}
        for process in killed.values():
            process.kill()
        for id, process in killed.items():
            code = await asyncio.to_thread(process.wait)
            if code != -signal.SIGKILL:
                raise NodeEnded(ended(self.cluster, id, code))
        if killed:
            self._done(fault, f"nodes {sorted(killed)}")
        await asyncio.sleep(fault.length_s)
        for id in killed:
            self.cluster.start_node(id)

    async def _stop(self, fault: Fault, chance: Random) -> None:
        """SIGSTOP; and SIGCONT when the time is over, unless somebody has killed it."""
        for id in self._victims(fault, chance):
            process = self.cluster.processes.get(id)
            if process is None or is_stopped(process.pid):
                return
            process.send_signal(signal.SIGSTOP)
            try:
                if await self._has_stopped(process):
                    self._done(fault, f"node {id}")
                await asyncio.sleep(fault.length_s)
            finally:
                if self.cluster.processes.get(id) is process:
                    process.send_signal(signal.SIGCONT)

    @staticmethod
    async def _has_stopped(process: Popen[bytes]) -> bool:
        """Waits until the kernel has stopped it. No, where it was killed meanwhile."""
        end_s = time.monotonic() + STOPPED_S
        while not is_stopped(process.pid):
            if process.poll() is not None or time.monotonic() > end_s:
                return False
            await asyncio.sleep(0.001)
        return True

    # -- links

    async def _cut(self, fault: Fault, chance: Random) -> None:
        """Some links carry nothing for a time."""
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
            self._done(fault, f"{sorted(pairs)}, then {'reset' if reset else 'passed on'}")

    def _pairs(self, fault: Fault, chance: Random) -> Iterable[Pair]:
        """Which links a fault cuts, each way on its own."""
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
        """The leader cannot be heard, or cannot hear, or both; its clients mostly still reach it."""
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
        """A reset of all links between two nodes, or of those of clients to one."""
        one = chance.choice(self.nodes)
        other = chance.choice([CLIENT, *(id for id in self.nodes if id != one)])
        count = self.network.reset(both_ways([one], [other]))
        if count:
            self._done(fault, f"{count} links between {one} and {other}")
