"""Faults of disks: they are lost, fail to sync, and damage what they hold.

Rules. Only expendable nodes lose their disks, except in a lossy scenario. Only expendable nodes have damaged records
and keys, and none in a lossy scenario: a damaged record costs its node the promises over it until it is filled again,
a damaged key costs the disk. Bytes of a record are damaged at any time, also under a process that knows them; keys only
while no process runs. Every method named like a kind of fault returns whether it took effect.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos.node.output import META_CLUSTER, META_REFUSED, numbers, words
from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.host import Host
from multipaxos.simulation.host_faults import HostFaults
from multipaxos.wire.record import HEADER_BYTES

HEADER_SHARE = 0.25  # of damaged records: the damage is in the header
RECENT = 8  # records from the end of a log, on average
RESTARTED = 0.7  # share of nodes with a damaged record that crash at once


class DiskFaults:
    """What goes wrong with the disks of a cluster."""

    def __init__(self, cluster: Cluster, processes: HostFaults) -> None:
        self.cluster = cluster
        self.random = cluster.chance.random
        self.processes = processes

    def kinds(self) -> dict[str, Callable[[], bool]]:
        """Each kind of fault, by its name in `Faults`."""
        return {
            "disks_lost": self.disks_lost,
            "failed_syncs": self.failed_syncs,
            "records_damaged": self.records_damaged,
            "keys_damaged": self.keys_damaged,
            "slots_refused": self.slots_refused,
        }

    def disks_lost(self) -> bool:
        """A node dies and comes back with an empty disk."""
        hosts = self.cluster.hosts
        if self.cluster.scenario.lossy:
            losers = [host for host in hosts if any(other.disk.accepted for other in hosts if other is not host)]
        else:
            losers = self.expendable()
        if not losers:
            return False
        host = self.random.choice(losers)
        self.stop(host)
        host.lose_disk()
        return True

    def failed_syncs(self) -> bool:
        """The next sync of one node fails."""
        host = self.cluster.any_host()
        host.fail_syncs = host.alive
        return host.fail_syncs

    def slots_refused(self) -> bool:
        """The operator stops all nodes, and has each start with one more refused slot. No node has applied it yet: else
        a client may have been answered from it, which no judge could excuse."""
        hosts = self.cluster.hosts
        applied = max((host.core.slot_out for host in hosts if host.core is not None), default=1)
        for host in hosts:
            self.stop(host)  # which may finish what was on its way to a disk
        slot = max(applied, *(max(host.disk.accepted, default=0) + 1 for host in hosts))
        members = [host for host in hosts if META_CLUSTER in host.disk.meta() and host.disk.keys_are_whole]
        if any(META_CLUSTER not in host.disk.meta() for host in hosts if host not in self.expendable()):
            return False  # the cluster is still being founded, and who has an id is not all who will have it
        for host in members:
            refused = numbers(host.disk.meta().get(META_REFUSED, b""))
            host.disk.commit({META_REFUSED: words([*refused, slot])}, b"")
        return bool(members)

    def expendable(self) -> list[Host]:
        """The nodes that may lose what their disks hold."""
        return [self.cluster.hosts[id] for id in self.cluster.scenario.expendable]

    def damageable(self) -> Host | None:
        """A node whose disk may be damaged."""
        hosts = [] if self.cluster.scenario.lossy else self.expendable()
        return self.random.choice(hosts) if hosts else None

    def stop(self, host: Host) -> None:
        """Its process dies, if it runs, and is started again later."""
        if host.alive:
            self.processes.crash(host)

    def records_damaged(self) -> bool:
        """A few bits of one record of one node flip, mostly of a recent one."""
        host = self.damageable()
        records = [] if host is None else list(host.disk.records())
        if host is None or not records:
            return False
        record = records[max(0, len(records) - 1 - int(self.random.expovariate(1 / RECENT)))]
        size = len(record[2])
        header = self.random.random() < HEADER_SHARE
        at = self.random.randrange(HEADER_BYTES) if header else self.random.randrange(HEADER_BYTES, size)
        host.disk.damage(record, at, 1 << self.random.randrange(8))
        if self.random.random() < RESTARTED:
            self.stop(host)
        return True

    def keys_damaged(self) -> bool:
        """A bit of a key of one node flips while it is down: what it has promised, or which founders it knows."""
        host = self.damageable()
        if host is None or not any(host.disk.meta().values()):
            return False
        self.stop(host)
        host.disk.damage_key(self.random)
        return True
