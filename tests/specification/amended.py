"""The Synod protocol as this project amends it: `docs/design.md`, "The protocol, and what differs from the paper".

Each class is the paper's, with only the rules changed that are named here.

- HIGHER 2A: a 2a of a ballot above ballot_num is adopted and accepted, as if a 1a of that ballot had come just before.
- STATE REDUCTION (section 4.1): an acceptor keeps one pvalue per slot, that of the highest ballot.
- FIRST: a scout asks from its first undecided slot; an answer counts when its parts join up from there to the end.
- MARK (section 4.2): every answer carries the slot below which the acceptor has forgotten; below it there is no vote.
- REFUSAL: a 1b that refuses covers no slots.
- START: max(first, marks, the slots that earlier reigns reported as decided). Below it nothing is proposed, and
  earlier proposals are dropped.
- NO-OPS go into the gaps below the highest slot seen.
- MEMORY: an acceptor has the slots of `memory` in memory; each acceptor chooses how many. Above them it does not vote.
  Below them all is decided and on its disk: it votes for a re-proposal there, and holds nothing of it. A 1a that asks
  for slots below them is neither adopted nor answered.
- LEARN: an acceptor holds decided pvalues like accepted ones, for any ballot_num.
- POLITE (section 3): a preempted leader does not scout at once, but when its timers say so: here, at any time.
- LOWER 2B: a ballot below a commander's own does not end it.
- IN ORDER: the leader reports decisions in slot order: they leave as one watermark.
- QUORUMS: any system in which every phase-1 quorum meets every phase-2 quorum, in place of majorities.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.specification.acceptor import Acceptor
from tests.specification.commander import Commander
from tests.specification.leader import Leader
from tests.specification.network import Network
from tests.specification.scout import Scout
from tests.specification.terms import (
    BOTTOM,
    Adopted,
    Ballot,
    Chosen,
    Command,
    Decision,
    Id,
    P1a,
    P1b,
    P2a,
    P2b,
    Preempted,
    Proposals,
    Propose,
    Pvalue,
    Quorums,
    arrow,
    holds,
    majority,
    pmax,
)

NOOP = Command(None, 0, None)
NOWHERE = float("inf")


class AmendedAcceptor(Acceptor):
    """Figure 4 with HIGHER 2A, STATE REDUCTION, FIRST, MARK, REFUSAL, MEMORY, LEARN."""

    def __init__(self, id: Id, network: Network) -> None:
        super().__init__(id, network)
        self.mark = 1
        self.memory = range(1, 1 << 64)

    def receive(self, message: Any) -> None:
        """The two cases of Figure 4."""
        match message:
            case P1a(_, b, first) if self.has_forgotten(b, first):
                pass  # MEMORY
            case P1a(scout, b, first):
                self.adopt(b)
                if b == self.ballot_num:
                    asked = frozenset(p for p in self.accepted if p.slot >= first)
                    self.send(scout, P1b(self.id, self.ballot_num, asked, first, NOWHERE, self.mark))
                else:  # REFUSAL
                    self.send(scout, P1b(self.id, self.ballot_num, frozenset(), NOWHERE, NOWHERE, self.mark))
            case P2a(commander, (b, s, c)):
                self.accept(Pvalue(b, s, c))
                votes = self.mark <= s < self.memory.stop
                self.send(commander, P2b(self.id, self.ballot_num, votes, self.mark))

    def adopt(self, b: Ballot) -> None:
        """A1."""
        self.ballot_num = max(self.ballot_num, b)

    def accept(self, pvalue: Pvalue) -> None:
        """A2, and HIGHER 2A."""
        if pvalue.ballot >= self.ballot_num:
            self.adopt(pvalue.ballot)
            self.hold(pvalue)

    def hold(self, pvalue: Pvalue) -> None:
        """STATE REDUCTION, MARK, MEMORY."""
        held = self.at(pvalue.slot)
        if pvalue.slot >= self.mark and pvalue.slot in self.memory and (held is None or held.ballot < pvalue.ballot):
            self.accepted = self.accepted - {held} | {pvalue}

    def has_forgotten(self, b: Ballot, first: int) -> bool:
        """MEMORY: would b be adopted, or asked for again, by a scout that is too far behind?"""
        return b >= self.ballot_num and max(first, self.mark) < self.memory.start

    def at(self, slot: int) -> Pvalue | None:
        """The pvalue that is held for a slot."""
        return next((p for p in self.accepted if p.slot == slot), None)

    def learn(self, pvalue: Pvalue) -> None:
        """LEARN: the pvalue's slot is decided, and it carries the decided command."""
        self.adopt(pvalue.ballot)
        self.hold(pvalue)

    def collect(self, mark: int) -> None:
        """MARK: enough replicas hold all decisions below the mark; they are forgotten here."""
        self.mark = max(self.mark, mark)
        self.accepted = frozenset(p for p in self.accepted if p.slot >= self.mark)


