"""A host: a process that runs a core, its disk and its two clocks.

Rules. A host does for the core what the server does (`shell`). A paused process (SIGSTOP) handles what came meanwhile
when it goes on. Its monotonic clock has a rate and an offset of its own, its calendar an offset that may jump. A failed
sync ends the process, as the core demands.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Protocol

from multipaxos.config.charter import Charter
from multipaxos.errors import DamagedDirectory
from multipaxos.judges.cost import Cost
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import Machine
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.state_machine import STORE
from multipaxos.machine.user_machine import Run, runner_of
from multipaxos.node.node import Node
from multipaxos.node.output import ApplyJob, Batch, Event, Read
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ROLE_BITS
from multipaxos.simulation.chance import Chance
from multipaxos.simulation.disk import Disk
from multipaxos.simulation.network import End, Network
from multipaxos.simulation.scenario import Scenario
from multipaxos.simulation.shell import Act, nothing, uncut, wake
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.simulation.tried_machine import TriedMachine
from multipaxos.transport.handshake import NodeHandshake
from multipaxos.transport.identity import Identity
from multipaxos.transport.meetings import Life, Meetings
from multipaxos.wire import codec
from multipaxos.wire.schema import flatten

MILLION = 1_000_000
COUNTED = {  # kinds of events that show that a fault took effect -> what it is counted as
    "holes": "holes",
    "filled": "holes_filled",
    "differs": "replicas_that_differ",
    "divided": "replicas_divided",
}
UNREAD_BYTES = 64 << 10  # a client whose link holds more for it does not read
SLEEP_MIN_NS, SLEEP_MAX_NS = MS // 10, 50 * MS


class Watcher(Protocol):
    """Sees everything that hosts do, and raises Violation where one breaks a promise."""

    def on_disk(self, node_id: int, disk: Disk) -> None:
        """This is the node's disk from now on."""

    def on_disk_lost(self, node_id: int) -> None:
        """The node's former disk is gone."""

    def on_start(self, node_id: int, life: int, core: Node) -> None:
        """A process has started from its disk."""

    def on_send(self, node_id: int, message: dict[str, Any], frame: bytes) -> None:
        """A node sends a frame; `message` is the frame, decoded."""

    def on_commit(self, node_id: int) -> None:
        """A batch of the node is on its disk."""

    def on_step(self, node_id: int, core: Node) -> None:
        """A wake-up of the node has ended."""


