"""Line coverage of the compiled core: which lines of its sources do its tests and the simulator reach?

Theory. With the directive `linetrace` Cython marks, in the C that it makes, where each line of a function begins, also
of the inline functions of .pxd files. Its own tracing calls Python for every line: the core would be a hundred times
slower, only the main thread would be seen, and each CPython would differ. Here each mark becomes a store of one byte
into a file that all processes map. That is exact and cheap, is the same everywhere, and survives a process that is
killed. Only lines inside functions count: what a module does when it is imported (constants, `def`, `class`) is
reached by any test.

Rules. The report names every line that was not reached. It fails if such a line has no reason in unreached.txt, if a
reason there is about a line that is reached or does not exist (except for lines that are reached by chance), and if
less than AT_LEAST percent are reached. A reason is for lines that no test can reach, such as those for a memory that
is full; a line that is not tested yet needs a test.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

from core_tests import core_tests
from instrumented import CORE, CORES, ROOT, BuildFailed, Kind, build, modules, on_path
from reasons import REASONS, Line, explain, read_reasons

AT_LEAST = 95
SEEDS = 24
FILES = re.compile(r"(?s)__pyx_f\[\] = \{(.*?)\};")
# Cython marks the first line of a `finally` before the block, where a `return` never passes: that says nothing.
MARK = re.compile(r"__Pyx_TraceLine\((\d+),\d+,\d,__PYX_ERR\((\d+), \d+, \w+\)\)(?!\s*/\*finally:\*/)")
MODULE_LEVEL = re.compile(r"(?ms)^static CYTHON_SMALL_CODE int __pyx_pymod_exec_\w+\([^;{]*\)\n.*?^\{.*?^\}")
COUNTING = """
#include <fcntl.h>
#include <stdlib.h>
#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>
static unsigned char reached_nowhere[%(size)d + 1];
static unsigned char *reached = reached_nowhere;
/* One byte per line, in a file that every process which runs this module maps. */
__attribute__((constructor)) static void reached_map(void) {
    const char *folder = getenv("REACHED");
    char path[4096];
    void *mapped;
    int file;
    if (folder == NULL)
        return;
    snprintf(path, sizeof path, "%%s/%(name)s", folder);
    file = open(path, O_RDWR | O_CREAT, 0666);
    if (file < 0 || ftruncate(file, %(size)d + 1) != 0)
        abort();
    mapped = mmap(NULL, %(size)d + 1, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped == MAP_FAILED)
        abort();
    close(file);
    reached = mapped;
}
"""


def files_of(c_text: str) -> list[str]:
    """The sources that a module's C was made from, by their places in the core; its own comes first."""
    names = re.findall(r'"([^"]*)"', FILES.search(c_text)[1])  # type: ignore[index]
    return [name.removeprefix("multipaxos/") for name in names]


def lines_of(c_text: str) -> list[Line]:
    """The lines that a module's C marks, without those that run at its import. A line's index is that of its byte."""
    files = files_of(c_text)
    found = {Line(files[int(mark[2])], int(mark[1])) for mark in MARK.finditer(MODULE_LEVEL.sub("", c_text))}
    return sorted(line for line in found if (CORE / line.file).is_file())


def count_lines(c_text: str) -> str:
    """The module's C, with a store added to each mark. The marks stay, because they cost nothing."""
    lines = lines_of(c_text)
    places = {line: place for place, line in enumerate(lines)}
    files = files_of(c_text)
    name = files[0].removesuffix(".pyx").replace("/", ".")

    def store(mark: re.Match[str]) -> str:
        place = places.get(Line(files[int(mark[2])], int(mark[1])))
        return mark[0] if place is None else f"reached[{place}] = 1; {mark[0]}"

    start, end = MODULE_LEVEL.search(c_text).span()  # type: ignore[union-attr]
    counted = MARK.sub(store, c_text[:start]) + c_text[start:end] + MARK.sub(store, c_text[end:])
    return COUNTING % {"name": name, "size": len(lines)} + counted


