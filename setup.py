"""Builds the compiled core: every ``ext/multipaxos/X/Y.pyx`` becomes the extension ``multipaxos.X.Y``.

A module costs more for what Cython adds to it than for what it says, so that is kept small:

- No debug information (``-g0``; CPython's own flags ask for ``-g``): it took a fifth of the compiler's time and four
  fifths of an extension's size. `make sanitize` and `make fuzz` build with it.
- Methods are those of C (``binding: False``), not Cython's function objects: a small module has a third less C, and
  calls take fewer instructions. Signatures stay readable for `help`, `inspect` and stubtest (the format ``clinic``).
- The core has no generators: the first one in a module brings Cython's implementation of them, half a second and 40 kB.
  A list in brackets does the same (`tests/project/test_core_rules.py`).

``-O2`` would build faster still, but some runs of `make bench` would take half as many instructions again.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent
SOURCES = sorted(path.relative_to(HERE) for path in (HERE / "ext" / "multipaxos").rglob("*.pyx"))
if not SOURCES:
    raise SystemExit("ext/multipaxos holds no .pyx file: the source tree is incomplete, nothing to compile")

# tools/instrumented.py reads both, as literals.
FLAGS = ["-O3", "-g0"]
DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "auto_pickle": False,
    "autotestdict": False,
    "binding": False,
    "embedsignature": True,
    "embedsignature.format": "clinic",
    "freethreading_compatible": False,
}


def extension(source):
    """The extension of one source, named after its place below ``ext``."""
    name = ".".join(source.relative_to("ext").with_suffix("").parts)
    return Extension(name, [str(source)], extra_compile_args=FLAGS)


setup(
    ext_modules=cythonize(
        [extension(source) for source in SOURCES],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
    ),
    options={"build_ext": {"parallel": os.cpu_count()}},
)
