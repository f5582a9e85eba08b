"""The executable specification itself: its invariants hold under random schedules, and break where a rule is broken.

The paper's own processes (`specification.paper`) and the amended ones (below) run under schedules in which any message
may be late, lost or repeated; after every step A1-A5, C1-C2 and R1-R5 are judged. Then rules are broken, one at a
time, and some schedule has to show it: a judge that never objects is none.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.specification import terms
from tests.specification.acceptor import Acceptor
from tests.specification.amended import NOOP, AmendedAcceptor, AmendedLeader
from tests.specification.commander import Commander
from tests.specification.invariants import Judge, Violation
from tests.specification.leader import Leader
from tests.specification.network import Network
from tests.specification.paper import PaperCluster, Schedule
from tests.specification.refinement import SYSTEMS
from tests.specification.replica import Replica
from tests.specification.scout import Scout
from tests.specification.terms import (
    Adopted,
    Ballot,
    Command,
    Decision,
    P1a,
    P1b,
    P2a,
    Propose,
    Pvalue,
    Reconfiguration,
    arrow,
    pmax,
)  # fmt: skip
from tests.specification.test_against_specification import NAMES, examples, schedules

SEEDS = 500  # walks within which a broken rule must have been found


# -- the paper


@examples(60)
@given(schedules(1200), st.sampled_from([(3, 2, 2), (4, 2, 2), (5, 3, 2)]))
def test_the_papers_own_processes(schedule, sizes):
    """Figures 1, 4, 6 and 7, as they stand."""
    PaperCluster(*sizes).run(schedule)


def test_the_paper_decides():
    """The schedules above do something: if nothing is lost, all replicas perform all requests alike."""
    cluster = PaperCluster(leaders=1)
    for _ in range(8):
        cluster.request()
        while cluster.network.bag:
            cluster.network.deliver(0)
            cluster.judge.look()
    states = {cluster.network.processes[one].state for one in cluster.replica_ids}
    assert states == {("op0", "op1", "op2", "op3", "op4")}


def test_a_reconfiguration_changes_the_leaders_a_window_later():
    """Figure 1: the decision of slot s names the leaders from s + WINDOW on; it is not applied to the state."""
    network = Network()
    replica = Replica(("replica", 0), ["old"], 2, network)
    new = Command(("client", 0), 1, Reconfiguration(("new",)))
    replica.receive(Decision(1, new))
    replica.receive(Decision(2, Command(("client", 0), 2, "op")))
    assert (replica.slot_out, replica.state) == (3, ("op",))
    for cid in (3, 4):
        replica.receive(terms.Request(Command(("client", 0), cid, "more")))
    assert [(e.to, e.message.slot) for e in network.bag if isinstance(e.message, Propose)] == [("new", 3), ("new", 4)]


def test_pmax_and_the_arrow():
    """Section 2.4."""
    a, b, c = (Command(None, i, None) for i in range(3))
    pvals = [Pvalue(Ballot(1, 0), 1, a), Pvalue(Ballot(1, 1), 1, b), Pvalue(Ballot(0, 5), 2, c)]
    assert pmax(pvals) == {1: b, 2: c}
    assert arrow({1: a, 3: a}, pmax(pvals)) == {1: b, 2: c, 3: a}


# -- the paper, with a rule broken


class LowerAdopts(Acceptor):
    """Adopts any ballot: against A1."""

    def receive(self, message: Any) -> None:
        """As it stands, after that."""
        if isinstance(message, P1a):
            self.ballot_num = message.ballot
        super().receive(message)


class AcceptsAny(Acceptor):
    """Accepts at any ballot: against A2."""

    def receive(self, message: Any) -> None:
        """As it stands, after that."""
        if isinstance(message, P2a):
            self.accepted = self.accepted | {message.pvalue}
        super().receive(message)


class Forgets(Acceptor):
    """Forgets what it accepted when it adopts: against A3."""

    def receive(self, message: Any) -> None:
        """As it stands, after that."""
        if isinstance(message, P1a) and message.ballot > self.ballot_num:
            self.accepted = frozenset()
        super().receive(message)


class SaysNothing(Acceptor):
    """A 1b without what was accepted."""

    def send(self, to: Any, message: Any) -> None:
        """Without it."""
        super().send(to, message._replace(pvalues=frozenset()) if isinstance(message, P1b) else message)


class SmallQuorums:
    """One vote less than a majority."""

    def is_majority(self) -> bool:
        """Off by one."""
        return len(self.waitfor) - 1 < len(self.acceptors) / 2


class SmallCommander(SmallQuorums, Commander):
    """A commander whose majority is off by one."""


class SmallScout(SmallQuorums, Scout):
    """A scout whose majority is off by one."""


class AnyVote(Commander):
    """Counts a 2b of any ballot."""

    def receive(self, message: Any) -> None:
        """As if it were of its own."""
        super().receive(message._replace(ballot=self.pvalue.ballot))


class CountsTwice(Commander):
    """Counts 2b's, not acceptors."""

    def receive(self, message: Any) -> None:
        """One acceptor less to wait for, for any answer."""
        if message.ballot == self.pvalue.ballot and self.waitfor:
            message = message._replace(acceptor=min(self.waitfor))
        super().receive(message)


