"""The stage of a transcript: cores, disks and clients on one virtual time, and all that they do, line by line.

Theory. Each node is the shipped core with the simulator's disk; the stage does for it what the server does: tick, the
verb, then all that comes out. Everything flows until it is quiet: nothing on its way, no disk at work, no short timer
(that of a decision that waits for company) due. The long timers - pings, retries, elections - are left to the
directives `wait` and `times out`.

Rules.
- No chance: events at one instant happen in the order in which they were planned, seeds are fixed.
- Timers fire on whole milliseconds, as a coarse clock would have it: readable times.
- A node has a clock of its own. When one times out, the clocks of the others stand still: its patience ends first.
- After every wake-up every node's `invariants()` are checked, and that no two nodes applied different commands in one
  slot.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from multipaxos.client.session import Session
from multipaxos.machine.machine import PythonMachine
from multipaxos.node.node import Node
from multipaxos.node.output import Batch, Read
from multipaxos.paxos.ballot import describe as describe_ballot
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.simulation.disk import Disk
from multipaxos.storage.records import split
from multipaxos.wire import codec
from multipaxos.wire.labels import label_of
from multipaxos.wire.schema import flatten
from tests.support.journal import Journal
from tests.transcripts.network import ARRIVED, FLYING, HELD, LOST, MESSAGE_NS, Flight, Network, ScriptError

MS = 1_000_000
SYNC_NS = MS // 2
QUIET_NS = 6 * MS  # a timer due within this is a short one
START_NS = 1_000_000 * MS  # of the nodes' clocks: a round number that no trace shows
EVENTS_MAX = 20_000  # of one directive: more is a script that never becomes quiet
STATUSES = {status: status.name.lower() for status in codec.ReplyStatus}
QUIET = frozenset({"ping", "pong", "founding"})  # kinds that the trace leaves out until they are asked for


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the trace. `kind`: a message's kind, or what sort of event it is."""

    at_ns: int
    step: int
    kind: str
    who: str
    text: str


def slots(first: int, end: int) -> str:
    """In words: ``slot 3``, ``slots 3-5``."""
    return f"slot {first}" if end - first == 1 else f"slots {first}-{end - 1}"


