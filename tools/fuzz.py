"""Runs the coverage-guided fuzzers of fuzz/ (atheris, libFuzzer) on a build of the core that is made for it.

Rules. Each target gets its share of the time, side by side. What crashes is kept in build/fuzz/TARGET and the command
that runs it again is printed. Inputs that reach new code are kept there too: the next run goes on from them. clang
builds the core, and atheris brings the runtime that has to be preloaded.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path

from instrumented import FUZZ, ROOT, BuildFailed, build

TARGETS = ("codec", "node")
MAX_BYTES = 4096


def runtime() -> Path:
    """libFuzzer and ASan in one, as atheris ships it."""
    try:
        import atheris
    except ImportError:
        raise BuildFailed("atheris is not installed: pip install -e '.[fuzz]'") from None
    return Path(atheris.path()) / "asan_with_fuzzer.so"


def environment(library: Path) -> dict[str, str]:
    """As in sanitize.py, with libFuzzer's runtime."""
    return {
        **os.environ,
        "PYTHONPATH": f"{library}{os.pathsep}{ROOT}",
        "LD_PRELOAD": str(runtime()),
        "ASAN_OPTIONS": "detect_leaks=0:halt_on_error=1:abort_on_error=1:allocator_may_return_null=1",
        "PYTHONMALLOC": "malloc",
    }


def start(target: str, duration_s: int, variables: dict[str, str]) -> subprocess.Popen[bytes]:
    """One fuzzer; what it says goes to a file."""
    place = ROOT / "build" / "fuzz" / target
    corpus = place / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(ROOT / "fuzz" / f"fuzz_{target}.py"), f"-max_total_time={duration_s}"]
    command += [f"-max_len={MAX_BYTES}", f"-artifact_prefix={place}/", "-print_final_stats=1", "-timeout=20", str(corpus)]
    with (place / "log").open("wb") as log:
        return subprocess.Popen(command, cwd=place, env=variables, stdout=log, stderr=subprocess.STDOUT)


def report(target: str, status: int) -> bool:
    """Says what came of it; was it well?"""
    place = ROOT / "build" / "fuzz" / target
    lines = (place / "log").read_text(encoding="utf-8", errors="replace").splitlines()
    executed = next((line.split()[-1] for line in lines if "number_of_executed_units" in line), "no")
    print(f"{target}: {executed} inputs, {len(list((place / 'corpus').iterdir()))} kept, exit {status}")
    if status == 0 and executed != "no":
        return True
    print("\n".join(lines[-60:]))
    for kept in sorted(place.glob("*-*")):
        print(f"again with: python tools/fuzz.py --replay {target} {kept}")
    return False


def main() -> None:
    """Builds, fuzzes, reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration", type=int, default=20, help="seconds, of all targets side by side")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="run one kept input")
    options = parser.parse_args()
    try:
        variables = environment(build(FUZZ))
    except BuildFailed as error:
        raise SystemExit(str(error)) from None
    if options.replay:
        target, kept = options.replay
        raise SystemExit(subprocess.run([sys.executable, ROOT / "fuzz" / f"fuzz_{target}.py", kept], env=variables).returncode)
    running = {target: start(target, options.duration, variables) for target in TARGETS}
    results = {target: process.wait() for target, process in running.items()}
    if not all([report(target, status) for target, status in results.items()]):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
