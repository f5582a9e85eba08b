"""Whole clusters on virtual time: hostile runs keep every promise, and a promise broken on purpose is found.

The second half is the test of the first: each `Broken...` world breaks one rule outside the shipped code - a
disk, a
frame, a configuration - and the checks must bite within a stated number of seeds.
"""

import pytest

from multipaxos import codec
from multipaxos.errors import CorruptLog, InvariantViolation
from multipaxos.quorum import QuorumSystem
from multipaxos.world import MS, Disk, Faults, Host, SimulatedClient, Violation, World

CALM = Faults()
ROUGH = Faults(
    loss=0.1,
    repeat=0.1,
    delay_ns=(MS // 10, 40 * MS),
    sync_ns=(MS // 10, 20 * MS),
    link_break_mean_ns=500 * MS,
    crash_mean_ns=250 * MS,
    pause_mean_ns=1500 * MS,
    partition_mean_ns=700 * MS,
    down_ns=(20 * MS, 500 * MS),
)


# -- promises kept


@pytest.mark.parametrize("seed", range(40))
def test_hostile(seed):
    """One to five nodes under loss, repetition, crashes, pauses and partitions."""
    World(seed, nodes=1 + seed % 5).run(clients=3, operations=60, hostile_ns=4000 * MS)


@pytest.mark.parametrize("seed", range(40))
def test_rough(seed):
    """Crashes so frequent that most reigns end by one."""
    World(seed, nodes=3 + 2 * (seed % 2), faults=ROUGH, window=16).run(clients=3, operations=80, hostile_ns=4000 * MS)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "roles",
    [[3, 3, 4, 4, 4], [1, 1, 2, 2, 4, 4, 4], [7, 7, 7, 1], [6, 6, 6, 1], [1, 2, 2, 4, 4, 4], [7, 3, 5]],
    ids=lambda roles: "".join(map(str, roles)),
)
def test_roles_apart(seed, roles):
    """Replicas, leaders and acceptors together and apart, also where the leader is no replica."""
    World(seed, roles=roles).run(clients=2, operations=40, hostile_ns=3000 * MS)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "quorums",
    [
        QuorumSystem.grid(range(4), 2, 2),
        QuorumSystem.sizes(range(4), 3, 2),
        QuorumSystem.sizes(range(4), 2, 3),
    ],
    ids=["grid", "3+2", "2+3"],
)
def test_other_quorums(seed, quorums):
    """Grids and Flexible Paxos."""
    World(seed, nodes=4, quorums=quorums).run(clients=2, operations=40, hostile_ns=3000 * MS)


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_calm(nodes):
    """Without faults one election is enough, and nothing is lost or said twice."""
    world = World(nodes, nodes=nodes, faults=CALM)
    world.run(clients=4, operations=200, outstanding=16, hostile_ns=500 * MS)
    assert world.counts["elections"] <= 2
    assert world.counts["crashes"] == world.counts["losses"] == 0


@pytest.mark.parametrize("seed", [11441, 13313])
def test_found_by_long_searches(seed):
    """Once: a refusal that counted as a promise; a leader whose ring ended before its window."""
    roles = [1, 2, 2, 4, 4, 4]
    World(seed, roles=roles, faults=ROUGH, window=16).run(clients=3, operations=60, hostile_ns=4000 * MS)


def test_a_small_memory_is_enough():
    """Slots leave memory early and are fetched from disks."""
    for seed in range(10):
        World(seed, window=8, ring_bytes=4096).run(clients=3, operations=100, outstanding=16, hostile_ns=3000 * MS)


def test_a_run_is_a_number():
    """The same seed gives the same run, event by event."""
    runs = [World(11), World(11)]
    for world in runs:
        world.run(clients=2, operations=30, hostile_ns=2000 * MS)
    assert runs[0].notes == runs[1].notes
    assert runs[0].counts == runs[1].counts
    assert runs[0].log == runs[1].log


