"""The judges count by the quorums that the core is configured with."""

import pytest

from multipaxos.simulation.drawing import scenario


@pytest.mark.parametrize("seed", range(300))
def test_plain_quorums_are_those_of_the_core(seed):
    """What the judges count by is what the core is configured with."""
    quorums = scenario(seed).quorums
    system = quorums.system()
    for mask in range(1 << min(9, max(quorums.acceptors) + 1)):
        nodes = {node for node in range(9) if mask >> node & 1}
        assert quorums.is_phase1(nodes) == system.is_phase1_quorum(mask)
        assert quorums.is_phase2(nodes) == system.is_phase2_quorum(mask)
