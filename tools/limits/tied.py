"""Runs a program that ends with this one: ``[*tied(), "program", "argument"]`` is its command line.

Theory. Probes, floods and nodes are processes of their own. Where `tools/limits` is killed nobody is left to end them.
So the kernel does it: a process may ask for a signal for the moment when its parent ends, and `exec` keeps that.

Rule. The program runs in the process that was started, so its id is known. If the parent ended before it could be asked
for, the program does not begin.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def tied() -> list[str]:
    """The words before a command line that tie its process to this one."""
    return [sys.executable, __file__, str(os.getpid())]


def main(parent: int, command: list[str]) -> None:
    """Becomes the program, which ends when `parent` ends."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "the kernel does not tie processes to their parent")
    if os.getppid() == parent:
        os.execvp(command[0], command)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
