"""Three votes for each of 8,192 slots in runs of 100, then all are forgotten: a ring beside a dictionary."""

import pytest

from multipaxos.paxos.slots import Ring

SLOTS, RUN, VOTERS, BALLOT = 8192, 100, 3, 1 << 24


def in_ring(ring):
    base, counted = ring.base, 0
    for first in range(base, base + SLOTS, RUN):
        for voter in range(VOTERS):
            counted += ring.vote_all(first, min(first + RUN, base + SLOTS), BALLOT, voter)
    ring.advance(base + SLOTS)
    return counted


def in_dictionary():
    rows, counted = {}, 0
    for first in range(1, 1 + SLOTS, RUN):
        for voter in range(VOTERS):
            for slot in range(first, min(first + RUN, 1 + SLOTS)):
                row = rows.setdefault(slot, [BALLOT, 0])
                if row[0] == BALLOT:
                    row[1] |= 1 << voter
                    counted += 1
    rows.clear()
    return counted


@pytest.mark.benchmark(group="three votes for each of 8,192 slots")
def test_ring(benchmark):
    assert benchmark(in_ring, Ring(SLOTS)) == SLOTS * VOTERS


@pytest.mark.benchmark(group="three votes for each of 8,192 slots")
def test_dictionary(benchmark):
    assert benchmark(in_dictionary) == SLOTS * VOTERS
