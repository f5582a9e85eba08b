"""Whole clusters on virtual time: hostile runs keep every promise; a run is a number; the judges see what they must.

What the simulator finds in a broken core is in `test_teeth.py`; here what is broken is the world around a good one -
a disk, a clock, a frame, a configuration.
"""

from dataclasses import replace

import pytest

from multipaxos.judges.quorums import Quorums
from multipaxos.judges.session_model import APPLY, OPEN_SESSION, SessionModel
from multipaxos.judges.violation import Violation
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.simulation.disk import Disk
from multipaxos.simulation.drawing import scenario
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Network
from multipaxos.simulation.report import add_up, judge, run_seed
from multipaxos.simulation.scenario import ALL_ROLES, EVENTS, REPLICA, Faults, Scenario
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World
from multipaxos.wire import codec

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
    """A scenario of so many nodes with all roles."""
    return Scenario(roles=(ALL_ROLES,) * nodes, quorums=Quorums(tuple(range(nodes))), **changes)


# -- promises kept


@pytest.mark.parametrize("share", range(8))
def test_seeds(share):
    """The first seeds of `multipaxos simulate`: every kind of cluster, every kind of fault."""
    for seed in range(share * 25, share * 25 + 25):
        assert run_seed(seed).violation == ""


@pytest.mark.parametrize("seed", range(24))
def test_rough(seed):
    """Crashes so frequent that most reigns end by one."""
    World(seed, cluster(3 + 2 * (seed % 2), faults=ROUGH, window=16)).run()


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_calm(nodes):
    """Without faults one election is enough, every operation is answered, and nothing is lost or said twice."""
    world = World(nodes, cluster(nodes, hostile_ns=500 * MS, patience_ns=2000 * MS))
    result = judge(world)
    assert result.violation == ""
    assert result.elections <= 2
    assert sum(count for kind, count in result.faults.items() if kind != "reordered") == 0
    assert all(operation.answer is not None for operation in world.history())
    assert len(world.history()) == 3 * (60 + 3)


def test_a_run_is_a_number():
    """The same seed gives the same run, event by event."""
    runs = [World(11, scenario(11)) for _ in range(2)]
    for world in runs:
        world.run()
    assert runs[0].timeline.notes == runs[1].timeline.notes
    assert runs[0].history() == runs[1].history()
    assert runs[0].oracle.chosen == runs[1].oracle.chosen
    assert [one.frame for one in runs[0].network.trace] == [one.frame for one in runs[1].network.trace]


def test_scenarios_are_of_every_kind():
    """Sizes 1 to 9, all quorum systems, roles together and apart, every kind of fault, few and many sessions."""
    drawn = [scenario(seed) for seed in range(300)]
    assert {len(one.roles) for one in drawn} == set(range(1, 10))
    assert {one.quorums.kind for one in drawn} == {"majority", "sizes", "grid"}
    assert {set(one.roles) == {ALL_ROLES} for one in drawn} == {True, False}
    assert all(any(getattr(one.faults, kind) for one in drawn) for kind in EVENTS)
    assert len({one.sessions_max for one in drawn}) == 2
    for one in drawn:
        left = set(range(len(one.roles))) - set(one.expendable)
        assert one.quorums.is_phase1(left)
        assert one.quorums.is_phase2(left)


def test_numbers_add_up():
    """Every kind of fault takes effect, and is counted."""
    total = add_up(run_seed(seed) for seed in range(1000, 1060))
    assert total.seeds == 60
    assert total.violations == 0
    assert min(total.steps, total.messages, total.elections, total.operations, *total.faults.values()) > 0


@pytest.mark.parametrize("seed", range(300))
def test_plain_quorums_are_those_of_the_core(seed):
    """What the judges count by is what the core is configured with."""
    quorums = scenario(seed).quorums
    system = quorums.system()
    for mask in range(1 << min(9, max(quorums.acceptors) + 1)):
        nodes = {node for node in range(9) if mask >> node & 1}
        assert quorums.is_phase1(nodes) == system.is_phase1_quorum(mask)
        assert quorums.is_phase2(nodes) == system.is_phase2_quorum(mask)


def test_live_sessions():
    """The least recently used one goes; a repeated nonce opens nothing."""
    table = SessionModel(2)
    for slot, command in enumerate(
        [(OPEN_SESSION, 0, 91), (OPEN_SESSION, 0, 92), (APPLY, 1, 1), (OPEN_SESSION, 0, 91)], 1
    ):
        table.apply(slot, *command)
    assert list(table.nonces) == [2, 1]
    table.apply(5, OPEN_SESSION, 0, 93)
    assert list(table.nonces) == [1, 5]
    assert table.slot_out == 6


