"""Line coverage of the compiled core: which lines of its sources do its tests and the simulator reach?

Theory. Cython, asked for `linetrace`, marks in the C that it makes where each line of a function begins, also of the
inline functions of .pxd files. Its own tracing calls Python for every line, which makes the core a hundred times
slower, misses what runs elsewhere than in the main thread's eye, and differs from one CPython to the next. Here each
mark becomes a store of one byte into a file that all processes map: exact, cheap, the same everywhere, and it survives
a process that is killed. Only lines inside functions count: what a module does when it is imported (constants, `def`,
`class`) would be reached by any test.

Rules. Every line that was not reached is named. Each has its reason in unreached.txt, or the report fails; so it does
where a reason there is of a line that is reached, or is no more (but for lines that are said to be reached by chance:
tests draw at random); and below AT_LEAST percent. A reason is for lines that
no test can reach, such as those for a memory that is at its end; for lines that nobody has tested there is a test to
write.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from instrumented import CORE, CORES, ROOT, BuildFailed, Kind, build, core_tests, modules, on_path

AT_LEAST = 95
REASONS = ROOT / "tools" / "unreached.txt"
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


@dataclass(frozen=True, order=True)
class Line:
    """A line of a source of the core."""

    file: str
    number: int


def files_of(c_text: str) -> list[str]:
    """The sources that a module's C was made from, by their places in the core; its own comes first."""
    names = re.findall(r'"([^"]*)"', FILES.search(c_text)[1])  # type: ignore[index]
    return [name.removeprefix("multipaxos/") for name in names]


def lines_of(c_text: str) -> list[Line]:
    """The lines that a module's C marks, outside of what runs at its import; a line's place is its byte."""
    files = files_of(c_text)
    found = {Line(files[int(mark[2])], int(mark[1])) for mark in MARK.finditer(MODULE_LEVEL.sub("", c_text))}
    return sorted(line for line in found if (CORE / line.file).is_file())


def count_lines(c_text: str) -> str:
    """The module's C, with its marks made into stores. The marks stay: they cost nothing."""
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
    """The core's tests and some seeds of the simulator; fails as they do."""
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
    """(all lines, those that were reached) of all modules. An inline function is reached if it is in any module."""
    every: set[Line] = set()
    hit: set[Line] = set()
    for name in modules():
        lines = lines_of((library / "c" / f"{name}.c").read_text(encoding="utf-8"))
        every |= set(lines)
        marks = (reached / name.replace("/", ".")).read_bytes()
        hit |= {line for line, mark in zip(lines, marks, strict=False) if mark}
    return every, hit


# -- reasons


@dataclass(frozen=True)
class Reason:
    """Why lines are not reached: those of `file` (or * for all) whose text begins with `text`, inside `function` if
    that is given."""

    file: str
    function: str
    text: str
    why: str
    by_chance: bool = False  # some runs do reach them

    def covers(self, line: Line, function: str, text: str) -> bool:
        """Is it about this line?"""
        return self.file in ("*", line.file) and self.function in ("", function) and text.startswith(self.text)


def read_reasons(text: str) -> list[Reason]:
    """A block for each reason: `file function: text of the line` for one or more lines, then `= why`; or `~ why`
    where they are reached by chance."""
    reasons: list[Reason] = []
    open_lines: list[tuple[str, str, str]] = []
    for row in text.splitlines():
        if row.startswith(("=", "~")):
            reasons += [Reason(*one, row[1:].strip(), row[0] == "~") for one in open_lines]
            open_lines = []
        elif row.strip() and not row.startswith("#"):
            where, _, code = row.partition(": ")
            file, _, function = where.partition(" ")
            open_lines.append((file, function, code.strip()))
    if open_lines:
        raise SystemExit(f"{REASONS.name}: lines without a reason (= why): {open_lines}")
    return reasons


def functions_of(text: str) -> list[str]:
    """For each line of a source the name of the function that it is in."""
    names, current = [], ""
    for row in text.splitlines():
        head = re.match(r"\s*(?:cp?def|def)\s(?:[^=(]*[\s*])?(\w+)\(", row)
        current = head[1] if head else current
        names.append(current)
    return names


def explain(missed: Iterable[Line], reasons: list[Reason]) -> tuple[dict[Line, str], list[Line], list[Reason]]:
    """(line: why it is not reached; lines without a reason; reasons without a line)."""
    texts = {str(path.relative_to(CORE)): path.read_text(encoding="utf-8") for path in CORE.rglob("*.p[yx][xd]")}
    rows = {name: list(zip(functions_of(text), text.splitlines(), strict=True)) for name, text in texts.items()}
    explained: dict[Line, str] = {}
    bare: list[Line] = []
    used: set[Reason] = set()
    for line in sorted(missed):
        function, text = rows[line.file][line.number - 1]
        found = [reason for reason in reasons if reason.covers(line, function, text.strip())]
        used |= set(found)
        if found:
            explained[line] = found[0].why
        else:
            bare.append(line)
    return explained, bare, [reason for reason in reasons if reason not in used and not reason.by_chance]


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
    """Prints all; ends with an error where a rule is broken."""
    share = table(every, hit)
    explained, bare, stale = explain(every - hit, read_reasons(REASONS.read_text(encoding="utf-8")))
    print("\nnot reached, and why:")
    for why in dict.fromkeys(explained.values()):
        places = [f"{line.file}:{line.number}" for line, reason in explained.items() if reason == why]
        print(f"  {why}\n    {' '.join(places)}")
    faults = [f"{line.file}:{line.number} is not reached: test it, or say why in {REASONS.name}" for line in bare]
    faults += [f"{REASONS.name}: {one.file} {one.function}: {one.text!r} is reached, or is no more" for one in stale]
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
