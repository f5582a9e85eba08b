"""Faults of links: links break, and pairs of nodes stop receiving from each other.

Rules. A cut ends after a while, and so does a stall. Every method named like a kind of fault returns whether it took
effect.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Pair

REPLAYED_MAX = 8  # frames at a time


class LinkFaults:
    """What goes wrong between the nodes of a cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.network = cluster.network
        self.random = cluster.chance.random

    def kinds(self) -> dict[str, Callable[[], bool]]:
        """Each kind of fault, by its name in `Faults`."""
        return {
            "link_breaks": self.link_breaks,
            "cuts_one_way": self.cuts_one_way,
            "cuts_both_ways": self.cuts_both_ways,
            "partitions": self.partitions,
            "partial_partitions": self.partial_partitions,
            "stalls": self.stalls,
            "leaders_cut_off": self.leaders_cut_off,
            "replays": self.replays,
        }

    def cut(self, pairs: set[Pair]) -> bool:
        """Nothing passes between these for a while."""
        self.network.cut |= pairs
        self.cluster.timeline.after(self.cluster.chance.down_ns(), lambda: self.heal(pairs))
        return bool(pairs)

    def heal(self, pairs: set[Pair]) -> None:
        """Frames pass again."""
        self.network.cut -= pairs

    def heal_all(self) -> None:
        """All cuts and stalls end."""
        self.network.cut.clear()
        self.network.go_on(set(self.network.stalled))

    def link_breaks(self) -> bool:
        """One link breaks."""
        ends = list(self.network.peers)
        if ends:
            self.network.close(*self.random.choice(ends))
        return bool(ends)

    def replays(self) -> bool:
        """Frames that were sent long ago arrive once more, on a link of today."""
        ends = list(self.network.peers)
        return bool(ends) and self.network.replay(self.random.choice(ends), self.random.randint(1, REPLAYED_MAX)) > 0

    def two(self) -> Pair | None:
        """Two different nodes."""
        nodes = len(self.cluster.hosts)
        if nodes < 2:
            return None
        a, b = self.random.sample(range(nodes), 2)
        return a, b

    def cuts_one_way(self) -> bool:
        """One node no longer receives from another."""
        pair = self.two()
        return pair is not None and self.cut({pair})

    def cuts_both_ways(self) -> bool:
        """Two nodes no longer receive from each other."""
        pair = self.two()
        return pair is not None and self.cut({pair, pair[::-1]})

    def partitions(self) -> bool:
        """Two groups no longer receive from each other."""
        side = [self.random.random() < 0.5 for _ in self.cluster.hosts]
        return self.cut({(a, b) for a in range(len(side)) for b in range(len(side)) if side[a] != side[b]})

    def partial_partitions(self) -> bool:
        """Two groups no longer receive from each other, and a bridge from both: each side sees another majority."""
        side = [self.random.choice((0, 1)) for _ in self.cluster.hosts]
        bridge = self.random.randrange(len(side))
        return self.cut(
            {(a, b) for a in range(len(side)) for b in range(len(side)) if side[a] != side[b] and bridge not in (a, b)}
        )

    def leaders_cut_off(self) -> bool:
        """A leader and some of the other nodes no longer receive from each other, or only one way."""
        leader = self.cluster.any_leader()
        return leader is not None and self.cut(self.around(leader))

    def around(self, host: Host) -> set[Pair]:
        """The pairs of a host with most of the other nodes, one way or both."""
        others = [other.id for other in self.cluster.hosts if other is not host and self.random.random() < 0.7]
        to, back = self.random.choice(((True, True), (True, False), (False, True)))
        return {(host.id, other) for other in others if to} | {(other, host.id) for other in others if back}

    def stalls(self) -> bool:
        """What a node and most others send to each other arrives late, all together; a leader, if there is one."""
        host = self.cluster.any_leader() or self.cluster.any_host()
        pairs = self.around(host) - self.network.stalled.keys()
        self.network.stall(pairs)
        self.cluster.timeline.after(self.cluster.chance.down_ns(), lambda: self.network.go_on(pairs))
        return bool(pairs)
