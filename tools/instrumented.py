"""Builds of the core that are watched: sanitized, for fuzzing, traced for coverage; and broken on purpose, for tests.

Theory. Each build is a copy of the whole package - its Python files and the sources of the core beside them - under a
directory of its own, compiled in place there; who puts that directory first on PYTHONPATH runs the copy. The shipped
package and its build are not touched, and what ships knows nothing of it.

Rules. The compiler directives are those of setup.py, but for what a kind of build adds. A build is made again only when
a source is newer than it. What a build needs that is not there (clang) is named with the command that installs it.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "multipaxos"
CORE = ROOT / "ext" / "multipaxos"
SETUP = """
from Cython.Build import cythonize
from setuptools import Extension, setup

arguments = {arguments}
macros = {macros}
setup(
    name="instrumented",
    script_args=["-q", "build_ext", "--inplace", "--build-temp", "temporary", "-j2"],
    ext_modules=cythonize(
        [
            Extension("multipaxos." + name, ["multipaxos/" + name + ".pyx"], extra_compile_args=arguments,
                      extra_link_args=arguments, define_macros=macros)
            for name in {modules}
        ],
        compiler_directives={directives},
        quiet=True,
    ),
)
"""


class BuildFailed(Exception):
    """The compiler's own words, or what is missing and how to install it."""


@dataclass(frozen=True)
class Kind:
    """A way to compile."""

    name: str
    arguments: Sequence[str]
    compiler: str = ""
    macros: Sequence[tuple[str, str]] = ()
    directives: dict[str, object] = field(default_factory=dict)


SANITIZE = Kind(
    "sanitize",
    ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"],
)
FUZZ = Kind("fuzz", ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=fuzzer-no-link,address"], compiler="clang")
COVERAGE = Kind(
    "coverage",
    ["-O0"],
    macros=[("CYTHON_TRACE", "1"), ("CYTHON_TRACE_NOGIL", "1")],
    directives={"linetrace": True, "binding": True},
)
PLAIN = Kind("plain", ["-O1"])


def directives() -> dict[str, object]:
    """Those of setup.py."""
    found = re.search(r"(?s)DIRECTIVES = (\{.*?\n\})", (ROOT / "setup.py").read_text(encoding="utf-8"))
    if found is None:
        raise BuildFailed("setup.py no longer says DIRECTIVES = {...}")
    names: dict[str, object] = {}
    exec(found[0], names)
    return dict(names["DIRECTIVES"])  # type: ignore[call-overload, no-any-return]


def copy_sources(library: Path) -> None:
    """The package and the sources of its core, in one folder."""
    ignored = shutil.ignore_patterns("__pycache__", "*.so")
    shutil.copytree(PACKAGE, library / "multipaxos", ignore=ignored, dirs_exist_ok=True)
    shutil.copytree(CORE, library / "multipaxos", dirs_exist_ok=True)


def compile_modules(library: Path, modules: Sequence[str], kind: Kind) -> None:
    """Compiles in place, two at a time."""
    if kind.compiler and shutil.which(kind.compiler) is None:
        raise BuildFailed(f"{kind.compiler} is not installed. Debian, Ubuntu: apt install {kind.compiler}")
    script = library / "build.py"
    script.write_text(
        SETUP.format(
            arguments=list(kind.arguments),
            macros=list(kind.macros),
            modules=list(modules),
            directives={**directives(), **kind.directives},
        ),
        encoding="utf-8",
    )
    environment = dict(os.environ)
    if kind.compiler:
        environment["CC"] = kind.compiler
        environment["LDSHARED"] = f"{kind.compiler} -shared"
    done = subprocess.run([sys.executable, script.name], cwd=library, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise BuildFailed(f"the {kind.name} build failed:\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")


def newest(*places: Path) -> float:
    """When any file there was last changed."""
    files = [path for place in places for path in place.rglob("*") if path.suffix in (".py", ".pyx", ".pxd", ".capnp")]
    return max(path.stat().st_mtime for path in files)


def build(kind: Kind) -> Path:
    """The whole core; what to put first on PYTHONPATH."""
    library = ROOT / "build" / kind.name / "library"
    stamp = library / ".built"
    if stamp.is_file() and stamp.stat().st_mtime > newest(PACKAGE, CORE, ROOT / "tools"):
        return library
    print(f"building the core: {kind.name}", flush=True)
    shutil.rmtree(library, ignore_errors=True)
    copy_sources(library)
    compile_modules(library, sorted(path.stem for path in CORE.glob("*.pyx")), kind)
    stamp.touch()
    return library
