"""The core under AddressSanitizer and UndefinedBehaviorSanitizer: its unit tests, then simulated clusters.

Rules. Any report ends the run. CPython keeps much for its whole life, so leaks are not looked for here; `PYTHONMALLOC`
makes every Python object one that the sanitizer sees. The seeds go on until the time is over.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

from instrumented import ROOT, SANITIZE, BuildFailed, build

TESTS = "acceptor ballot codec election founding histogram leader load machine node paper pmax quorum replica \
session sessions slots store".split()
SEEDS_AT_A_TIME = 20
PROCESSES = 2


def library_of(name: str) -> str:
    """Where the compiler keeps one of its libraries."""
    return subprocess.run(["gcc", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()


def environment(library: Path) -> dict[str, str]:
    """Preloaded runtime, strict options. libstdc++ too: pycapnp throws, and the runtime must find who catches."""
    return {
        **os.environ,
        "PYTHONPATH": f"{library}{os.pathsep}{ROOT}",
        "LD_PRELOAD": f"{library_of('libasan.so')} {library_of('libstdc++.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:abort_on_error=1:detect_stack_use_after_return=1",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def unit_tests(variables: dict[str, str]) -> None:
    """All of the core's own."""
    files = [f"tests/test_{name}.py" for name in TESTS]
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(PROCESSES), "-p", "no:cacheprovider", *files]
    if subprocess.run(command, cwd=ROOT, env=variables).returncode:
        raise SystemExit("the sanitized core failed its unit tests: see the report above")


def simulate(variables: dict[str, str], duration_s: float) -> int:
    """Seeds until the time is over; how many."""
    end = time.monotonic() + duration_s
    seed = 0
    while seed == 0 or time.monotonic() < end:
        seeds = f"{seed}:{seed + SEEDS_AT_A_TIME}"
        command = [sys.executable, "-m", "multipaxos", "simulate", "--seeds", seeds, "--json", "--jobs", str(PROCESSES)]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"seeds {seeds} under the sanitizers:\n{done.stdout}\n{done.stderr}")
        seed += SEEDS_AT_A_TIME
    return seed


def main() -> None:
    """Builds, then runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration", type=float, default=20, help="seconds of simulation after the unit tests")
    options = parser.parse_args()
    try:
        variables = environment(build(SANITIZE))
    except BuildFailed as error:
        raise SystemExit(str(error)) from None
    unit_tests(variables)
    print(f"{simulate(variables, options.duration)} seeds simulated, no report")


if __name__ == "__main__":
    main()