class CommandersOf(Leader):
    """A leader with other commanders or scouts."""

    commander: type[Commander] = Commander
    scout: type[Scout] = Scout

    def spawn_commander(self, s: int, c: Command) -> None:
        """Of that class."""
        pvalue = Pvalue(self.ballot_num, s, c)
        self.spawn(self.commander(self.id, self.acceptors, self.replicas, pvalue, self.network))

    def spawn_scout(self) -> None:
        """Of that class."""
        self.spawn(self.scout(self.id, self.acceptors, self.ballot_num, self.network))


class SmallCommanders(CommandersOf):
    """See the commander."""

    commander = SmallCommander


class SmallScouts(CommandersOf):
    """See the scout."""

    scout = SmallScout


class AnyVotes(CommandersOf):
    """See the commander."""

    commander = AnyVote


class CountTwice(CommandersOf):
    """See the commander."""

    commander = CountsTwice


class LowestPmax(Leader):
    """pmax takes the lowest ballot."""

    def update(self, proposals: Any, pvals: Any) -> Any:
        """With pvalues turned around."""
        return arrow(proposals, pmax(Pvalue(Ballot(-p.ballot.round, -p.ballot.leader), *p[1:]) for p in pvals))


class KeepsItsOwn(Leader):
    """The arrow the wrong way round: the leader's own proposals win."""

    def update(self, proposals: Any, pvals: Any) -> Any:
        """Turned around."""
        return arrow(pmax(pvals), proposals)


class ProposesAnew(Leader):
    """A second command for a slot is proposed too: against C1."""

    def receive(self, message: Any) -> None:
        """As if there were none."""
        if isinstance(message, Propose):
            self.proposals.pop(message.slot, None)
        super().receive(message)


class IgnoresBallots(Leader):
    """An <adopted> of an earlier ballot counts for the present one."""

    def receive(self, message: Any) -> None:
        """As if it were of the present one."""
        super().receive(message._replace(ballot=self.ballot_num) if isinstance(message, Adopted) else message)


class PerformsTwice(Replica):
    """A command that was decided twice is performed twice: against R3."""

    def was_performed(self, c: Command) -> bool:
        """Never."""
        return False


class SkipsGaps(Replica):
    """Goes on with the next known decision: against R2."""

    def receive(self, message: Any) -> None:
        """Past the gap."""
        super().receive(message)
        if any(s > self.slot_out for s, _ in self.decisions):
            self.slot_out += 1


class NoWindow(Replica):
    """Proposes without end: against R5."""

    def propose(self) -> None:
        """In a wider window."""
        self.window, window = 100, self.window
        super().propose()
        self.window = window


class GoesBack(Replica):
    """Goes back to a slot whose decision is reported again: against R4."""

    def receive(self, message: Any) -> None:
        """From that slot."""
        before = self.slot_out
        super().receive(message)
        if isinstance(message, Decision) and message.slot < before:
            self.slot_out = message.slot


BROKEN = [
    (LowerAdopts, "A1"),
    (AcceptsAny, "A2"),
    (Forgets, "A3"),
    (SaysNothing, "A5|C2|R1"),
    (SmallCommanders, "R1"),
    (SmallScouts, "A5|C2|R1"),
    (AnyVotes, "R1"),
    (CountTwice, "R1"),
    (LowestPmax, "A5|C2|R1"),
    (KeepsItsOwn, "A5|C2|R1"),
    (ProposesAnew, "A4|C1"),
    (IgnoresBallots, "C1|A5|C2|R1"),
    (PerformsTwice, "R3"),
    (SkipsGaps, "R2"),
    (NoWindow, "R5"),
    (GoesBack, "R4"),
]


def violation_of(run: Any, schedule: Schedule) -> str:
    """The name of the invariant that a walk breaks, or nothing."""
    try:
        run(schedule)
    except Violation as violation:
        return str(violation).split(":")[0]
    return ""


def first_violation(run: Any) -> str:
    """The invariant that the first such walk breaks."""
    walks = (Schedule.of_seed(seed, 1500) for seed in range(SEEDS))
    return next(filter(None, (violation_of(run, walk) for walk in walks)), f"nothing, in {SEEDS} walks")


@pytest.mark.parametrize(("broken", "names"), BROKEN, ids=lambda one: getattr(one, "__name__", None))
def test_a_broken_rule_shows(broken, names):
    """A schedule is found that breaks the invariant which that rule maintains."""
    role = next(name for name, kind in ROLES.items() if issubclass(broken, kind))
    assert first_violation(lambda schedule: PaperCluster(3, 3, **{role: broken}).run(schedule)) in names.split("|")


ROLES = {"acceptor": Acceptor, "leader": Leader, "replica": Replica}


# -- the amended protocol


