"""A world: hosts, a network, clients and an adversary on one virtual time. `run` drives it through its scenario.

Rules. Events at one instant happen in the order in which they were planned. Nothing here is random but through
`random`, nothing takes time but through `after`. Liveness is asked at the end: when faults have stopped every client is
answered and every living replica level within LIVE_NS, where a quorum of voters is left.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable

from multipaxos.commands import Value
from multipaxos.errors import MultipaxosError
from multipaxos.judges.linearizability import Operation, check
from multipaxos.judges.oracle import Oracle, Violation
from multipaxos.simulation import ACCEPTOR, LEADER, MS, REPLICA
from multipaxos.simulation.adversary import Adversary
from multipaxos.simulation.clients import SimulatedClient
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Network
from multipaxos.simulation.scenario import PATIENT_NS, Scenario
from multipaxos.wire import codec

FOUNDING_NS = 10_000 * MS
LIVE_NS = 60_000 * MS
assert LIVE_NS < PATIENT_NS
HOPELESS_NS = 3_000 * MS  # of looking on where too few voters are left


class World:
    """One run. Every error that `run` raises is a promise broken; its text ends with the seed."""

    host_type: type[Host] = Host
    network_type: type[Network] = Network

    def __init__(self, seed: int, scenario: Scenario) -> None:
        self.seed = seed
        self.scenario = scenario
        self.random = random.Random(seed)
        self.roles = scenario.roles
        self.quorums = scenario.quorums.system()
        self.now_ns = MS
        self.steps = 0
        self.elections = 0
        self.events: list[tuple[int, int, Callable[[], object]]] = []
        self.planned = 0
        self.notes: list[tuple[int, int, str]] = []  # (when, node or -1, what)
        self.known: dict[bytes, Value] = {}  # what clients last read of each key, to guess a cas by
        self.clients: list[SimulatedClient] = []
        self.dead: set[int] = set()
        self.oracle = Oracle(scenario.quorums, scenario.sessions_max)
        self.adversary = Adversary(self)
        self.network = self.network_type(self)
        self.hosts = [self.host_type(self, id) for id in range(len(self.roles))]
        self.adversary.skew_clocks()
        for host in self.hosts:
            host.start()
        for a in range(len(self.hosts)):
            for b in range(a):
                self.network.dial(a, b, self.random.randint(0, MS))

    # -- time
    def after(self, delay_ns: int, act: Callable[[], object]) -> None:
        """Does `act` in `delay_ns`."""
        self.planned += 1
        heapq.heappush(self.events, (self.now_ns + delay_ns, self.planned, act))

    def step(self) -> None:
        """The next event."""
        self.now_ns, _, act = heapq.heappop(self.events)
        self.steps += 1
        act()

    def run_until(self, done: Callable[[], bool], limit_ns: int) -> bool:
        """Steps until `done` or for `limit_ns` of virtual time; was it done?"""
        end = self.now_ns + limit_ns
        while self.now_ns < end:
            if done():
                return True
            self.step()
        return done()

    def note(self, node: int, text: str) -> None:
        """One line of what happened; node -1: to nobody."""
        self.notes.append((self.now_ns, node, text))

    @staticmethod
    def split(data: bytes) -> list[bytes]:
        """The frames of what somebody wrote, which are whole."""
        frames, rest = codec.split(data)
        assert not rest, "half a frame was written"
        return frames

    # -- a whole run
    def run(self) -> None:
        """Found, load under faults, heal, finish, judge."""
        try:
            self.live()
            self.judge()
        except (MultipaxosError, AssertionError) as error:
            raise Violation(f"{error} (seed {self.seed})") from error

    def live(self) -> None:
        """Everything that happens."""
        scenario = self.scenario
        if scenario.hostile_founding:
            self.adversary.counts["foundings_under_faults"] += 1
            self.adversary.begin()
        elif not self.run_until(self.is_founded, FOUNDING_NS):
            raise Violation(f"the cluster was not founded in {FOUNDING_NS // MS} ms without a fault")
        self.clients = [SimulatedClient(self, id) for id in range(scenario.clients)]
        if not scenario.hostile_founding:
            self.adversary.begin()
        self.run_until(lambda: False, scenario.hostile_ns)
        self.adversary.end()
        if not self.may_live():
            self.run_until(lambda: False, HOPELESS_NS)
        elif not self.run_until(self.is_finished, LIVE_NS):
            raise Violation(f"not live {LIVE_NS // MS} ms after the last fault: {self.describe()}")

    def is_founded(self) -> bool:
        """All acceptors vote."""
        return all(host.node is not None and host.node.voting for host in self.hosts if self.roles[host.id] & ACCEPTOR)

    def may_live(self) -> bool:
        """Is there a quorum of voters for each phase, and a founder to lead? Only a lossy scenario may leave none."""
        founders = [host for host in self.hosts if host.node is not None and self.oracle.is_voter(host.id, host.disk)]
        voters = {host.id for host in founders}
        quorums = self.scenario.quorums
        leads = any(self.roles[host.id] & LEADER for host in founders)
        return not self.scenario.lossy or (leads and quorums.is_phase1(voters) and quorums.is_phase2(voters))

    def is_finished(self) -> bool:
        """Every client was answered, and every living node is level with all that was chosen."""
        if not all(client.done for client in self.clients):
            return False
        slots = {host.node.slot_out for host in self.hosts if host.node is not None}
        return slots == {max(self.oracle.chosen, default=0) + 1}

    def judge(self) -> None:
        """All replicas at one slot are equal, and the history is linearizable."""
        first: dict[int, Host] = {}
        for host in self.hosts:
            if host.node is None or not self.roles[host.id] & REPLICA:
                continue
            other = first.setdefault(host.node.slot_out, host)
            if host.machine.items() != other.machine.items():
                raise Violation(f"nodes {other.id} and {host.id} applied the same slots and differ")
            self.same_state(other, host)
        failure = check(self.history())
        if failure is not None:
            raise Violation(failure.describe())

    def same_state(self, one: Host, two: Host) -> None:
        """Sessions and hashes too."""
        hashes = [host.node.status()["state_hash"] for host in (one, two) if host.node is not None]
        if hashes[0] != hashes[1]:
            raise Violation(f"nodes {one.id} and {two.id} have the state hashes {hashes[0]} and {hashes[1]}")

    def history(self) -> list[Operation]:
        """All that the clients were told."""
        return [operation for client in self.clients for operation in client.history]

    def describe(self) -> str:
        """Where everybody stands."""
        wanted = ("leading", "ballot", "slot_in", "slot_out", "voting", "requests", "peers")
        status = {host.id: host.node.status() if host.node is not None else None for host in self.hosts}
        nodes = [f"{id} {[all[name] for name in wanted] if all else 'down'}" for id, all in status.items()]
        clients = [(client.node, client.issued, len(client.unanswered), client.reading) for client in self.clients]
        return f"nodes {', '.join(wanted)}: {'; '.join(nodes)}; clients {clients}"
