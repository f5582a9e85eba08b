"""Builds the compiled core: every ``ext/multipaxos/X/Y.pyx`` becomes the extension ``multipaxos.X.Y``."""

from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

HERE = Path(__file__).parent
SOURCES = sorted(path.relative_to(HERE) for path in (HERE / "ext" / "multipaxos").rglob("*.pyx"))
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


def extension(source):
    """The extension of one source, named after its place below ``ext``."""
    name = ".".join(source.relative_to("ext").with_suffix("").parts)
    return Extension(name, [str(source)], extra_compile_args=["-O3"])


setup(
    ext_modules=cythonize(
        [extension(source) for source in SOURCES],
        include_path=["ext"],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
    )
)