@dataclass
class AmendedCluster:
    """Amended acceptors and leaders, the paper's replicas, and marks that rise. A leader whose `start` is above the
    slots that its replica knows learns the others from another replica: decisions are sent again."""

    schedule: Schedule
    system: str = "majority of 3"
    acceptor: type[AmendedAcceptor] = AmendedAcceptor
    leader: type[AmendedLeader] = AmendedLeader
    network: Network = field(default_factory=Network)

    def __post_init__(self) -> None:
        system = SYSTEMS[self.system]
        self.acceptors = [self.acceptor(id, self.network) for id in system.acceptors]
        leaders = [("leader", i) for i in range(3)]
        self.replicas = [Replica(("replica", i), leaders, 3, self.network, apply=journal) for i in range(3)]
        self.leaders = [
            self.leader(("leader", i), i, system.acceptors, [r.id for r in self.replicas], self.network,
                        system.phase1, system.phase2)
            for i in range(3)
        ]  # fmt: skip
        for process in (*self.acceptors, *self.replicas, *self.leaders):
            self.network.spawn(process)
        self.judge = Judge(self.network, system.phase2, reduced=True)
        self.requested = 0

    def run(self) -> None:
        """Steps until the schedule ends."""
        while self.schedule:
            self.step()
            del self.network.bag[: len(self.network.bag) - 40]
            self.judge.look()

    def step(self) -> None:
        """One step."""
        kind, bag = self.schedule.choose(64), self.network.bag
        if kind < 2:
            i = self.schedule.choose(3)
            self.leaders[i].scout(self.replicas[i].slot_out)
        elif kind < 4:
            self.acceptors[self.schedule.choose(len(self.acceptors))].collect(self.mark())
        elif kind < 6:
            self.tell_again()
        elif kind < 10 or not bag:
            self.requested += 1
            i = self.schedule.choose(3)
            self.replicas[i].receive(terms.Request(Command(("client", i), self.requested, "op")))
        elif kind < 12:
            self.network.lose(self.schedule.choose(len(bag)))
        else:
            at = self.schedule.choose(len(bag)) if kind % 2 else 0
            self.network.deliver(at, again=kind < 20)

    def mark(self) -> int:
        """The slot below which two replicas of the three, one of which lives, hold all decisions."""
        return sorted(replica.slot_out for replica in self.replicas)[1]

    def tell_again(self) -> None:
        """A replica receives the next decision that it lacks from another one."""
        i, j = self.schedule.choose(3), self.schedule.choose(3)
        c = self.replicas[j].decision(self.replicas[i].slot_out)
        if c is not None:
            self.replicas[i].receive(Decision(self.replicas[i].slot_out, c))


def journal(op: Any, state: Any) -> tuple[Any, Any]:
    """No-ops leave no trace."""
    return (state, None) if op == NOOP.op else terms.journal(op, state)


@pytest.mark.parametrize("system", NAMES)
@examples(20)
@given(schedules(1500))
def test_the_amended_protocol(system, schedule):
    """The same invariants: A2 as amended, A3 per slot and above the mark, C2 over phase-2 quorums."""
    AmendedCluster(schedule, system).run()


class NoMark(AmendedAcceptor):
    """A 1b without the mark: a collected slot reads as an empty one."""

    def send(self, to: Any, message: Any) -> None:
        """Without it."""
        super().send(to, message._replace(mark=1) if isinstance(message, P1b) else message)


class RefusalThatCovers(AmendedAcceptor):
    """A refusal that reads as an empty answer, and shows the ballot that was asked for."""

    def receive(self, message: Any) -> None:
        """Refuses nothing."""
        if isinstance(message, P1a) and message.ballot < self.ballot_num:
            self.send(message.asker, P1b(self.id, message.ballot, frozenset(), message.first))
        else:
            super().receive(message)


class IgnoresStart(AmendedLeader):
    """Proposes below `start`, from its scout's first slot."""

    def on_adopted(self, pvals: Any, start: int) -> None:
        """Ignores the marks."""
        super().on_adopted(pvals, self.first)


class ReusesBallots(AmendedLeader):
    """Two attempts with one ballot."""

    def next_ballot(self) -> Ballot:
        """The next even round, which is too often the same."""
        return Ballot((super().next_ballot().round + 1) // 4 * 4 + 1, self.number)


class ForgetsProposals(AmendedLeader):
    """Only its own proposals, at adoption."""

    def update(self, proposals: Any, pvals: Any) -> Any:
        """Ignores the pvalues."""
        return dict(proposals)


BROKEN_AMENDED = [
    (NoMark, "A5|C2|R1"),
    (RefusalThatCovers, "A5|C2|R1"),
    (IgnoresStart, "A5|C2|R1"),
    (ReusesBallots, "C1|A4"),
    (ForgetsProposals, "A5|C2|R1"),
]


@pytest.mark.parametrize(("broken", "names"), BROKEN_AMENDED, ids=lambda one: getattr(one, "__name__", None))
def test_a_broken_amendment_shows(broken, names):
    """As above, for what this project changed."""
    role = "acceptor" if issubclass(broken, Acceptor) else "leader"
    assert first_violation(lambda schedule: AmendedCluster(schedule, **{role: broken}).run()) in names.split("|")