def settled(seed, nodes=3, operations=40):
    """A calm world whose clients have finished."""
    world = World(seed, nodes=nodes, faults=CALM)
    world.run(clients=2, operations=operations, hostile_ns=300 * MS)
    return world


@pytest.mark.parametrize("seed", range(4))
def test_all_crash_at_once_and_keep_what_was_acknowledged(seed):
    """Power fails for all: every operation that was answered is there afterwards."""
    world = World(seed, faults=CALM)
    assert world.run_until(lambda: all(host.node.voting for host in world.hosts), 5000 * MS)
    world.clients = [world_client(world, id) for id in range(3)]
    world.run_until(lambda: sum(len(client.answered) for client in world.clients) >= 90, 20_000 * MS)
    acknowledged = [one.command for client in world.clients for one in client.answered.values()]
    assert len(acknowledged) >= 90
    for host in world.hosts:
        host.crash()
        for key in [key for key in world.client_links if key[0] == host.id]:
            world.client_links.pop(key).on_closed()
    for host in world.hosts:
        world.restart(host)
    assert world.run_until(world.is_finished, 60_000 * MS), world.describe()
    world.check_history()
    assert set(acknowledged) <= set(world.hosts[0].journal.entries)


def world_client(world, id):
    """A client with 60 operations."""
    return SimulatedClient(world, id, 60, 4)


def test_a_wiped_node_learns_and_does_not_vote():
    """Its disk is new: it catches up as a replica, and neither votes nor leads."""
    world = settled(5)
    wiped = world.hosts[1]
    wiped.crash(wipe=True)
    world.restart(wiped)
    top = max(host.node.slot_out for host in world.hosts if host is not wiped)
    assert world.run_until(lambda: wiped.node.slot_out >= top, 20_000 * MS)
    world.run_until(lambda: False, 3000 * MS)
    assert wiped.node.voting is False
    assert wiped.node.status()["founded"] is False
    assert wiped.node.status()["leading"] is False
    assert wiped.journal.entries == world.hosts[0].journal.entries
    assert any("no founder" in note for note in world.notes)


def test_with_one_wiped_and_one_crashed_nothing_is_decided_until_the_crashed_is_back():
    """Three nodes: the wiped one must not make the quorum."""
    world = settled(6)
    wiped, crashed = world.hosts[0], world.hosts[1]
    wiped.crash(wipe=True)
    crashed.crash()
    for key in [key for key in world.client_links if key[0] in (0, 1)]:
        world.client_links.pop(key).on_closed()
    world.restart(wiped)
    before = world.hosts[2].node.slot_out
    world.clients = [world_client(world, 7)]
    world.run_until(lambda: False, 5000 * MS)
    assert world.hosts[2].node.slot_out == before
    assert not world.hosts[2].node.status()["leading"]
    world.restart(crashed)
    assert world.run_until(lambda: world.clients[0].done, 60_000 * MS), world.describe()


# -- promises broken: each must be found


class EarlyHost(Host):
    """Says that a batch is durable at once, and keeps it later, if it lives."""

    def synced(self, life, batch):
        if life == self.life:
            self.world.after(60 * MS, lambda: self.keep(life, batch))
            self.wake(lambda node: node.done(batch.token, True))

    def keep(self, life, batch):
        """What it said it had done."""
        if life == self.life:
            self.disk.commit(batch)


class LosingDisk(Disk):
    """Keeps no record of the newest batch until the next one."""

    kept = 0

    def commit(self, batch):
        self.kept = len(self.records)
        super().commit(batch)


class LosingHost(Host):
    """After a crash the newest records are gone."""

    disk_type = LosingDisk

    def crash(self, wipe=False):
        super().crash(wipe)
        del self.disk.records[self.disk.kept :]


