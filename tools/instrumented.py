"""Builds of the core beside the one that ships: with sanitizers, for fuzzing, with lines counted, with changes.

Theory. Each build is a copy of the whole package in a directory of its own, with extensions compiled there. A process
whose PYTHONPATH begins with that directory runs the copy. The shipped package and its build are not touched and know
nothing of this. A `Kind` says how to compile; `build` makes the whole core, `build_changed` a copy in which some files
are changed.

Rules. The compiler directives are those of setup.py, with what a kind adds. A module is compiled again only if what it
is made from has changed, by content, not by time. As many modules are compiled at a time as there are processors. If a
build needs something that is missing (clang), the error names it and the command that installs it.
"""

from __future__ import annotations

import ast
import hashlib
import os
import shlex
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "multipaxos"
CORE = ROOT / "ext" / "multipaxos"
SUFFIX = sysconfig.get_config_var("EXT_SUFFIX")
CORES = len(os.sched_getaffinity(0))


class BuildFailed(Exception):
    """What the compiler reported, or what is missing and how to install it."""


@dataclass(frozen=True)
class Kind:
    """A way to compile."""

    name: str
    flags: tuple[str, ...]  # of the C compiler
    compiler: str = ""  # if empty, that of the interpreter
    directives: tuple[tuple[str, object], ...] = ()  # of Cython, added to those of setup.py
    options: tuple[str, ...] = ()  # of Cython's command line
    edit: Callable[[str], str] | None = None  # a last change to the C that Cython made


# Only line numbers as debug information, and no optimization by gcc of what it sanitizes: otherwise a build takes
# minutes. With --line-directives a report names the line of the .pyx.
LINES = ("-g1", "-fno-omit-frame-pointer")
UNDEFINED = "undefined,float-cast-overflow"
SANITIZE = Kind(
    "sanitize",
    ("-O0", *LINES, f"-fsanitize=address,{UNDEFINED}", f"-fno-sanitize-recover={UNDEFINED}"),
    options=("--line-directives",),
)
FUZZ = Kind(
    "fuzz",
    ("-O1", *LINES, "-fsanitize=fuzzer-no-link,address"),
    compiler="clang",
    options=("--line-directives",),
)
PLAIN = Kind("plain", ("-O1",))


def setting(name: str) -> Any:
    """A constant of setup.py, read from its text: to import it would build."""
    for statement in ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.Assign) and ast.unparse(statement.targets[0]) == name:
            return ast.literal_eval(statement.value)
    raise BuildFailed(f"setup.py no longer says {name} = ...")


def directives() -> dict[str, object]:
    """Cython's directives of setup.py."""
    return dict(setting("DIRECTIVES"))


def modules() -> list[str]:
    """The core's modules, by their places in ext/multipaxos: `paxos/leader`."""
    return sorted(str(path.relative_to(CORE).with_suffix("")) for path in CORE.rglob("*.pyx"))


# -- building


def build(kind: Kind) -> Path:
    """Builds the whole core; returns what to put first on PYTHONPATH."""
    library = ROOT / "build" / kind.name / "library"
    copy_package(library, with_extensions=False)
    compile_modules(library, modules(), kind)
    return library


def build_changed(place: Path, changed: Mapping[str, str], kind: Kind = PLAIN) -> Path:
    """Copies the package as it ships to `place`, with some files changed: {"node/node.pyx": its text}.

    A .py file is one of src/multipaxos, any other one of ext/multipaxos.

    The modules of changed .pyx files are compiled; the others are the extensions in src/multipaxos. If a .pxd is
    changed, all modules are compiled, because any may use it. Returns what to put first on PYTHONPATH.
    """
    unknown = [name for name in changed if not source_of(name).is_file()]
    if unknown:
        raise BuildFailed(f"there is no {', '.join(str(source_of(name).relative_to(ROOT)) for name in unknown)}")
    library = place / "library"
    copy_package(library, with_extensions=True)
    for name, text in changed.items():
        (library / "multipaxos" / name).write_text(text, encoding="utf-8")
    headers = any(name.endswith(".pxd") for name in changed)
    stems = sorted(name.removesuffix(".pyx") for name in changed if name.endswith(".pyx"))
    compile_modules(library, modules() if headers else stems, kind)
    return library


def source_of(name: str) -> Path:
    """The source file with that name below the package."""
    return (PACKAGE if name.endswith(".py") else CORE) / name


