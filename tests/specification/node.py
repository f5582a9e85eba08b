"""One machine: a replica, a leader and an acceptor side by side (PMMC, section 4.4), with a disk.

Messages between processes of the machine arrive at once; all others go to `outbox` when the disk lets them. A wake-up
is one `on_...` and then `finish`. `see`: every ballot of a message is shown to the leader first.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from tests.specification.amended import AmendedAcceptor, AmendedLeader
from tests.specification.amended_replica import AmendedReplica
from tests.specification.disk import Disk, Stable
from tests.specification.network import Envelope, Network
from tests.specification.terms import (
    BOTTOM,
    Ballot,
    Command,
    Id,
    P1a,
    P1b,
    P2a,
    P2b,
    Pvalue,
    Quorums,
)


def machine_of(id: Id) -> int | None:
    """The machine of a process; None for a client."""
    match id:
        case ("acceptor" | "leader" | "replica", int(machine)):
            return machine
        case ("scout" | "commander", ("leader", int(machine)), *_):
            return machine
    return None


class Node(Network):
    """A machine. `phase1` and `phase2` are quorums of ("acceptor", i)."""

    def __init__(self, number: int, acceptors: Sequence[Id], phase1: Quorums, phase2: Quorums, window: int) -> None:
        super().__init__()
        self.number = number
        self.acceptors = acceptors
        self.phase1, self.phase2 = phase1, phase2
        self.window = window
        self.now = 0
        self.outbox: list[Envelope] = []
        self.local: deque[Envelope] = deque()
        self.promised = BOTTOM
        self.choose: Callable[[int, list[Command]], int] = lambda _slot, _waiting: 0
        self.boot()
        self.disk = Disk(self.state)

    def boot(self) -> None:
        """A process begins, with nothing in memory."""
        self.processes.clear()
        self.local.clear()
        self.outbox.clear()
        replica = ("replica", self.number)
        self.acceptor = AmendedAcceptor(("acceptor", self.number), self)
        self.leader = AmendedLeader(
            ("leader", self.number), self.number, self.acceptors, [replica], self, self.phase1, self.phase2
        )
        self.replica = AmendedReplica(
            replica, self.leader, self.acceptor, self.window, self, lambda: self.now, self.choice
        )
        self.leader.on_stop = self.replica.leader_stops
        for process in (self.acceptor, self.leader, self.replica):
            self.spawn(process)

    def choice(self, slot: int, waiting: list[Command]) -> int:
        """Which of the requests that wait is proposed in a slot."""
        return self.choose(slot, waiting)

    def state(self) -> Stable:
        """The state that a write takes."""
        return Stable(self.promised, self.acceptor.accepted, self.replica.slot_out)

    def crash(self) -> None:
        """It stops, and begins again with what the disk holds."""
        stable = self.disk.crash()
        self.boot()
        self.promised = stable.promised
        self.acceptor.ballot_num = self.leader.seen = stable.ballot_num()
        self.acceptor.accepted = stable.accepted
        for pvalue in sorted(stable.accepted, key=lambda p: p.slot):
            if pvalue.slot < stable.slot_out:
                self.replica.decide(pvalue.slot, pvalue.command)
        self.replica.catch_up()

    # -- the network of this machine

    def send(self, envelope: Envelope) -> None:
        """What rests on the disk waits for it."""
        leaves = machine_of(envelope.to) != self.number
        if isinstance(envelope.message, P1b):
            self.disk.hold(lambda: self.leave(envelope), machine_of(envelope.to))
        elif isinstance(envelope.message, P2b) or (isinstance(envelope.message, P1a) and leaves):
            self.disk.hold(lambda: self.leave(envelope))
        else:
            self.leave(envelope)

    def leave(self, envelope: Envelope) -> None:
        """To a process here, or away."""
        self.sent.add(envelope)
        if machine_of(envelope.to) == self.number:
            self.local.append(envelope)
        else:
            self.outbox.append(envelope)

    def run(self) -> None:
        """What the processes here have to say to one another."""
        run: set[Pvalue] = set()
        while self.local:
            envelope = self.local.popleft()
            self.promise_for(envelope.message)
            if isinstance(envelope.message, P2a) and envelope.message.pvalue not in run:
                run = set(self.run_from(envelope.message.pvalue))
                for pvalue in sorted(run, key=lambda p: p.slot):
                    self.acceptor.accept(pvalue)
            process = self.processes.get(envelope.to)
            if process is not None:
                process.receive(envelope.message)

    def run_from(self, first: Pvalue) -> Iterator[Pvalue]:
        """What a leader here asks its own acceptor for is a run too, all of which is accepted before any of it is
        answered: neighbouring slots of one time, which a no-op takes from what comes before it."""
        slot, time = first.slot, None
        asked = [first, *(e.message.pvalue for e in self.local if isinstance(e.message, P2a))]
        for pvalue in asked:
            stamp = pvalue.command.time if pvalue.command.client is not None else self.now if time is None else time
            if (pvalue.ballot, pvalue.slot) != (first.ballot, slot) or time not in (None, stamp):
                return
            yield pvalue
            slot, time = slot + 1, stamp

    def promise_for(self, message: Any) -> None:
        """A 1a is about to be answered with the greater of its ballot and ballot_num."""
        if isinstance(message, P1a):
            self.promised = max(self.promised, message.ballot, self.acceptor.ballot_num)

    def finish(self) -> None:
        """The end of a wake-up: proposes requests and releases durable answers, until nothing more follows."""
        self.run()
        while True:
            self.replica.wake()
            self.run()
            self.disk.release()
            if not self.local:
                return
            self.run()

    # -- what arrives

    def on_p1a(self, asker: int, b: Ballot, first: int) -> None:
        """From another machine's scout."""
        if self.acceptor.has_forgotten(b, first):
            return
        self.see(b)
        message = P1a(("scout", ("leader", asker), b), b, first)
        self.promise_for(message)
        self.acceptor.receive(message)

    def on_p1b(self, message: P1b) -> None:
        """From another machine's acceptor, to the scout that there is now."""
        self.see(message.ballot)
        scout = self.processes.get(("scout", self.leader.id, self.leader.ballot_num))
        if scout is not None:
            scout.receive(message)

    def on_p2a(self, asker: int, pvalues: Iterable[Pvalue]) -> None:
        """From another machine's commanders: a run, all of which is accepted before any of it is answered."""
        run = list(pvalues)
        for pvalue in run:
            self.see(pvalue.ballot)
            self.acceptor.accept(pvalue)
        for b, s, c in run:
            self.acceptor.receive(P2a(("commander", ("leader", asker), b, s), Pvalue(b, s, c)))

    def on_p2b(self, acceptor: Id, b: Ballot, slots: Iterable[int], mark: int) -> None:
        """From another machine's acceptor, to the commanders of these slots: none, if it refused."""
        self.see(b)
        if b == self.leader.ballot_num:
            self.leader.on_mark(mark)
        for s in slots:
            commander = self.processes.get(("commander", self.leader.id, b, s))
            if commander is not None:
                commander.receive(P2b(acceptor, b, True, mark))
        self.run()

    def on_watermark(self, b: Ballot, first: int, end: int) -> None:
        """From another machine's leader."""
        self.see(b)
        self.replica.on_watermark(b, first, end)

    def on_fetched(self, entries: Iterable[Sequence[Pvalue]]) -> None:
        """Decided pvalues from another machine: runs of neighbouring slots."""
        slot_out = self.replica.slot_out
        for run in entries:
            for b, s, c in run:
                self.see(b)
                if run[-1].slot >= slot_out:
                    self.acceptor.learn(Pvalue(b, s, c))
                    if s >= slot_out:
                        self.replica.decide(s, c)
        self.replica.catch_up()

    def on_forwarded(self, commands: Iterable[Command]) -> None:
        """Requests from another machine's replica: a passive machine drops them, because their sender keeps them."""
        if self.leader.active or self.leader.scouting:
            self.replica.fresh += [c for c in commands if not self.replica.was_performed(c)]

    def see(self, b: Ballot) -> None:
        """A message shows a ballot."""
        self.leader.see(b)

    # -- what timers do

    def scout(self) -> Ballot:
        """The leader begins an attempt."""
        self.promised = max(self.promised, self.leader.next_ballot())
        ballot = self.leader.scout(self.replica.slot_out)
        self.run()
        return ballot

    def step_down(self) -> None:
        """No quorum answers."""
        self.leader.stop()
