"""Large values on links with a rate: what each fault costs, in bytes, slots, elections and virtual time.

Rules. A time is judged by the time that its bytes need on the link that carries them. The cluster leads before it is
loaded; its election time-out is 500 ms.
"""

import pytest

from multipaxos.simulation.timeline import MS
from tests.simulation.worlds import GIGABYTE, MIB, Slow, latencies_ms

MBIT = 125_000  # bytes a second
PUT = 64  # fewer bytes than any put of these tests has; a get has fewer
LIMIT_MS = 60_000
HELD = 96 * MIB  # of one process in these tests: the values that its rings keep, requests, and what waits on links


def puts_ms(client):
    return latencies_ms(client, PUT)


def answered(clients):
    return sum(len(one.history) for one in clients)


def wait_for_an_answer(world, clients):
    before = answered(clients)
    return world.wait(lambda: answered(clients) > before, LIMIT_MS)


@pytest.mark.parametrize("mbit", [20, 100])
def test_large_values_one_at_a_time(mbit):
    """Each put of 1 MiB within 2 times its bytes' time on a link of the leader, and nothing is carried twice."""
    world = Slow(rate=mbit * MBIT)
    client = world.writer(8)
    assert world.wait_for([client], LIMIT_MS) is not None, world.costs()
    assert puts_ms(client)[-1] < 2 * MIB * 1000 / (mbit * MBIT)
    world.check(faults=0)


@pytest.mark.parametrize("rate", [GIGABYTE, 1000 * MBIT])
def test_64_mib_accepted_and_undecided_when_the_leader_dies(rate):
    """The next leader has to carry them twice: to itself in phases 1b, and from itself in phases 2a. The cost
    is not judged: votes were lost before, so there were two faults, and clients repeat all that was undecided."""
    world = Slow(rate=GIGABYTE, in_flight_bytes=128 * MIB, ring_bytes=512 * MIB)
    leader = world.leader()
    clients = [world.writer(40, outstanding=36, keys=1) for _ in range(2)]
    assert world.wait(lambda: all(client.session.id for client in clients), 1000) is not None
    world.network.cut |= {(host.id, leader.id) for host in world.hosts if host is not leader}
    world.timeline.run_for(300 * MS)
    assert min(host.core.status()["memory_bytes"] for host in world.hosts) > 64 * MIB
    world.network.cut.clear()
    world.set_rate(rate)
    world.kill(leader)
    took_ms = wait_for_an_answer(world, clients)
    assert took_ms is not None, world.costs()
    assert took_ms < 2000
    assert world.wait_for(clients, LIMIT_MS) is not None, world.costs()
    assert world.elections - world.elections_before == 1


def test_28_mib_in_flight_from_three_clients_when_the_leader_dies():
    world = Slow(rate=1000 * MBIT)
    clients = [world.writer(30, outstanding=10, keys=1) for _ in range(3)]
    world.timeline.run_for(150 * MS)
    assert sum(len(client.unanswered) for client in clients) >= 28
    world.kill(world.leader())
    took_ms = wait_for_an_answer(world, clients)
    assert took_ms is not None, world.costs()
    assert took_ms < 2000
    assert world.wait_for(clients, 3000) is not None, world.costs()
    world.check(faults=1, memory_bytes=2 * HELD)


def test_a_follower_100_mib_behind_when_the_leader_dies():
    """It is needed for a quorum, and fetches what it lacks while that is carried once."""
    world = Slow(rate=1000 * MBIT)
    follower, leader = world.follower(), world.leader()
    world.kill(follower)
    assert world.wait_for([world.writer(100, outstanding=4, keys=1)], LIMIT_MS) is not None
    world.bring_back(follower)
    world.timeline.run_for(60 * MS)
    assert world.slots - follower.core.slot_out > 90
    world.kill(leader)
    client = world.writer(3, at=follower, keys=1)
    took_ms = wait_for_an_answer(world, [client])
    assert took_ms is not None, world.costs()
    assert took_ms < 3000
    world.check(faults=1, memory_bytes=2 * HELD)


