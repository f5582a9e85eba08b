"""Counts the instructions of the core's fixed runs (bench/runs.py) and compares them with the counts that are kept.

Theory. A time is noisy; a count is not. callgrind executes every run and counts only while a run is under way. Two
numbers are kept: the `instructions` that the extensions of multipaxos execute themselves, and the `calls` that they
make out of themselves, into the interpreter and the C library: objects made, memory copied. Both are equal to the last
digit from one repeat to the next, however loaded the machine is, and with another build of the same Python. Judged is
their sum, the `cost`, in which a call counts as CALL instructions, about what one takes on average; so work that moves
between the core and the interpreter is weighed fairly. What the whole process executes is shown (`all`), never judged:
it varies by up to 10 % with what the C library's allocator finds free, and more from one build of Python to the next.

Rules. A cost that is more than LIMIT above the kept one fails. Counts are kept for one environment: architecture,
compiler, those of its flags that change code, versions of Cython and Python. In any other environment nothing is
judged and nothing fails, and the report says so. `--record` keeps the present counts of the present environment.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from instrumented import PACKAGE, PLAIN, ROOT, SUFFIX, BuildFailed, compiler_of, run, setting

KEPT = ROOT / "bench" / "instructions.json"
PLACE = ROOT / "build" / "instructions"
LIMIT = 0.03
CALL = 100  # instructions; from 14 (into memcpy) to 160 on average in a run
MARKS = """#include <valgrind/callgrind.h>
void begin(void) { CALLGRIND_START_INSTRUMENTATION; CALLGRIND_ZERO_STATS; }
void end(const char *name) { CALLGRIND_DUMP_STATS_AT(name); CALLGRIND_STOP_INSTRUMENTATION; }
"""
NAME = re.compile(r"(ob|cob|fn|cfn|fl|fi|fe|cfi|cfl)=\((\d+)\)(?: (.*))?")
TRIGGER = "desc: Trigger: Client Request: "
CHANGES_CODE = re.compile(r"-[OmDU]|-f(?!\w+-prefix-map|diagnostics|file-prefix)")


@dataclass(frozen=True)
class Counts:
    """What one run executes."""

    instructions: int  # by the core itself
    calls: int  # from the core into the interpreter and the C library
    everything: int = 0  # instructions of the whole process

    @property
    def cost(self) -> int:
        """What is judged, in instructions."""
        return self.instructions + CALL * self.calls


# -- counting


def count() -> dict[str, Counts]:
    """{run: its counts}, of the extensions that lie in src/multipaxos."""
    if shutil.which("valgrind") is None:
        raise BuildFailed("valgrind is not installed. Debian, Ubuntu: apt-get update && apt-get install -y valgrind")
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir(parents=True)
    source, marks = PLACE / "marks.c", PLACE / "marks.so"
    source.write_text(MARKS, encoding="utf-8")
    run([*compiler_of(PLAIN), "-shared", "-fPIC", "-O2", "-o", str(marks), str(source)], PLACE)
    command = ["valgrind", "--tool=callgrind", "--instr-atstart=no", f"--callgrind-out-file={PLACE}/counts"]
    variables = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
    command += [sys.executable, "-m", "bench.runs", str(marks)]
    done = subprocess.run(command, cwd=PLACE, env=variables, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"{shlex.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    parts = sorted(PLACE.glob("counts.*"), key=lambda path: int(path.suffix[1:]))
    return dict(read_part(path.read_text(encoding="utf-8"), str(PACKAGE)) for path in parts)


def read_part(text: str, package: str) -> tuple[str, Counts]:
    """(run, counts) of one dump of callgrind: self costs and calls of the objects below `package`."""
    names: dict[str, str] = {}  # of objects; a name is written out where it first occurs
    name, inside, target = "", False, ""
    instructions = calls = everything = 0
    is_call = False
    for line in text.splitlines():
        if line.startswith(TRIGGER):
            name = line.removeprefix(TRIGGER)
        elif match := NAME.fullmatch(line):
            kind, number, given = match.groups()
            if kind not in ("ob", "cob"):
                continue
            if given:
                names[number] = given
            if kind == "ob":
                inside = names[number].startswith(package)
            else:
                target = names[number]
        elif line.startswith("calls="):
            if inside and target and not target.startswith(package):
                calls += int(line.removeprefix("calls=").split()[0])
            is_call, target = True, ""
        elif re.match(r"[-+*\d]", line):
            cost = 0 if is_call else int(line.split()[1])  # the line after `calls` is what the callee costs
            instructions += cost if inside else 0
            everything += cost
            is_call = False
    return name, Counts(instructions, calls, everything)


# -- the environment


def environment() -> dict[str, str]:
    """All that counts depend on beside the core's sources."""
    return {
        "architecture": platform.machine(),
        "compiler": compiler_that_built(PACKAGE / "node" / f"node{SUFFIX}"),
        "flags": flags_that_matter(
            [
                *shlex.split(sysconfig.get_config_var("CFLAGS") or ""),
                *shlex.split(os.environ.get("CFLAGS", "")),
                *setting("FLAGS"),
            ]
        ),
        "cython": version("cython"),
        "python": "{}.{}".format(*sys.version_info),
    }


