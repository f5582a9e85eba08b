"""What becomes of frames, and what is counted."""

from dataclasses import replace

from multipaxos.simulation.chance import Chance
from multipaxos.simulation.scenario import Faults
from multipaxos.simulation.timeline import MS

HARSH = Faults(lost=0.3, repeated=0.3, delayed=0.3, delay_ns=(1, 2), delayed_ns=MS)


def test_nothing_happens_to_frames_before_the_world_is_hostile():
    chance = Chance(1, HARSH)
    assert {chance.copies("phase2a") for _ in range(100)} == {1}
    assert {chance.delay_ns("phase2a", late=True) for _ in range(100)} == {1, 2}
    assert sum(chance.counts.values()) == 0


def test_each_fault_is_counted_when_it_takes_effect():
    chance = Chance(1, HARSH)
    chance.hostile = True
    copies = [chance.copies("phase2a") for _ in range(1000)]
    delays_ns = [chance.delay_ns("phase2a") for _ in range(1000)]
    assert (copies.count(0), copies.count(2)) == (chance.counts["lost"], chance.counts["repeated"])
    assert 200 < copies.count(0) < 400
    assert chance.counts["delayed"] >= sum(delay_ns > 2 for delay_ns in delays_ns) > 200


def test_victims_fare_worse():
    chance = Chance(1, replace(HARSH, lost=0.0, victims=("phase1a",)))
    chance.hostile = True
    assert 0 not in {chance.copies("phase2a") for _ in range(100)}
    assert 0 in {chance.copies("phase1a") for _ in range(100)}
