"""How much a leader has undecided: enough for what the cluster carries, and not a queue more.

Rules. What is judged is virtual time, as in test_bandwidth.
"""

from dataclasses import replace

import pytest

from multipaxos.simulation.scenario import Faults
from multipaxos.simulation.timeline import MS
from tests.simulation.worlds import MIB, Slow, latencies_ms

MBIT = 125_000  # bytes a second
KIB = 1 << 10
GREATEST = 8 * MIB
LIMIT_MS = 60_000


def crowded(clients=4, outstanding=256, operations=1500, value_bytes=16 * KIB, **changes):
    """A cluster whose leader is asked for far more than its links carry."""
    world = Slow(value_bytes=value_bytes, in_flight_bytes=GREATEST, **changes)
    writers = [world.writer(operations, outstanding=outstanding, keys=1) for _ in range(clients)]
    return world, writers


def flight(world):
    return world.leader().core.status()["flight_window_bytes"]


def test_a_small_put_waits_for_no_queue():
    """What others ask for makes up 16 MiB; a client with one small put at a time waits for a few milliseconds of it."""
    world, writers = crowded(rate=1000 * MBIT)
    world.timeline.run_for(300 * MS)
    probe = world.writer(20, value_bytes=16, hostile_ns=1)
    assert world.wait_for([probe], LIMIT_MS) is not None, world.costs()
    assert not any(writer.done for writer in writers)
    assert latencies_ms(probe, 0)[10] < 30
    assert flight(world) < 2 * MIB


@pytest.mark.parametrize("delay_ms", [0.5, 50])
def test_the_links_are_used(delay_ms):
    """Also where a decision takes long: the flight holds what is on its way in that time."""
    mbit = 100
    faults = Faults(delay_ns=(int(delay_ms * MS), int(delay_ms * 1.1 * MS)))
    world, writers = crowded(rate=mbit * MBIT, operations=800, faults=faults, patience_ns=20_000 * MS)
    took_ms = world.wait_for(writers, LIMIT_MS)
    assert took_ms is not None, world.costs()
    assert took_ms < 1.15 * 4 * 800 * 16 * KIB * 1000 / (mbit * MBIT) + 10 * delay_ms
    assert world.elections == world.elections_before


def test_who_asks_for_little_does_not_make_it_less():
    world = Slow(rate=1000 * MBIT, value_bytes=1000, in_flight_bytes=GREATEST)
    assert world.wait_for([world.writer(50, outstanding=4)], LIMIT_MS) is not None
    assert flight(world) == GREATEST


def test_it_is_never_above_what_an_election_may_have_to_carry():
    """Decisions take a second: more would be carried in that time."""
    faults = Faults(delay_ns=(250 * MS, 260 * MS))
    world = Slow(
        rate=1000 * MBIT,
        value_bytes=64 * KIB,
        in_flight_bytes=MIB,
        faults=faults,
        patience_ns=20_000 * MS,
        election_timeout_ns=5000 * MS,
    )
    writers = [world.writer(40, outstanding=40, keys=1) for _ in range(2)]
    most = 0
    while not all(writer.done for writer in writers):
        world.timeline.run_for(5 * MS)
        most = max(most, world.leader().core.status()["in_flight_bytes"])
        assert flight(world) <= MIB
    assert MIB <= most < MIB + 256 * KIB + 64 * KIB


def test_a_path_that_becomes_longer_is_measured_again():
    """The shortest round that was seen no longer tells how long a decision takes: after a while it is measured anew."""
    mbit = 100
    world, writers = crowded(rate=mbit * MBIT, operations=8000, patience_ns=60_000 * MS)
    world.timeline.run_for(2000 * MS)
    faults = replace(world.scenario.faults, delay_ns=(40 * MS, 44 * MS))
    world.chance.faults, world.chance.delays_ns = faults, (40 * MS, 44 * MS)
    world.timeline.run_for(12_000 * MS)
    before = world.slots
    world.timeline.run_for(4000 * MS)
    assert not any(writer.done for writer in writers)
    assert (world.slots - before) * 16 * KIB > 0.85 * 4 * mbit * MBIT
    assert world.elections == world.elections_before
