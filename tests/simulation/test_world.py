"""Whole clusters on virtual time: hostile runs keep every promise, a run is a number, and lost writes are found."""

import pytest

from multipaxos.judges.violation import Violation
from multipaxos.paxos.roles import REPLICA
from multipaxos.simulation.drawing import scenario
from multipaxos.simulation.host import Host
from multipaxos.simulation.network import Network
from multipaxos.simulation.report import judge, run_seed
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World
from tests.simulation.worlds import ROUGH, cluster, search, settled, with_parts


@pytest.mark.parametrize("share", range(8))
def test_seeds(share):
    """The first seeds of `multipaxos simulate`: every kind of cluster, every kind of fault."""
    for seed in range(share * 25, share * 25 + 25):
        assert run_seed(seed).violation == ""


@pytest.mark.parametrize("seed", range(24))
def test_rough(seed):
    """Crashes are so frequent that most reigns end by one."""
    World(seed, cluster(3 + 2 * (seed % 2), faults=ROUGH, window=16)).run()


@pytest.mark.parametrize("nodes", [1, 2, 3, 5])
def test_calm(nodes):
    """Without faults one election is enough, every operation is answered, and no frame is lost or repeated."""
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


class Deaf(Network):
    """After half a second no frame of a client arrives."""

    def send_request(self, client, id, link, frame):
        if self.timeline.now_ns < 500 * MS:
            super().send_request(client, id, link, frame)


def test_a_cluster_that_answers_no_client_is_not_live():
    """Liveness is judged too; the violation names the seed and the state of every node."""
    found = search([3], network=Deaf)
    assert "not live" in found
    assert "(seed 3)" in found


def test_a_lost_write_shows_in_the_history():
    """Only the linearizability check finds a machine that forgets: its state is equal everywhere, and wrong."""

    class Forgetful(Host):
        def on_events(self, events):
            self.machine.apply_bytes(1 << 40, 0, 0, b"\5\4\0key0")
            super().on_events(events)

    world = with_parts(host=Forgetful)(1, cluster(keys=1))
    with pytest.raises(Violation, match="not linearizable, key b'key0'"):
        world.run()


def test_replicas_that_differ_are_found():
    world = settled(9)
    world.hosts[2].machine.apply_bytes(1 << 40, 0, 0, b"\3\4\0key0another")
    assert world.scenario.roles[2] & REPLICA
    with pytest.raises(Violation, match="nodes 0 and 2"):
        world.judge()
