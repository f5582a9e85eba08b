"""Worlds for tests: rough ones, calm ones, and ones in which a part was replaced by a broken one."""

from multipaxos.judges.quorums import Quorums
from multipaxos.judges.violation import Violation
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Network
from multipaxos.simulation.scenario import Faults, Scenario
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World

ROUGH = Faults(
    lost=0.1,
    repeated=0.1,
    delayed=0.1,
    delay_ns=(MS // 10, 40 * MS),
    sync_ns=(MS // 10, 20 * MS),
    down_ns=(20 * MS, 500 * MS),
    notice_ns=50 * MS,
    link_breaks=500 * MS,
    cuts_one_way=500 * MS,
    partitions=700 * MS,
    pauses=1500 * MS,
    crashes=250 * MS,
)


def cluster(nodes=3, **changes):
    """A scenario of that many nodes, each with all roles."""
    return Scenario(roles=(ALL_ROLES,) * nodes, quorums=Quorums(tuple(range(nodes))), **changes)


def settled(seed, **changes):
    """A calm cluster of three that has done its work."""
    world = World(seed, cluster(hostile_ns=300 * MS, **changes))
    world.run()
    return world


def with_parts(host=Host, network=Network):
    """The type of a world with such hosts and such a network."""
    return type("ChangedWorld", (World,), {"host_type": host, "network_type": network})


def search(seeds, host=Host, network=Network):
    """The first violation in a world with such hosts and such a network; None if there is none."""
    for seed in seeds:
        try:
            with_parts(host, network)(seed, cluster(faults=ROUGH, keys=1)).run()
        except Violation as found:
            return str(found)
    return None
