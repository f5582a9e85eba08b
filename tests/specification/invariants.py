"""The invariants of PMMC: A1-A5 (section 2.2), C1-C2 (section 2.3), R1-R5 (section 2.1), judged after every step.

A `Judge` looks at all processes of a network from outside. It remembers every pvalue that was ever accepted, every
commander that was ever spawned, and how far each process had come. `reduced`: acceptors keep one pvalue per slot
(section 4.1) and none below their mark (section 4.2), so A3 is read per slot.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

from tests.specification.acceptor import Acceptor
from tests.specification.commander import Commander
from tests.specification.network import Network
from tests.specification.replica import Replica
from tests.specification.terms import BOTTOM, Ballot, Command, Id, Pvalue, Quorums, Reconfiguration, holds


class Violation(AssertionError):
    """An invariant does not hold."""


def require(name: str, holds: bool, what: object) -> None:
    """Raises a violation of the invariant of that name."""
    if not holds:
        raise Violation(f"{name}: {what}")


class Judge:
    """Watches one network. `quorums`: those of phase 2, which decide."""

    def __init__(self, network: Network, quorums: Quorums, reduced: bool = False) -> None:
        self.network = network
        self.quorums = quorums
        self.reduced = reduced
        self.ballot_nums: dict[Id, Ballot] = {}
        self.accepted: dict[Id, frozenset[Pvalue]] = {}
        self.voters: dict[Pvalue, set[Id]] = defaultdict(set)
        self.chosen: dict[Pvalue, None] = {}
        self.commands: dict[tuple[Ballot, int], Command] = {}
        self.commanders: list[Pvalue] = []
        self.seen = 0
        self.slot_out: dict[Id, int] = {}
        self.decisions: dict[int, Command] = {}

    def look(self) -> None:
        """Judges every invariant, after a step."""
        for process in list(self.network.processes.values()):
            if isinstance(process, Acceptor):
                self.look_at_acceptor(process)
            elif isinstance(process, Replica):
                self.look_at_replica(process)
        for process in self.network.spawned[self.seen :]:
            if isinstance(process, Commander):
                self.look_at_commander(process)
        self.seen = len(self.network.spawned)

    # -- acceptors

    def look_at_acceptor(self, acceptor: Acceptor) -> None:
        """A1, A2, A3; A4 and A5 for new pvalues."""
        before = self.ballot_nums.get(acceptor.id, BOTTOM)
        held = self.accepted.get(acceptor.id, frozenset())
        require("A1", acceptor.ballot_num >= before, (acceptor.id, before, acceptor.ballot_num))
        lost = held - acceptor.accepted
        if self.reduced:
            lost = frozenset(p for p in lost if not self.is_replaced(p, acceptor))
        require("A3", not lost, (acceptor.id, lost))
        self.ballot_nums[acceptor.id], self.accepted[acceptor.id] = acceptor.ballot_num, acceptor.accepted
        for pvalue in acceptor.accepted - held:
            require("A2", pvalue.ballot == acceptor.ballot_num, (acceptor.id, pvalue, acceptor.ballot_num))
            self.look_at_pvalue(acceptor.id, pvalue)

    def is_replaced(self, pvalue: Pvalue, acceptor: Acceptor) -> bool:
        """Sections 4.1 and 4.2: a higher ballot took the slot, or the slot is below the mark."""
        if pvalue.slot < getattr(acceptor, "mark", 1):
            return True
        return any(p.slot == pvalue.slot and p.ballot > pvalue.ballot for p in acceptor.accepted)

    def look_at_pvalue(self, acceptor: Id, pvalue: Pvalue) -> None:
        """A4; A5 in both directions: for a pvalue that is chosen now, and for one that is accepted later."""
        b, s, c = pvalue
        require("A4", self.commands.setdefault((b, s), c) == c, pvalue)
        self.voters[pvalue].add(acceptor)
        if pvalue not in self.chosen and holds(self.quorums, self.voters[pvalue]):
            self.chosen[pvalue] = None
            for later in self.voters:
                self.look_at_pair("A5", pvalue, later)
            for later in self.commanders:
                self.look_at_pair("C2", pvalue, later)
        for earlier in self.chosen:
            self.look_at_pair("A5", earlier, pvalue)

    def look_at_pair(self, name: str, chosen: Pvalue, later: Pvalue) -> None:
        """A5 and C2: a quorum accepted one of them; the other one has a higher ballot, and the same slot."""
        if later.slot == chosen.slot and later.ballot > chosen.ballot:
            require(name, later.command == chosen.command, (chosen, later))

    # -- commanders

    def look_at_commander(self, commander: Commander) -> None:
        """C1 and C2."""
        pvalue = commander.pvalue
        twice = any(other[:2] == pvalue[:2] for other in self.commanders)
        require("C1", not twice, pvalue)
        self.commanders.append(pvalue)
        for earlier in self.chosen:
            self.look_at_pair("C2", earlier, pvalue)

    # -- replicas

    def look_at_replica(self, replica: Replica) -> None:
        """R1 to R5."""
        for s, c in replica.decisions:
            require("R1", self.decisions.setdefault(s, c) == c, (replica.id, s, c, self.decisions[s]))
        before = self.slot_out.get(replica.id, 1)
        require("R4", replica.slot_out >= before, (replica.id, before, replica.slot_out))
        self.slot_out[replica.id] = replica.slot_out
        require("R5", all(s < replica.slot_out + replica.window for s in replica.proposals), replica.proposals)
        if replica.slot_out > before:
            missing = [s for s in range(1, replica.slot_out) if replica.decision(s) is None]
            require("R2", not missing, (replica.id, replica.slot_out, missing))
            require("R3", replica.state == self.state_of(replica), (replica.id, replica.state))

    def state_of(self, replica: Replica) -> Any:
        """The commands below slot_out, in slot order, each once, on the initial state ()."""
        state: Any = ()
        performed: set[Command] = set()
        for s in range(1, replica.slot_out):
            c = replica.decision(s)
            assert c is not None
            if c not in performed and not isinstance(c.op, Reconfiguration):
                state, _ = replica.apply(c.op, state)
            performed.add(c)
        return state
