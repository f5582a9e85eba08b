"""What can be done to a process and seen of it: its state, and a share of a CPU instead of all that it wants.

Theory. A control group with a quota gives a process a fixed time in each period, no matter what else runs. If no group
can be made, the process is stopped and continued by signals, in the same period.

Rules. A process is named by its id, and is one of ours. The evidence of slowness is read back, not remembered.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from evaluation import machine
from evaluation.errors import EvaluationError, FaultRefused

PATIENCE_S = 5.0  # for an act that the kernel does at once on a quiet machine
LOOK_AGAIN_S = 0.001
QUOTA_PERIOD_US = 20_000  # short beside an election's time-out
QUOTA_LEAST_US = 1_000  # the kernel accepts no less


def state_of(pid: int) -> str:
    """The kernel's letters for the threads of a process, one letter if all are the same; "gone" if there is none."""
    try:
        stats = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    except OSError:
        return "gone"
    return "".join(sorted({stat.rpartition(")")[2].split()[0] for stat in stats})) or "gone"


def wait_for(condition: Callable[[], bool], timeout_s: float = PATIENCE_S, pause_s: float = LOOK_AGAIN_S) -> bool:
    """Does the condition come true in time?"""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause_s)
    return True


class Slowness(Protocol):
    """A process that gets a share of a CPU."""

    def begin(self) -> None:
        """Makes the process slow from now on."""

    def evidence(self) -> dict[str, Any]:
        """What shows that the process is slow. Raises FaultRefused."""

    def end(self) -> None:
        """Gives the process all the time that it wants again."""


def slowness(pid: int, share: float) -> Slowness:
    groups = machine.cpu_groups()
    return Quota(pid, share, *groups) if groups is not None else DutyCycle(pid, share)


class Quota:
    """Slowness by a control group with a quota, of version 1 or 2."""

    def __init__(self, pid: int, share: float, version: int, root: Path) -> None:
        self._pid = pid
        self._version = version
        self._root = root
        self._quota_us = max(QUOTA_LEAST_US, round(share * QUOTA_PERIOD_US))
        self._period_us = round(self._quota_us / share)
        self._folder = root / f"evaluation-{os.getpid()}-{pid}"
        self._before = root / _group_of(pid, version)

    def begin(self) -> None:
        """Sets the quota first, then moves the process: the group never has it without a quota."""
        self._folder.mkdir()
        if self._version == 1:
            (self._folder / "cpu.cfs_period_us").write_text(str(self._period_us))
            (self._folder / "cpu.cfs_quota_us").write_text(str(self._quota_us))
        else:
            (self._folder / "cpu.max").write_text(f"{self._quota_us} {self._period_us}")
        (self._folder / "cgroup.procs").write_text(str(self._pid))

    def evidence(self) -> dict[str, Any]:
        """The group's quota and members, read back."""
        names = ("cpu.cfs_quota_us", "cpu.cfs_period_us") if self._version == 1 else ("cpu.max",)
        quota = " ".join((self._folder / name).read_text().strip() for name in names)
        members = (self._folder / "cgroup.procs").read_text().split()
        if quota != f"{self._quota_us} {self._period_us}" or str(self._pid) not in members:
            raise FaultRefused(f"process {self._pid} is not slow: its group has {quota} for {members}")
        return {"by": f"cgroup v{self._version}", "quota_us period_us": quota, "group": str(self._folder)}

    def end(self) -> None:
        """Moves the process back to its former group, and removes this one."""
        if not self._folder.exists():
            return
        for pid in (self._folder / "cgroup.procs").read_text().split():
            with contextlib.suppress(ProcessLookupError):
                (self._before / "cgroup.procs").write_text(pid)
        # a process that was killed leaves its group a little later
        if not wait_for(self._removed):
            raise EvaluationError(f"cannot remove the control group {self._folder}: remove it by rmdir")

    def _removed(self) -> bool:
        with contextlib.suppress(OSError):
            self._folder.rmdir()
        return not self._folder.exists()


def _group_of(pid: int, version: int) -> str:
    """The path of a process's present group, below the root of the groups that limit a CPU."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        number, controllers, path = line.split(":", 2)
        if (version == 2 and number == "0") or (version == 1 and "cpu" in controllers.split(",")):
            return path.lstrip("/")
    return ""


class DutyCycle:
    """Slowness without control groups: signals stop the process for a part of each period. It is coarser than a quota:
    the process is also stopped when it has little to do."""

    def __init__(self, pid: int, share: float) -> None:
        self._pid = pid
        self._run_s = share * QUOTA_PERIOD_US / 1e6
        self._rest_s = (1 - share) * QUOTA_PERIOD_US / 1e6
        self._ended = threading.Event()
        self._cycles = 0
        self._thread = threading.Thread(target=self._cycle, name=f"slow-{pid}", daemon=True)

    def begin(self) -> None:
        """Returns after the first stop."""
        self._thread.start()
        wait_for(lambda: self._cycles > 0 or not self._thread.is_alive())

    def _cycle(self) -> None:
        with contextlib.suppress(ProcessLookupError):  # the process has ended, and so does this thread
            while not self._ended.is_set():
                os.kill(self._pid, signal.SIGSTOP)
                self._cycles += 1
                self._ended.wait(self._rest_s)
                os.kill(self._pid, signal.SIGCONT)
                self._ended.wait(self._run_s)

    def evidence(self) -> dict[str, Any]:
        """That the process is seen stopped."""
        if not wait_for(lambda: state_of(self._pid) == "T"):
            raise FaultRefused(f"process {self._pid} is never seen stopped: it is not slow")
        return {"by": "SIGSTOP and SIGCONT", "period_us": QUOTA_PERIOD_US, "run_us": round(self._run_s * 1e6)}

    def end(self) -> None:
        """Ends after the period that runs."""
        self._ended.set()
        self._thread.join()
