"""A world: a cluster, an adversary and the judges, on one virtual time. `run` drives it through its scenario.

Rules. Liveness is judged at the end: when faults have stopped, every client is answered and every living node knows all
that was chosen within LIVE_NS, if a quorum of voters is left.
"""

from __future__ import annotations

from dataclasses import replace

from multipaxos.errors import MultipaxosError
from multipaxos.judges.cost import Bounds, Cost
from multipaxos.judges.history import Operation
from multipaxos.judges.linearizability import check
from multipaxos.judges.oracle import Oracle
from multipaxos.judges.violation import Violation
from multipaxos.paxos.roles import ACCEPTOR, LEADER, REPLICA
from multipaxos.simulation.adversary import Adversary
from multipaxos.simulation.chance import Chance
from multipaxos.simulation.clients import Name, SimulatedClient
from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Network
from multipaxos.simulation.operations import Chooser
from multipaxos.simulation.scenario import EVENTS, PATIENT_NS, Scenario
from multipaxos.simulation.timeline import MS, Timeline

FOUNDING_NS = 10_000 * MS
LIVE_NS = 90_000 * MS
assert LIVE_NS < PATIENT_NS
EFFORT = 200_000  # steps of the search for an order, for one group of keys
HOPELESS_NS = 3_000 * MS  # how long a run goes on where too few voters are left


