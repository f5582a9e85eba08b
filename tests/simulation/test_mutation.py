"""The simulator finds the mutants of `mutants.py`, each within its number of seeds.

A mutant is built, simulated and thrown away. `make mutants` does the same with all of them and prints how many seeds
each took; here those of changed modules are run, and a part of the others.
"""

import shutil
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.simulation import mutation
from tests.simulation.mutants import SLIPS
from tests.simulation.mutation import (
    PARTS,
    build,
    changed_modules,
    changed_sources,
    file_of,
    modules_of,
    part_number,
    select,
    selected,
    simulate,
)
from tests.simulation.slip import Slip


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("slip", selected(), ids=lambda slip: slip.name.replace(" ", "-"))
def test_found(slip: Slip, tmp_path: Path) -> None:
    seeds, printed = simulate(build(slip, tmp_path), slip.seeds, tmp_path)
    assert 0 < seeds <= len(slip.seeds), printed
    seed = slip.seeds[seeds - 1]
    assert f"multipaxos simulate --seeds {seed}:{seed + 1}" in printed
    assert (tmp_path / f"violation-{seed}.svg").is_file()


@pytest.mark.parametrize("slip", SLIPS, ids=lambda slip: slip.name.replace(" ", "-"))
def test_no_slip_is_stale(slip: Slip) -> None:
    """Also those that are not built now would change exactly one place of the source."""
    assert file_of(slip.module) in changed_sources(slip)


# -- the selection


def test_names_are_unique() -> None:
    assert not [name for name, count in Counter(slip.name for slip in SLIPS).items() if count > 1]


def test_the_parts_together_are_all_mutants() -> None:
    parts = [select(SLIPS, set(), part) for part in range(PARTS)]
    assert Counter(slip.name for part in parts for slip in part) == Counter(slip.name for slip in SLIPS)
    assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_mutants_of_changed_modules_are_all_selected() -> None:
    for module in {slip.module for slip in SLIPS}:
        for part in range(PARTS):
            chosen = select(SLIPS, {module}, part)
            assert {slip.name for slip in SLIPS if module in modules_of(slip)} <= {slip.name for slip in chosen}
            others = [slip for slip in SLIPS if module not in modules_of(slip)]
            assert len(chosen) <= len(SLIPS) - len(others) + -(-len(others) // PARTS)


def test_without_git_the_first_part_is_selected(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert (changed_modules(), part_number()) == (set(), 0)
    assert selected() == select(SLIPS, set(), 0)


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with one commit on `main`, in place of ours."""
    if shutil.which("git") is None:
        pytest.skip("git is not installed")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(mutation, "ROOT", tmp_path)
    monkeypatch.setattr(mutation, "CORE", tmp_path / "ext" / "multipaxos")
    monkeypatch.setattr(mutation, "PACKAGE", tmp_path / "src" / "multipaxos")
    run(tmp_path, "init", "--quiet", "--initial-branch=main")
    commit(tmp_path, "ext/multipaxos/paxos/quorum.pyx", "ext/multipaxos/paxos/leader.pyx", "README.md")
    return tmp_path


def run(place: Path, *words: str) -> None:
    """Runs git."""
    identity = ["-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *identity, *words], cwd=place, check=True, capture_output=True)


def commit(place: Path, *names: str) -> None:
    """Adds a line to each of these files, and commits that."""
    for name in names:
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        with (place / name).open("a") as file:
            file.write("line\n")
    run(place, "add", "--all")
    run(place, "commit", "--quiet", "--message", "a change")


def test_on_main_the_last_commit_counts(repository: Path) -> None:
    assert changed_modules() == set()
    commit(repository, "ext/multipaxos/paxos/quorum.pyx")
    assert changed_modules() == {"paxos/quorum"}
    commit(repository, "README.md", "ext/multipaxos/paxos/leader.pxd")
    assert changed_modules() == {"paxos/leader"}
    commit(repository, "src/multipaxos/storage/keys.py")
    assert changed_modules() == {"storage/keys.py"}
    assert part_number() == 4 % PARTS


def test_on_a_branch_all_its_commits_count(repository: Path) -> None:
    run(repository, "switch", "--quiet", "--create", "branch")
    commit(repository, "ext/multipaxos/paxos/quorum.pyx")
    commit(repository, "README.md")
    assert changed_modules() == {"paxos/quorum"}


def test_changes_that_are_not_committed_count(repository: Path) -> None:
    commit(repository, "README.md")
    (repository / "ext/multipaxos/paxos/leader.pyx").write_text("other\n")
    (repository / "ext/multipaxos/paxos/ballot.pyx").write_text("new\n")
    assert changed_modules() == {"paxos/leader", "paxos/ballot"}


def test_a_name_that_no_mutant_has_is_refused() -> None:
    """A slip of the finger must not look like success."""
    with pytest.raises(SystemExit, match="no mutant has nosuchword in its name"):
        mutation.main(["nosuchword"])
