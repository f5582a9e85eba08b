"""Is this a quorum? Masks in C beside sets in Python, over all 512 vote masks of nine acceptors."""

import pytest

from multipaxos.paxos.quorum import QuorumSystem

N = 9
MASKS = range(1 << N)
SETS = [frozenset(node for node in range(N) if mask >> node & 1) for mask in MASKS]
COLUMNS = [frozenset((i, i + 3, i + 6)) for i in range(3)]


def count(is_quorum, votes):
    return sum(map(is_quorum, votes))


@pytest.mark.benchmark(group="phase-2 quorums, majority of 9, 512 masks")
def test_majority(benchmark):
    assert benchmark(count, QuorumSystem.majority(range(N)).is_phase2_quorum, MASKS) == 256


@pytest.mark.benchmark(group="phase-2 quorums, majority of 9, 512 masks")
def test_majority_in_python(benchmark):
    assert benchmark(count, lambda votes: 2 * len(votes) > N, SETS) == 256


@pytest.mark.benchmark(group="phase-2 quorums, grid 3 x 3, 512 masks")
def test_grid(benchmark):
    assert benchmark(count, QuorumSystem.grid(range(N), 3, 3).is_phase2_quorum, MASKS) == 169


@pytest.mark.benchmark(group="phase-2 quorums, grid 3 x 3, 512 masks")
def test_grid_in_python(benchmark):
    assert benchmark(count, lambda votes: any(column <= votes for column in COLUMNS), SETS) == 169
