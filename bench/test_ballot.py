"""Ballots: one integer beside a tuple (round, leader)."""

import pytest

from multipaxos.paxos import ballot

PAIRS = [(round, leader) for round in range(1, 201) for leader in range(5)]


@pytest.mark.benchmark(group="order 1,000 ballots")
def test_as_integers(benchmark):
    ballots = [ballot.make(*pair) for pair in reversed(PAIRS)]
    assert [(ballot.round_of(b), ballot.leader_of(b)) for b in benchmark(sorted, ballots)] == PAIRS


@pytest.mark.benchmark(group="order 1,000 ballots")
def test_as_tuples(benchmark):
    assert benchmark(sorted, PAIRS[::-1]) == PAIRS


@pytest.mark.benchmark(group="make a ballot")
def test_make(benchmark):
    assert benchmark(ballot.make, 5, 2) == 5 << 24 | 2


@pytest.mark.benchmark(group="make a ballot")
def test_make_in_python(benchmark):
    def make(round, leader):
        if not 1 <= round < 1 << 40 or not 0 <= leader < 1 << 24:
            raise ValueError
        return round << 24 | leader

    assert benchmark(make, 5, 2) == 5 << 24 | 2
