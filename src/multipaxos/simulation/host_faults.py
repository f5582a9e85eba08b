"""Faults of hosts: processes crash and pause, clocks jump.

Rules. A process that crashed is started again after a while, unless its node is to stay dead. Every method named like a
kind of fault returns whether it took effect.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.host import Host
from multipaxos.simulation.shell import nothing
from multipaxos.simulation.timeline import MS

CALENDAR_NS = 3_000 * MS


class HostFaults:
    """What goes wrong at the nodes of a cluster. `dead`: the nodes that are not started again."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.chance = cluster.chance
        self.random = cluster.chance.random
        self.dead: set[int] = set()

    def kinds(self) -> dict[str, Callable[[], bool]]:
        """Each kind of fault, by its name in `Faults`."""
        return {
            "pauses": self.pauses,
            "leaders_paused": self.leaders_paused,
            "leaders_crash": self.leaders_crash,
            "crashes": self.crashes,
            "crashes_of_all": self.crashes_of_all,
            "calendar_jumps": self.calendar_jumps,
        }

    # -- processes
    def pauses(self) -> bool:
        """One node stops for a while."""
        return self.pause(self.cluster.any_host())

    def leaders_paused(self) -> bool:
        """A leader stops in the middle of its work."""
        leader = self.cluster.any_leader()
        return leader is not None and self.pause(leader)

    def pause(self, host: Host) -> bool:
        """A process stops for a while, if it runs."""
        if not host.awake:
            return False
        host.pause()
        host.later(self.chance.down_ns(), host.resume)
        return True

    def crashes(self) -> bool:
        """One node dies, and comes back after a while."""
        host = self.cluster.any_host()
        if not host.alive:
            return False
        self.crash(host)
        return True

    def leaders_crash(self) -> bool:
        """A leader dies in the middle of its work."""
        leader = self.cluster.any_leader()
        if leader is not None:
            self.crash(leader)
        return leader is not None

    def crashes_of_all(self) -> bool:
        """The power fails."""
        for host in self.cluster.hosts:
            if host.alive:
                self.crash(host)
        return True

    def crash(self, host: Host) -> None:
        """A process dies now and is started again later."""
        host.crash()
        self.cluster.timeline.after(self.chance.down_ns(), lambda: self.restart(host))

    def restart(self, host: Host) -> None:
        """Starts a process, unless it runs or its node is to stay dead."""
        if host.alive or host.id in self.dead:
            return
        host.start()
        self.suspend(host)
        for other in self.cluster.hosts:
            if other is not host:
                self.cluster.network.dial(host.id, other.id)

    def suspend(self, host: Host) -> None:
        """Perhaps the machine is suspended soon after a start. Its clock counts that time, so all waits of the node
        seem to be over: it scouts before it has received anything from another node."""
        share = self.chance.faults.suspended
        if not self.chance.hostile or not share or self.random.random() >= share:
            return
        asleep_ns = self.random.randint(1, 4) * self.cluster.scenario.election_timeout_ns

        def wake_up() -> None:
            host.clock_offset_ns += asleep_ns
            self.chance.counts["suspensions"] += 1
            host.wake(nothing)

        host.later(self.random.randint(0, 20 * MS), wake_up)

    def recover(self) -> None:
        """Every node that is not to stay dead runs, and syncs work."""
        for host in self.cluster.hosts:
            host.fail_syncs = False
            if host.id in self.dead:
                if host.alive:
                    host.crash()
            elif host.alive:
                host.resume()
            else:
                self.restart(host)

    # -- clocks
    def skew_clocks(self) -> None:
        """Every host gets clocks of its own."""
        skew_ppm = self.chance.faults.skew_ppm
        for host in self.cluster.hosts:
            host.clock_offset_ns = self.random.randrange(10_000 * MS)
            host.clock_ppm = self.random.randint(-skew_ppm, skew_ppm)
            host.calendar_offset_ns = CALENDAR_NS + self.random.randint(-skew_ppm, skew_ppm)
            self.chance.counts["skewed_clocks"] += host.clock_ppm != 0

    def calendar_jumps(self) -> bool:
        """The calendar of one host is set again, forwards or back."""
        host = self.cluster.any_host()
        host.calendar_offset_ns = CALENDAR_NS + self.random.randint(-CALENDAR_NS, CALENDAR_NS)
        return True
