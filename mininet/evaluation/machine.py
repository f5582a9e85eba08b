"""What this machine can do for an evaluation; each answer is tried out, not guessed.

Rules. A try leaves nothing behind: it happens in a namespace that ends with it. A sentence that says what is missing
also says how to install it on Debian. Answers hold as long as this process runs.
"""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

TRY_TIMEOUT_S = 20

# The programs that are called, each with the Debian package that has it.
PROGRAMS = {
    "mnexec": "mininet",
    "brctl": "bridge-utils",
    "ifconfig": "net-tools",
    "ip": "iproute2",
    "tc": "iproute2",
    "unshare": "util-linux",
}
# The modules that are imported. `import mininet` alone succeeds if there is any folder of that name.
MODULES = ("mininet.net", "numpy", "scipy", "matplotlib")


@functools.cache
def missing() -> str | None:
    """Why this machine cannot build any network, and what to do about it; None if it can."""
    if os.geteuid() != 0:
        return "namespaces need root, and this is not root: run it with sudo, or in a privileged container"
    packages = sorted({package for program, package in PROGRAMS.items() if shutil.which(program) is None})
    if packages:
        lacking = ", ".join(program for program in PROGRAMS if shutil.which(program) is None)
        return f"no {lacking}: apt-get install --no-install-recommends {' '.join(packages)}"
    lacking_modules = [module for module in MODULES if not _has(module)]
    if lacking_modules:
        names = ", ".join(module.partition(".")[0] for module in lacking_modules)
        return f"no Python package {names}: pip install 'multipaxos[evaluation]'"
    if not _tried("true"):
        return "this kernel or container makes no network namespaces: run it in a virtual machine, or privileged"
    if not _tried("ip link add one type veth peer name two"):
        return "this kernel has no veth: load the module veth, or take one of Debian's kernels"
    if not _tried("ip link add one type bridge"):
        return "this kernel has no bridge: load the module bridge, or take one of Debian's kernels"
    return None


def _has(module: str) -> bool:
    """Is there such a module? It is not imported."""
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:
        return False


@functools.cache
def can_netem() -> bool:
    """Can the kernel delay packets?"""
    return _tried("tc qdisc add dev lo root netem delay 1ms")


@functools.cache
def can_shape_htb() -> bool:
    """Can the kernel limit the bandwidth?"""
    return _tried(
        "tc qdisc add dev lo root handle 5: htb default 1 && tc class add dev lo parent 5: classid 5:1 htb rate 1mbit"
    )


@functools.cache
def can_filter() -> bool:
    """Can a classic BPF program drop incoming packets? Losses and partitions need it."""
    return _tried("tc qdisc add dev lo clsact && tc filter add dev lo ingress bpf direct-action bytecode '1,6 0 0 2'")


def _tried(command: str) -> bool:
    """Does a command work, in a network namespace of its own that ends with it?"""
    done = subprocess.run(
        ["unshare", "--net", "sh", "-c", command],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=TRY_TIMEOUT_S,
        check=False,
    )
    return done.returncode == 0


@functools.cache
def cpu_groups() -> tuple[int, Path] | None:
    """The version of the control groups that can limit a CPU, and the folder in which groups can be made; None if none
    can be made."""
    for version, folder in ((1, Path("/sys/fs/cgroup/cpu")), (2, Path("/sys/fs/cgroup"))):
        if _limits_cpu(version, folder):
            return version, folder
    return None


def _limits_cpu(version: int, folder: Path) -> bool:
    """Does a group that is made in this folder have a quota?"""
    probe = folder / f"evaluation-probe-{os.getpid()}"
    try:
        probe.mkdir()
    except OSError:
        return False
    try:
        return (probe / ("cpu.cfs_quota_us" if version == 1 else "cpu.max")).exists()
    finally:
        probe.rmdir()
