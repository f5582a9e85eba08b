"""Large values on links with a rate: what each costs, in bytes and in virtual time."""

import pytest

from tests.simulation.worlds import MIB, Slow, latencies_ms

MBIT = 125_000  # bytes a second


@pytest.mark.parametrize("rate", [100 * MBIT])
def test_large_values_one_at_a_time(rate):
    """Each put of 1 MiB within 2 times its bytes' time on a link of the leader, and nothing is carried twice."""
    world = Slow(rate=rate)
    client = world.writer(8)
    assert world.wait_for([client], 60_000) is not None, world.costs()
    assert latencies_ms(client)[-1] < 2 * MIB * 1000 / rate
    world.check_cost(faults=0)


def test_a_value_that_takes_long_to_upload():
    """A client does not take its own upload for the silence of a node: it sends each value once."""
    world = Slow(rate=1000 * MBIT, client_rate=MIB, patience_ns=600_000_000)
    client = world.writer(3)
    assert world.wait_for([client], 20_000) is not None, world.costs()
    assert latencies_ms(client)[-1] < 1100
    world.check_cost(faults=0)
