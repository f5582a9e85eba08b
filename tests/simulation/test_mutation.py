"""The simulator has teeth: it finds every core of `broken.py`, each within its number of seeds.

A core is built, simulated and thrown away. `python -m tests.simulation.mutants` does the same and prints how many
seeds each took.
"""

from pathlib import Path

import pytest

from tests.simulation.mutants import SLIPS, Slip, build, simulate


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("slip", SLIPS, ids=[slip.name.replace(" ", "-") for slip in SLIPS])
def test_found(slip: Slip, tmp_path: Path) -> None:
    took, said = simulate(build(slip, tmp_path), slip.seeds, tmp_path)
    assert 0 < took <= slip.seeds, said
    assert f"multipaxos simulate --seeds {took - 1}:{took}" in said
    assert (tmp_path / f"violation-{took - 1}.svg").is_file()
