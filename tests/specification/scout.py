"""The scout: PMMC, Figure 6(b) (section 2.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.specification.network import Network, Process
from tests.specification.terms import Adopted, Ballot, Id, P1a, P1b, Preempted, Pvalue


class Scout(Process):
    """process Scout(leader, acceptors, b); its identity is that of its leader and ballot."""

    def __init__(self, leader: Id, acceptors: Sequence[Id], b: Ballot, network: Network) -> None:
        super().__init__(("scout", leader, b), network)
        self.leader = leader
        self.acceptors = acceptors
        self.b = b
        self.waitfor = set(acceptors)
        self.pvalues: frozenset[Pvalue] = frozenset()

    def start(self) -> None:
        """Before the loop."""
        for acceptor in self.acceptors:
            self.send(acceptor, P1a(self.id, self.b))

    def receive(self, message: Any) -> None:
        """The one case of Figure 6(b)."""
        match message:
            case P1b(acceptor, b_, r) if b_ == self.b:
                self.pvalues = self.pvalues | r
                self.waitfor -= {acceptor}
                if self.is_majority():
                    self.send(self.leader, Adopted(self.b, self.pvalues))
                    self.exit()
            case P1b(_, b_):
                self.send(self.leader, Preempted(b_))
                self.exit()

    def is_majority(self) -> bool:
        """|waitfor| < |acceptors| / 2."""
        return len(self.waitfor) < len(self.acceptors) / 2
