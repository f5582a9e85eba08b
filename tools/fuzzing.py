"""Runs the coverage-guided fuzzers of tests/fuzz/ (atheris, libFuzzer) on a build of the core that is made for it.

Theory. clang puts a counter on every edge of the compiled core, and AddressSanitizer checks every access. libFuzzer
keeps the inputs that reach new edges, and mutates those. atheris brings the runtime, which is preloaded into Python.

Rules. `--duration` is the time for all targets together; they share the processors. A target's corpus begins with its
seeds and is kept in build/fuzz/TARGET/corpus, where the next run continues. An input that crashes a target is kept
beside it, and the command that replays it is printed. A run in which nothing was executed has failed.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from instrumented import CORES, FUZZ, ROOT, BuildFailed, build, on_path

# How much of the time each target gets.
TARGETS = {"codec": 2, "node": 4, "cluster": 4, "store": 1, "session": 1}
MAX_BYTES = 4096
SECONDS_MIN = 2


def runtime() -> Path:
    """The library with libFuzzer and ASan that atheris ships."""
    try:
        import atheris
    except ImportError:
        raise BuildFailed("atheris is not installed: pip install -e '.[fuzz]'") from None
    return Path(atheris.path()) / "asan_with_fuzzer.so"


def environment(library: Path, frames_kept: int) -> dict[str, str]:
    """Preloads the runtime and sets strict options; the sanitizer sees every Python object. `frames_kept`: how many
    frames a report shows of the call that allocated the memory; few are fast."""
    strict = f"detect_leaks=0:halt_on_error=1:abort_on_error=1:malloc_context_size={frames_kept}:quarantine_size_mb=16"
    return {
        **on_path(library),
        "LD_PRELOAD": str(runtime()),
        "ASAN_OPTIONS": strict,
        "PYTHONMALLOC": "malloc",
    }


def place_of(target: str) -> Path:
    """The directory of a target's corpus, its log, and the inputs that crashed it."""
    return ROOT / "build" / "fuzz" / target


def shares(duration_s: float) -> dict[str, int]:
    """Seconds for each target, so that all of them on all processors take `duration_s`."""
    whole = sum(TARGETS.values())
    return {
        target: max(SECONDS_MIN, round(duration_s * min(CORES, len(TARGETS)) * part / whole))
        for target, part in TARGETS.items()
    }


def fuzz(target: str, duration_s: int, variables: dict[str, str]) -> int:
    """Runs one fuzzer, whose output goes to a file; returns its exit status."""
    place = place_of(target)
    (place / "corpus").mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={duration_s}", f"-max_len={MAX_BYTES}", "-timeout=20", "-print_final_stats=1"]
    options += [f"-artifact_prefix={place}/", str(place / "corpus")]
    with (place / "log").open("wb") as log:
        command = [sys.executable, "-m", f"tests.fuzz.fuzz_{target}", *options]
        return subprocess.run(command, cwd=place, env=variables, stdout=log, stderr=subprocess.STDOUT).returncode


def report(target: str, status: int) -> bool:
    """Prints the result of a target; returns whether it was good."""
    place = place_of(target)
    text = (place / "log").read_text(encoding="utf-8", errors="replace")
    executed = re.search(r"number_of_executed_units:\s*(\d+)", text)
    edges = re.findall(r"cov: (\d+)", text)
    if status == 0 and executed and int(executed[1]) and edges:
        kept = sum(1 for _ in (place / "corpus").iterdir())
        print(f"{target:<8} {int(executed[1]):>9,} inputs, {kept:>5,} kept, {edges[-1]:>5} edges reached")
        return True
    print("\n".join(text.splitlines()[-60:]))
    print(f"{target} failed, exit {status}; its whole output is in {place / 'log'}")
    for kept in crashes(place):
        print(f"replay with: {Path(sys.executable)} tools/fuzzing.py --replay {target} {kept}")
    return False


def crashes(place: Path) -> Iterator[Path]:
    """The inputs that libFuzzer kept because they crashed, hung, leaked, or were slow."""
    for kind in ("crash", "timeout", "oom", "leak", "slow-unit"):
        yield from sorted(place.glob(f"{kind}-*"))


def replay(target: str, kept: str, variables: dict[str, str]) -> int:
    """Runs one input, with all its output; returns the exit status."""
    command = [sys.executable, "-m", f"tests.fuzz.fuzz_{target}", str(Path(kept).resolve())]
    return subprocess.run(command, cwd=ROOT, env=variables).returncode


def main() -> None:
    """Builds, fuzzes, reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--duration", type=float, default=60, help="seconds, of all targets together")
    parser.add_argument("--replay", nargs=2, metavar=("TARGET", "FILE"), help="run one kept input")
    options = parser.parse_args()
    try:
        variables = environment(build(FUZZ), 30 if options.replay else 1)
    except BuildFailed as error:
        raise SystemExit(str(error)) from None
    if options.replay:
        raise SystemExit(replay(*options.replay, variables))
    with ThreadPoolExecutor(CORES) as pool:
        running = {
            target: pool.submit(fuzz, target, seconds, variables)
            for target, seconds in shares(options.duration).items()
        }
    failed = [target for target, one in running.items() if not report(target, one.result())]
    if failed:
        raise SystemExit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