# -- disks


def settled(seed, **changes):
    """A calm cluster of three that has done its work."""
    world = World(seed, cluster(hostile_ns=300 * MS, **changes))
    world.run()
    return world


def test_a_wiped_node_learns_and_does_not_vote():
    """Its disk is new: it catches up as a replica, and neither votes nor leads."""
    world = settled(5)
    wiped = world.hosts[1]
    wiped.crash()
    wiped.lose_disk()
    world.adversary.restart(wiped)
    top = max(host.core.slot_out for host in world.hosts if host is not wiped)
    assert world.timeline.run_until(lambda: wiped.core.slot_out >= top, 20_000 * MS)
    world.timeline.run_for(3000 * MS)
    assert not wiped.core.voting
    assert not wiped.core.status()["founded"]
    assert not wiped.core.status()["leading"]
    assert wiped.machine.items() == world.hosts[0].machine.items()


def test_with_one_wiped_and_one_crashed_nothing_is_decided_until_the_crashed_is_back():
    """Three nodes: the wiped one must not make the quorum."""
    world = settled(6)
    wiped, crashed = world.hosts[0], world.hosts[1]
    wiped.crash()
    crashed.crash()
    wiped.lose_disk()
    world.adversary.restart(wiped)
    before = world.hosts[2].core.slot_out
    world.add_client(7)
    world.timeline.run_for(5000 * MS)
    assert world.hosts[2].core.slot_out == before
    assert not world.hosts[2].core.status()["leading"]
    world.adversary.restart(crashed)
    assert world.timeline.run_until(lambda: world.clients[-1].done, 60_000 * MS), world.describe()


def test_a_failed_sync_ends_the_process():
    """Nothing is promised after it; what comes back is what the disk has."""
    world = settled(7)
    host = world.hosts[0]
    host.fail_syncs = True
    life = host.life
    world.add_client(7)
    assert world.timeline.run_until(lambda: host.core is None, 20_000 * MS)
    assert any("the storage failed" in note.text for note in world.timeline.notes if note.node_id == 0)
    assert world.timeline.run_until(lambda: world.clients[-1].done, 60_000 * MS), world.describe()
    assert host.life > life


# -- founding

