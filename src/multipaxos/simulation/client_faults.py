"""Faults of clients: they leave their sessions, die, and misbehave.

Rules. Every method named like a kind of fault returns whether it took effect. Those who misbehave reach nodes as
clients do, so a node must refuse or answer everything that they send, and must not change anything by it that belongs
to another client. They may have seen all frames of the past.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.intruder import Intruder


class ClientFaults:
    """What goes wrong at the clients of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.random = cluster.chance.random
        self.intruder = Intruder(cluster)

    def kinds(self) -> dict[str, Callable[[], bool]]:
        """Each kind of fault, by its name in `Faults`."""
        return {
            "sessions_abandoned": self.sessions_abandoned,
            "clients_die": self.clients_die,
            "intrusions": self.intrusions,
        }

    def sessions_abandoned(self) -> bool:
        """A client gives its session up and opens another one."""
        if not self.cluster.clients:
            return False
        self.random.choice(self.cluster.clients).give_up()
        return True

    def clients_die(self) -> bool:
        """The process of a client dies with its link; what it has sent may still take effect."""
        if not self.cluster.clients:
            return False
        self.random.choice(self.cluster.clients).die()
        return True

    def intrusions(self) -> bool:
        """Somebody who is no client of this run connects and sends what he likes."""
        return self.intruder.intrude()
