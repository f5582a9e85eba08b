"""Whole clusters of cores against the executable specification's own cluster, under the same schedule.

Every node is a `refinement.Pair`: a core and the specification's node. What a core sends is put into one bag, from
which it is delivered, repeated or lost, in any order; disks sync when they like; nodes crash and come back. What is
delivered to a core is delivered to the specification's node too, and after every step they must be equal. So both
clusters take the same decisions; that these are the right ones is judged over the whole cluster: R1, C1, C2. At the
end the network heals, and everything asked for must have been performed everywhere.
"""

from __future__ import annotations

import pytest
from hypothesis import given

from multipaxos.wire import codec
from tests.specification.amended_replica import Open
from tests.specification.paper import Schedule
from tests.specification.refinement import Pair
from tests.specification.terms import Chosen, Command, P2a
from tests.specification.test_against_specification import NAMES, examples, schedules

BAG = 60  # messages; above that the oldest are lost
ROUNDS = 800  # of a healed network, 50 ms each


class Cluster:
    """All pairs, and the bag of (sender, receiver, frame)."""

    def __init__(self, system: str, schedule: Schedule) -> None:
        self.pairs = [Pair(0, system)]
        self.pairs += [Pair(i, system) for i in range(1, self.pairs[0].system.nodes)]
        self.schedule = schedule
        self.choose = schedule.choose
        self.bag: list[tuple[int, int, bytes]] = []
        self.decided: dict[int, Command] = {}
        self.nonce = 0

    def run(self) -> None:
        """Steps until the schedule ends, then a network that loses nothing."""
        while self.schedule:
            self.step()
            self.gather()
        self.heal()
        self.judge()

    def step(self) -> None:
        """One step of one node."""
        kind = self.choose(32)
        pair = self.pairs[self.choose(len(self.pairs))]
        if kind < 16:
            self.deliver()
        elif kind < 18 and self.bag:
            self.bag.pop(self.choose(len(self.bag)))
        elif kind < 24:
            pair.sync()
            pair.read()
        elif kind < 27:
            pair.tick((5, 20, 60, 120)[self.choose(4)])
        elif kind < 31:
            pair.request(self.command(pair))
        elif self.choose(3) == 0:
            self.crash(pair)

    def deliver(self) -> None:
        """A frame arrives, often the oldest; one of eight will arrive again."""
        if self.bag:
            at = self.choose(len(self.bag)) if self.choose(2) else 0
            again = self.choose(8) == 0
            sender, receiver, frame = self.bag[at] if again else self.bag.pop(at)
            self.pairs[receiver].receive(sender, frame)

    def command(self, pair: Pair) -> Command:
        """A client opens a session, or sends its next command, or one that it sent before."""
        sessions = sorted(pair.spec.replica.last)
        if not sessions or self.choose(3) == 0:
            self.nonce += 1
            return Command(0, self.nonce, Open())
        session = sessions[self.choose(len(sessions))]
        cid = max(1, pair.spec.replica.last[session] + self.choose(3))
        return Command(session, cid, b"%d of %d" % (cid, session), nonce=pair.spec.replica.nonces[session])

    def crash(self, pair: Pair) -> None:
        """A node crashes and comes back; the others have new links to it."""
        pair.crash()
        for other in self.pairs:
            if other is not pair:
                other.relink(pair.number)

    def gather(self) -> None:
        """The frames that were sent go into the bag; R1."""
        for pair in self.pairs:
            for receiver, frame in pair.sent:
                if codec.decode_message(frame)["kind"] != "founding":
                    self.bag.append((pair.number, receiver, frame))
            pair.sent = []
            for slot, c in pair.spec.replica.decisions:
                assert self.decided.setdefault(slot, c) == c, f"R1: {c} and {self.decided[slot]} in slot {slot}"

    def heal(self) -> None:
        """No frame is lost any more, and disks are quick, until all commands are performed everywhere."""
        self.nonce += 1
        self.pairs[0].request(Command(0, self.nonce, Open()))
        for _ in range(ROUNDS):
            self.gather()
            bag, self.bag = self.bag, []
            for sender, receiver, frame in bag:
                self.pairs[receiver].receive(sender, frame)
            for pair in self.pairs:
                pair.settle()
                pair.tick(50)
            if self.is_done():
                return
        raise AssertionError(f"not everything was performed: {[pair.core.status() for pair in self.pairs]}")

    def is_done(self) -> bool:
        """Is the last request performed everywhere, and are all nodes equally far?"""
        ends = {pair.core.slot_out for pair in self.pairs}
        return len(ends) == 1 and all(self.nonce in pair.spec.replica.opened for pair in self.pairs)

    def judge(self) -> None:
        """C1 and C2, over all that was ever sent; and one state."""
        proposed: dict[tuple[object, int], Command] = {}
        chosen = set()
        for pair in self.pairs:
            for envelope in pair.spec.sent:
                match envelope.message:
                    case P2a(_, (b, s, c)):
                        assert proposed.setdefault((b, s), c) == c, f"C1: {c} and {proposed[b, s]} at {b}, slot {s}"
                    case Chosen(pvalue):
                        chosen.add(pvalue)
        for at, slot, c in chosen:
            for (b, s), other in proposed.items():
                assert s != slot or b <= at or other == c, f"C2: {c} chosen at {at}, slot {s}, {other} proposed at {b}"
        assert len({pair.core.status()["state_hash"] for pair in self.pairs}) == 1


@pytest.mark.parametrize("system", NAMES)
@examples(12)
@given(schedules(1500))
def test_whole(system, schedule):
    """The same inputs give the same states and the same, correct decisions."""
    Cluster(system, schedule).run()