class World:
    """One run. Every error that `run` raises is a promise broken; its text ends with the seed."""

    host_type: type[Host] = Host
    network_type: type[Network] = Network

    def __init__(self, seed: int, scenario: Scenario) -> None:
        self.seed = seed
        self.scenario = scenario
        self.timeline = Timeline(MS)
        self.chance = Chance(seed, scenario.faults)
        self.network = self.network_type(self.timeline, self.chance, scenario.patient, scenario.rates)
        self.cost = Cost() if scenario.link_rates else None
        self.slots_before = self.elections_before = 0  # what was there when cost began to count
        self.cluster = Cluster(scenario, self.timeline, self.chance, self.network)
        self.hosts = self.cluster.hosts
        self.clients = self.cluster.clients
        self.chooser = Chooser(scenario, self.chance.random)
        replicas = {id for id, roles in enumerate(scenario.roles) if roles & REPLICA}
        self.oracle = Oracle(scenario.quorums, replicas, scenario.semantics)
        self.adversary = Adversary(self.cluster)
        for id in range(len(scenario.roles)):
            self.add_host(id)
        self.adversary.processes.skew_clocks()
        self.start()

    def add_host(self, id: int) -> None:
        """One more machine, with an empty disk."""
        host = self.host_type(
            id,
            scenario=self.scenario,
            timeline=self.timeline,
            chance=self.chance,
            network=self.network,
            watcher=self.oracle,
            on_end=self.adversary.crash,
            cost=self.cost,
        )
        self.hosts.append(host)
        self.network.endpoints.append(host)

    def add_client(self, id: int, scenario: Scenario | None = None) -> SimulatedClient:
        """One more client, which begins at once. `scenario`: of its load, if that is another one."""
        client = SimulatedClient(
            id,
            scenario=scenario or self.scenario,
            timeline=self.timeline,
            chance=self.chance,
            network=self.network,
            chooser=Chooser(scenario, self.chance.random) if scenario else self.chooser,
            on_expired=self.oracle.on_expired,
            on_opinion=self.on_opinion,
        )
        self.clients.append(client)
        return client

    def on_opinion(self, node_id: int, right: bool) -> None:
        """A node has answered a trial. Where one machine differs, only its node may be wrong, until it notices that:
        afterwards it answers nothing."""
        if right:
            return
        host = self.hosts[node_id]
        self.chance.counts["opinions_that_differ"] += 1
        if not host.differs:
            raise Violation(f"node {node_id}, whose machine does not differ, answers as if it did")

    def start(self) -> None:
        """All processes start and dial each other."""
        for host in self.hosts:
            host.start()
        for a in range(len(self.hosts)):
            for b in range(a):
                self.network.dial(a, b, self.chance.random.randint(0, MS))

    @property
    def elections(self) -> int:
        """How many scouts were adopted."""
        return sum(note.kind == "adopted" for note in self.timeline.notes)

    @property
    def slots(self) -> int:
        """How many slots were used."""
        return max(self.oracle.chosen, default=0)

    # -- what it costs
    def begin_cost(self) -> None:
        """A node leads, and what follows is counted."""
        assert self.cost is not None
        self.slots_before, self.elections_before = self.slots, self.elections
        self.cost.begin()

    def check_cost(self, faults: int, bounds: Bounds) -> None:
        """The judge of cost, on all that clients have asked for; a session is a command too."""
        assert self.cost is not None
        asked = [len(one.history) + len(one.given_up) + len(one.unanswered) + 1 for one in self.clients]
        self.cost.check(
            commands=sum(asked),
            slots=self.slots - self.slots_before,
            elections=self.elections - self.elections_before,
            faults=faults,
            bounds=bounds,
        )

    # -- a whole run
    def run(self) -> None:
        """Found the cluster, load it under faults, heal it, let it finish, judge it."""
        try:
            self.live()
            self.judge()
        except (MultipaxosError, AssertionError) as error:
            raise Violation(f"{error} (seed {self.seed})") from error

    def live(self) -> None:
        """Everything that happens."""
        scenario = self.scenario
        if scenario.hostile_founding:
            self.chance.counts["foundings_under_faults"] += 1
            self.adversary.begin()
        elif not self.timeline.run_until(self.is_founded, FOUNDING_NS):
            raise Violation(f"the cluster was not founded in {FOUNDING_NS // MS} ms without a fault")
        if self.cost is not None:
            if not self.timeline.run_until(self.is_led, FOUNDING_NS):
                raise Violation(f"no node leads {FOUNDING_NS // MS} ms after the founding")
            self.begin_cost()
        for id in range(scenario.clients):
            self.add_client(id)
        if not scenario.hostile_founding:
            self.adversary.begin()
        for number in range(scenario.outlived):
            self.timeline.after(scenario.hostile_ns * (number + 1) // (scenario.outlived + 1), self.outlive)
        self.timeline.run_for(scenario.hostile_ns)
        self.adversary.end()
        if not self.may_live():
            self.timeline.run_for(HOPELESS_NS)
        elif not self.timeline.run_until(self.is_finished, LIVE_NS):
            raise Violation(f"not live {LIVE_NS // MS} ms after the last fault: {self.describe()}")

    def is_founded(self) -> bool:
        """Do all acceptors vote?"""
        acceptors = [host for host in self.hosts if self.cluster.has_role(host, ACCEPTOR)]
        return all(host.core is not None and host.core.voting for host in acceptors)

    def is_led(self) -> bool:
        """Does a node lead, and did the others hear of it?"""
        status = [host.core.status() for host in self.hosts if host.core is not None]
        return any(one["leading"] for one in status) and len({one["leader"] for one in status}) == 1

    def may_live(self) -> bool:
        """Is there a quorum of voters for each phase, and a founder to lead? Only a lossy scenario may leave none."""
        founders = [host for host in self.hosts if host.alive and self.oracle.is_voter(host.id)]
        voters = {host.id for host in founders}
        quorums = self.scenario.quorums
        leads = any(self.cluster.has_role(host, LEADER) for host in founders)
        return not self.scenario.lossy or (leads and quorums.is_phase1(voters) and quorums.is_phase2(voters))

    def is_finished(self) -> bool:
        """Was every client answered, and does every living node know all that was chosen?"""
        for client in self.clients:  # asked after each event
            if not client.done:
                return False
        slots = {host.core.slot_out for host in self.hosts if host.core is not None}
        return slots == {max(self.oracle.chosen, default=0) + 1} and self.is_told()

    def is_told(self) -> bool:
        """Does every replica know it if its state differs from a majority's, or if no state can have a majority?"""
        replicas = [host for host in self.hosts if self.cluster.has_role(host, REPLICA)]
        states = [host.core.status() for host in replicas if host.core is not None]
        hashes = [status["state_hash"] for status in states]
        most = max(map(hashes.count, hashes), default=0)
        if 2 * most <= len(replicas):
            alone = 2 * (most + len(replicas) - len(states)) <= len(replicas)
            return not alone or all(status["differs"] == "no majority" for status in states)
        right = max(hashes, key=hashes.count)
        return all(status["differs"] == "minority" for status in states if status["state_hash"] != right)

    def judge(self) -> None:
        """All replicas that have applied the same slots are equal, and the history is linearizable; the cost is what it
        may be."""
        if self.cost is not None:
            self.check_cost(sum(self.chance.counts[kind] for kind in EVENTS), self.scenario.bounds)
        first: dict[int, Host] = {}
        for host in self.hosts:
            if host.core is None or host.differs or not self.cluster.has_role(host, REPLICA):
                continue
            other = first.setdefault(host.core.slot_out, host)
            if host.machine.items() != other.machine.items():
                raise Violation(f"nodes {other.id} and {host.id} applied the same slots and differ")
            self.same_state(other, host)
            if not self.scenario.user_machine and not host.core.refused_slots:
                self.oracle.check_sessions(host.id)
        self.judge_history()

    def same_state(self, one: Host, two: Host) -> None:
        """The hashes of two states, which cover the sessions, are equal."""
        hashes = [host.core.status()["state_hash"] for host in (one, two) if host.core is not None]
        if hashes[0] != hashes[1]:
            raise Violation(f"nodes {one.id} and {two.id} have the state hashes {hashes[0]} and {hashes[1]}")

    def history(self) -> list[Operation]:
        """All operations of all clients. Those without an answer are there if they were chosen, with the slots of that:
        the oracle holds every node to apply nothing else."""
        slots: dict[Name, tuple[int, int]] = {}  # first and last slot
        for slot, (_, (_, command)) in sorted(self.oracle.chosen.items()):
            name = command[0], command[5], command[1]
            slots[name] = slots.get(name, (slot, slot))[0], slot
        answered = [operation for client in self.clients for operation in client.history]
        others = [each for client in self.clients for each in client.without_answer()]
        return answered + [replace(operation, slots=slots[name]) for name, operation in others if name in slots]

    def judge_history(self) -> None:
        """Some order explains what all clients saw."""
        failure = check(self.history(), EFFORT)
        if failure is not None:
            raise Violation(failure.describe())

    def outlive(self) -> None:
        """Every disk is lost at once, as when all nodes with memory storage are started again: the cluster is gone, and
        its clients live on. What they saw of it is judged now; nothing of it may show in the next one."""
        for host in self.hosts:
            if host.alive:
                self.adversary.crash(host)
        self.judge_history()
        self.oracle.begin_again()
        for host in self.hosts:
            host.lose_disk()
        for client in self.clients:
            client.outlive()
        self.chooser.known.clear()
        self.chance.counts["clusters_outlived"] += 1

    def describe(self) -> str:
        """The state of every node and client, in one line."""
        wanted = ("leading", "ballot", "slot_in", "slot_out", "voting", "requests", "peers")
        status = {host.id: host.core.status() if host.core is not None else None for host in self.hosts}
        nodes = [f"{id} {[all[name] for name in wanted] if all else 'down'}" for id, all in status.items()]
        clients = [(one.node_id, one.issued, len(one.unanswered), one.reading) for one in self.clients]
        return f"nodes {', '.join(wanted)}: {'; '.join(nodes)}; clients {clients}"
