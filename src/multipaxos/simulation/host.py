"""A host: a process that runs a node, its disk and its two clocks.

Rules. It does for the core what the server does: tick, the verb, then all that comes out. A paused process (SIGSTOP)
handles what came meanwhile when it goes on. Its monotonic clock has a rate and an offset of its own, its calendar an
offset that may jump. A failed sync ends the process, as the core demands.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from multipaxos.machine.key_value import KeyValue
from multipaxos.node.node import Node
from multipaxos.node.output import Batch, Read
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.simulation import ACCEPTOR, MS
from multipaxos.simulation.disk import Disk
from multipaxos.wire import codec
from multipaxos.wire.schema import flatten

if TYPE_CHECKING:
    from multipaxos.simulation.world import World

MILLION = 1_000_000


class Host:
    """One machine. Tests that break a promise on purpose put another class in."""

    disk_type: type[Disk] = Disk

    def __init__(self, world: World, id: int) -> None:
        self.world = world
        self.id = id
        self.disk = self.new_disk()
        self.node: Node | None = None
        self.machine = KeyValue()
        self.life = 0
        self.paused = False
        self.backlog: list[Callable[[Node], None]] = []
        self.batch: Batch | None = None
        self.clock_offset_ns = 0
        self.clock_ppm = 0  # how much faster its monotonic clock runs
        self.calendar_offset_ns = 0
        self.fail_syncs = False

    @property
    def quorums(self) -> QuorumSystem:
        """The quorum system this host was configured with."""
        return self.world.quorums

    @property
    def may_vote(self) -> bool:
        """Has it the role of an acceptor?"""
        return bool(self.world.roles[self.id] & ACCEPTOR)

    def new_disk(self) -> Disk:
        """An empty data directory."""
        return self.disk_type(self.world.random.getrandbits(63) | 1)

    # -- the process
    def start(self) -> None:
        """The process starts from its disk."""
        world = self.world
        self.life += 1
        self.paused = False
        self.backlog = []
        self.batch = None
        self.machine = KeyValue()
        self.node = Node(
            node=self.id,
            roles=world.roles,
            quorums=self.quorums,
            incarnation=self.disk.incarnation,
            seed=world.random.getrandbits(63),
            machine=self.machine,
            meta=self.disk.meta(),
            records=self.disk.records(),
            flatten=flatten,
            window=world.scenario.window,
            ring_bytes=world.scenario.ring_bytes,
            sessions_max=world.scenario.sessions_max,
            election_timeout_ns=world.scenario.election_timeout_ns,
            ping_interval_ns=world.scenario.election_timeout_ns // 5,
        )
        world.note(self.id, f"starts, life {self.life}")
        world.oracle.on_start(self, self.node)
        self.wake(lambda node: None)
        self.schedule_tick()

    def crash(self) -> None:
        """The process dies. Of the batch that was on its way all or nothing is kept."""
        if self.batch is not None and self.world.random.random() < 0.5:
            self.commit(self.batch)
        self.batch = None
        self.life += 1
        self.node = None
        self.paused = False
        self.backlog = []
        self.world.network.host_died(self.id)
        self.world.note(self.id, "crashes")

    def lose_disk(self) -> None:
        """A new, empty data directory, with a new incarnation."""
        self.disk = self.new_disk()
        self.world.oracle.on_disk_lost(self.id, any(host.disk.accepted for host in self.world.hosts))
        self.world.note(self.id, "lost its disk")

    def later(self, delay_ns: int, act: Callable[[], None]) -> None:
        """Does `act` in `delay_ns`, if this process still lives then."""
        life = self.life

        def happen() -> None:
            if self.life == life:
                act()

        self.world.after(delay_ns, happen)

    def wake(self, act: Callable[[Node], None]) -> None:
        """One wake-up of the shell."""
        if self.node is None:
            return
        if self.paused:
            self.backlog.append(act)
            return
        node = self.node
        now_ns = self.world.now_ns
        node.tick(self.clock(now_ns), now_ns + self.calendar_offset_ns)
        act(node)
        self.flush(node)
        self.world.oracle.on_step(self)

    def resume(self) -> None:
        """Goes on after a pause, if it is paused; what came meanwhile is handled now."""
        if not self.paused:
            return
        self.paused = False
        backlog, self.backlog = self.backlog, []
        for act in backlog:
            self.wake(act)
        self.wake(lambda node: None)

    def flush(self, node: Node) -> None:
        """Carries out one output of the core."""
        world = self.world
        output = node.output()
        for event in output.events:
            world.elections += event.kind == "adopted"
            world.note(self.id, event.text)
        for link, reason in output.closes:
            world.note(self.id, f"closes link {link}: {reason}")
            world.network.close(self.id, link)
        for link, data in output.writes:
            frames, rest = codec.split(data)
            assert not rest, "the core wrote half a frame"
            for frame in frames:
                world.network.send(self, link, frame)
        for read in output.reads:
            self.read(read)
        if output.batch is not None:
            self.sync(output.batch)
        if output.failed:
            self.fail(output.failed)

    def fail(self, why: str) -> None:
        """The core has stopped promising: the server ends, and is started again."""
        self.world.note(self.id, f"failed: {why}")
        self.world.adversary.crash(self)

    # -- the disk
    def read(self, read: Read) -> None:
        """Reads now, and tells later."""
        answer = self.disk.read(read.first, read.end, read.max_bytes)
        self.later(MS, lambda: self.wake(lambda node: node.done(read.token, True, answer)))

    def sync(self, batch: Batch) -> None:
        """Begins to make a batch durable."""
        self.batch = batch
        self.later(self.world.adversary.sync_ns(), lambda: self.synced(batch))

    def synced(self, batch: Batch) -> None:
        """It is durable, or failed; a sync that failed may have written all the same."""
        self.batch = None
        ok = not self.fail_syncs
        self.fail_syncs = False
        if ok or self.world.random.random() < 0.5:
            self.commit(batch)
        self.wake(lambda node: node.done(batch.token, ok))

    def commit(self, batch: Batch) -> None:
        """On the disk."""
        self.disk.commit(batch.meta, batch.records)
        self.world.oracle.on_commit(self.id, self.disk)

    # -- clocks
    def clock(self, world_ns: int) -> int:
        """The monotonic clock of this host."""
        return world_ns + world_ns * self.clock_ppm // MILLION + self.clock_offset_ns

    def schedule_tick(self) -> None:
        """Calls tick when the core wants it."""
        if self.node is None:
            return
        wait_ns = (self.node.next_tick_ns() - self.clock(self.world.now_ns)) * MILLION // (MILLION + self.clock_ppm)
        self.later(min(max(MS // 10, wait_ns), 50 * MS), self.on_tick)

    def on_tick(self) -> None:
        """The timer."""
        self.wake(lambda node: None)
        self.schedule_tick()