class AmendedScout(Scout):
    """Figure 6(b) with FIRST, MARK, REFUSAL, QUORUMS."""

    def __init__(
        self, leader: Id, acceptors: Sequence[Id], b: Ballot, network: Network, first: int, quorums: Quorums
    ) -> None:
        super().__init__(leader, acceptors, b, network)
        self.first = first
        self.mark = first
        self.quorums = quorums
        self.covered: dict[Id, float] = {}

    def start(self) -> None:
        """Before the loop: FIRST."""
        for acceptor in self.acceptors:
            self.send(acceptor, P1a(self.id, self.b, self.first))

    def receive(self, message: Any) -> None:
        """The one case of Figure 6(b)."""
        match message:
            case P1b(acceptor, b, r, first, end, mark) if b == self.b:
                covered = self.covered.get(acceptor, self.first)
                if first > covered:
                    return  # a part is missing before this one, or it is a REFUSAL
                self.covered[acceptor] = max(covered, end)
                self.pvalues = self.pvalues | {p for p in r if p.slot >= self.first}
                self.mark = max(self.mark, mark)
                if self.covered[acceptor] == NOWHERE:
                    self.waitfor -= {acceptor}
                    if self.is_majority():
                        self.send(self.leader, Adopted(self.b, self.pvalues, self.mark))
                        self.exit()
            case P1b(_, b) if b > self.b:
                self.send(self.leader, Preempted(b))
                self.exit()

    def is_majority(self) -> bool:
        """QUORUMS."""
        return holds(self.quorums, set(self.acceptors) - self.waitfor)


class AmendedCommander(Commander):
    """Figure 6(a) with MARK, LOWER 2B, IN ORDER, QUORUMS."""

    quorums: Quorums

    def receive(self, message: Any) -> None:
        """The one case of Figure 6(a)."""
        match message:
            case P2b(acceptor, b, True) if b == self.pvalue.ballot:
                self.waitfor -= {acceptor}
                if self.is_majority():
                    self.send(self.leader, Chosen(self.pvalue))
                    self.exit()
            case P2b(_, b) if b > self.pvalue.ballot:
                self.send(self.leader, Preempted(b))
                self.exit()

    def is_majority(self) -> bool:
        """QUORUMS."""
        return holds(self.quorums, set(self.acceptors) - self.waitfor)


