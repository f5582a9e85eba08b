"""Handshakes: a connection of an earlier life of a node does not count."""

import pytest

from multipaxos.judges.violation import Violation
from multipaxos.simulation.drawing import founded_under_losses
from multipaxos.simulation.network import Network
from multipaxos.simulation.scenario import Scenario
from multipaxos.simulation.timeline import MS
from multipaxos.transport.meetings import Meetings
from tests.simulation.worlds import with_parts

FOUNDING = founded_under_losses(Scenario(window=16))


def found(seed, network=Network):
    """The world after a founding in which one disk is lost again and again, and hellos arrive late."""
    world = with_parts(network=network)(seed, FOUNDING)
    world.adversary.begin()
    world.timeline.run_for(600 * MS)
    return world


def test_founding_while_a_disk_is_lost():
    """All nodes that found name the same founders, though connections of dead processes come up late."""
    worlds = [found(seed) for seed in range(200)]
    texts = [note.text for world in worlds for note in world.timeline.notes]
    assert sum("no link" in text and "came up in another life" in text for text in texts) > 50


def test_a_late_connection_of_the_dead_would_found_twice(monkeypatch):
    """If a connection of an earlier life were taken for one of the present life."""
    monkeypatch.setattr(Meetings, "bar", lambda *_: "")
    with pytest.raises(Violation, match="other founders"):
        all(found(seed) for seed in range(2000))
