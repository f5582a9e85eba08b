"""Every quorum system: any phase-1 quorum meets any phase-2 quorum; a system in which they need not is refused."""

from itertools import combinations

import pytest

from multipaxos.errors import ConfigurationError
from multipaxos.paxos.quorum import QuorumSystem


def systems(n):
    """Every system over n acceptors that can be made."""
    ids = list(range(n))
    yield QuorumSystem.majority(ids)
    for phase1 in range(1, n + 1):
        for phase2 in range(n + 1 - phase1, n + 1):
            yield QuorumSystem.sizes(ids, phase1, phase2)
    for rows in range(1, n + 1):
        if n % rows == 0:
            yield QuorumSystem.grid(ids, rows, n // rows)


@pytest.mark.parametrize("n", range(1, 8))
def test_quorums_of_the_two_phases_intersect(n):
    for system in systems(n):
        masks = range(1 << n)
        phase1 = [mask for mask in masks if system.is_phase1_quorum(mask)]
        phase2 = [mask for mask in masks if system.is_phase2_quorum(mask)]
        assert phase1
        assert phase2
        assert all(first & second for first in phase1 for second in phase2), system


@pytest.mark.parametrize("n", range(1, 8))
def test_more_votes_never_undo_a_quorum(n):
    for system in systems(n):
        for is_quorum in (system.is_phase1_quorum, system.is_phase2_quorum):
            assert is_quorum((1 << n) - 1)
            assert not is_quorum(0)
            for mask in range(1 << n):
                if is_quorum(mask):
                    assert all(is_quorum(mask | 1 << i) for i in range(n))


@pytest.mark.parametrize("n", range(1, 8))
def test_majority_is_more_than_half(n):
    system = QuorumSystem.majority(range(n))
    for mask in range(1 << n):
        more_than_half = 2 * mask.bit_count() > n
        assert system.is_phase1_quorum(mask) == system.is_phase2_quorum(mask) == more_than_half


@pytest.mark.parametrize("n", range(1, 8))
def test_sizes_are_refused_exactly_where_disjoint_quorums_exist(n):
    ids = range(n)
    for phase1 in range(1, n + 1):
        for phase2 in range(1, n + 1):
            disjoint = any(
                not set(first) & set(second)
                for first in combinations(ids, phase1)
                for second in combinations(ids, phase2)
            )
            if disjoint:
                with pytest.raises(ConfigurationError, match="need not intersect"):
                    QuorumSystem.sizes(ids, phase1, phase2)
            else:
                system = QuorumSystem.sizes(ids, phase1, phase2)
                for mask in range(1 << n):
                    assert system.is_phase1_quorum(mask) == (mask.bit_count() >= phase1)
                    assert system.is_phase2_quorum(mask) == (mask.bit_count() >= phase2)


def test_grid_is_a_row_for_phase1_and_a_column_for_phase2():
    system = QuorumSystem.grid([5, 4, 3, 2, 1, 0], 2, 3)
    rows, columns = (0b111000, 0b000111), (0b100100, 0b010010, 0b001001)
    for mask in range(1 << 6):
        assert system.is_phase1_quorum(mask) == any(mask & row == row for row in rows)
        assert system.is_phase2_quorum(mask) == any(mask & column == column for column in columns)


def test_votes_of_others_count_for_nothing():
    for system in (
        QuorumSystem.majority([0, 2, 63]),
        QuorumSystem.sizes([0, 2, 63], 2, 2),
        QuorumSystem.grid([0, 2, 63], 3, 1),
    ):
        others = ~system.acceptors & (1 << 64) - 1
        assert system.acceptors == 1 | 1 << 2 | 1 << 63
        assert not system.is_phase1_quorum(others)
        assert not system.is_phase2_quorum(others)
        assert system.is_phase1_quorum(others | 1 | 1 << 63)


def test_all_64_acceptors():
    system = QuorumSystem.majority(range(64))
    assert not system.is_phase2_quorum((1 << 32) - 1)
    assert system.is_phase2_quorum((1 << 64) - (1 << 31))
    eight = QuorumSystem.grid(range(64), 8, 8)
    assert eight.is_phase1_quorum(0xFF << 56)
    assert eight.is_phase2_quorum(0x8080808080808080)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: QuorumSystem.majority([]), "no acceptors"),
        (lambda: QuorumSystem.majority([0, 64]), "64 is no acceptor id"),
        (lambda: QuorumSystem.majority([-1]), "-1 is no acceptor id"),
        (lambda: QuorumSystem.majority([True]), "True is no acceptor id"),
        (lambda: QuorumSystem.majority(["0"]), "'0' is no acceptor id"),
        (lambda: QuorumSystem.majority([0, 1, 1]), "1 is listed twice"),
        (lambda: QuorumSystem.sizes(range(3), 0, 4), "phase1 = 0 must be"),
        (lambda: QuorumSystem.sizes(range(3), 3, "1"), "phase2 = '1' must be"),
        (lambda: QuorumSystem.sizes(range(3), 4, 1), "phase1 = 4, but there are only 3"),
        (lambda: QuorumSystem.sizes(range(3), 1, 1 << 40), "phase2 = 1099511627776, but"),
        (lambda: QuorumSystem.sizes(range(4), 2, 2), "must be at least 5"),
        (lambda: QuorumSystem.grid(range(5), 2, 3), "needs 6 acceptors, there are 5"),
        (lambda: QuorumSystem.grid(range(6), -2, -3), "rows = -2 must be"),
        (lambda: QuorumSystem.grid(range(6), 2, 3.0), "columns = 3.0 must be"),
    ],
)
def test_refusals_say_why(make, reason):
    with pytest.raises(ConfigurationError, match=reason):
        make()


def test_no_way_around_the_classmethods():
    with pytest.raises(TypeError, match="majority"):
        QuorumSystem()
    empty = QuorumSystem.__new__(QuorumSystem)
    assert not empty.is_phase1_quorum((1 << 64) - 1)
    assert not empty.is_phase2_quorum((1 << 64) - 1)


def test_masks_beyond_64_bits_are_refused():
    with pytest.raises(OverflowError):
        QuorumSystem.majority([0]).is_phase1_quorum(1 << 64)


def test_description_and_equality():
    assert QuorumSystem.majority(range(3)) == QuorumSystem.sizes([2, 1, 0], 2, 2)
    assert QuorumSystem.grid(range(4), 2, 2) != QuorumSystem.grid([0, 2, 1, 3], 2, 2)
    assert QuorumSystem.sizes(range(4), 3, 2).describe() == "phase 1: any 3, phase 2: any 2 of {0, 1, 2, 3}"
    grid = QuorumSystem.grid(range(4), 2, 2)
    assert grid.describe() == "phase 1: a row of {0, 1} {2, 3}, phase 2: a column of {0, 2} {1, 3}"
    assert len({grid, QuorumSystem.grid(range(4), 2, 2)}) == 1


def test_quorum_systems_are_shown_and_compared() -> None:
    """With each other only."""
    system = QuorumSystem.majority([0, 1, 2])
    assert repr(system) == "<QuorumSystem phase 1: any 2, phase 2: any 2 of {0, 1, 2}>"
    assert system != "majority"
