"""The oracle finds what it must, in worlds of which a part is broken on purpose.

`tests/simulation/test_mutation.py` is about broken cores; here the core is good, and the world around it is broken: a
disk, a clock, a frame, a configuration.
"""

import pytest

from multipaxos.judges.violation import Violation
from tests.simulation.broken_parts import (
    CopiedHost,
    EarlyDecisions,
    EarlyHost,
    EmptyPromises,
    HighMarks,
    LosingHost,
    UnequalHost,
)
from tests.simulation.worlds import search, settled


@pytest.mark.parametrize("host", [EarlyHost, LosingHost, UnequalHost, CopiedHost])
def test_a_host_that_breaks_a_promise_is_found(host):
    assert search(range(40), host=host) is not None


@pytest.mark.parametrize("network", [EmptyPromises, HighMarks, EarlyDecisions])
def test_lies_are_found(network):
    assert search(range(40), network=network) is not None


def test_an_expiry_that_the_log_does_not_know_is_a_violation():
    world = settled(8)
    with pytest.raises(Violation, match="is reported to be expired, and lives"):
        world.oracle.on_expired(world.clients[0].session.id, world.clients[0].session.nonce)
    world.oracle.on_expired(10**6, 1)
    world.oracle.on_expired(world.clients[0].session.id, 1)