class Host:
    """One machine. `on_end`: called when its process ends by itself. Tests that break a promise on purpose use a
    subclass."""

    disk_type: type[Disk] = Disk

    def __init__(
        self,
        id: int,
        *,
        scenario: Scenario,
        timeline: Timeline,
        chance: Chance,
        network: Network,
        watcher: Watcher,
        on_end: Callable[[Host], None],
        cost: Cost | None = None,
    ) -> None:
        self.id = id
        self.scenario = scenario
        self.timeline = timeline
        self.chance = chance
        self.network = network
        self.watcher = watcher
        self.on_end = on_end
        self.cost = cost
        self.core: Node | None = None
        self.machine = KeyValue()
        self.run: Run | None = None  # of a user's machine, which runs beside the core
        self.life = 0
        self.process = 0  # drawn when a process starts
        self.meetings = Meetings()
        self.paused = False
        self.backlog: list[Act] = []
        self.batch: Batch | None = None  # on its way to the disk
        self.clock_offset_ns = 0
        self.clock_ppm = 0  # how much faster its monotonic clock runs
        self.calendar_offset_ns = 0
        self.fail_syncs = False
        self.disk = self.mount(self.new_disk())

    @property
    def quorums(self) -> QuorumSystem:
        """The quorum system that this host is configured with."""
        return self.scenario.quorums.system()

    @property
    def differs(self) -> bool:
        """Has this host a machine that answers otherwise?"""
        return self.id == self.scenario.differing

    @property
    def charter(self) -> Charter:
        """What its disk keeps of the configuration."""
        scenario = self.scenario
        roles = tuple(tuple(name for name, bit in ROLE_BITS.items() if role & bit) for role in scenario.roles)
        return Charter("simulated", roles, (scenario.quorums.describe(),), scenario.window, STORE)

    # -- as the network sees it
    @property
    def alive(self) -> bool:
        """Does a process run here?"""
        return self.core is not None

    @property
    def awake(self) -> bool:
        """Does a process run here that is not paused?"""
        return self.core is not None and not self.paused

    @property
    def incarnation(self) -> int:
        """The incarnation of its disk."""
        return self.disk.incarnation

    @property
    def cluster_id(self) -> int:
        """What it tells clients; 0: it knows no cluster yet."""
        return self.core.cluster_id if self.core is not None else 0

    def handshake(self, dialled: int) -> NodeHandshake:
        """Its side of a handshake with the node that it dials; -1: the other node dials."""
        assert self.core is not None
        identity = replace(
            Identity.of(self.charter, self.id, Life(self.incarnation, self.process)),
            cluster_id=self.core.cluster_id,
            refused_slots=self.core.refused_slots,
        )
        return NodeHandshake(identity, self.meetings, lambda node_id: None, self.chance.number() | 1, dialled)

    # -- the process
    def start(self) -> None:
        """The process starts from its disk; from an empty one, if it refuses its disk."""
        try:
            self.disk.check()
        except DamagedDirectory as error:
            self.timeline.note(self.id, f"refuses its disk: {error}")
            self.chance.counts["disks_refused"] += 1
            self.lose_disk()
        self.disk.commit(self.charter.required(self.disk.meta(), self.id), b"")
        self.life += 1
        self.process = self.chance.number() | 1
        self.meetings = Meetings()
        self.paused = False
        self.backlog = []
        self.batch = None
        self.machine = KeyValue()
        if self.scenario.user_machine:
            self.run = runner_of(TriedMachine(self.machine, self.differs))
        self.disk.remembered.clear()
        self.core = self.new_core()
        self.timeline.note(self.id, f"starts, life {self.life}")
        self.watcher.on_start(self.id, self.life, self.core)
        self.wake(nothing)
        self.schedule_tick()

    def core_machine(self) -> Machine:
        """The core's side of the machine: the store, or the user's machine."""
        return self.machine if self.run is None else PythonMachine(self.run)

    def new_core(self) -> Node:
        """A core, made from what the disk holds."""
        scenario = self.scenario
        return Node(
            node_id=self.id,
            roles=scenario.roles,
            quorums=self.quorums,
            incarnation=self.disk.incarnation,
            seed=self.chance.number(),
            machine=self.core_machine(),
            meta=self.disk.meta(),
            records=self.disk.records(),
            flatten=flatten,
            window=scenario.window,
            ring_bytes=scenario.ring_bytes,
            in_flight_bytes=scenario.in_flight_bytes,
            part_bytes=scenario.part_bytes,
            versions=(scenario.semantics,),
            election_timeout_ns=scenario.election_timeout_ns,
            ping_interval_ns=scenario.election_timeout_ns // 5,
        )

    def crash(self) -> None:
        """The process dies. Of the batch that was on its way all or nothing is kept."""
        if self.batch is not None and self.chance.random.random() < 0.5:
            self.commit(self.batch)
        self.batch = None
        self.life += 1
        self.core = None
        self.paused = False
        self.backlog = []
        self.network.host_died(self.id)
        self.timeline.note(self.id, "crashes")

    def later(self, delay_ns: int, act: Callable[[], None]) -> None:
        """Does `act` in `delay_ns`, if this process still lives then."""
        life = self.life

        def happen() -> None:
            if self.life == life:
                act()

        self.timeline.after(delay_ns, happen)

    def wake(self, act: Act) -> None:
        """One wake-up of the process, if it lives; after the pause, if it is paused."""
        if self.core is None:
            return
        if self.paused:
            self.backlog.append(act)
            return
        now_ns = self.timeline.now_ns
        wake(self.core, act, self.clock_ns(now_ns), now_ns + self.calendar_offset_ns, self, self.on_bulk)
        if self.core is not None:
            self.watcher.on_step(self.id, self.core)

    def pause(self) -> None:
        """Stops the process, as SIGSTOP does."""
        self.paused = True
        self.timeline.note(self.id, "is paused")

    def resume(self) -> None:
        """Goes on after a pause, if it is paused; what came meanwhile is handled now."""
        if not self.paused:
            return
        self.paused = False
        backlog, self.backlog = self.backlog, []
        for act in backlog:
            self.wake(act)
        self.wake(nothing)

    # -- the effects of the core
    def on_events(self, events: Sequence[Event]) -> None:
        """Notes what the core reports."""
        for event in events:
            if event.kind in COUNTED:
                self.chance.counts[COUNTED[event.kind]] += 1
            self.timeline.note(self.id, event.text, event.kind)

    def on_close(self, link: int, reason: str) -> None:
        """The core closes a link."""
        self.timeline.note(self.id, f"closes link {link}: {reason}")
        self.network.close(self.id, link)

    def on_frames(self, link: int, frames: list[bytes]) -> None:
        """The core sends frames."""
        for frame, message in self.shown(link, frames):
            self.network.send(self.id, link, str(message["kind"]), frame)
        if self.cost is not None and self.core is not None and not self.network.is_to_node(self.id, link):
            unread = self.network.waiting_bytes(End(self.id, link))
            if unread > UNREAD_BYTES:
                self.core.link_backlog(link, unread)  # the core only takes note

    def on_bulk(self, link: int, pieces: list[bytes]) -> None:
        """The core sends bulk: in pieces where the link has a rate; else whole and at once."""
        frames = self.shown(link, uncut(pieces))
        if self.network.send_bulk(self.id, link, pieces):
            return
        for frame, message in frames:
            self.network.send(self.id, link, str(message["kind"]), frame)
        self.later(0, lambda: self.wake(lambda core: core.link_backlog(link, 0)))

    def shown(self, link: int, frames: list[bytes]) -> list[tuple[bytes, dict[str, Any]]]:
        """Frames with what they say, after the judges have seen them."""
        decoded = [(frame, codec.decode_message(frame)) for frame in frames]
        for frame, message in decoded:
            self.watcher.on_send(self.id, message, frame)
            if self.cost is not None and self.network.is_to_node(self.id, link):
                self.cost.on_send(link, message, len(frame))
        return decoded

    def on_read(self, read: Read) -> None:
        """Reads now, answers later."""
        answer = self.disk.read(read.first, read.end, read.max_bytes)
        self.later(MS, lambda: self.wake(lambda core: core.done(read.token, True, answer)))

    def on_batch(self, batch: Batch) -> None:
        """Begins to make a batch durable."""
        self.batch = batch
        self.later(self.chance.sync_ns(), lambda: self.synced(batch))

    def on_job(self, job: ApplyJob) -> None:
        """The user's machine applies for a while, beside everything else."""
        self.later(self.chance.apply_ns(), lambda: self.applied(job))

    def on_failed(self, why: str) -> None:
        """The core has stopped promising: the process ends."""
        self.timeline.note(self.id, f"failed: {why}")
        self.on_end(self)

    # -- the user's machine
    def applied(self, job: ApplyJob) -> None:
        """The machine has applied commands of a job: all of them, or as many as it got to."""
        assert self.run is not None, "a job for a host without a user's machine"
        self.chance.counts["jobs"] += 1
        count = self.chance.random.randint(1, len(job.commands))
        answers = self.run(job.commands[:count], job.answer_bytes_max)
        self.wake(lambda core: core.done(job.token, True, answers))

    # -- the disk
    def new_disk(self) -> Disk:
        """An empty data directory."""
        return self.disk_type(self.chance.number() | 1)

    def mount(self, disk: Disk) -> Disk:
        """This host's disk, from now on."""
        self.disk = disk
        self.watcher.on_disk(self.id, disk)
        return disk

    def lose_disk(self) -> None:
        """A new, empty data directory, with a new incarnation."""
        self.mount(self.new_disk())
        self.watcher.on_disk_lost(self.id)
        self.timeline.note(self.id, "lost its disk")

    def synced(self, batch: Batch) -> None:
        """The batch is durable, or its sync failed; a sync that failed may have written all the same."""
        self.batch = None
        ok = not self.fail_syncs
        self.fail_syncs = False
        if ok or self.chance.random.random() < 0.5:
            self.commit(batch)
        self.wake(lambda core: core.done(batch.token, ok))

    def commit(self, batch: Batch) -> None:
        """The batch is on the disk."""
        self.disk.commit(batch.meta, batch.records)
        self.watcher.on_commit(self.id)

    # -- what it costs
    def weigh(self) -> None:
        """Tells the judge of cost what this process holds."""
        if self.core is not None and self.cost is not None:
            memory = self.core.status()["memory_bytes"]
            assert isinstance(memory, int)
            waiting = [self.network.waiting_bytes(end) for end in self.network.peers if end.node_id == self.id]
            self.cost.on_memory(memory + sum(waiting), self.core.leader.commanders.proposals.bytes)
            self.cost.on_waiting(max(waiting, default=0))

    # -- clocks
    def clock_ns(self, world_ns: int) -> int:
        """The monotonic clock of this host."""
        return world_ns + world_ns * self.clock_ppm // MILLION + self.clock_offset_ns

    def schedule_tick(self) -> None:
        """Plans the next tick for when the core wants it."""
        if self.core is None:
            return
        wait_ns = self.core.next_tick_ns() - self.clock_ns(self.timeline.now_ns)
        if self.clock_ppm:
            wait_ns = wait_ns * MILLION // (MILLION + self.clock_ppm)
        self.later(min(max(SLEEP_MIN_NS, wait_ns), SLEEP_MAX_NS), self.on_tick)

    def on_tick(self) -> None:
        """The timer of the next tick."""
        if self.cost is not None:
            self.weigh()
        self.wake(nothing)
        self.schedule_tick()
