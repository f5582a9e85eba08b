"""The stage of a transcript: nodes, clients and a network on one virtual time.

Theory. Everything flows until it is quiet: no message travels, no disk works, no short timer (that of a decision that
waits for a phase 2a to travel on) is due. The long timers - pings, retries, elections - are left to the directives
`wait` and `times out`.

Rules.
- No chance: events of one instant happen in the order in which they were planned, seeds are fixed.
- A node has a clock of its own. When one times out, the clocks of the others stand still: its patience ends first.
- After every wake-up the `invariants()` of every node are checked, and that no two nodes applied different commands in
  one slot.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.simulation.shell import nothing
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.wire.labels import label_of
from tests.transcripts.actor import START_NS, Actor, Setting
from tests.transcripts.client import Client
from tests.transcripts.network import ARRIVED, FLYING, HELD, LOST, MESSAGE_NS, Flight, Network, ScriptError
from tests.transcripts.trace import Trace

QUIET_NS = 6 * MS  # a timer that is due within this time is a short one
EVENTS_MAX = 20_000  # of one directive: a script with more never becomes quiet


class Stage:
    """One run of a transcript."""

    def __init__(self, roles: list[int], quorums: QuorumSystem, *, window: int = 64, seed: int = 7) -> None:
        self.timeline = Timeline()
        self.trace = Trace(self.timeline)
        self.network = Network()
        self.next_link = 1
        self.chosen: dict[int, tuple[str, Any]] = {}  # slot -> the first node that applied it, the command
        setting = Setting(roles, quorums, window, seed)
        actors = [Actor(id, setting, self.timeline, self.trace, self) for id in range(len(roles))]
        self.actors = {actor.name: actor for actor in actors}
        self.clients: dict[str, Client] = {}

    # -- judging
    def check(self) -> None:
        """The invariants of every node."""
        for actor in self.actors.values():
            if actor.core is not None:
                actor.core.invariants()

    def agree(self, who: str, slot: int, command: Any) -> None:
        """No two nodes apply different commands in one slot; None is one that has left memory."""
        if command is None:
            return
        first, other = self.chosen.setdefault(slot, (who, command))
        if other != command:
            raise AssertionError(f"{first} applied {other} in slot {slot}, {who} applied {command}")

    # -- queries
    def ballot_of(self, name: str) -> str:
        """The ballot that a node has adopted."""
        core = self.actors[name].core
        return str(core.status()["ballot"]) if core else "down"

    def applied_everywhere(self) -> int:
        """All slots below it are applied at every node that lives."""
        return min(actor.core.slot_out for actor in self.actors.values() if actor.core is not None)

    # -- time
    def raise_curtain(self) -> None:
        """Nothing that has happened is shown: the trace is empty, and the time begins here. The nodes' clocks go on."""
        self.next_moment()
        self.trace.entries.clear()
        self.network.flights.clear()
        for actor in self.actors.values():
            actor.late_ns -= self.timeline.now_ns
        self.timeline.move_to(0)

    def timer(self) -> tuple[int, Actor] | None:
        """The next timer: when it is due, and whose it is."""
        due = [(at_ns, actor.id, actor) for actor in self.actors.values() if (at_ns := actor.due_ns()) is not None]
        return (min(due)[0], min(due)[2]) if due else None

    def happen(self, end_ns: int) -> bool:
        """The next event or timer, if there is one up to `end_ns`."""
        timer, event_ns = self.timer(), self.timeline.next_ns()
        if event_ns is not None and event_ns <= end_ns and (timer is None or event_ns <= timer[0]):
            self.timeline.step()
            return True
        if timer is not None and timer[0] <= end_ns:
            self.timeline.move_to(timer[0])
            timer[1].wake(nothing)
            return True
        return False

    def flow(self, until_ns: int = 0) -> None:
        """Everything happens up to `until_ns`, and then until it is quiet."""
        for _ in range(EVENTS_MAX):
            quiet_ns = max(self.timeline.now_ns + QUIET_NS, self.timeline.next_ns() or 0)
            if not self.happen(max(until_ns, quiet_ns)):
                self.timeline.move_to(max(self.timeline.now_ns, until_ns))
                return
        raise ScriptError(f"not quiet after {EVENTS_MAX} events")

    def next_moment(self) -> None:
        """A directive begins on a whole millisecond, after all that has happened."""
        now_ns = -(-self.timeline.now_ns // MS) * MS
        last = self.trace.entries[-1] if self.trace.entries else None
        if last is not None and last.at_ns == now_ns and last.kind != "scene":
            now_ns += MS
        self.timeline.move_to(now_ns)

    def time_out(self, actor: Actor) -> None:
        """The clock of one node moves on to the end of its patience; it scouts."""
        core = actor.core
        if core is None or not core.voting:
            raise ScriptError(f"{actor.name} is {'down' if core is None else 'no voter'}: it has no time-out")
        if core.status()["leading"] or core.leader.scout is not None:
            raise ScriptError(f"{actor.name} leads or scouts already: it has no time-out")
        at_ns = core.election.due_ns - START_NS + actor.late_ns
        before_ns = self.timeline.now_ns
        self.timeline.move_to(max(before_ns, -(-at_ns // (10 * MS)) * 10 * MS))
        for other in self.actors.values():
            if other is not actor:
                other.late_ns += self.timeline.now_ns - before_ns
        actor.wake(nothing)

    # -- links
    def link(self, a: Actor, b: Actor) -> None:
        """A handshake between two nodes that live, unless they are linked."""
        if a.core is None or b.core is None or b.name in a.links.values():
            return
        pairs = [(a, b, self.next_link), (b, a, self.next_link + 1)]
        self.next_link += 2
        for one, other, number in pairs:
            one.links[number] = other.name
        for one, other, number in pairs:
            incarnation = other.disk.incarnation
            one.wake(lambda core, number=number, id=other.id, inc=incarnation: core.link_up(number, id, inc))

    def link_of(self, actor: Actor, name: str) -> int | None:
        """The number of an actor's link to the node or client of that name; None if they are not linked."""
        return next((number for number, other in actor.links.items() if other == name), None)

    def unlink(self, actor: Actor, number: int) -> None:
        """A link ends, for both sides."""
        other = self.actors.get(actor.links.pop(number, ""))
        back = self.link_of(other, actor.name) if other else None
        actor.wake(lambda core: core.link_down(number))
        if other and back is not None:
            del other.links[back]
            other.wake(lambda core: core.link_down(back))

    def kill(self, actor: Actor) -> None:
        """A process ends, and with it its links."""
        links = list(actor.links)
        actor.core = None
        for number in links:
            self.unlink(actor, number)
        actor.stop()

    def add_client(self, name: str) -> Client:
        """A client, not linked yet."""
        client = Client(name, 101 + len(self.clients), self.trace, self.send)
        self.clients[name] = client
        return client

    def connect(self, client: Client, actor: Actor) -> None:
        """A client's new link; the old one, if it has one, ends."""
        if client.node and (old := self.link_of(self.actors[client.node], client.name)) is not None:
            self.unlink(self.actors[client.node], old)
        client.node = actor.name
        number = self.next_link
        self.next_link += 1
        actor.links[number] = client.name
        actor.wake(lambda core: core.link_up(number, -1, 0))
        client.session.connected()
        client.flush()

    # -- messages
    def send(self, source: str, target: str, frame: bytes) -> None:
        """A message sets out."""
        label = label_of(frame)
        number = self.link_of(self.actors[target], source) if target in self.actors else 0
        kind = label.split()[0]
        flight = Flight(
            sent_ns=self.timeline.now_ns,
            kind=kind,
            source=source,
            target=target,
            label=label,
            frame=frame,
            link=number or 0,
            step=self.trace.step,
            shown=self.trace.shows(kind),
        )
        self.network.judge(flight)
        if number is None:
            flight.state = LOST
        state = "" if flight.state == FLYING else f"  ({flight.state})"
        self.trace.say(kind, source, flight.describe() + state)
        if flight.state == FLYING:
            self.timeline.after(MESSAGE_NS, lambda: self.arrive(flight))

    def release(self, flight: Flight) -> None:
        """A message that was held arrives."""
        flight.state = FLYING
        self.arrive(flight, f"{flight.label}  (was held)")

    def repeat(self, flight: Flight) -> None:
        """The network delivers a message once more."""
        label = f"{flight.label} (again)"
        sent_ns, step = self.timeline.now_ns, self.trace.step
        again = replace(flight, label=label, sent_ns=sent_ns, step=step, state=FLYING, arrived_ns=None)
        self.network.flights.append(again)
        self.timeline.after(MESSAGE_NS, lambda: self.arrive(again, label))

    def arrive(self, flight: Flight, label: str = "") -> None:
        """A message arrives, unless its link is gone."""
        target, actor = flight.target, self.actors.get(flight.target)
        if actor is not None and flight.link not in actor.links:
            flight.state = LOST
            self.trace.say(flight.kind, target, f"{target} <- {flight.source}  {flight.kind}  (lost: the link is gone)")
            return
        flight.state, flight.arrived_ns = ARRIVED, self.timeline.now_ns
        self.trace.say(flight.kind, target, f"{target} <- {flight.source}  {label or flight.kind}")
        if actor is not None:
            actor.wake(lambda core: core.receive(flight.link, flight.frame))
        else:
            self.clients[target].on_frame(flight.frame)

    def drop(self, flight: Flight) -> None:
        """A message that was held is lost."""
        if flight.state == HELD:
            flight.state = LOST
            self.trace.say(flight.kind, flight.source, f"{flight.describe()}  (lost)")
