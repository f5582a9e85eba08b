"""Whole clusters on virtual time, under random schedules; and broken ones, which the checks must find.

Every seed is a schedule of losses, repetitions, delays, broken links, crashes, pauses and partitions. A test that
cannot fail
proves nothing, so the second half breaks a rule each, outside the core, and asks for a violation within a stated
number of seeds.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from multipaxos import codec
from multipaxos.errors import MultipaxosError
from multipaxos.node import Batch
from multipaxos.quorum import QuorumSystem
from multipaxos.world import MS, Disk, Faults, Host, SimulatedClient, Violation, World

BOTH, ACCEPTOR, ALL = 3, 4, 7


@pytest.mark.parametrize("seed", range(40))
def test_hostile(seed: int) -> None:
    """Three nodes and others, everything goes wrong, nothing is lost."""
    World(seed, nodes=(3, 3, 5, 1, 2, 4)[seed % 6], window=(64, 64, 16)[seed % 3] * 4).run(operations=300)


@pytest.mark.parametrize("seed", range(8))
def test_roles_apart(seed: int) -> None:
    """Two replicas and leaders, three acceptors."""
    World(seed, roles=[BOTH, BOTH, ACCEPTOR, ACCEPTOR, ACCEPTOR]).run(operations=100)


@pytest.mark.parametrize("seed", range(6))
def test_flexible_quorums(seed: int) -> None:
    """Phase 1 asks four of five, phase 2 two."""
    World(seed, nodes=5, quorums=QuorumSystem.sizes(range(5), 4, 2)).run(operations=100)


@pytest.mark.parametrize("seed", range(6))
def test_grid_quorums(seed: int) -> None:
    """Two rows, three columns."""
    World(seed, nodes=6, quorums=QuorumSystem.grid(range(6), 2, 3)).run(operations=100)


def test_calm_is_quiet() -> None:
    """Without faults there is one election, and every replica proposes nothing twice."""
    world = World(1, faults=Faults())
    world.run(operations=200)
    assert world.counts["elections"] == 1


def test_small_rings() -> None:
    """Values that do not fit the memory a node may keep."""
    World(3, window=64, ring_bytes=1 << 12).run(operations=300)


def has_answered(world: World, count: int) -> bool:
    """Do the clients have so many answers?"""
    return sum(len(client.answered) for client in world.clients) > count


def settle(world: World, limit_ns: int = 20_000 * MS) -> None:
    """Lets a calm world run until a leader is there."""
    assert world.run_until(
        lambda: any(h.node is not None and h.node.status()["leading"] for h in world.hosts), limit_ns
    )


def test_all_crash_at_once_and_nothing_acknowledged_is_lost() -> None:
    """Every node loses what it had not synced, at the same moment, in the middle of a load."""
    for seed in range(5):
        world = World(seed, faults=Faults(sync_ns=(MS, 10 * MS)))
        settle(world)
        world.clients = [SimulatedClient(world, id, 300, 8) for id in range(3)]
        world.run_until(partial(has_answered, world, 200), 10_000 * MS)
        for host in world.hosts:
            host.crash()
        for key in list(world.client_links):
            world.client_links.pop(key).on_closed()
        for host in world.hosts:
            world.restart(host)
        assert world.run_until(world.is_finished, 60_000 * MS), world.describe()
        world.check_history()


def test_a_lost_disk_learns_and_does_not_vote() -> None:
    """The others go on; the wiped node gets everything and promises nothing."""
    world = World(5, faults=Faults())
    world.run(operations=50, hostile_ns=500 * MS)
    leader = next(h.id for h in world.hosts if h.node is not None and h.node.status()["leading"])
    victim = world.hosts[(leader + 1) % 3]
    victim.crash(wipe=True)
    world.run_until(lambda: False, 200 * MS)
    world.restart(victim)
    world.run_until(lambda: False, 3000 * MS)
    assert victim.node is not None
    assert world.is_finished()
    assert not victim.node.voting
    assert any("does not vote" in note for note in world.notes)


def test_two_lost_disks_of_three_stop_the_cluster() -> None:
    """Two that have forgotten are no quorum with one that remembers, and rightly so."""
    world = World(6, faults=Faults())
    world.run(operations=20, hostile_ns=500 * MS)
    before = world.hosts[0].node.slot_out if world.hosts[0].node else 0
    for host in world.hosts[1:]:
        host.crash(wipe=True)
    for host in world.hosts[1:]:
        world.restart(host)
    world.run_until(lambda: False, 5000 * MS)
    assert not any(h.node is not None and h.node.status()["leading"] for h in world.hosts)
    assert world.hosts[0].node is not None
    assert world.hosts[0].node.slot_out == before


# -- broken on purpose

# Disks are wrong only where something crashes: here everything does, all the time.
CRASHING = Faults(
    loss=0.15,
    repeat=0.05,
    delay_ns=(MS // 10, 20 * MS),
    sync_ns=(MS // 10, 10 * MS),
    crash_mean_ns=50 * MS,
    down_ns=(5 * MS, 100 * MS),
)


def found_within(seeds: int, make: Any) -> int:
    """The number of seeds until a run of `make(seed)` is caught; fails the test if none is."""
    for seed in range(seeds):
        world = make(seed)
        try:
            world.run(operations=800)
        except (MultipaxosError, AssertionError):
            return seed + 1
    pytest.fail(f"{seeds} broken worlds and nobody noticed")


class EarlyHost(Host):
    """Reports a batch durable at once, and keeps it only later: answers leave before the sync."""

    def synced(self, life: int, batch: Batch) -> None:
        """The disk keeps it a while after it said so."""
        if life != self.life:
            return
        self.wake(lambda node: node.done(batch.token, True))

        def keep() -> None:
            if life == self.life:
                self.disk.commit(batch)

        self.world.after(300 * MS, keep)


class HidingDisk(Disk):
    """Keys records by their first slot: a newer one hides an older one that reaches further."""

    def commit(self, batch: Batch) -> None:
        """The newest of each first slot only."""
        super().commit(batch)
        newest = {record[1]: record for record in self.records}
        self.records = list(newest.values())


def with_hosts(host_class: type[Host] = Host, disk_class: type[Disk] = Disk, **options: Any) -> Any:
    """A maker of worlds whose hosts or disks are broken."""

    class Broken(World):
        def __init__(self, seed: int) -> None:
            super().__init__(seed, faults=CRASHING, **options)

    def make(seed: int) -> World:
        world = Broken(seed)
        for host in world.hosts:
            host.__class__ = host_class
            host.disk.__class__ = disk_class
        return world

    return make


def test_found_answers_before_the_sync() -> None:
    """A disk that lies about its sync."""
    assert found_within(30, with_hosts(EarlyHost)) <= 30


def test_found_records_that_hide_one_another() -> None:
    """A phase 2a for a shorter run from the same slot erases the rest of an older one."""
    assert found_within(60, with_hosts(disk_class=HidingDisk)) <= 60


def test_found_a_wiped_node_that_votes() -> None:
    """A disk comes back empty under its old incarnation, named by the founders: it votes as if it remembered."""

    class Wiping(World):
        def crash_one(self) -> None:
            """Crashes lose the log and keep the name."""
            host = self.random.choice(self.hosts)
            if host.node is not None:
                kept = host.disk.incarnation
                super().crash_one()
                host.disk.meta.clear()
                host.disk.records.clear()
                host.disk.incarnation = kept

    assert found_within(40, lambda seed: Wiping(seed)) <= 40


class Tampering(World):
    """Alters frames on their way."""

    def send(self, id: int, link: int, frame: bytes) -> None:
        """One frame, altered if it is of the kind."""
        message = codec.decode_message(frame)
        altered = self.alter(message)
        if altered is not None:
            kind = altered.pop("kind")
            frame = codec.encode(kind, **altered)
        super().send(id, link, frame)

    def alter(self, message: dict[str, Any]) -> dict[str, Any] | None:
        """The message as it goes on; None: as it is."""
        return None


def test_found_promises_without_pvalues() -> None:
    """A 1b that does not carry what was accepted."""

    class Broken(Tampering):
        def alter(self, message: dict[str, Any]) -> dict[str, Any] | None:
            return message | {"pvalues": ()} if message["kind"] == "phase1b" else None

    assert found_within(40, Broken) <= 40


def test_found_votes_that_were_not_given() -> None:
    """A 2b that acknowledges one slot more than was accepted."""

    class Broken(Tampering):
        def alter(self, message: dict[str, Any]) -> dict[str, Any] | None:
            if message["kind"] == "phase2b" and message["end"] > message["first"]:
                return message | {"end": message["end"] + 3}
            return None

    assert found_within(100, Broken) <= 100


def test_found_watermarks_across_ballots() -> None:
    """A watermark that claims the lowest ballot: a pvalue of any ballot is taken for the decided one."""

    class Broken(Tampering):
        def alter(self, message: dict[str, Any]) -> dict[str, Any] | None:
            if message["kind"] in ("phase2a", "pong") and message["decided_end"] > 1:
                return message | {"decided_ballot": 1, "decided_first": 1}
            if message["kind"] == "decision":
                return message | {"ballot": 1, "first": 1}
            return None

    assert found_within(150, Broken) <= 150


def test_found_quorums_that_do_not_intersect() -> None:
    """Nodes that disagree on the quorum system: one in five is enough for some."""

    class Broken(World):
        def __init__(self, seed: int) -> None:
            self.made = 0
            super().__init__(seed, nodes=3)

    def make(seed: int) -> World:
        world = Broken(seed)
        for host in world.hosts:
            world.quorums = QuorumSystem.sizes(range(3), 1, 3) if host.id == 0 else QuorumSystem.sizes(range(3), 3, 1)
            host.crash()
            host.start()
        for host in world.hosts:
            for other in world.hosts[: host.id]:
                world.connect(host.id, other.id)
        return world

    assert found_within(60, make) <= 60


def test_violations_name_the_seed() -> None:
    """A failure is a number that brings it back."""
    world = World(12345, faults=Faults())
    world.log[1] = (9, 9, 9, b"something else")
    with pytest.raises(Violation, match="seed 12345"):
        world.run(operations=20)
