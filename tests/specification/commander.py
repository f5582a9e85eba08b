"""The commander: PMMC, Figure 6(a) (section 2.3)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.specification.network import Network, Process
from tests.specification.terms import Decision, Id, P2a, P2b, Preempted, Pvalue


class Commander(Process):
    """process Commander(leader, acceptors, replicas, (b, s, c)); its identity is that of its leader, ballot, slot."""

    def __init__(
        self, leader: Id, acceptors: Sequence[Id], replicas: Sequence[Id], pvalue: Pvalue, network: Network
    ) -> None:
        super().__init__(("commander", leader, pvalue.ballot, pvalue.slot), network)
        self.leader = leader
        self.acceptors = acceptors
        self.replicas = replicas
        self.pvalue = pvalue
        self.waitfor = set(acceptors)

    def start(self) -> None:
        """Before the loop."""
        for acceptor in self.acceptors:
            self.send(acceptor, P2a(self.id, self.pvalue))

    def receive(self, message: Any) -> None:
        """The one case of Figure 6(a)."""
        b, s, c = self.pvalue
        match message:
            case P2b(acceptor, b_) if b_ == b:
                self.waitfor -= {acceptor}
                if self.is_majority():
                    for replica in self.replicas:
                        self.send(replica, Decision(s, c))
                    self.exit()
            case P2b(_, b_):
                self.send(self.leader, Preempted(b_))
                self.exit()

    def is_majority(self) -> bool:
        """|waitfor| < |acceptors| / 2."""
        return len(self.waitfor) < len(self.acceptors) / 2
