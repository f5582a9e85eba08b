"""pmax of five acceptors with 10,000 pvalues each, in runs of 100, at three ballots."""

import pytest

from multipaxos.paxos import ballot
from multipaxos.paxos.pmax import PMax, pmax
from multipaxos.wire import codec

ACCEPTORS, SLOTS, RUN = 5, 10_000, 100


def answers():
    """Per acceptor, its runs: (ballot, first slot, commands)."""
    for acceptor in range(ACCEPTORS):
        for first in range(1, SLOTS + 1, RUN):
            at = ballot.make(1 + (acceptor + first // RUN) % 3, acceptor)
            yield at, first, [(1, first + i, 1, 0, b"v" * 64) for i in range(RUN)]


def merge(frames):
    merged = PMax(1)
    for frame, first, end in frames:
        merged.add_frame(frame, first, end)
    return merged


@pytest.mark.benchmark(group="pmax 5 acceptors x 10,000 pvalues")
def test_from_frames(benchmark):
    frames = [
        (codec.encode_phase2a(at, first, 7, (0, 0, 0), commands), first, first + RUN)
        for at, first, commands in answers()
    ]
    assert benchmark(merge, frames).end == SLOTS + 1


@pytest.mark.benchmark(group="pmax 5 acceptors x 10,000 pvalues")
def test_of_objects_in_python(benchmark):
    pvalues = [(at, first + i, command) for at, first, run in answers() for i, command in enumerate(run)]
    assert len(benchmark(pmax, pvalues)) == SLOTS
