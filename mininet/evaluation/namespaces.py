"""Doing something inside another network namespace, without a process of its own.

Theory. A namespace belongs to a thread. So a thread is made, moved, used and ended: the calling thread never leaves its
own namespace, even if something fails. A socket stays in the namespace in which it was made, and can be used from
anywhere afterwards: that is how this process measures between two hosts with one clock. `/proc/sys/net` shows the
reader's namespace.

Rules. This module knows nothing of hosts: a namespace is named by a process in it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")
_CLONE_NEWNET = 0x40000000
_libc = ctypes.CDLL(None, use_errno=True)


def inside(pid: int, do: Callable[[], T]) -> T:
    """Calls `do` in the network namespace of a process, and returns or raises what it does."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"setns to the namespace of {pid}: {os.strerror(number)}")
            results.append(do())
        except BaseException as error:  # the calling thread raises it again
            errors.append(error)

    thread = threading.Thread(target=work, name=f"inside-{pid}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def socket_inside(pid: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket in the network namespace of a process."""
    return inside(pid, lambda: socket.socket(family, kind, protocol))


def namespace_of(pid: int) -> str | None:
    """The network namespace of a process, as the kernel writes it; None if the process has ended."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def processes_in(namespaces: set[str]) -> list[int]:
    """All processes in some network namespaces."""
    return [
        pid
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        if namespace_of(pid) in namespaces
    ]


def sysctl_path(name: str) -> Path:
    """The file of a setting such as `net.ipv4.tcp_rto_max_ms`."""
    return Path("/proc/sys") / name.replace(".", "/")
