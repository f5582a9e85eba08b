"""The acceptor: PMMC, Figure 4 (section 2.2)."""

from __future__ import annotations

from typing import Any

from tests.specification.network import Network, Process
from tests.specification.terms import BOTTOM, Id, P1a, P1b, P2a, P2b, Pvalue


class Acceptor(Process):
    """process Acceptor()."""

    def __init__(self, id: Id, network: Network) -> None:
        super().__init__(id, network)
        self.ballot_num = BOTTOM
        self.accepted: frozenset[Pvalue] = frozenset()

    def receive(self, message: Any) -> None:
        """The two cases of Figure 4."""
        match message:
            case P1a(leader, b):
                if b > self.ballot_num:
                    self.ballot_num = b
                self.send(leader, P1b(self.id, self.ballot_num, self.accepted))
            case P2a(leader, (b, s, c)):
                if b == self.ballot_num:
                    self.accepted = self.accepted | {Pvalue(b, s, c)}
                self.send(leader, P2b(self.id, self.ballot_num))