FOUNDING = Scenario(
    faults=Faults(
        lost=0.05,
        delayed=0.5,
        delay_ns=(MS // 10, 5 * MS),
        delayed_ns=200 * MS,
        victims=("founding",),
        sync_ns=(MS // 10, 5 * MS),
        down_ns=(5 * MS, 20 * MS),
        notice_ns=300 * MS,
        crashes=100 * MS,
        disks_lost=30 * MS,
        link_breaks=100 * MS,
    ),
    hostile_founding=True,
    expendable=(0,),
    election_timeout_ns=50 * MS,
    window=16,
)


def found(seed, network=Network):
    """A founding in which one of the disks is lost again and again, and hellos come late; the world after it."""
    world = type("Founding", (World,), {"network_type": network})(seed, FOUNDING)
    world.adversary.begin()
    world.timeline.run_for(600 * MS)
    return world


def test_founding_while_a_disk_is_lost():
    """All who found name the same founders, though connections of the dead come up late."""
    worlds = [found(seed) for seed in range(200)]
    assert sum("refuses a connection" in note.text for world in worlds for note in world.timeline.notes) > 50


class Credulous(Network):
    """Takes a connection of an earlier life for one of the present."""

    def is_outlived(self, node_id, peer_id, link, incarnation):
        return False


def test_a_late_connection_of_the_dead_would_found_twice():
    with pytest.raises(Violation, match="other founders"):
        all(found(seed, Credulous) for seed in range(2000))


# -- the judges bite


class EarlyHost(Host):
    """Says that a batch is durable at once, and keeps it later, if it lives."""

    def synced(self, batch):
        self.batch = None
        self.later(60 * MS, lambda: self.commit(batch))
        self.wake(lambda core: core.done(batch.token, True))


class LosingDisk(Disk):
    """Forgets at a restart the newest of its records."""

    def records(self):
        return iter(list(super().records())[:-1])


class LosingHost(Host):
    """After a crash the newest record is gone."""

    disk_type = LosingDisk


class UnequalHost(Host):
    """Configured apart: phase-1 quorums of the odd nodes need not meet phase-2 quorums of the even ones."""

    @property
    def quorums(self):
        return QuorumSystem.sizes(range(3), 3, 1) if self.id % 2 else QuorumSystem.sizes(range(3), 1, 3)


class CopiedHost(Host):
    """A lost disk comes back with its old incarnation and voter record, as from a copy of the directory's first day."""

    def crash(self):
        super().crash()
        old = self.disk
        self.mount(Disk(old.incarnation))
        if old.voters is not None:
            self.disk.commit({b"voter": old.voters}, b"")


class Rewriter(Network):
    """Changes what nodes say to each other, after the oracle has heard it."""

    def carry(self, source, target, frame, kind, deliver, queue=None):
        changed = self.rewrite(codec.decode_message(frame))
        if changed is not None and deliver is not None and source.startswith("node") and target.startswith("node"):
            frame = changed
            ids = int(source[5:]), int(target[5:])
            end = next(end for end, other in self.peers.items() if (other.node_id, end.node_id) == ids)
            deliver = lambda: self.to_node(end, frame, 0)  # noqa: E731
        super().carry(source, target, frame, kind, deliver, queue)


def encode(message, **changes):
    """A decoded message, changed, as a frame."""
    fields = {**message, **changes}
    return codec.encode(fields.pop("kind"), **fields)


class EmptyPromises(Rewriter):
    """A phase 1b says that nothing was accepted."""

    def rewrite(self, message):
        return encode(message, pvalues=[]) if message["kind"] == "phase1b" and message["pvalues"] else None


class HighMarks(Rewriter):
    """A phase 2b says more than was accepted."""

    def rewrite(self, message):
        if message["kind"] == "phase2b" and message["first"] < message["end"]:
            return encode(message, first=max(1, message["first"] - 8), end=message["end"] + 8)
        return None


class EarlyDecisions(Rewriter):
    """A watermark says that what is only proposed is decided."""

    def rewrite(self, message):
        if message["kind"] == "phase2a":
            end = message["first"] + len(message["commands"])
            return encode(message, decided_ballot=message["ballot"], decided_first=1, decided_end=end)
        return None


def search(seeds, host=Host, network=Network):
    """The first violation of a world with such hosts and such a network."""
    for seed in seeds:
        kinds = {"host_type": host, "network_type": network}
        world = type("BrokenWorld", (World,), kinds)(seed, cluster(faults=ROUGH, keys=1))
        try:
            world.run()
        except Violation as found:
            return str(found)
    return None


@pytest.mark.parametrize("host", [EarlyHost, LosingHost, UnequalHost, CopiedHost])
def test_a_host_that_breaks_a_promise_is_found(host):
    assert search(range(40), host=host) is not None


@pytest.mark.parametrize("network", [EmptyPromises, HighMarks, EarlyDecisions])
def test_lies_are_found(network):
    assert search(range(40), network=network) is not None


class Deaf(Network):
    """From half a second on no frame of clients arrives."""

    def send_request(self, client, id, link, frame):
        if self.timeline.now_ns < 500 * MS:
            super().send_request(client, id, link, frame)


def test_a_cluster_that_answers_nobody_is_not_live():
    """Liveness is judged too, and the violation names the seed and where everybody stands."""
    found = search([3], network=Deaf)
    assert "not live" in found
    assert "(seed 3)" in found


def test_a_lost_write_shows_in_the_history():
    """Only the linearizability check sees a machine that forgets: state that is equal everywhere, and wrong."""

    class Forgetful(Host):
        def on_events(self, events):
            self.machine.apply_bytes(1 << 40, 0, 0, b"\5\4\0key0")
            super().on_events(events)

    world = type("Forgetting", (World,), {"host_type": Forgetful})(1, cluster(keys=1))
    with pytest.raises(Violation, match="not linearizable, key b'key0'"):
        world.run()


def test_a_failure_is_reported_and_drawn():
    """The result of a run that fails has the seed and the last messages as a picture."""
    world = type("Lost", (World,), {"host_type": EarlyHost})
    result = next(
        result
        for result in (judge(world(seed, cluster(faults=replace(ROUGH, crashes=100 * MS)))) for seed in range(40))
        if result.violation
    )
    assert f"(seed {result.seed})" in result.violation
    assert result.diagram.startswith("<svg")
    assert "phase1" in result.diagram
    assert "node 1" in result.diagram


def test_an_expiry_that_the_log_does_not_know_is_a_violation():
    world = settled(8)
    with pytest.raises(Violation, match="is reported to be expired, and lives"):
        world.oracle.on_expired(world.clients[0].session.id)
    world.oracle.on_expired(10**6)


def test_replicas_that_differ_are_found():
    world = settled(9)
    world.hosts[2].machine.apply_bytes(1 << 40, 0, 0, b"\3\4\0key0another")
    assert world.scenario.roles[2] & REPLICA
    with pytest.raises(Violation, match="nodes 0 and 2"):
        world.judge()
