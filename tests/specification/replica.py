"""The replica: PMMC, Figure 1 (section 2.1).

The figure does not say which request is proposed next; here it is the oldest. R5 says slot_in < slot_out + WINDOW, but
the figure's own loop ends when both sides are equal: the rule that holds is that each proposed slot is in the window.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from tests.specification.network import Network, Process
from tests.specification.terms import (
    Apply,
    Command,
    Decision,
    Id,
    Proposals,
    Propose,
    Reconfiguration,
    Request,
    Response,
    journal,
)


class Replica(Process):
    """process Replica(leaders, initial_state); decisions and proposals are maps, because R1 allows that."""

    def __init__(
        self, id: Id, leaders: Sequence[Id], window: int, network: Network, state: Any = (), apply: Apply = journal
    ) -> None:
        super().__init__(id, network)
        self.leaders: Sequence[Id] = leaders
        self.window = window
        self.apply = apply
        self.state = state
        self.slot_in = self.slot_out = 1
        self.requests: list[Command] = []
        self.proposals: Proposals = {}
        self.decisions: set[tuple[int, Command]] = set()

    def receive(self, message: Any) -> None:
        """The two cases of Figure 1."""
        match message:
            case Request(c):
                self.add_request(c)
            case Decision(s, c):
                self.decisions.add((s, c))
                while (decided := self.decision(self.slot_out)) is not None:
                    if self.slot_out in self.proposals:
                        proposed = self.proposals.pop(self.slot_out)
                        if proposed != decided:
                            self.add_request(proposed)
                    self.perform(decided)
        self.propose()

    def propose(self) -> None:
        """function propose()."""
        while self.slot_in < self.slot_out + self.window and self.requests:
            before = self.decision(self.slot_in - self.window)
            if before is not None and isinstance(before.op, Reconfiguration):
                self.leaders = before.op.leaders
            if self.decision(self.slot_in) is None:
                c = self.requests.pop(0)
                self.proposals[self.slot_in] = c
                for leader in self.leaders:
                    self.send(leader, Propose(self.slot_in, c))
            self.slot_in += 1

    def perform(self, c: Command) -> None:
        """function perform((client, cid, op))."""
        if self.was_performed(c) or isinstance(c.op, Reconfiguration):
            self.slot_out += 1
        else:
            self.state, result = self.apply(c.op, self.state)
            self.slot_out += 1
            self.send(c.client, Response(c.cid, result))

    def was_performed(self, c: Command) -> bool:
        """Is there a slot s < slot_out with (s, c) in decisions?"""
        return any(s < self.slot_out and other == c for s, other in self.decisions)

    # -- the sets of the figure

    def add_request(self, c: Command) -> None:
        """requests := requests + {c}."""
        if c not in self.requests:
            self.requests.append(c)

    def decision(self, slot: int) -> Command | None:
        """Some c with (slot, c) in decisions."""
        return next((c for s, c in self.decisions if s == slot), None)