class Actor:
    """One node: its core, its disk, its clock."""

    def __init__(self, stage: Stage, id: int) -> None:
        self.stage = stage
        self.id = id
        self.name = f"n{id}"
        self.disk = Disk(0x1000 + id)
        self.node: Node | None = None
        self.life = 0
        self.links: dict[int, str] = {}  # number -> who is at the other end
        self.late_ns = 0  # how far its clock lags behind the stage's time
        self.batch: Batch | None = None
        self.stalled = False
        self.applied = self.decided = 1
        self.leads_at = 0
        self.machine = Journal()
        self.performed = 0  # commands that the machine was given, so far

    # -- the process
    def start(self) -> None:
        """A process starts from the disk."""
        stage = self.stage
        self.life += 1
        self.machine = Journal()
        self.node = Node(
            node=self.id,
            roles=stage.roles,
            quorums=stage.quorums,
            incarnation=self.disk.incarnation,
            seed=stage.seed + self.id,
            machine=PythonMachine(self.machine),
            meta=self.disk.meta(),
            records=self.disk.records(),
            flatten=flatten,
            window=stage.window,
        )
        self.applied = self.node.slot_out
        self.performed = len(self.machine.entries)
        for slot in range(1, self.applied):
            self.stage.agree(self.name, slot, self.node.command_at(slot))
        self.leads_at = 0
        self.wake(lambda node: None)

    def stop(self) -> None:
        """The process is gone, with all that was not durable."""
        self.life += 1
        self.node = None
        self.batch = None
        self.links = {}

    def clock_ns(self) -> int:
        """Its clock."""
        return START_NS + self.stage.now_ns - self.late_ns

    def due_ns(self) -> int | None:
        """The stage's time at which its next timer fires: the first whole millisecond from then on."""
        if self.node is None:
            return None
        at = self.node.next_tick_ns() - START_NS + self.late_ns
        return max(-(-at // MS) * MS, self.stage.now_ns)

    def wake(self, act: Callable[[Node], None]) -> None:
        """One wake-up of the shell."""
        if self.node is None:
            return
        node = self.node
        node.tick(self.clock_ns(), START_NS + self.stage.now_ns)
        act(node)
        output = node.output()
        for event in output.events:
            self.stage.say("event", self.name, event.text)
        self.watch(node)
        for link, reason in output.closes:
            self.stage.say("event", self.name, f"closes the link to {self.links.get(link, 'nobody')}: {reason}")
            self.stage.unlink(self, link)
        for link, data in output.writes:
            self.write(link, data)
        for read in output.reads:
            self.read(read)
        if output.batch is not None:
            self.sync(output.batch)
        if output.failed:
            self.stage.say("crash", self.name, f"crashes: {output.failed.partition(':')[0]}")
            self.stage.kill(self)
        self.stage.check()

    def write(self, link: int, data: bytes) -> None:
        """Frames leave."""
        frames, rest = codec.split(data)
        if rest:
            raise ScriptError(f"{self.name} wrote half a frame")
        for frame in frames:
            if link in self.links:
                self.stage.send(self.name, self.links[link], frame)

    def watch(self, node: Node) -> None:
        """What it decided and applied in this wake-up, from its queries."""
        leads_at = node.leader.ballot if node.status()["leading"] else 0
        if leads_at and leads_at == self.leads_at and node.leader.commanders.decided_end > self.decided:
            ended = slots(self.decided, node.leader.commanders.decided_end)
            self.stage.say("decided", self.name, f"decided {ended} at {describe_ballot(leads_at)}")
        self.leads_at, self.decided = leads_at, node.leader.commanders.decided_end
        if node.slot_out > self.applied:
            commands = [self.command(node, slot) for slot in range(self.applied, node.slot_out)]
            self.stage.say("applied", self.name, f"applied {slots(self.applied, node.slot_out)}: {' '.join(commands)}")
            self.applied = node.slot_out

    def command(self, node: Node, slot: int) -> str:
        """What is decided in a slot, in a word, and whether the machine was given it."""
        held = node.command_at(slot)
        self.stage.agree(self.name, slot, held)
        if held is None:
            return "?"
        kind, _, _, payload = held
        if kind != codec.CommandKind.APPLY:
            return {codec.CommandKind.NOOP: "noop", codec.CommandKind.OPEN_SESSION: "open"}.get(kind, "rejoin")
        if self.machine.entries[self.performed : self.performed + 1] == [payload]:
            self.performed += 1
            return payload.decode()
        return f"{payload.decode()} (no effect)"

    # -- the disk
    def sync(self, batch: Batch) -> None:
        """Begins to make a batch durable."""
        self.batch = batch
        if self.stalled:
            self.stage.say("synced", self.name, f"waits for its disk: {self.contents(batch)}")
        else:
            self.stage.after(SYNC_NS, self, lambda: self.synced(batch))

    def synced(self, batch: Batch, ok: bool = True) -> None:
        """The batch is durable, or its sync failed."""
        self.batch = None
        self.stage.say("synced", self.name, f"{'synced' if ok else 'could not sync'} {self.contents(batch)}")
        if ok:
            self.disk.commit(batch.meta, batch.records)
        self.wake(lambda node: node.done(batch.token, ok))

    def contents(self, batch: Batch) -> str:
        """A batch in words."""
        parts = []
        if b"voter" in batch.meta:
            parts.append("the voter record")
        if b"ballot" in batch.meta:
            parts.append(f"ballot {describe_ballot(int.from_bytes(batch.meta[b'ballot'], 'little'))}")
        for first, end, frame in split(batch.records):
            parts.append(f"{slots(first, end)} at {describe_ballot(codec.decode_phase2a(frame)[0])}")
        if b"decided" in batch.meta:
            parts.append(f"decided below {int.from_bytes(batch.meta[b'decided'], 'little')}")
        return ", ".join(parts)

    def read(self, read: Read) -> None:
        """Records for a fetch, from the disk."""
        self.stage.say("read", self.name, f"reads {slots(read.first, read.end)} from its disk")
        answer = self.disk.read(read.first, read.end, read.max_bytes)
        self.stage.after(SYNC_NS, self, lambda: self.wake(lambda node: node.done(read.token, True, answer)))


class Client:
    """One client: the shipped session, on one link at a time."""

    def __init__(self, stage: Stage, name: str, nonce: int) -> None:
        self.stage = stage
        self.name = name
        self.session = Session(nonce, 64)
        self.node = ""

    def flush(self) -> None:
        """Sends what the session has to say."""
        for frame in codec.split(self.session.output())[0]:
            self.stage.send(self.name, self.node, frame)

    def submit(self, commands: Iterable[str]) -> None:
        """New commands, in one request."""
        for command in commands:
            self.session.submit(command.encode())
        self.flush()

    def on_frame(self, frame: bytes) -> None:
        """An answer."""
        for sequence, status, slot, _ in self.session.receive(frame):
            self.stage.say("answered", self.name, f"has the answer to {sequence}: {STATUSES[status]}, slot {slot}")
        self.flush()


class Stage:
    """Nodes and clients; `step` is the directive that is being done."""

    def __init__(self, roles: list[int], quorums: QuorumSystem, *, window: int = 64, seed: int = 7) -> None:
        self.roles = roles
        self.quorums = quorums
        self.window = window
        self.seed = seed
        self.now_ns = 0
        self.step = 0
        self.trace: list[Entry] = []
        self.shown: set[str] = set()
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.planned = 0
        self.next_link = 1
        self.chosen: dict[int, tuple[str, Any]] = {}  # slot -> (who applied it first, the command)
        self.network = Network()
        self.actors = {f"n{id}": Actor(self, id) for id in range(len(roles))}
        self.clients: dict[str, Client] = {}

    # -- the trace
    def say(self, kind: str, who: str, text: str) -> None:
        """Something happened at somebody."""
        if kind in self.shown or kind not in QUIET:
            self.trace.append(Entry(self.now_ns, self.step, kind, who, text))

    def check(self) -> None:
        """The invariants of every node."""
        for actor in self.actors.values():
            if actor.node is not None:
                actor.node.invariants()

    def agree(self, who: str, slot: int, command: Any) -> None:
        """No two nodes apply different commands in one slot; None is one that has left memory."""
        if command is None:
            return
        first, other = self.chosen.setdefault(slot, (who, command))
        if other != command:
            raise AssertionError(f"{first} applied {other} in slot {slot}, {who} applied {command}")

    def raise_curtain(self) -> None:
        """What was until now does not show: no trace, and the time begins here. The nodes' clocks go on."""
        self.next_moment()
        self.trace.clear()
        self.network.flights.clear()
        for actor in self.actors.values():
            actor.late_ns -= self.now_ns
        self.now_ns = 0

    def ballot_of(self, name: str) -> str:
        """The ballot that a node has adopted."""
        node = self.actors[name].node
        return str(node.status()["ballot"]) if node else "down"

    def applied_everywhere(self) -> int:
        """All slots below it are applied at every node that lives."""
        return min(actor.node.slot_out for actor in self.actors.values() if actor.node is not None)

    # -- time
    def after(self, delay_ns: int, actor: Actor | None, act: Callable[[], None]) -> None:
        """Does `act` in `delay_ns`, if that actor's process still lives then."""
        life = actor.life if actor else 0
        self.planned += 1
        alive = act if actor is None else lambda: act() if actor.life == life else None
        heapq.heappush(self.events, (self.now_ns + delay_ns, self.planned, alive))

    def timer(self) -> tuple[int, Actor] | None:
        """The next timer, and whose it is."""
        due = [(at, actor.id, actor) for actor in self.actors.values() if (at := actor.due_ns()) is not None]
        return (min(due)[0], min(due)[2]) if due else None

    def happen(self, end_ns: int) -> bool:
        """The next event or timer, if there is one up to `end_ns`."""
        timer = self.timer()
        if self.events and self.events[0][0] <= end_ns and (timer is None or self.events[0][0] <= timer[0]):
            self.now_ns, _, act = heapq.heappop(self.events)
            act()
            return True
        if timer is not None and timer[0] <= end_ns:
            self.now_ns = timer[0]
            timer[1].wake(lambda node: None)
            return True
        return False

    def flow(self, until_ns: int = 0) -> None:
        """Everything happens up to `until_ns`, and then until it is quiet."""
        for _ in range(EVENTS_MAX):
            quiet_ns = max(self.now_ns + QUIET_NS, self.events[0][0] if self.events else 0)
            if not self.happen(max(until_ns, quiet_ns)):
                self.now_ns = max(self.now_ns, until_ns)
                return
        raise ScriptError(f"not quiet after {EVENTS_MAX} events")

    def next_moment(self) -> None:
        """A directive begins on a whole millisecond, after all that has happened."""
        self.now_ns = -(-self.now_ns // MS) * MS
        if self.trace and self.trace[-1].at_ns == self.now_ns and self.trace[-1].kind != "scene":
            self.now_ns += MS

    def time_out(self, actor: Actor) -> None:
        """The clock of one node moves on to the end of its patience; it scouts."""
        node = actor.node
        if node is None or not node.voting:
            raise ScriptError(f"{actor.name} is {'down' if node is None else 'no voter'}: it has no time-out")
        if node.status()["leading"] or node.leader.scout is not None:
            raise ScriptError(f"{actor.name} leads or scouts already: it has no time-out")
        at_ns = node.election.due_ns - START_NS + actor.late_ns
        before_ns = self.now_ns
        self.now_ns = max(self.now_ns, -(-at_ns // (10 * MS)) * 10 * MS)
        for other in self.actors.values():
            if other is not actor:
                other.late_ns += self.now_ns - before_ns
        actor.wake(lambda node: None)

    # -- links
    def link(self, a: Actor, b: Actor) -> None:
        """A handshake between two nodes that live, unless they are linked."""
        if a.node is None or b.node is None or b.name in a.links.values():
            return
        pairs = [(a, b, self.next_link), (b, a, self.next_link + 1)]
        self.next_link += 2
        for one, other, number in pairs:
            one.links[number] = other.name
        for one, other, number in pairs:
            incarnation = other.disk.incarnation
            one.wake(lambda node, number=number, id=other.id, inc=incarnation: node.link_up(number, id, inc))

    def link_of(self, actor: Actor, name: str) -> int | None:
        """The number of the link to somebody."""
        return next((number for number, other in actor.links.items() if other == name), None)

    def unlink(self, actor: Actor, number: int) -> None:
        """A link ends, for both sides."""
        other = self.actors.get(actor.links.pop(number, ""))
        back = self.link_of(other, actor.name) if other else None
        if actor.node is not None:
            actor.wake(lambda node: node.link_down(number))
        if other and back is not None:
            del other.links[back]
            other.wake(lambda node: node.link_down(back))

    def kill(self, actor: Actor) -> None:
        """A process ends, and with it its links."""
        links = list(actor.links)
        actor.node = None
        for number in links:
            self.unlink(actor, number)
        actor.stop()

    def connect(self, client: Client, actor: Actor) -> None:
        """A client's new link; the old one, if it has one, ends."""
        if client.node and (old := self.link_of(self.actors[client.node], client.name)) is not None:
            self.unlink(self.actors[client.node], old)
        client.node = actor.name
        number = self.next_link
        self.next_link += 1
        actor.links[number] = client.name
        actor.wake(lambda node: node.link_up(number, -1, 0))
        client.session.connected()
        client.flush()

    # -- messages
    def send(self, source: str, target: str, frame: bytes) -> None:
        """A message sets out."""
        label = label_of(frame)
        number = self.link_of(self.actors[target], source) if target in self.actors else 0
        kind = label.split()[0]
        shown = kind in self.shown or kind not in QUIET
        flight = Flight(self.now_ns, kind, source, target, label, frame, number or 0, self.step, shown)
        self.network.judge(flight)
        if number is None:
            flight.state = LOST
        self.say(flight.kind, source, flight.describe() + ("" if flight.state == FLYING else f"  ({flight.state})"))
        if flight.state == FLYING:
            self.after(MESSAGE_NS, None, lambda: self.arrive(flight))

    def release(self, flight: Flight) -> None:
        """A message that was held goes on."""
        flight.state = FLYING
        self.arrive(flight, f"{flight.label}  (was held)")

    def repeat(self, flight: Flight) -> None:
        """The network delivers a message once more."""
        label = f"{flight.label} (again)"
        again = replace(flight, label=label, sent_ns=self.now_ns, step=self.step, state=FLYING, arrived_ns=None)
        self.network.flights.append(again)
        self.after(MESSAGE_NS, None, lambda: self.arrive(again, label))

    def arrive(self, flight: Flight, label: str = "") -> None:
        """It is there, unless its link is gone."""
        target = flight.target
        if target in self.actors and flight.link not in self.actors[target].links:
            flight.state = LOST
            self.say(flight.kind, target, f"{target} <- {flight.source}  {flight.kind}  (lost: the link is gone)")
            return
        flight.state, flight.arrived_ns = ARRIVED, self.now_ns
        self.say(flight.kind, target, f"{target} <- {flight.source}  {label or flight.kind}")
        if target in self.clients:
            self.clients[target].on_frame(flight.frame)
        else:
            self.actors[target].wake(lambda node: node.receive(flight.link, flight.frame))

    def drop(self, flight: Flight) -> None:
        """A message that was held is lost."""
        if flight.state == HELD:
            flight.state = LOST
            self.say(flight.kind, flight.source, f"{flight.describe()}  (lost)")