def copy_package(library: Path, with_extensions: bool) -> None:
    """Copies the package's Python files and the core's sources; extensions that were built there before stay."""
    package = library / "multipaxos"
    package.mkdir(parents=True, exist_ok=True)
    for old in package.rglob("*"):
        if old.is_file() and old.suffix != ".so":
            old.unlink()
    ignored = shutil.ignore_patterns("__pycache__", *(() if with_extensions else ("*.so",)))
    shutil.copytree(PACKAGE, package, ignore=ignored, dirs_exist_ok=True)
    if with_extensions:  # they replace changed ones, none of which is up to date now
        for mark in (library / "c").rglob("*.made"):
            mark.unlink()
    shutil.copytree(CORE, package, ignore=shutil.ignore_patterns("*.c"), dirs_exist_ok=True)


def compile_modules(library: Path, names: Sequence[str], kind: Kind) -> None:
    """Compiles the modules that are not up to date; reports how many, if the build is one of the project's own."""
    compiler = compiler_of(kind)
    wanted = {name: fingerprint(library, name, kind) for name in names}
    stale = [name for name in names if not is_made(library, name, wanted[name])]
    if not stale:
        return
    if library.is_relative_to(ROOT):
        print(f"building the core: {kind.name}, {len(stale)} modules", flush=True)
    stale.sort(key=lambda name: -(library / "multipaxos" / f"{name}.pyx").stat().st_size)  # the longest first
    with ThreadPoolExecutor(CORES) as pool:
        list(pool.map(partial(compile_module, library, kind, compiler), stale))
    for name in stale:
        (library / "c" / f"{name}.made").write_text(wanted[name], encoding="utf-8")


def compiler_of(kind: Kind) -> list[str]:
    """The compiler's command."""
    command = shlex.split(kind.compiler or os.environ.get("CC") or sysconfig.get_config_var("CC") or "cc")
    if shutil.which(command[0]) is None:
        raise BuildFailed(
            f"{command[0]} is not installed, the {kind.name} build needs it. "
            f"Debian, Ubuntu: apt-get update && apt-get install -y {command[0]}"
        )
    return command


def fingerprint(library: Path, name: str, kind: Kind) -> str:
    """A digest of everything that the module is made from."""
    package = library / "multipaxos"
    edit = Path(kind.edit.__code__.co_filename).read_text(encoding="utf-8") if kind.edit else ""
    parts = [repr((kind.name, kind.flags, kind.compiler, kind.directives, kind.options)), edit, repr(directives())]
    parts += [version("cython"), sys.version]
    parts += [path.read_text(encoding="utf-8") for path in (package / f"{name}.pyx", *sorted(package.rglob("*.pxd")))]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


def is_made(library: Path, name: str, wanted: str) -> bool:
    """Is the extension there, and was it made from what has this fingerprint?"""
    made = library / "c" / f"{name}.made"
    built = library / "multipaxos" / f"{name}{SUFFIX}"
    return built.is_file() and made.is_file() and made.read_text(encoding="utf-8") == wanted


def compile_module(library: Path, kind: Kind, compiler: Sequence[str], name: str) -> None:
    """Runs Cython, then the C compiler."""
    source, built = library / "c" / f"{name}.c", library / "multipaxos" / f"{name}{SUFFIX}"
    source.parent.mkdir(parents=True, exist_ok=True)
    for old in ((library / "c" / f"{name}.made"), source):
        old.unlink(missing_ok=True)
    chosen = {**directives(), **dict(kind.directives)}
    module = f"multipaxos.{name.replace('/', '.')}"
    command = [sys.executable, "-m", "cython", "-I", ".", "--module-name", module, *kind.options]
    for key, value in chosen.items():
        command += ["-X", f"{key}={value}"]
    run([*command, "-o", str(source), f"multipaxos/{name}.pyx"], library)
    if kind.edit:
        source.write_text(kind.edit(source.read_text(encoding="utf-8")), encoding="utf-8")
    include = sysconfig.get_path("include")
    run([*compiler, "-shared", "-fPIC", *kind.flags, f"-I{include}", "-o", str(built), str(source)], library)


def run(command: Sequence[str], place: Path) -> None:
    """Runs one step of a build; raises BuildFailed with what it printed."""
    done = subprocess.run(command, cwd=place, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"{shlex.join(command)} failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def on_path(library: Path) -> dict[str, str]:
    """The environment in which Python imports the build, and finds the tests."""
    return {**os.environ, "PYTHONPATH": f"{library}{os.pathsep}{ROOT}", "PYTHONDONTWRITEBYTECODE": "1"}
