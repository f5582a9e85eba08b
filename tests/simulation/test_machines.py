"""User's machines in the simulator: commands that raise, jobs that take time, a machine that differs."""

import pytest

from multipaxos.commands import cas, put
from multipaxos.judges.violation import Violation
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.state_machine import Context
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.tried_machine import TROUBLES, TriedMachine, is_right, opinion, trouble
from multipaxos.simulation.world import World
from tests.simulation.worlds import cluster


def world_of(nodes, differing):
    """A calm cluster with user's machines that has done its work."""
    world = World(7, cluster(nodes, user_machine=True, differing=differing, hostile_ns=1500 * MS, patience_ns=150 * MS))
    world.run()
    return world


def test_every_trouble_is_an_answer():
    """No replica ends, whatever a command raises, and all of them go on with equal states."""
    world = world_of(3, -1)
    assert world.chance.counts["jobs"] > 20
    assert all(host.life == 1 for host in world.hosts)
    assert not any(client.given_up for client in world.clients)


def test_a_machine_that_differs_is_told_and_stops_serving():
    world = world_of(3, 1)
    assert world.hosts[1].core.status()["differs"] == "minority"
    assert [world.hosts[id].core.status()["differs"] for id in (0, 2)] == [None, None]
    assert not world.hosts[1].core.status()["leading"]
    with pytest.raises(Violation, match="answers a client"):
        world.oracle.on_response(1)


def test_a_snapshot_is_restored():
    one, other = TriedMachine(KeyValue(), differs=False), TriedMachine(KeyValue(), differs=False)
    for slot, command in enumerate(
        [put(b"k", b"v"), put(b"k", b"w"), opinion(), cas(b"k", 1, b"x"), put(b"l", b"")], 1
    ):
        one.apply(command, Context(slot, 5, 9))
    other.apply(put(b"gone", b""), Context(1, 1, 1))
    other.restore(one.snapshot())
    assert other.store.items() == one.store.items()
    assert list(other.snapshot()) == list(one.snapshot())


def test_of_two_nobody_can_say_who_is_wrong():
    world = world_of(2, 1)
    assert [host.core.status()["differs"] for host in world.hosts] == ["no majority", "no majority"]


def test_an_answer_that_no_machine_gives_is_a_violation():
    world = world_of(3, -1)
    with pytest.raises(Violation, match="does not differ"):
        world.on_opinion(0, False)


@pytest.mark.parametrize("number", range(len(TROUBLES)))
def test_what_a_right_answer_to_a_trial_is(number):
    name = TROUBLES[number].__name__.encode()
    assert is_right(trouble(number), True, name + b": a trial")
    assert not is_right(trouble(number), False, b"")
    assert not is_right(trouble(number), True, b"Other: a trial")
    assert is_right(opinion(), False, b"agreed")
    assert not is_right(opinion(), False, b"otherwise")
