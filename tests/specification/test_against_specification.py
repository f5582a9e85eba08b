"""The core's roles against the executable specification (`tests/specification`), over random schedules.

In each test one core runs beside the specification's node (`refinement.py`), and all other nodes are random
(`environment.py`). After every step they must not differ: in any state that can be seen, nor in what leaves, nor in
when it does. A failure prints the schedule; hypothesis makes it as short as it can.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from multipaxos.paxos.pmax import PMax
from tests.specification.environment import Environment
from tests.specification.paper import Schedule
from tests.specification.refinement import SYSTEMS, Pair, frame_of, from_wire
from tests.specification.terms import Ballot, Command, Pvalue, arrow, holds, pmax

NAMES = sorted(SYSTEMS)


def examples(count):
    """A test over that many schedules; a failure prints what is needed to repeat it."""
    return settings(
        max_examples=count,
        deadline=None,
        database=None,
        print_blob=True,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example],
    )


def schedules(length=300):
    """Bytes, each a choice."""
    return st.binary(min_size=length // 3, max_size=length).map(Schedule)


def beside(schedule, system="majority of 3", window=16):
    """A core, the specification, and all other nodes."""
    return Environment(Pair(0, system, window), schedule)


# -- Figure 4


@examples(100)
@given(schedules())
def test_acceptor(schedule):
    """ballot_num, accepted, and the 1b's and 2b's: their contents, and that they leave at the sync and not before."""
    world = beside(schedule)
    world.run({"p1a": 1, "p2a": 2, "p2a_run": 1, "sync": 2})
    world.pair.settle()


@examples(100)
@given(schedules())
def test_acceptor_that_crashes_and_learns(schedule):
    """As above; after a crash a node has what was durable, and it holds decided pvalues too."""
    world = beside(schedule)
    world.run(
        {"p1a": 2, "p2a": 2, "p2a_run": 2, "decide": 2, "fetched": 2, "watermark": 2, "sync": 6, "tick": 1, "crash": 1}
    )
    world.pair.settle()


# -- Figure 6(b)


@pytest.mark.parametrize("system", NAMES)
@examples(25)
@given(schedules())
def test_scout(system, schedule):
    """Which answers count, when a ballot is adopted or preempted, start, and the proposals after that: pmax, the arrow,
    no-ops."""
    world = beside(schedule, system)
    world.run(
        {"until_scouting": 1, "p1b": 8, "sync": 2, "p1b_of_another_ballot": 2, "p2a": 1, "decide": 1, "collect": 1}
    )


# -- Figure 6(a)


@pytest.mark.parametrize("system", NAMES)
@examples(25)
@given(schedules())
def test_commander(system, schedule):
    """Votes per slot, decisions in slot order, preemption; 2b's of other ballots, twice, and with marks."""
    world = beside(schedule, system)
    world.run({"election": 2, "request": 4, "p2b": 16, "sync": 4, "fetched": 2, "collect": 1, "tick": 1})


# -- Figure 7


@examples(100)
@given(schedules(400))
def test_leader(schedule):
    """Reigns that follow one another: proposals kept, overwritten, dropped; ballots never used twice."""
    world = beside(schedule)
    world.run(
        {
            "election": 3, "until_scouting": 1, "p1b": 4, "p1b_of_another_ballot": 1, "request": 4, "p2b": 8, "sync": 4,
            "tick": 1, "fetched": 2, "p1a": 1, "decide": 1, "collect": 1, "crash": 1,
        }
    )  # fmt: skip


# -- Figure 1


@pytest.mark.parametrize("window", [8, 16])
@examples(75)
@given(schedules(400))
def test_replica(window, schedule):
    """Requests, proposals, slot_in, slot_out, WINDOW; slots lost to others and proposed again; what is applied, once,
    and which answers clients receive."""
    world = beside(schedule, window=window)
    world.run(
        {
            "election": 3, "request": 8, "forwarded": 2, "p2b": 8, "decide": 2, "fetched": 4, "watermark": 1, "sync": 4,
            "tick": 1, "collect": 3, "p1a": 1,
        }
    )  # fmt: skip


# -- section 2.4


@st.composite
def runs(draw):
    """(ballot, first slot, length, [meant, meant)) of a run that an acceptor reports."""
    b, first, count = (
        Ballot(draw(st.integers(1, 4)), draw(st.integers(0, 2))),
        draw(st.integers(1, 30)),
        draw(st.integers(1, 8)),
    )
    low = draw(st.integers(first, first + count))
    return b, first, count, low, draw(st.integers(low, first + count))


@examples(150)
@given(st.lists(runs(), max_size=10), st.integers(1, 30), st.dictionaries(st.integers(1, 40), st.integers(1, 9)))
def test_pmax(reported, first, own):
    """The core's pmax names, slot by slot, the ballot of the pvalue that the definition names; so does the arrow."""
    core = PMax(first)
    pvals = set()
    for b, run_first, count, low, end in reported:
        commands = [Command(1, s * 100 + b.round * 10 + b.leader, b"c", 7) for s in range(run_first, run_first + count)]
        core.add_frame(frame_of(b, run_first, commands), low, end)
        pvals |= {Pvalue(b, s, commands[s - run_first]) for s in range(max(low, first), end)}
    best = pmax(pvals)
    assert [(s, from_wire(b)) for s, b in core.items()] == [
        (s, next(p.ballot for p in pvals if p.slot == s and p.command == best[s])) for s in sorted(best)
    ]
    proposals = {s: Command(2, cid, b"own") for s, cid in own.items()}
    assert {s: c for s, c in arrow(proposals, best).items() if s in best} == best
    assert {s: c for s, c in arrow(proposals, best).items() if s not in best} == {
        s: c for s, c in proposals.items() if s not in best
    }


@pytest.mark.parametrize("system", NAMES)
def test_quorums(system):
    """Every set of acceptors, by plain sets; every phase-1 quorum meets every phase-2 quorum."""
    one = SYSTEMS[system]
    for mask in range(1 << one.nodes):
        votes = {("acceptor", i) for i in range(one.nodes) if mask >> i & 1}
        assert one.core.is_phase1_quorum(mask) == holds(one.phase1, votes)
        assert one.core.is_phase2_quorum(mask) == holds(one.phase2, votes)
    assert all(a & b for a in one.phase1 for b in one.phase2)
