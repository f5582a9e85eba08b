"""Where figures come from: the code, the machine, its kernel and its libraries.

Rules. A fact that cannot be read is None, not left out. No fact names the person or the machine.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import os
import platform
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import multipaxos

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("multipaxos", "mininet", "numpy", "scipy", "pandas", "matplotlib", "uvloop", "lmdb", "pycapnp")


def sha256(path: Path) -> str:
    """The hash of a file, in hexadecimal digits."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def git(*arguments: str) -> str | None:
    """The output of git in this tree; None if this is no git tree."""
    command = ["git", "-C", str(ROOT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def version_of(package: str) -> str | None:
    """The installed version of a package; None if it is not installed."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def processor() -> str | None:
    """The name of the processor's model."""
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return None


def compiled() -> dict[str, str]:
    """The hash of every compiled module of multipaxos, by its name."""
    folder = Path(multipaxos.__file__).parent
    return {str(path.relative_to(folder)).partition(".")[0]: sha256(path)[:16] for path in sorted(folder.rglob("*.so"))}


@cache
def of_machine() -> dict[str, Any]:
    """The facts of this tree on this machine; the same for every run of a process."""
    status = git("status", "--porcelain")
    return {
        "commit": git("rev-parse", "HEAD"),
        "dirty": None if status is None else bool(status),
        "compiled": compiled(),
        "python": platform.python_version(),
        "packages": {package: version_of(package) for package in PACKAGES},
        "kernel": platform.release(),
        "processor": processor(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20,
    }
