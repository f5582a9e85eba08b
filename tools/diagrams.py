"""Draws every golden transcript of tests/transcripts to docs/diagrams/NAME.svg.

Rules. A picture is drawn from a run of the transcript on the real core, not from its text: so the docs show what the
code does. With `--check` nothing is written; if pictures are stale, missing or left over, their names are printed and
the exit code is 1. `tests/project/test_diagrams.py` does the same check.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # the transcripts' runner is a part of the tests

from tests.transcripts.transcript import paths, picture  # noqa: E402

PICTURES = ROOT / "docs" / "diagrams"


def pictures() -> dict[str, str]:
    """{name of a picture: the SVG that it should be}."""
    return {f"{path.stem}.svg": picture(path) for path in paths()}


def stale(wanted: dict[str, str], place: Path) -> list[str]:
    """Names of the pictures in `place` that are stale, missing or left over."""
    there = {path.name: path.read_text(encoding="utf-8") for path in place.glob("*.svg")}
    return sorted(name for name in wanted.keys() | there.keys() if wanted.get(name) != there.get(name))


def write(wanted: dict[str, str], place: Path) -> list[str]:
    """Makes `place` hold the wanted pictures and no others; returns the names of those that changed."""
    place.mkdir(parents=True, exist_ok=True)
    changed = stale(wanted, place)
    for name in changed:
        if name in wanted:
            (place / name).write_text(wanted[name], encoding="utf-8")
        else:
            (place / name).unlink()
    return changed


def main(arguments: list[str]) -> int:
    """Writes or checks; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draws the golden transcripts to docs/diagrams.")
    parser.add_argument("--check", action="store_true", help="write nothing, name what is stale")
    options = parser.parse_args(arguments)
    if not options.check:
        wanted = pictures()
        for name in write(wanted, PICTURES):
            print(f"{'wrote' if name in wanted else 'removed'} {name}")
        return 0
    found = stale(pictures(), PICTURES)
    if found:
        print(f"stale in docs/diagrams: {', '.join(found)}: run 'python tools/diagrams.py'")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