def test_a_learner_40_mib_behind_on_slow_links():
    """It catches up in 1.5 times its bytes' time while writes go on, which do not notice."""
    rate = 2 * MIB
    world = Slow(rate=1000 * MBIT, value_bytes=256 << 10)
    learner, leader = world.follower(), world.leader()
    world.kill(learner)
    world.set_rate(rate, learner.id)
    alone = world.writer(160, outstanding=4, keys=1)
    assert world.wait_for([alone], LIMIT_MS) is not None
    world.bring_back(learner)
    lacks = world.slots
    client = world.writer(60, at=leader, keys=1, hostile_ns=30_000 * MS)
    took_ms = world.wait(lambda: learner.core.slot_out > lacks, 2 * LIMIT_MS)
    assert took_ms is not None, world.costs()
    assert took_ms < 1.5 * 160 * (256 << 10) * 1000 / rate
    assert world.wait_for([client], LIMIT_MS) is not None
    assert puts_ms(client)[-2] < 2 * max(puts_ms(alone)[-2], 6)
    world.check(faults=0, memory_bytes=2 * HELD)


def test_30_large_puts_in_flight():
    """They take their bytes' time, and no ping waits for them."""
    world = Slow(rate=100 * MBIT)
    client = world.writer(60, outstanding=30, keys=1)
    took_ms = world.wait_for([client], LIMIT_MS)
    assert took_ms is not None, world.costs()
    assert took_ms < 1.2 * 60 * MIB * 1000 / (100 * MBIT)
    world.check(faults=0, memory_bytes=2 * HELD)


def test_small_puts_beside_eight_writers_of_large_ones():
    """On fast links, as between processes of one machine: within 10 times of alone."""
    world = Slow(rate=GIGABYTE)
    small = {"value_bytes": 16, "hostile_ns": 1}
    alone = world.writer(10, **small)
    assert world.wait_for([alone], LIMIT_MS) is not None
    writers = [world.writer(12, keys=1) for _ in range(8)]
    beside = world.writer(10, **small)
    assert world.wait_for([beside], LIMIT_MS) is not None
    assert any(not writer.done for writer in writers)
    middle = [latencies_ms(client, 0)[5] for client in (alone, beside)]
    assert middle[1] < 10 * middle[0]
    world.check(faults=0, memory_bytes=4 * HELD)


def test_a_follower_whose_disk_stands():
    """It holds no more than `ring_bytes`, the others do not notice, and it is level again when its disk goes on."""
    ring_bytes = 32 * MIB
    world = Slow(rate=1000 * MBIT, ring_bytes=ring_bytes)
    follower, leader = world.follower(), world.leader()
    world.stop_disk(follower)
    stood = follower.core.slot_out
    client = world.writer(100, outstanding=4, keys=1)
    assert world.wait_for([client], LIMIT_MS) is not None, world.costs()
    assert follower.core.slot_out < stood + 100
    assert follower.core.status()["memory_bytes"] > ring_bytes // 4
    world.check(faults=1, memory_bytes=ring_bytes + 16 * MIB)  # with what waits on links and for slots
    assert follower.core.status()["memory_bytes"] <= ring_bytes
    world.start_disk(follower)
    took_ms = world.wait(lambda: follower.core.slot_out == leader.core.slot_out, LIMIT_MS)
    assert took_ms is not None
    assert took_ms < 3 * 100 * MIB * 1000 / (1000 * MBIT)
    assert follower.core.status()["state_hash"] == leader.core.status()["state_hash"]
    assert world.elections == world.elections_before


def test_a_follower_whose_disk_stands_and_that_is_needed():
    """What it had no room for is sent to it when it has."""
    world = Slow(rate=1000 * MBIT, ring_bytes=16 * MIB)
    follower = world.follower()
    world.kill(next(host for host in world.hosts if host not in (follower, world.leader())))
    world.stop_disk(follower)
    client = world.writer(40, outstanding=12, keys=1)
    assert world.wait_for([client], 1000) is None
    assert follower.core.status()["memory_bytes"] <= 16 * MIB
    world.start_disk(follower)
    assert world.wait_for([client], 3000) is not None, world.costs()
    assert world.elections == world.elections_before


def test_a_value_that_takes_long_to_upload():
    """A client does not take its own upload for the silence of a node: it sends each value once."""
    world = Slow(rate=1000 * MBIT, client_rate=MIB, patience_ns=600 * MS)
    client = world.writer(3)
    assert world.wait_for([client], LIMIT_MS) is not None, world.costs()
    assert puts_ms(client)[-1] < 1100
    world.check(faults=0)


def test_a_link_on_which_a_cut_takes_longer_than_the_time_out():
    """A pong waits behind a cut of the value: bytes that arrive are the sign that the leader is waited for."""
    world = Slow(rate=MBIT // 2, value_bytes=256 << 10, patience_ns=30_000 * MS)
    client = world.writer(2)
    assert world.wait_for([client], LIMIT_MS) is not None, world.costs()
    assert puts_ms(client)[-1] < 2 * (256 << 10) * 1000 / (MBIT // 2)
    world.check(faults=0)