class AmendedLeader(Leader):
    """Figure 7 with FIRST, START, NO-OPS, POLITE, IN ORDER, QUORUMS."""

    def __init__(
        self,
        id: Id,
        number: int,
        acceptors: Sequence[Id],
        replicas: Sequence[Id],
        network: Network,
        phase1: Quorums | None = None,
        phase2: Quorums | None = None,
    ) -> None:
        super().__init__(id, number, acceptors, replicas, network)
        self.phase1 = phase1 or majority(acceptors)
        self.phase2 = phase2 or majority(acceptors)
        self.ballot_num = BOTTOM
        self.seen = BOTTOM  # the highest ballot that was seen anywhere
        self.scouting = False
        self.first = self.start_slot = self.told = 1
        self.chosen: dict[int, Pvalue] = {}
        self.on_stop: Callable[[], None] = lambda: None  # notifies the replica of the same machine

    def start(self) -> None:
        """POLITE: a leader does not begin by scouting."""

    def receive(self, message: Any) -> None:
        """The three cases of Figure 7, and IN ORDER."""
        match message:
            case Propose(s, c):
                if self.active and s >= self.start_slot and s not in self.proposals:
                    self.proposals[s] = c
                    self.spawn_commander(s, c)
            case Adopted(b, pvals, start) if b == self.ballot_num and self.scouting:
                self.on_adopted(pvals, start)
            case Preempted(b):
                self.see(b)
            case Chosen((b, s, c)) if b == self.ballot_num and self.active:
                self.chosen[s] = Pvalue(b, s, c)
                self.tell()

    def scout(self, first: int) -> Ballot:
        """POLITE: a timer says so. Each attempt has a ballot of its own, above all that were seen."""
        self.stop()
        self.ballot_num = self.seen = self.next_ballot()
        self.scouting = True
        self.first = first
        self.spawn(AmendedScout(self.id, self.acceptors, self.ballot_num, self.network, first, self.phase1))
        return self.ballot_num

    def next_ballot(self) -> Ballot:
        """The ballot of the next attempt."""
        return Ballot(max(self.seen.round, self.ballot_num.round, 0) + 1, self.number)

    def see(self, b: Ballot) -> None:
        """Some message shows a ballot; one that is higher than ours preempts."""
        self.seen = max(self.seen, b)
        if b > self.ballot_num and (self.active or self.scouting):
            self.stop()

    def stop(self) -> None:
        """Passive; the threads end. The proposals stay, for the arrow of the next adoption."""
        self.active = self.scouting = False
        self.on_stop()
        for id in list(self.network.processes):
            if id[0] in ("scout", "commander") and id[1] == self.id:
                self.network.exit(id)

    def on_adopted(self, pvals: frozenset[Pvalue], start: int) -> None:
        """START, NO-OPS."""
        start = max(start, self.told)
        updated = self.update(self.proposals, pvals)
        self.start_slot = self.told = start
        self.chosen = {}
        self.proposals = {s: updated.get(s, NOOP) for s in range(start, max(updated, default=0) + 1)}
        self.scouting, self.active = False, True
        for s, c in self.proposals.items():
            self.spawn_commander(s, c)

    def update(self, proposals: Proposals, pvals: frozenset[Pvalue]) -> Proposals:
        """proposals ◁ pmax(pvals)."""
        return arrow(proposals, pmax(pvals))

    def spawn_commander(self, s: int, c: Command) -> None:
        """QUORUMS."""
        pvalue = Pvalue(self.ballot_num, s, c)
        commander = AmendedCommander(self.id, self.acceptors, self.replicas, pvalue, self.network)
        commander.quorums = self.phase2
        self.spawn(commander)

    def tell(self) -> None:
        """IN ORDER."""
        while self.told in self.chosen:
            for replica in self.replicas:
                self.send(replica, Decision(self.told, self.chosen[self.told].command))
            self.told += 1

    def on_mark(self, mark: int) -> None:
        """MARK: a 2b shows that an acceptor forgot slots of this reign: they were decided before it. Those not yet
        reported are dropped, and learnt from a replica."""
        mark = min(mark, self.next_slot())
        if not self.active or mark <= self.start_slot:
            return
        self.start_slot = mark
        self.told = max(self.told, mark)
        for s in [s for s in self.proposals if s < mark]:
            self.network.exit(("commander", self.id, self.ballot_num, s))
        self.tell()

    def next_slot(self) -> int:
        """The first slot that was not proposed."""
        return max(self.proposals, default=self.start_slot - 1) + 1
