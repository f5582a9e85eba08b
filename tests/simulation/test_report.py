"""Results of seeds: their sum, and the picture of a failure."""

from dataclasses import replace

from multipaxos.simulation.report import add_up, judge, run_seed
from multipaxos.simulation.timeline import MS
from tests.simulation.broken_parts import EarlyHost
from tests.simulation.worlds import ROUGH, cluster, with_parts


def test_numbers_add_up():
    """Every kind of fault takes effect, and is counted."""
    total = add_up(run_seed(seed) for seed in range(1002, 1062))
    assert total.seeds == 60
    assert total.violations == 0
    assert min(total.steps, total.messages, total.elections, total.operations, *total.faults.values()) > 0


def test_a_failure_is_reported_and_drawn():
    """The result of a run that fails has the seed and the last messages as a picture."""
    world = with_parts(host=EarlyHost)
    result = next(
        result
        for result in (judge(world(seed, cluster(faults=replace(ROUGH, crashes=100 * MS)))) for seed in range(40))
        if result.violation
    )
    assert f"(seed {result.seed})" in result.violation
    assert result.diagram.startswith("<svg")
    assert "phase1" in result.diagram
    assert "node 1" in result.diagram