def compiler_that_built(extension: Path) -> str:
    """Its name and version, which it leaves in what it compiles."""
    found = re.search(rb"GCC: \([^)]*\) ([\d.]+)|clang version ([\d.]+)", extension.read_bytes())
    if found is None:
        return "unknown"
    return f"gcc {found[1].decode()}" if found[1] else f"clang {found[2].decode()}"


def flags_that_matter(flags: list[str]) -> str:
    """Those that change the code that is generated, each once; of several -O the last."""
    kept = list(dict.fromkeys(flag for flag in flags if CHANGES_CODE.match(flag)))
    level = [flag for flag in flags if flag.startswith("-O")][-1:]
    return " ".join([flag for flag in kept if not flag.startswith("-O")] + level)


# -- judging


def faults(kept: Mapping[str, Counts], present: Mapping[str, Counts]) -> list[str]:
    """What has to be said against the present counts."""
    found = []
    for name in sorted(kept.keys() & present.keys()):
        old, new = kept[name], present[name]
        if new.cost > old.cost * (1 + LIMIT):
            found.append(
                f"{name}: costs {new.cost:,}, {change(old.cost, new.cost)} (limit +{LIMIT:.0%}): "
                f"{new.instructions:,} instructions and {new.calls:,} calls, "
                f"where {old.instructions:,} and {old.calls:,} are kept"
            )
    if kept.keys() != present.keys():
        found.append(f"other runs than those that are kept: {', '.join(sorted(kept.keys() ^ present.keys()))}")
    return found


def change(before: int, after: int) -> str:
    """The change in percent."""
    return f"{after / before - 1:+.2%}" if before else "new"


def table(kept: Mapping[str, Counts], present: Mapping[str, Counts]) -> str:
    """A row for each run: counts, and how they differ from those that are kept."""
    rows = [
        f"{'run':<30}{'cost':>12}{'change':>9}{'instructions':>14}{'change':>9}{'calls':>9}{'change':>9}{'all':>12}"
    ]
    for name, new in present.items():
        old = kept.get(name, Counts(0, 0))
        cells = [f"{name:<30}{new.cost:>12,}{change(old.cost, new.cost):>9}"]
        cells.append(f"{new.instructions:>14,}{change(old.instructions, new.instructions):>9}")
        cells.append(f"{new.calls:>9,}{change(old.calls, new.calls):>9}{new.everything:>12,}")
        rows.append("".join(cells))
    return "\n".join(rows)


def unknown(kept: Mapping[str, str], present: Mapping[str, str]) -> str:
    """Says that nothing was judged, and why."""
    differences = [
        f"  {key}: {present.get(key)!r}, kept for {kept.get(key)!r}"
        for key in sorted(kept.keys() | present.keys())
        if kept.get(key) != present.get(key)
    ]
    return "\n".join(
        [
            "NOT JUDGED: the instruction counts are kept for another environment, so nothing can fail here.",
            *differences,
            "The changes above mean little. `make bench-record` keeps the counts of this environment instead.",
        ]
    )


# -- the file


def read_kept(path: Path) -> tuple[dict[str, str], dict[str, Counts]]:
    """(environment, {run: counts})."""
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept["environment"], {name: Counts(**counts) for name, counts in kept["runs"].items()}


def write_kept(path: Path, where: Mapping[str, str], counts: Mapping[str, Counts]) -> None:
    """Keeps what is judged."""
    runs = {name: {"instructions": each.instructions, "calls": each.calls} for name, each in counts.items()}
    path.write_text(json.dumps({"environment": where, "runs": runs}, indent=2) + "\n", encoding="utf-8")


def main(arguments: list[str] | None = None) -> None:
    """Counts; judges or records."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--record", action="store_true", help="keep the present counts instead of judging them")
    options = parser.parse_args(arguments)
    try:
        present, where = count(), environment()
    except BuildFailed as error:
        raise SystemExit(str(error)) from None
    kept_where, kept = read_kept(KEPT) if KEPT.exists() else ({}, {})
    print(table(kept, present))
    if options.record:
        write_kept(KEPT, where, present)
        print(f"recorded in {KEPT.relative_to(ROOT)}")
    elif kept_where != where:
        print(unknown(kept_where, where))
    elif found := faults(kept, present):
        advice = "Make it cheaper; if the cost is worth it, say why in the commit that runs `make bench-record`."
        raise SystemExit("\n".join([*found, advice]))


if __name__ == "__main__":
    main()
