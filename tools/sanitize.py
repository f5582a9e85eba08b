"""Runs the core under AddressSanitizer and UndefinedBehaviorSanitizer: its unit tests, then simulated clusters.

Rules. Any report ends the run. Leaks are not looked for, because CPython keeps much memory until it exits;
`PYTHONMALLOC` lets the sanitizer see every Python object. Seeds are simulated from `--first` on until the time is over.
First the sanitizers are tested: they have to report code that is wrong on purpose and was built in the same way.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from core_tests import core_tests
from instrumented import CORES, ROOT, SANITIZE, BuildFailed, build, compiler_of, on_path, run

SEEDS_AT_A_TIME = 8
WRONG = """#include <stdlib.h>
int beyond(int i) { volatile char *room = malloc(4); return room[i]; }
int too_far(int i) { return 1 << i; }
"""


def library_of(name: str) -> str:
    """The path of one of the compiler's libraries."""
    command = [*compiler_of(SANITIZE), f"-print-file-name={name}"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def environment(library: Path) -> dict[str, str]:
    """Preloads the runtimes and sets strict options. libstdc++ is preloaded too, because pycapnp throws C++ exceptions,
    which the runtime intercepts."""
    return {
        **on_path(library),
        "LD_PRELOAD": f"{library_of('libasan.so')} {library_of('libubsan.so')} {library_of('libstdc++.so')}",
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:abort_on_error=1:malloc_context_size=8",
        "UBSAN_OPTIONS": "halt_on_error=1:print_stacktrace=1",
        "PYTHONMALLOC": "malloc",
    }


def try_sanitizers(library: Path, variables: dict[str, str]) -> None:
    """Fails unless the sanitizers report code that is wrong on purpose."""
    source, built = library / "c" / "wrong.c", library / "c" / "wrong.so"
    source.write_text(WRONG, encoding="utf-8")
    run([*compiler_of(SANITIZE), "-shared", "-fPIC", *SANITIZE.flags, "-o", str(built), str(source)], library)
    for call, name in (("beyond(9)", "AddressSanitizer"), ("too_far(40)", "shift exponent")):
        program = f"import ctypes; ctypes.CDLL({str(built)!r}).{call}"
        done = subprocess.run([sys.executable, "-c", program], env=variables, capture_output=True, text=True)
        if done.returncode == 0 or name not in done.stderr:
            raise SystemExit(f"{call} was not reported: the sanitizers do not work\n{done.stderr}")


def unit_tests(variables: dict[str, str]) -> None:
    """Runs the core's tests. File descriptors are not captured: a report would be lost with its process."""
    command = [sys.executable, "-m", "pytest", "-q", "-n", str(CORES), "-p", "no:cacheprovider", "-p", "no:benchmark"]
    command += ["--capture=sys", "--timeout", "600", *core_tests()]
    if subprocess.run(command, cwd=ROOT, env=variables).returncode:
        raise SystemExit("the sanitized core failed its unit tests: see above")


def simulate(variables: dict[str, str], first: int, duration_s: float) -> int:
    """Simulates seeds until the time is over; returns how many."""
    end = time.monotonic() + duration_s
    seed = first
    while seed == first or time.monotonic() < end:
        seeds = f"{seed}:{seed + SEEDS_AT_A_TIME}"
        command = [sys.executable, "-m", "multipaxos", "simulate", "--seeds", seeds, "--json", "--jobs", str(CORES)]
        done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"seeds {seeds} under the sanitizers:\n{done.stdout}\n{done.stderr}")
        seed += SEEDS_AT_A_TIME
    return seed - first


def main() -> None:
    """Builds, then runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration", type=float, default=60, help="seconds of simulation after the unit tests")
    parser.add_argument("--first", type=int, default=0, help="seed to begin with")
    options = parser.parse_args()
    try:
        library = build(SANITIZE)
        variables = environment(library)
        try_sanitizers(library, variables)
    except BuildFailed as error:
        raise SystemExit(str(error)) from None
    unit_tests(variables)
    print(f"{simulate(variables, options.first, options.duration)} seeds simulated, no report")


if __name__ == "__main__":
    main()
