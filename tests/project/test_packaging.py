"""What is shipped: the wheel and the sdist contain what they must, and the wheel works without a compiler."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from tests.support.places import EXT, PACKAGE, ROOT

EXTENSIONS = sorted(str(path.relative_to(EXT).with_suffix("")) for path in EXT.rglob("*.pyx"))
LEFT_OUT = shutil.ignore_patterns(
    ".git",
    ".venv",
    "build",
    "dist",
    "*.egg-info",
    "*.so",
    "__pycache__",
    ".*_cache",
    ".hypothesis",
    ".benchmarks",
    "data",
)

pytestmark = pytest.mark.timeout(1200)  # it compiles the whole core


def run(*command, **options):
    """Runs a command and returns its output; if it fails, the error shows all that it printed."""
    done = subprocess.run(command, capture_output=True, text=True, **options)
    assert done.returncode == 0, f"{command}:\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """(wheel, sdist), built from a copy of the tree; the wheel is built from the unpacked sdist."""
    place = tmp_path_factory.mktemp("packaging")
    tree = place / "tree"
    shutil.copytree(ROOT, tree, ignore=LEFT_OUT)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", str(place / "dist"), str(tree))
    (wheel,) = (place / "dist").glob("*.whl")
    (sdist,) = (place / "dist").glob("*.tar.gz")
    return wheel, sdist


def test_wheel_contains_the_package_and_nothing_else(built):
    wheel, _ = built
    with zipfile.ZipFile(wheel) as archive:
        names = {name for name in archive.namelist() if ".dist-info/" not in name}
    suffix = sysconfig.get_config_var("EXT_SUFFIX")
    expected = {f"multipaxos/{name}{suffix}" for name in EXTENSIONS}
    expected |= {
        f"multipaxos/{path.relative_to(PACKAGE)}"
        for path in PACKAGE.rglob("*")
        if path.suffix in (".py", ".pyi", ".capnp") or path.name == "py.typed"
    }
    assert names == expected
    assert {"multipaxos/wire/multipaxos.capnp", "multipaxos/py.typed"} <= names
    assert "none-any" not in wheel.name


def test_wheel_says_what_it_is(built):
    wheel, _ = built
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (metadata,) = (archive.read(name).decode() for name in names if name.endswith("/METADATA"))
        (entry_points,) = (archive.read(name).decode() for name in names if name.endswith("/entry_points.txt"))
    assert "Name: multipaxos\n" in metadata
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Requires-Dist: uvloop" in metadata
    assert "multipaxos = multipaxos.cli.main:main" in entry_points
    assert any(name.endswith("/licenses/LICENSE") for name in names)


def test_sdist_contains_the_sources_and_no_generated_file(built):
    _, sdist = built
    with tarfile.open(sdist) as archive:
        names = {name.split("/", 1)[1] for name in archive.getnames() if "/" in name}
    for folder in ("ext", "src", "tests", "bench", "tools", "mininet", "docs", ".ci"):
        for path in (ROOT / folder).rglob("*"):
            generated = {"__pycache__", ".benchmarks"} & set(path.parts) or ".egg-info" in str(path)
            if path.is_file() and path.suffix not in (".so", ".c", ".pyc") and not generated:
                assert str(path.relative_to(ROOT)) in names
    assert {"pyproject.toml", "setup.py", "LICENSE", "CHANGELOG.md", "CONTRIBUTING.md", "Makefile"} <= names
    assert not [name for name in names if name.endswith((".c", ".so", ".pyc", ".o"))]


def test_wheel_works_without_a_compiler(built, tmp_path):
    wheel, _ = built
    venv.create(tmp_path / "venv", symlinks=True)
    python = tmp_path / "venv" / "bin" / "python"
    site = Path(run(str(python), "-c", "import sysconfig; print(sysconfig.get_path('platlib'))").strip())
    without_compiler = {**os.environ, "CC": "/bin/false", "CXX": "/bin/false"}
    without_compiler.pop("PYTHONPATH", None)
    pip = (sys.executable, "-m", "pip", "--python", str(python), "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-deps", "--no-index", str(wheel), env=without_compiler)
    # Dependencies are those of this environment; if it has a multipaxos too, that of the wheel comes first.
    (site / "dependencies.pth").write_text(sysconfig.get_path("platlib") + "\n" + sysconfig.get_path("purelib") + "\n")
    code = f"""
import importlib, pathlib
for name in {EXTENSIONS}:
    module = importlib.import_module("multipaxos." + name.replace("/", "."))
    assert pathlib.Path(module.__file__).is_relative_to({str(tmp_path)!r}), module.__file__
from multipaxos.config.cluster import Config
from multipaxos.load.histogram import Histogram
config = Config.parse(Config.local(5, 7400).to_toml())
assert config.quorums().is_phase2_quorum(0b10101) and not config.quorums().is_phase2_quorum(0b11)
histogram = Histogram()
histogram.record_value(1000)
print(histogram.percentile(50), config.charter().digest() == Config.local(5, 7400).charter().digest())
"""
    answer = run(str(python), "-I", "-c", code, cwd=tmp_path, env=without_compiler)
    assert answer.split() == ["1000", "True"]
