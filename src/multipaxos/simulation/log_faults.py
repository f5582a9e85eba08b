"""Logs that are collected: nodes without a machine forget what is decided, and others fall behind that.

Rules. The log is collected of a node that has no machine, up to where all replicas that are not expendable have
everything on their disks; the node is stopped for it. Every method named like a kind of fault returns whether it took
effect.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos.paxos.roles import ACCEPTOR, LEADER, REPLICA
from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.host import Host
from multipaxos.simulation.host_faults import HostFaults
from multipaxos.simulation.link_faults import LinkFaults
from multipaxos.simulation.network import Pair


class LogFaults:
    """What is forgotten in a cluster."""

    def __init__(self, cluster: Cluster, links: LinkFaults, processes: HostFaults) -> None:
        self.cluster = cluster
        self.random = cluster.chance.random
        self.links = links
        self.processes = processes

    def kinds(self) -> dict[str, Callable[[], bool]]:
        """Each kind of fault, by its name in `Faults`."""
        return {"logs_collected": self.logs_collected, "learners_behind": self.learners_behind}

    def logs_collected(self) -> bool:
        """A node without a machine is stopped, and starts again without the log below a new mark."""
        cluster = self.cluster
        apart = [host for host in cluster.hosts if not cluster.has_role(host, REPLICA) and host.disk.voters is not None]
        mark = self.collectable()
        host = self.random.choice(apart) if apart and not cluster.scenario.lossy else None
        if host is None or mark <= host.disk.mark:
            return False
        self.collect(host, host.disk.mark + 1, mark)
        return True

    def learners_behind(self) -> bool:
        """A node that is only a leader receives nothing from other nodes for a while. Then acceptors have collected the
        log that it lacks, the present leader dies, and no replica sends it what it missed. It has to scout for slots
        that the acceptors have forgotten."""
        cluster, network = self.cluster, self.cluster.network
        deaf = self.random.choice([host for host in cluster.hosts if cluster.scenario.roles[host.id] == LEADER])
        pairs = {(other.id, deaf.id) for other in cluster.hosts if other is not deaf}
        network.cut |= pairs
        cluster.timeline.after(cluster.chance.down_ns(), lambda: self.fall_behind(deaf, pairs))
        return True

    def fall_behind(self, deaf: Host, pairs: set[Pair]) -> None:
        """The second half of `learners_behind`."""
        self.links.heal(pairs)
        if not self.cluster.chance.hostile or not self.collect_acceptors(self.random.choice((0.5, 1.0))):
            return
        self.links.cut({(a, b) for a, b in pairs if self.cluster.scenario.roles[a] == REPLICA})
        leader = self.cluster.any_leader()
        if leader is not None and leader is not deaf:
            self.processes.crash(leader)

    def collect_acceptors(self, share: float) -> bool:
        """Collects the logs of about that share of the acceptors without a machine; of all, each gets the same mark."""
        mark = self.collectable()
        some = [
            host
            for host in self.cluster.hosts
            if self.cluster.scenario.roles[host.id] == ACCEPTOR
            and host.disk.voters is not None
            and host.disk.mark < mark
            and self.random.random() < share
        ]
        for host in some:
            self.collect(host, mark if share == 1.0 else host.disk.mark + 1, mark)
        return bool(some)

    def collectable(self) -> int:
        """Below this slot all replicas that are not expendable have everything on their disks."""
        cluster = self.cluster
        return min(
            host.disk.decided
            for host in cluster.hosts
            if cluster.has_role(host, REPLICA) and host.id not in cluster.scenario.expendable
        )

    def collect(self, host: Host, low: int, high: int) -> None:
        """Stops a node; it starts again without the log below a mark from low to high."""
        if host.alive:
            self.processes.crash(host)
        if not host.disk.keys_are_whole:
            return
        host.disk.collect(self.random.randint(low, high))
        self.cluster.timeline.note(host.id, f"its log is collected: mark {host.disk.mark}")
