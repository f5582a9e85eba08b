"""Mistakes of the operator: a node is started with a configuration that is not its cluster's.

Rules. A start with another charter has to be refused by name, before the node does anything. Every method named like a
kind of fault returns whether it took effect.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from multipaxos.config.charter import Charter, is_bound
from multipaxos.errors import DirectoryMismatch
from multipaxos.judges.violation import Violation
from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.host_faults import HostFaults


class OperatorFaults:
    """What an operator does wrong."""

    def __init__(self, cluster: Cluster, processes: HostFaults) -> None:
        self.cluster = cluster
        self.random = cluster.chance.random
        self.processes = processes

    def kinds(self) -> dict[str, Callable[[], bool]]:
        """Each kind of fault, by its name in `Faults`."""
        return {"configurations_changed": self.configurations_changed}

    def configurations_changed(self) -> bool:
        """A node dies, is started with another configuration, and then with its own."""
        host = self.cluster.any_host()
        if host.alive:
            self.processes.crash(host)
        if not host.disk.keys_are_whole or not is_bound(host.disk.meta()):  # it is refused, or new
            return False
        try:
            self.other(host.charter).required(host.disk.meta(), host.id)
        except DirectoryMismatch as error:
            self.cluster.timeline.note(host.id, f"does not start: {error}")
            return True
        raise Violation(f"node {host.id} was started with a configuration that is not its cluster's")

    def other(self, charter: Charter) -> Charter:
        """A charter that differs in one thing: a node less or more, a role, the quorums, WINDOW or the machine."""
        fewer = (*charter.roles[:-1], charter.roles[-1][1:] or ("replica", "leader"))
        changed = [
            replace(charter, roles=charter.roles[:-1]),
            replace(charter, roles=(*charter.roles, charter.roles[0])),
            replace(charter, roles=fewer),
            replace(charter, quorum=("sizes", 1, 1)),
            replace(charter, window=2 * charter.window),
            replace(charter, machine="another.module:Machine"),
        ]
        return self.random.choice(changed)
