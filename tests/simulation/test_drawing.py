"""The scenarios that seeds stand for."""

from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.simulation.drawing import ONCE, SIZES, scenario
from multipaxos.simulation.scenario import EVENTS


def test_scenarios_are_of_every_kind():
    """Sizes 1 to 9, all quorum systems, roles together and apart, every kind of fault, few and many sessions."""
    drawn = [scenario(seed) for seed in range(300)]
    assert {len(one.roles) for one in drawn} == set(range(1, 10))
    assert {one.quorums.kind for one in drawn} == {"majority", "sizes", "grid"}
    assert {set(one.roles) == {ALL_ROLES} for one in drawn} == {True, False}
    assert all(any(one.faults.means_ns()[kind] or one.once == kind for one in drawn) for kind in EVENTS)
    assert len({one.sessions_max for one in drawn}) > 2
    for one in drawn:
        left = set(range(len(one.roles))) - set(one.expendable)
        assert one.quorums.is_phase1(left)
        assert one.quorums.is_phase2(left)


def test_links_have_a_rate_in_a_tenth_of_the_scenarios():
    """There values have every size, the rates of one cluster differ, and at most one fault happens."""
    drawn = [scenario(seed) for seed in range(1000)]
    slow = [one for one in drawn if one.link_rates]
    assert 80 < len(slow) < 125
    assert {one.value_bytes for one in slow} == set(SIZES)
    assert {one.once for one in slow} == set(ONCE)
    assert any(len(set(one.link_rates)) > 1 for one in slow)
    assert not any(any(one.faults.means_ns().values()) for one in slow)
