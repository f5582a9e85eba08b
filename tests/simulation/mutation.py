"""Builds mutants, and runs the simulator on them until it finds each.

Theory. The simulator is only worth its time if it finds broken cores. So each rule of the protocol is broken once
(`mutants.py`), and the simulator has to find every mutant within its number of seeds.

Rules. `make mutants` runs all. `make test` runs those of modules that have changed, and a fifth of the others: another
fifth with every commit, so that five commits run all. A module has changed if it differs from where this branch left
`main`, on `main` itself from the commit before. Without git, the first fifth is run.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tools.instrumented import CORE, CORES, PACKAGE, ROOT, build_changed, on_path, source_of

from tests.simulation.mutants import SLIPS
from tests.simulation.slip import Slip

PARTS = 5  # `make test` runs one of so many parts of the mutants whose modules have not changed


# -- which


def git(*words: str) -> list[str]:
    """The lines that a git command prints; none if it fails, or without git."""
    try:
        done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def base() -> list[str]:
    """The commit to compare with, as a list of one; empty if there is none."""
    head = git("rev-parse", "HEAD")
    for main in ("origin/main", "main"):
        common = git("merge-base", "HEAD", main)
        if common and common != head:
            return common
    return git("rev-parse", "--verify", "--quiet", "HEAD~1")


def changed_modules() -> set[str]:
    """Modules that have changed, such as paxos/quorum or storage/keys.py; uncommitted changes included."""
    names = git("ls-files", "--others", "--exclude-standard", "--full-name")
    for commit in base():
        names += git("diff", "--name-only", commit)
    core, package = (f"{place.relative_to(ROOT).as_posix()}/" for place in (CORE, PACKAGE))
    compiled = {str(Path(name.removeprefix(core)).with_suffix("")) for name in names if name.startswith(core)}
    return compiled | {name.removeprefix(package) for name in names if name.startswith(package)}


def part_number() -> int:
    """Which part of the other mutants is next: the number of commits modulo PARTS; 0 without git."""
    count = git("rev-list", "--count", "HEAD")
    return int(count[0]) % PARTS if count else 0


def select(slips: Sequence[Slip], changed: Collection[str], part: int) -> list[Slip]:
    """Those of which a module has changed, and one part of the others, in their order."""
    others = [slip for slip in slips if not modules_of(slip).intersection(changed)]
    return [slip for slip in slips if slip not in others or others.index(slip) % PARTS == part]


def modules_of(slip: Slip) -> set[str]:
    """The modules that a slip changes."""
    return {slip.module, *(module for module, _, _ in slip.more)}


def selected() -> list[Slip]:
    """The mutants that `make test` runs now."""
    return select(SLIPS, changed_modules(), part_number())


# -- one mutant


def file_of(module: str) -> str:
    """The file of a module: Python's are named with their suffix."""
    return module if module.endswith(".py") else f"{module}.pyx"


def changed_sources(slip: Slip) -> dict[str, str]:
    """File of the package -> its changed text. AssertionError if a slip's text does not stand there exactly once."""
    texts: dict[str, str] = {}
    for module, old, new in ((slip.module, slip.old, slip.new), *slip.more):
        name = file_of(module)
        text = texts[name] if name in texts else source_of(name).read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{slip.name}: {old!r} stands {text.count(old)} times in {name}"
        texts[name] = text.replace(old, new)
    return texts


def build(slip: Slip, place: Path) -> Path:
    """Builds the mutant under `place`; returns what to put on PYTHONPATH."""
    return build_changed(place, changed_sources(slip))


def simulate(library: Path, seeds: range, place: Path) -> tuple[int, str]:
    """Runs seeds until a promise is broken. Returns how many seeds that took (0: no promise was broken, -1: the
    simulator failed) and what it printed."""
    named = f"{seeds.start}:{seeds.stop}:{seeds.step}"
    command = [sys.executable, "-m", "multipaxos", "simulate", "--seeds", named, "--json", "--jobs", "1"]
    command += ["--first", "--diagrams", str(place)]
    done = subprocess.run(command, cwd=place, env=on_path(library), capture_output=True, text=True)
    if done.returncode not in (0, 1) or not done.stdout:
        return -1, "\n".join(reversed(done.stderr.strip().splitlines()[-40:]))  # the error itself stands last
    total = json.loads(done.stdout)
    return (total["seeds"] if total["violations"] else 0), done.stderr


# -- all of them, as a table


def row(slip: Slip) -> tuple[bool, str]:
    """Builds and simulates one mutant; returns whether it was found, and its row."""
    with tempfile.TemporaryDirectory(prefix="multipaxos-mutant-") as place:
        seeds, printed = simulate(build(slip, Path(place)), slip.seeds, Path(place))
    violation = printed.partition("\n")[0].partition(" (seed ")[0].replace("|", "/")
    shown = str(seeds) if seeds > 0 else "**not found**"
    return seeds > 0, f"| {slip.name} | `{slip.module}` | {shown} | {violation[:100]} |"


def main(words: Sequence[str]) -> None:
    """Prints the table, each row as soon as it is known. `words`: only mutants with all of these in their names. Exit
    code 1 if a mutant was not found, or none has such a name."""
    wanted = [slip for slip in SLIPS if all(word in slip.name for word in words)]
    if not wanted:
        raise SystemExit(f"no mutant has {' and '.join(words)} in its name: see tests/simulation/mutants.py")
    print("| mutant | module | seeds | how it was found |\n| --- | --- | --- | --- |", flush=True)
    all_found = True
    with ThreadPoolExecutor(CORES) as pool:
        for found, line in pool.map(row, wanted):
            print(line, flush=True)
            all_found = all_found and found
    if not all_found:
        raise SystemExit("the simulator did not find every mutant")


if __name__ == "__main__":
    main(sys.argv[1:])
