"""A node of a transcript: the shipped core, the simulator's disk, and a clock of its own.

Rules. An actor does for its core what the server does (`multipaxos.simulation.shell`), and writes all of it into the
trace. Its clock may lag behind the time of the stage. Timers fire on whole milliseconds, which makes times readable.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.user_machine import run, runner_of
from multipaxos.node.node import Node
from multipaxos.node.output import (
    META_BALLOT,
    META_CLUSTER,
    META_DECIDED,
    META_VOTER,
    ApplyJob,
    Batch,
    Event,
    Read,
)
from multipaxos.paxos.ballot import describe as describe_ballot
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.simulation.disk import Disk
from multipaxos.simulation.shell import Act, nothing, wake
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.wire import codec
from multipaxos.wire.record import parts_of_batch
from multipaxos.wire.schema import flatten
from tests.support.journal import Journal
from tests.transcripts.trace import Trace, slots

SYNC_NS = MS // 2
START_NS = 1_000_000 * MS  # of the nodes' clocks: a round number that no trace shows
WORDS = {codec.CommandKind.NOOP: "noop", codec.CommandKind.OPEN_SESSION: "open"}


@dataclass(frozen=True, slots=True)
class Setting:
    """What all nodes of a transcript have in common."""

    roles: list[int]
    quorums: QuorumSystem
    window: int
    seed: int


class Surroundings(Protocol):
    """What an actor does to others."""

    def send(self, source: str, target: str, frame: bytes) -> None:
        """A message sets out."""

    def unlink(self, actor: Actor, number: int) -> None:
        """A link ends, for both sides."""

    def kill(self, actor: Actor) -> None:
        """A process ends."""

    def agree(self, who: str, slot: int, command: Any) -> None:
        """A node has applied a command."""

    def check(self) -> None:
        """A wake-up has ended."""


class Actor:
    """One node."""

    def __init__(self, id: int, setting: Setting, timeline: Timeline, trace: Trace, stage: Surroundings) -> None:
        self.id = id
        self.name = f"n{id}"
        self.setting = setting
        self.timeline = timeline
        self.trace = trace
        self.stage = stage
        self.disk = Disk(0x1000 + id)
        self.core: Node | None = None
        self.life = 0
        self.links: dict[int, str] = {}  # number -> the name at the other end
        self.late_ns = 0  # how far its clock lags behind the stage's time
        self.batch: Batch | None = None
        self.stalled = False
        self.applied = self.decided = 1  # below these slots the trace has said it
        self.leads_at = 0
        self.machine = Journal()
        self.performed = 0  # how many commands of the machine the trace has shown

    # -- the process
    def start(self) -> None:
        """A process starts from the disk."""
        setting = self.setting
        self.life += 1
        self.machine = Journal()
        self.core = Node(
            node_id=self.id,
            roles=setting.roles,
            quorums=setting.quorums,
            incarnation=self.disk.incarnation,
            seed=setting.seed + self.id,
            machine=PythonMachine(runner_of(self.machine)),
            meta=self.disk.meta(),
            records=self.disk.records(),
            flatten=flatten,
            window=setting.window,
        )
        self.applied = self.core.slot_out
        self.performed = len(self.machine.entries)
        for slot in range(1, self.applied):
            self.stage.agree(self.name, slot, self.core.command_at(slot))
        self.leads_at = 0
        self.wake(nothing)

    def stop(self) -> None:
        """The process is gone, with all that was not durable."""
        self.life += 1
        self.core = None
        self.batch = None
        self.links = {}

    def clock_ns(self) -> int:
        """Its clock."""
        return START_NS + self.timeline.now_ns - self.late_ns

    def due_ns(self) -> int | None:
        """The stage's time at which its next timer fires, on a whole millisecond; None if it is down."""
        if self.core is None:
            return None
        at_ns = self.core.next_tick_ns() - START_NS + self.late_ns
        return max(-(-at_ns // MS) * MS, self.timeline.now_ns)

    def wake(self, act: Act) -> None:
        """One wake-up of the process, if it lives."""
        if self.core is not None:
            wake(self.core, act, self.clock_ns(), START_NS + self.timeline.now_ns, self)
            self.stage.check()

    def later(self, delay_ns: int, act: Callable[[], None]) -> None:
        """Does `act` in `delay_ns`, if this process still lives then."""
        life = self.life
        self.timeline.after(delay_ns, lambda: act() if self.life == life else None)

    def say(self, kind: str, text: str) -> None:
        """Writes a line of this node into the trace."""
        self.trace.say(kind, self.name, text)

    # -- the effects of the core
    def on_events(self, events: Sequence[Event]) -> None:
        """What the core reports, and what it decided and applied, stand first."""
        for event in events:
            self.say("event", event.text)
        if self.core is not None:
            self.watch(self.core)

    def on_close(self, link: int, reason: str) -> None:
        """The core closes a link."""
        self.say("event", f"closes the link to {self.links.get(link, 'nobody')}: {reason}")
        self.stage.unlink(self, link)

    def on_frames(self, link: int, frames: list[bytes]) -> None:
        """The core sends frames."""
        for frame in frames:
            if link in self.links:
                self.stage.send(self.name, self.links[link], frame)

    def on_read(self, read: Read) -> None:
        """Reads records for a fetch now, answers later."""
        self.say("read", f"reads {slots(read.first, read.end)} from its disk")
        answer = self.disk.read(read.first, read.end, read.max_bytes)
        self.later(SYNC_NS, lambda: self.wake(lambda core: core.done(read.token, True, answer)))

    def on_batch(self, batch: Batch) -> None:
        """Begins to make a batch durable."""
        self.batch = batch
        if self.stalled:
            self.say("synced", f"waits for its disk: {contents(batch)}")
        else:
            self.later(SYNC_NS, lambda: self.synced(batch))

    def on_job(self, job: ApplyJob) -> None:
        """The machine takes no time."""
        answers = run(self.machine, job.commands, job.answer_bytes_max)
        self.wake(lambda core: core.done(job.token, True, answers))

    def on_failed(self, why: str) -> None:
        """The core has stopped promising: the process ends."""
        self.say("crash", f"crashes: {why.partition(':')[0]}")
        self.stage.kill(self)

    def synced(self, batch: Batch, ok: bool = True) -> None:
        """The batch is durable, or its sync failed."""
        self.batch = None
        self.say("synced", f"{'synced' if ok else 'could not sync'} {contents(batch)}")
        if ok:
            self.disk.commit(batch.meta, batch.records)
        self.wake(lambda core: core.done(batch.token, ok))

    # -- what a wake-up did, from the core's queries
    def watch(self, core: Node) -> None:
        """What it decided and applied in this wake-up."""
        leads_at = core.leader.ballot if core.status()["leading"] else 0
        if leads_at and leads_at == self.leads_at and core.leader.commanders.decided_end > self.decided:
            ended = slots(self.decided, core.leader.commanders.decided_end)
            self.say("decided", f"decided {ended} at {describe_ballot(leads_at)}")
        self.leads_at, self.decided = leads_at, core.leader.commanders.decided_end
        if core.slot_out > self.applied:
            commands = [self.command(core, slot) for slot in range(self.applied, core.slot_out)]
            self.say("applied", f"applied {slots(self.applied, core.slot_out)}: {' '.join(commands)}")
            self.applied = core.slot_out

    def command(self, core: Node, slot: int) -> str:
        """What is decided in a slot, in a word, and whether the machine was given it."""
        held = core.command_at(slot)
        self.stage.agree(self.name, slot, held)
        if held is None:
            return "?"
        kind, _, _, payload = held
        if kind != codec.CommandKind.APPLY:
            return WORDS.get(codec.CommandKind(kind), "reconfigure")
        if self.machine.entries[self.performed : self.performed + 1] == [payload]:
            self.performed += 1
            return payload.decode()
        return f"{payload.decode()} (no effect)"


def contents(batch: Batch) -> str:
    """A batch in words."""
    parts = []
    if META_VOTER in batch.meta:
        parts.append("the voter record")
    elif META_CLUSTER in batch.meta:
        parts.append("the cluster's id")
    if META_BALLOT in batch.meta:
        parts.append(f"ballot {describe_ballot(int.from_bytes(batch.meta[META_BALLOT], 'little'))}")
    for first, end, _, frame in parts_of_batch(batch.records):
        parts.append(f"{slots(first, end)} at {describe_ballot(codec.decode_phase2a(frame)[0])}")
    if META_DECIDED in batch.meta:
        parts.append(f"decided below {int.from_bytes(batch.meta[META_DECIDED], 'little')}")
    return ", ".join(parts)
