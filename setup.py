"""Builds the compiled core: every ``ext/multipaxos/NAME.pyx`` becomes the extension ``multipaxos.NAME``."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent
SOURCES = sorted(path.relative_to(HERE) for path in (HERE / "ext" / "multipaxos").glob("*.pyx"))
if not SOURCES:
    raise SystemExit("ext/multipaxos holds no .pyx file: the source tree is incomplete, nothing to compile")

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": False,
    "wraparound": False,
    "cdivision": True,
    "initializedcheck": False,
    "auto_pickle": False,
    "autotestdict": False,
    "embedsignature": False,
    "freethreading_compatible": False,
}

setup(
    ext_modules=cythonize(
        [Extension(f"multipaxos.{path.stem}", [str(path)], extra_compile_args=["-O3"]) for path in SOURCES],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
    )
)
