"""The adversary: when each kind of fault happens, and when all of them end.

Rules. Each kind of fault of `Faults` happens at random moments, at its pace, while the world is hostile; or there is a
single fault, soon enough for the world to be hostile while it lasts. When hostility ends every cut heals, every node
that is not to stay dead runs, and syncs work.
"""

from __future__ import annotations

from multipaxos.simulation.client_faults import ClientFaults
from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.disk_faults import DiskFaults
from multipaxos.simulation.host import Host
from multipaxos.simulation.host_faults import HostFaults
from multipaxos.simulation.link_faults import LinkFaults
from multipaxos.simulation.log_faults import LogFaults
from multipaxos.simulation.operator_faults import OperatorFaults
from multipaxos.simulation.scenario import EVENTS


class Adversary:
    """All faults of one run."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.chance = cluster.chance
        self.links = LinkFaults(cluster)
        self.processes = HostFaults(cluster)
        self.disks = DiskFaults(cluster, self.processes)
        self.logs = LogFaults(cluster, self.links, self.processes)
        self.clients = ClientFaults(cluster)
        self.operator = OperatorFaults(cluster, self.processes)
        self.kinds = {
            **self.links.kinds(),
            **self.processes.kinds(),
            **self.disks.kinds(),
            **self.logs.kinds(),
            **self.clients.kinds(),
            **self.operator.kinds(),
        }
        assert self.kinds.keys() == set(EVENTS)

    def begin(self) -> None:
        """From now on the world is hostile."""
        self.chance.hostile = True
        means_ns = self.chance.faults.means_ns()
        for kind in EVENTS:
            if means_ns[kind]:
                self.plan(kind, means_ns[kind])
        scenario = self.cluster.scenario
        if scenario.once:
            delay_ns = self.chance.random.randint(1, (scenario.load_ns or scenario.hostile_ns))
            self.cluster.timeline.after(delay_ns, lambda: self.happen(scenario.once))

    def happen(self, kind: str) -> None:
        """One fault, now."""
        self.chance.counts[kind] += self.kinds[kind]()

    def plan(self, kind: str, mean_ns: int) -> None:
        """One kind of fault happens again and again, at random moments `mean_ns` apart on average."""

        def happen() -> None:
            if self.chance.hostile:
                self.happen(kind)
                self.plan(kind, mean_ns)

        self.cluster.timeline.after(int(self.chance.random.expovariate(1 / mean_ns)) + 1, happen)

    def end(self) -> None:
        """Stops all faults; nodes that were chosen to stay dead stay down."""
        self.chance.hostile = False
        self.links.heal_all()
        self.processes.dead = self.choose_dead()
        self.processes.recover()

    def choose_dead(self) -> set[int]:
        """The nodes that stay dead: some that can be spared, if all other nodes are founders already."""
        scenario = self.cluster.scenario
        others = [host for host in self.cluster.hosts if host.id not in scenario.expendable]
        if not scenario.some_stay_dead or any(host.disk.voters is None for host in others):
            return set()
        return {id for id in scenario.expendable if self.chance.random.random() < 0.5}

    def crash(self, host: Host) -> None:
        """A process dies now and is started again later."""
        self.processes.crash(host)

    def restart(self, host: Host) -> None:
        """Starts a process, unless it runs or its node is to stay dead."""
        self.processes.restart(host)