class ForgetfulHost(Host):
    """After a crash ballots and pvalues above what was decided are forgotten."""

    def crash(self, wipe=False):
        super().crash(wipe)
        self.disk.meta.pop(b"ballot", None)
        decided = int.from_bytes(self.disk.meta.get(b"decided", b"\1"), "little")
        self.disk.records = [record for record in self.disk.records if record[2] <= decided]


class WipedHost(Host):
    """Comes back from every crash with an empty log, the same incarnation and its voter record: it votes as
    if it remembered.
    """

    def crash(self, wipe=False):
        super().crash(wipe)
        self.disk.records.clear()
        self.disk.meta = {key: value for key, value in self.disk.meta.items() if key == b"voter"}


class UnequalHost(Host):
    """Configured apart: the phase-1 quorums of the odd nodes need not meet the phase-2 quorums of the even
    ones.
    """

    @property
    def quorums(self):
        return QuorumSystem.sizes(range(3), 3, 1) if self.id % 2 else QuorumSystem.sizes(range(3), 1, 3)


class BrokenWorld(World):
    """Rewrites frames between nodes."""

    def rewrite(self, message):
        """Fields to change, None to lose the frame; {} leaves it."""
        raise NotImplementedError

    def send(self, id, link, frame):
        if link in self.hosts[id].links:
            message = codec.decode_message(frame)
            change = self.rewrite(message)
            if change is None:
                return
            if change:
                kind = message.pop("kind")
                frame = codec.encode(kind, **{**message, **change})
        super().send(id, link, frame)


class EmptyPromises(BrokenWorld):
    """A phase 1b says that nothing was accepted."""

    def rewrite(self, message):
        return {"pvalues": []} if message["kind"] == "phase1b" else {}


class WrongWatermarks(BrokenWorld):
    """A watermark claims a ballot that any pvalue satisfies: it is believed of values of other ballots."""

    def rewrite(self, message):
        if message["kind"] == "decision":
            return {"ballot": 0}
        return {"decided_ballot": 0} if message["kind"] in ("phase2a", "pong") else {}


class HighMarks(BrokenWorld):
    """Phase 2b that say more than was accepted: eight slots beyond."""

    def rewrite(self, message):
        if message["kind"] == "phase2b" and message["first"] < message["end"]:
            return {"first": max(1, message["first"] - 8), "end": message["end"] + 8}
        return {}


class CountedRefusals(BrokenWorld):
    """A refusal of a phase 1a claims to cover all slots: a late one reads as an adoption of nothing."""

    def rewrite(self, message):
        return {"first": 1} if message["kind"] == "phase1b" and message["first"] == 2**64 - 1 else {}


class SilentFetches(BrokenWorld):
    """No fetch is answered: who missed something lags for ever."""

    def rewrite(self, message):
        return None if message["kind"] == "fetched" else {}


def world_of(host):
    """A world of such machines."""
    return type(f"WorldOf{host.__name__}", (World,), {"host_type": host})


def search(world_type, seeds):
    """The first seed whose run is found to break a promise, and what was said."""
    for seed in seeds:
        try:
            world_type(seed, faults=ROUGH).run(clients=3, operations=60, hostile_ns=4000 * MS)
        except (Violation, InvariantViolation, CorruptLog) as found:
            return seed, str(found)
    return None


BROKEN = [
    (world_of(EarlyHost), range(40)),
    (world_of(LosingHost), range(40)),
    (world_of(ForgetfulHost), range(40)),
    (world_of(WipedHost), range(40)),
    (world_of(UnequalHost), range(40)),
    (EmptyPromises, range(40)),
    (WrongWatermarks, range(200)),
    (HighMarks, range(40)),
    (CountedRefusals, range(140, 340)),
    (SilentFetches, range(10)),
]


@pytest.mark.parametrize(("world_type", "seeds"), BROKEN, ids=[world_type.__name__ for world_type, _ in BROKEN])
def test_a_broken_promise_is_found(world_type, seeds):
    """The checker bites within so many seeds."""
    assert search(world_type, seeds) is not None