COVERAGE = Kind("coverage", ("-O1",), directives=(("linetrace", True),), edit=count_lines)


# -- running


def run_tests(library: Path, reached: Path, seeds: int) -> None:
    """Runs the core's tests and some seeds of the simulator; fails if one of them fails."""
    shutil.rmtree(reached, ignore_errors=True)
    reached.mkdir(parents=True)
    variables = {**on_path(library), "REACHED": str(reached)}
    quick = ["-q", "-p", "no:cacheprovider", "-p", "no:benchmark", "--hypothesis-seed=0", "-n", str(CORES)]
    commands = [
        ["pytest", *quick, *core_tests()],
        ["multipaxos", "simulate", "--seeds", f"0:{seeds}", "--jobs", str(CORES)],
    ]
    for command in commands:
        done = subprocess.run([sys.executable, "-m", *command], cwd=ROOT, env=variables)
        if done.returncode:
            raise SystemExit(done.returncode)


def reached_lines(library: Path, reached: Path) -> tuple[set[Line], set[Line]]:
    """(all lines, those that were reached) of all modules. An inline function is reached if any module reaches it."""
    every: set[Line] = set()
    hit: set[Line] = set()
    for name in modules():
        lines = lines_of((library / "c" / f"{name}.c").read_text(encoding="utf-8"))
        every |= set(lines)
        marks = (reached / name.replace("/", ".")).read_bytes()
        hit |= {line for line, mark in zip(lines, marks, strict=False) if mark}
    return every, hit


# -- the report


def table(every: set[Line], hit: set[Line]) -> float:
    """Prints a row for each file; returns the percentage in total."""
    total, reached = (Counter(line.file for line in lines) for lines in (every, hit))
    print(f"{'file':<32}{'lines':>7}{'missed':>8}{'reached':>9}   lines missed")
    for file in sorted(total):
        numbers = [line.number for line in sorted(every - hit) if line.file == file]
        share = 100 * reached[file] / total[file]
        print(f"{file:<32}{total[file]:>7}{len(numbers):>8}{share:>8.1f}%   {ranges(numbers)}")
    share = 100 * len(hit) / len(every)
    print(f"{'in total':<32}{len(every):>7}{len(every - hit):>8}{share:>8.1f}%")
    return share


def ranges(numbers: list[int]) -> str:
    """1 2 3 7 as 1-3, 7."""
    spans: list[list[int]] = []
    for number in numbers:
        if spans and number == spans[-1][1] + 1:
            spans[-1][1] = number
        else:
            spans.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)


def report(every: set[Line], hit: set[Line]) -> None:
    """Prints everything; ends with an error if a rule is broken."""
    share = table(every, hit)
    explained, bare, stale = explain(every - hit, read_reasons(REASONS.read_text(encoding="utf-8")))
    print("\nnot reached, and why:")
    for why in dict.fromkeys(explained.values()):
        places = [f"{line.file}:{line.number}" for line, reason in explained.items() if reason == why]
        print(f"  {why}\n    {' '.join(places)}")
    faults = [f"{line.file}:{line.number} is not reached: test it, or say why in {REASONS.name}" for line in bare]
    faults += [f"{REASONS.name}: {one.file} {one.function}: {one.text!r} is reached or does not exist" for one in stale]
    if share < AT_LEAST:
        faults.append(f"{share:.1f} % is below {AT_LEAST} %")
    if faults:
        raise SystemExit("\n".join(faults))


def main() -> None:
    """Builds, runs, reports."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, of `multipaxos simulate`")
    parser.add_argument("--again", action="store_true", help="only the report of the last run")
    options = parser.parse_args()
    try:
        library = build(COVERAGE)
    except BuildFailed as error:
        raise SystemExit(str(error)) from None
    reached = library.parent / "reached"
    if not options.again:
        run_tests(library, reached, options.seeds)
    report(*reached_lines(library, reached))


if __name__ == "__main__":
    main()
