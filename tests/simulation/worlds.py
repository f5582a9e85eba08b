"""Worlds for tests: rough ones, calm ones, and ones in which a part was replaced by a broken one."""

from dataclasses import replace

from multipaxos.judges.quorums import Quorums
from multipaxos.judges.violation import Violation
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import CLIENT, Network
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


MIB = 1 << 20
GIGABYTE = 1_000_000_000


class Slow(World):
    """A cluster on links with a rate, which leads before it is loaded. Faults are made by hand."""

    def __init__(self, seed=1, *, nodes=3, rate, value_bytes=MIB, **changes):
        usual = {"ring_bytes": 256 * MIB, "window": 8192, "patience_ns": 3000 * MS, "client_rate": GIGABYTE}
        usual |= {"link_rates": (rate,) * nodes, "value_bytes": value_bytes, "hostile_ns": 1}
        super().__init__(seed, cluster(nodes, **(usual | changes)))
        assert self.timeline.run_until(lambda: self.is_founded() and self.leader() is not None, 20_000 * MS)
        self.timeline.run_for(200 * MS)
        self.begin_cost()

    def leader(self):
        """The host that leads; None: there is none, or several."""
        leading = [host for host in self.hosts if host.core is not None and host.core.status()["leading"]]
        return leading[0] if len(leading) == 1 else None

    def follower(self):
        return next(host for host in self.hosts if host.core is not None and host is not self.leader())

    def writer(self, operations, at=None, **changes):
        """One more client that puts; linked to this host, or to the leader."""
        keys = changes.pop("keys", 3)
        client = self.add_client(
            len(self.clients),
            replace(self.scenario, operations=operations, keys=keys, **({"outstanding": 1} | changes)),
        )
        host = at or self.leader()
        client.session.met(host.cluster_id)
        client.cluster_id, client.node_id = host.cluster_id, host.id
        client.link = self.network.connect_client(client, host.id)
        client.session.connected()
        client.heard_ns = self.timeline.now_ns
        return client

    def wait(self, done, limit_ms):
        """Waits until something holds; returns how many milliseconds that took, None: longer than the limit."""
        began_ns = self.timeline.now_ns
        return (self.timeline.now_ns - began_ns) / MS if self.timeline.run_until(done, int(limit_ms * MS)) else None

    def wait_for(self, clients, limit_ms):
        """Waits until these clients have ended."""
        return self.wait(lambda: all(client.done for client in clients), limit_ms)

    def set_rate(self, rate, node_id=None):
        """The rate of all links between nodes, or of those of one node, from now on."""
        for pair in self.network.rates:
            if node_id is None or node_id in pair:
                self.network.rates[pair] = rate
        for end, stream in self.network.streams.items():
            other = self.network.peers.get(end)
            stream.pipe.rate = self.network.rates[end.node_id, CLIENT if other is None else other.node_id]

    def stop_disk(self, host):
        """From now on no commit of this host returns."""
        host.on_batch = lambda batch: setattr(host, "batch", batch)

    def start_disk(self, host):
        """Its disk goes on."""
        del host.on_batch
        if host.batch is not None:
            host.synced(host.batch)

    def kill(self, host):
        """A process dies for good."""
        self.adversary.processes.dead = {host.id}
        self.adversary.crash(host)

    def bring_back(self, host):
        """It starts again, from its disk."""
        self.adversary.processes.dead = set()
        self.adversary.restart(host)

    def check(self, faults, memory_bytes=64 * MIB):
        """The judge of cost, on all that clients asked for."""
        self.check_cost(faults, replace(self.scenario.bounds, memory_bytes=memory_bytes))

    def costs(self):
        """In one line, for who reads a failure."""
        return (
            f"{self.cost.carried_bytes / 1e6:.1f} MB carried, {self.cost.ratio:.2f} times what is needed; "
            f"{self.elections - self.elections_before} elections; {self.slots - self.slots_before} slots; "
            f"at most {self.cost.memory_bytes / MIB:.1f} MiB held"
        )


def latencies_ms(client, bytes_min):
    """How long the operations of a client took whose commands have at least so many bytes, sorted."""
    took = [one for one in client.history if len(one.command) >= bytes_min]
    return sorted((one.answered_ns - one.invoked_ns) / MS for one in took)
