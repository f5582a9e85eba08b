"""The leader: PMMC, Figure 7 (section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.specification.commander import Commander
from tests.specification.network import Network, Process
from tests.specification.scout import Scout
from tests.specification.terms import Adopted, Ballot, Command, Id, Preempted, Proposals, Propose, Pvalue, arrow, pmax


class Leader(Process):
    """process Leader(acceptors, replicas); `number` orders the leaders."""

    def __init__(self, id: Id, number: int, acceptors: Sequence[Id], replicas: Sequence[Id], network: Network) -> None:
        super().__init__(id, network)
        self.number = number
        self.acceptors = acceptors
        self.replicas = replicas
        self.ballot_num = Ballot(0, number)
        self.active = False
        self.proposals: Proposals = {}

    def start(self) -> None:
        """Before the loop."""
        self.spawn_scout()

    def receive(self, message: Any) -> None:
        """The three cases of Figure 7."""
        match message:
            case Propose(s, c):
                if s not in self.proposals:
                    self.proposals[s] = c
                    if self.active:
                        self.spawn_commander(s, c)
            case Adopted(b, pvals) if b == self.ballot_num:
                self.proposals = self.update(self.proposals, pvals)
                for s, c in self.proposals.items():
                    self.spawn_commander(s, c)
                self.active = True
            case Preempted((r, leader)) if (r, leader) > self.ballot_num:
                self.active = False
                self.ballot_num = Ballot(r + 1, self.number)
                self.spawn_scout()

    def update(self, proposals: Proposals, pvals: frozenset[Pvalue]) -> Proposals:
        """proposals ◁ pmax(pvals)."""
        return arrow(proposals, pmax(pvals))

    def spawn_scout(self) -> None:
        """spawn(Scout(self(), acceptors, ballot_num))."""
        self.spawn(Scout(self.id, self.acceptors, self.ballot_num, self.network))

    def spawn_commander(self, s: int, c: Command) -> None:
        """spawn(Commander(self(), acceptors, replicas, (ballot_num, s, c)))."""
        pvalue = Pvalue(self.ballot_num, s, c)
        self.spawn(Commander(self.id, self.acceptors, self.replicas, pvalue, self.network))
