"""Line coverage of the compiled core: which lines of its sources do tests and simulation reach?

Theory. A tracing build tells coverage.py of every line of a .pyx that runs. It is slow, so it runs what reaches the core
directly: the unit tests of the core, and seeds of the simulator. Lines that only real processes reach (there are none)
would not be counted.

Rules. The report names every line that was not reached. Below AT_LEAST percent it fails.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from instrumented import COVERAGE, ROOT, BuildFailed, build
from sanitize import TESTS

AT_LEAST = 95
CONFIGURATION = """
[run]
plugins = Cython.Coverage
source = {library}/multipaxos
data_file = {data}
[report]
include = */multipaxos/*.pyx
"""


def run(command: list[str], variables: dict[str, str], place: Path) -> None:
    """Fails as the command does."""
    done = subprocess.run([sys.executable, "-m", *command], cwd=place, env=variables)
    if done.returncode:
        raise SystemExit(done.returncode)


def main() -> None:
    """Builds, runs, reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", default="0:40", help="of `multipaxos simulate`")
    options = parser.parse_args()
    try:
        library = build(COVERAGE)
    except BuildFailed as error:
        raise SystemExit(str(error)) from None
    place = library.parent
    settings = place / "coveragerc"
    settings.write_text(CONFIGURATION.format(library=library, data=place / "data"), encoding="utf-8")
    variables = {**os.environ, "PYTHONPATH": f"{library}{os.pathsep}{ROOT}"}
    configured = f"--rcfile={settings}"
    (place / "data").unlink(missing_ok=True)
    tests = [str(ROOT / "tests" / f"test_{name}.py") for name in TESTS]
    quick = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--timeout", "1200", "--rootdir", str(ROOT)]
    run(["coverage", "run", configured, "-m", "pytest", *quick, *tests], variables, library)
    simulation = ["multipaxos", "simulate", "--seeds", options.seeds, "--jobs", "1"]
    run(["coverage", "run", configured, "--append", "-m", *simulation], variables, library)
    run(["coverage", "report", configured, "--show-missing", f"--fail-under={AT_LEAST}"], variables, library)


if __name__ == "__main__":
    main()
