"""Clients that die, leave their sessions and misbehave."""

from dataclasses import replace

import pytest

from multipaxos import commands
from multipaxos.judges.violation import Violation
from multipaxos.simulation.drawing import CROWDED_SEED, scenario
from multipaxos.simulation.intruder import GUESSED
from multipaxos.simulation.scenario import Faults
from multipaxos.simulation.timeline import MS
from multipaxos.simulation.world import World
from multipaxos.wire import codec
from multipaxos.wire.codec import ReplyStatus
from tests.simulation.worlds import cluster, settled


def test_clients_that_die_leave_no_trace():
    """Their commands may take effect; those of the others are not touched."""
    world = World(3, cluster(faults=Faults(clients_die=50 * MS), hostile_ns=2000 * MS))
    world.run()
    assert world.chance.counts["clients_die"] > 10
    assert any(client.given_up for client in world.clients)


def test_intruders_change_nothing():
    """All that they send is refused or answered, and every client is served."""
    world = World(4, cluster(faults=Faults(intrusions=10 * MS), hostile_ns=2000 * MS))
    world.run()
    assert world.chance.counts["intrusions"] > 100
    assert not any(client.given_up for client in world.clients)
    assert any("which peers do not send" in note.text or "from a client" in note.text for note in world.timeline.notes)


def test_a_guess_that_is_done_is_a_violation():
    intruder = settled(5).adversary.clients.intruder
    intruder.on_frame(codec.encode_response(9, [(GUESSED, 7, ReplyStatus.EXPIRED, b"")]))
    with pytest.raises(Violation, match="a guessed command was answered with ok"):
        intruder.on_frame(codec.encode_response(9, [(GUESSED, 7, ReplyStatus.OK, b"")]))


def test_an_answer_that_is_none_to_its_command_is_a_violation():
    with pytest.raises(Violation, match="the answer to another command"):
        settled(5).clients[0].read_answer(commands.scan(b"key"), b"", 7)


def test_sessions_by_the_thousand():
    """More than a thousand sessions are opened, and no answer is lost."""
    world = World(CROWDED_SEED, replace(scenario(CROWDED_SEED), sessions_max=64))
    world.run()
    assert world.chance.counts["short_sessions"] > 1000


def test_replayed_frames_arrive_on_later_links():
    """Also over a restart of either node; never where a disk was lost in between."""
    faults = Faults(replays=10 * MS, link_breaks=100 * MS, crashes=300 * MS, disks_lost=500 * MS)
    world = World(6, cluster(faults=faults, expendable=(2,)))
    world.run()
    assert world.chance.counts["replays"] > 100


def test_clients_outlive_their_cluster():
    """Every disk is lost at once: nothing that clients asked of the first cluster takes effect in the second."""
    world = World(8, cluster(outlived=1, hostile_ns=1000 * MS, patience_ns=150 * MS))
    world.run()
    assert world.chance.counts["clusters_outlived"] == 1
    assert world.chance.counts["sessions_expired"] >= 3
    assert len(world.history()) >= 3 * 3  # the last reads at least are of the second cluster
