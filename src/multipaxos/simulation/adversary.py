"""The adversary: everything that goes wrong, and how often it did.

Rules. Each kind of fault of `Faults` comes at random moments, at its pace, while the world is hostile, and is counted
where it takes effect. Disks are lost of expendable nodes only, but in a lossy scenario. A log is collected of a node
that has no machine, up to where replicas that are not expendable have everything on their disks. When hostility ends
every cut heals, every node that is not to stay dead runs, and syncs work.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from multipaxos.simulation import ACCEPTOR, LEADER, MS, REPLICA
from multipaxos.simulation.scenario import EVENTS

if TYPE_CHECKING:
    from multipaxos.simulation.host import Host
    from multipaxos.simulation.world import World

OTHERS = (
    "lost",
    "repeated",
    "reordered",
    "delayed",
    "skewed_clocks",
    "suspensions",
    "foundings_under_faults",
    "sessions_expired",
)
CALENDAR_NS = 3_000 * MS
VICTIM_LOST, VICTIM_DELAYED = 0.4, 0.5


class Adversary:
    """The faults of one world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.faults = world.scenario.faults
        self.random = world.random
        self.hostile = False
        self.counts = dict.fromkeys((*OTHERS, *EVENTS), 0)

    # -- frames and syncs
    def copies(self, kind: str) -> int:
        """How often a frame arrives."""
        lost = VICTIM_LOST if kind in self.faults.victims else self.faults.lost
        if self.hostile and self.random.random() < lost:
            self.counts["lost"] += 1
            return 0
        if self.hostile and self.random.random() < self.faults.repeated:
            self.counts["repeated"] += 1
            return 2
        return 1

    def delay_ns(self, kind: str, late: bool = False) -> int:
        """How long a frame takes; `late`: it is one that is delayed."""
        delay_ns = self.random.randint(*self.faults.delay_ns)
        delayed = VICTIM_DELAYED if kind in self.faults.victims else self.faults.delayed
        if self.hostile and (late or self.random.random() < delayed):
            self.counts["delayed"] += 1
            delay_ns += self.random.randint(0, self.faults.delayed_ns)
        return delay_ns

    def sync_ns(self) -> int:
        """How long a sync takes."""
        return self.random.randint(*self.faults.sync_ns)

    # -- from the first to the last
    def skew_clocks(self) -> None:
        """Every host has clocks of its own."""
        for host in self.world.hosts:
            host.clock_offset_ns = self.random.randrange(10_000 * MS)
            host.clock_ppm = self.random.randint(-self.faults.skew_ppm, self.faults.skew_ppm)
            host.calendar_offset_ns = CALENDAR_NS + self.random.randint(-self.faults.skew_ppm, self.faults.skew_ppm)
            self.counts["skewed_clocks"] += host.clock_ppm != 0

    def begin(self) -> None:
        """From now on the world is hostile."""
        self.hostile = True
        for name in EVENTS:
            mean_ns = getattr(self.faults, name)
            if mean_ns:
                self.plan(name, mean_ns)

    def plan(self, name: str, mean_ns: int) -> None:
        """One kind, again and again."""
        act: Callable[[], bool] = getattr(self, name)

        def happen() -> None:
            if self.hostile:
                self.counts[name] += act()
                self.plan(name, mean_ns)

        self.world.after(int(self.random.expovariate(1 / mean_ns)) + 1, happen)

    def end(self) -> None:
        """All is well again, but for the dead who stay dead."""
        world = self.world
        self.hostile = False
        world.network.cut.clear()
        world.network.go_on(set(world.network.stalled))
        dead = world.dead = self.random_dead()
        for host in world.hosts:
            host.fail_syncs = False
            if host.id in dead:
                if host.node is not None:
                    host.crash()
            elif host.node is None:
                self.restart(host)
            else:
                host.resume()

    def random_dead(self) -> set[int]:
        """Who stays dead: some that can be spared, once the others are founders and need no one to become it."""
        world = self.world
        if not world.scenario.some_stay_dead or any(
            host.disk.voters is None for host in world.hosts if host.id not in world.scenario.expendable
        ):
            return set()
        return {id for id in world.scenario.expendable if self.random.random() < 0.5}

    # -- links
    def link_breaks(self) -> bool:
        """One link breaks."""
        links = list(self.world.network.peers)
        if links:
            self.world.network.close(*self.random.choice(links))
        return bool(links)

    def two(self) -> tuple[int, int] | None:
        """Two different nodes."""
        nodes = len(self.world.hosts)
        if nodes < 2:
            return None
        a, b = self.random.sample(range(nodes), 2)
        return a, b

    def cut(self, pairs: set[tuple[int, int]]) -> bool:
        """Nothing passes, for a while."""
        self.world.network.cut |= pairs
        self.world.after(self.random.randint(*self.faults.down_ns), lambda: self.heal(pairs))
        return bool(pairs)

    def heal(self, pairs: set[tuple[int, int]]) -> None:
        """It passes again."""
        self.world.network.cut -= pairs

    def cuts_one_way(self) -> bool:
        """One node no longer hears another."""
        pair = self.two()
        return pair is not None and self.cut({pair})

    def cuts_both_ways(self) -> bool:
        """Two nodes no longer hear each other."""
        pair = self.two()
        return pair is not None and self.cut({pair, pair[::-1]})

    def partitions(self) -> bool:
        """Two groups."""
        side = [self.random.random() < 0.5 for _ in self.world.hosts]
        return self.cut({(a, b) for a in range(len(side)) for b in range(len(side)) if side[a] != side[b]})

    def partial_partitions(self) -> bool:
        """Two groups that no longer hear each other, and a bridge that hears both: each side sees another majority."""
        side = [self.random.choice((0, 1)) for _ in self.world.hosts]
        bridge = self.random.randrange(len(side))
        return self.cut(
            {(a, b) for a in range(len(side)) for b in range(len(side)) if side[a] != side[b] and bridge not in (a, b)}
        )

    def leader(self) -> Host | None:
        """One that leads, or believes so."""
        leaders = [host for host in self.world.hosts if host.node is not None and host.node.status()["leading"]]
        return self.random.choice(leaders) if leaders else None

    def leaders_cut_off(self) -> bool:
        """A leader and some of the others no longer hear each other, or only one way."""
        leader = self.leader()
        return leader is not None and self.cut(self.around(leader))

    def around(self, host: Host) -> set[tuple[int, int]]:
        """The pairs of a host with most of the others, one way or both."""
        others = [other.id for other in self.world.hosts if other is not host and self.random.random() < 0.7]
        to, back = self.random.choice(((True, True), (True, False), (False, True)))
        return {(host.id, other) for other in others if to} | {(other, host.id) for other in others if back}

    def stalls(self) -> bool:
        """What a node and most others say to each other comes late, all together: a leader, if there is one."""
        network = self.world.network
        pairs = self.around(self.leader() or self.random.choice(self.world.hosts)) - network.stalled.keys()
        network.stall(pairs)
        self.world.after(self.random.randint(*self.faults.down_ns), lambda: network.go_on(pairs))
        return bool(pairs)

    # -- hosts
    def leaders_paused(self) -> bool:
        """A leader stops in the middle of its work."""
        leader = self.leader()
        return leader is not None and self.pause(leader)

    def pauses(self) -> bool:
        """One node stops for a while."""
        return self.pause(self.random.choice(self.world.hosts))

    def pause(self, host: Host) -> bool:
        """As by SIGSTOP."""
        if host.node is None or host.paused:
            return False
        host.paused = True
        self.world.note(host.id, "is paused")
        host.later(self.random.randint(*self.faults.down_ns), host.resume)
        return True

    def crashes(self) -> bool:
        """One node dies, and comes back after a while."""
        host = self.random.choice(self.world.hosts)
        if host.node is None:
            return False
        self.crash(host)
        return True

    def crashes_of_all(self) -> bool:
        """The power fails."""
        for host in self.world.hosts:
            if host.node is not None:
                self.crash(host)
        return True

    def crash(self, host: Host) -> None:
        """Dies now, is started again later."""
        host.crash()
        self.world.after(self.random.randint(*self.faults.down_ns), lambda: self.restart(host))

    def restart(self, host: Host) -> None:
        """Starts, unless it was started or is to stay dead."""
        if host.node is None and host.id not in self.world.dead:
            host.start()
            self.suspend(host)
            for other in self.world.hosts:
                if other is not host:
                    self.world.network.dial(host.id, other.id)

    def suspend(self, host: Host) -> None:
        """Perhaps the machine sleeps soon after a start. Its clock counts that, so whatever the node waits for seems to
        have had its time: it wants to lead before it has heard of anybody."""
        if not self.hostile or not self.faults.suspended or self.random.random() >= self.faults.suspended:
            return
        asleep_ns = self.random.randint(1, 4) * self.world.scenario.election_timeout_ns

        def wake_up() -> None:
            host.clock_offset_ns += asleep_ns
            self.counts["suspensions"] += 1
            host.wake(lambda node: None)

        host.later(self.random.randint(0, 20 * MS), wake_up)

    def disks_lost(self) -> bool:
        """A node dies and comes back with an empty disk."""
        hosts, scenario = self.world.hosts, self.world.scenario
        if scenario.lossy:
            lost = [host for host in hosts if any(other.disk.accepted for other in hosts if other is not host)]
        else:
            lost = [hosts[id] for id in scenario.expendable]
        if not lost:
            return False
        host = self.random.choice(lost)
        if host.node is not None:
            self.crash(host)
        host.lose_disk()
        return True

    def failed_syncs(self) -> bool:
        """The next sync of one node fails."""
        host = self.random.choice(self.world.hosts)
        host.fail_syncs = host.node is not None
        return host.fail_syncs

    def logs_collected(self) -> bool:
        """A node without a machine is stopped, and starts again without the log below a new mark."""
        world = self.world
        apart = [host for host in world.hosts if not world.roles[host.id] & REPLICA and host.disk.voters is not None]
        mark = self.collectable()
        host = self.random.choice(apart) if apart and not world.scenario.lossy else None
        if host is None or mark <= host.disk.mark:
            return False
        self.collect(host, host.disk.mark + 1, mark)
        return True

    def learners_behind(self) -> bool:
        """A node that may lead hears nobody for a while; then acceptors have collected the log that it lacks, whoever
        leads dies, and nobody with a machine tells it what it missed. It is to scout for slots that are forgotten."""
        world = self.world
        deaf = self.random.choice([host for host in world.hosts if world.roles[host.id] == LEADER])
        pairs = {(other.id, deaf.id) for other in world.hosts if other is not deaf}
        world.network.cut |= pairs

        def collect() -> None:
            self.heal(pairs)
            if self.hostile and self.collect_acceptors(self.random.choice((0.5, 1.0))):
                self.cut({(a, b) for a, b in pairs if world.roles[a] == REPLICA})
                leader = self.leader()
                if leader is not None and leader is not deaf:
                    self.crash(leader)

        world.after(self.random.randint(*self.faults.down_ns), collect)
        return True

    def collect_acceptors(self, share: float) -> bool:
        """About a share of the acceptors without a machine: each has the same mark if that is all of them."""
        world = self.world
        mark = self.collectable()
        some = [
            host
            for host in world.hosts
            if world.roles[host.id] == ACCEPTOR and host.disk.voters is not None and host.disk.mark < mark
            if self.random.random() < share
        ]
        for host in some:
            self.collect(host, mark if share == 1.0 else host.disk.mark + 1, mark)
        return bool(some)

    def collectable(self) -> int:
        """Below this slot replicas that are not expendable have everything on their disks."""
        world = self.world
        return min(
            host.disk.decided
            for host in world.hosts
            if world.roles[host.id] & REPLICA and host.id not in world.scenario.expendable
        )

    def collect(self, host: Host, low: int, high: int) -> None:
        """It is stopped, and starts again without the log below a mark from low to high."""
        if host.node is not None:
            self.crash(host)
        host.disk.collect(self.random.randint(low, high))
        self.world.note(host.id, f"its log is collected: mark {host.disk.mark}")

    def calendar_jumps(self) -> bool:
        """The calendar of one host is set anew, forwards or back."""
        host = self.random.choice(self.world.hosts)
        host.calendar_offset_ns = CALENDAR_NS + self.random.randint(-CALENDAR_NS, CALENDAR_NS)
        return True

    # -- clients
    def sessions_abandoned(self) -> bool:
        """A client gives its session up and opens another one."""
        if not self.world.clients:
            return False
        self.random.choice(self.world.clients).give_up()
        return True
