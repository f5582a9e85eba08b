"""A cluster: all parts of an assembled world, for the files that act on it from above."""

from __future__ import annotations

from dataclasses import dataclass, field

from multipaxos.simulation.chance import Chance
from multipaxos.simulation.clients import SimulatedClient
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Network
from multipaxos.simulation.scenario import Scenario
from multipaxos.simulation.timeline import Timeline


@dataclass(slots=True)
class Cluster:
    """The parts of one run."""

    scenario: Scenario
    timeline: Timeline
    chance: Chance
    network: Network
    hosts: list[Host] = field(default_factory=list)  # the place of a host is its node id
    clients: list[SimulatedClient] = field(default_factory=list)

    def has_role(self, host: Host, role: int) -> bool:
        """Has this host that role, perhaps among others?"""
        return bool(self.scenario.roles[host.id] & role)

    def any_host(self) -> Host:
        """One of all hosts, at random."""
        return self.chance.random.choice(self.hosts)

    def any_leader(self) -> Host | None:
        """A host that leads, or believes that it does; at random where there are several."""
        leaders = [host for host in self.hosts if host.core is not None and host.core.status()["leading"]]
        return self.chance.random.choice(leaders) if leaders else None
