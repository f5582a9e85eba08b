"""A cluster of the paper's own processes, its steps, and the schedules that drive it.

A `Schedule` makes every choice: from bytes (which hypothesis draws, and can make smaller) or from a seed. In a step a
client broadcasts a request, or a message of the bag arrives (and perhaps stays, to arrive again), or one is lost. After
each step the judge looks.
"""

from __future__ import annotations

import random

from tests.specification.acceptor import Acceptor
from tests.specification.invariants import Judge
from tests.specification.leader import Leader
from tests.specification.network import Envelope, Network
from tests.specification.replica import Replica
from tests.specification.terms import Command, Request, majority


class Schedule:
    """Choices, one after the other, until they are used up."""

    def __init__(self, choices: bytes) -> None:
        self.choices = choices
        self.at = 0

    @classmethod
    def of_seed(cls, seed: int, length: int) -> Schedule:
        """The same choices for the same seed."""
        return cls(random.Random(seed).randbytes(length))

    def __bool__(self) -> bool:
        return self.at < len(self.choices)

    def choose(self, count: int) -> int:
        """One of [0, count), count at most 256; the first one when all choices are used up."""
        self.at += 1
        return self.choices[self.at - 1] % count if self.at <= len(self.choices) else 0


class PaperCluster:
    """Replicas, leaders and acceptors as Section 2 joins them. Other classes may take the place of the paper's, to be
    judged."""

    def __init__(
        self,
        acceptors: int = 3,
        leaders: int = 2,
        replicas: int = 2,
        window: int = 3,
        *,
        acceptor: type[Acceptor] = Acceptor,
        leader: type[Leader] = Leader,
        replica: type[Replica] = Replica,
    ) -> None:
        self.network = Network()
        acceptor_ids = [("acceptor", i) for i in range(acceptors)]
        leader_ids = [("leader", i) for i in range(leaders)]
        self.replica_ids = [("replica", i) for i in range(replicas)]
        self.judge = Judge(self.network, majority(acceptor_ids))
        for one in acceptor_ids:
            self.network.spawn(acceptor(one, self.network))
        for each in self.replica_ids:
            self.network.spawn(replica(each, leader_ids, window, self.network))
        for i, one in enumerate(leader_ids):
            self.network.spawn(leader(one, i, acceptor_ids, self.replica_ids, self.network))
        self.requested = 0

    def run(self, schedule: Schedule) -> None:
        """Steps until the schedule ends."""
        self.judge.look()
        while schedule:
            self.step(schedule)
            self.judge.look()

    def step(self, schedule: Schedule) -> None:
        """One step."""
        kind = schedule.choose(16)
        bag = self.network.bag
        if kind == 0 or not bag:
            self.request()
        elif kind == 1:
            self.network.lose(schedule.choose(len(bag)))
        elif kind < 5:
            self.network.deliver(schedule.choose(len(bag)), again=True)
        else:
            self.network.deliver(schedule.choose(min(len(bag), 256)))
        del bag[: len(bag) - 200]  # the oldest are lost, because duelling leaders send without end

    def request(self) -> None:
        """A client broadcasts its next command to all replicas, some commands more than once."""
        self.requested += 1
        cid = self.requested // 2
        client = ("client", cid % 2)
        for replica in self.replica_ids:
            self.network.send(Envelope(replica, Request(Command(client, cid, f"op{cid}")), client))

    # -- for the tests

    def decided(self) -> dict[int, Command]:
        """The commands that some replica knows to be decided."""
        return self.judge.decisions
