"""Doing something inside another network namespace, without a process of its own.

Theory. A namespace belongs to a thread. So a thread is made, moved, used and ended: the thread that asked never leaves
its own namespace, whatever goes wrong. A socket stays where it was made, and can be used from anywhere afterwards:
that is how this process measures between two hosts with one clock. `/proc/sys/net` shows the reader's namespace.

Rules. Knows nothing of hosts: a namespace is named by a process in it.
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
    """What `do` returns, or raises, in the network namespace of a process."""
    results: list[T] = []
    errors: list[BaseException] = []

    def work() -> None:
        try:
            with open(f"/proc/{pid}/ns/net") as namespace:
                if _libc.setns(namespace.fileno(), _CLONE_NEWNET) != 0:
                    number = ctypes.get_errno()
                    raise OSError(number, f"setns to the namespace of {pid}: {os.strerror(number)}")
            results.append(do())
        except BaseException as error:  # it is raised again, where it was asked for
            errors.append(error)

    thread = threading.Thread(target=work, name=f"inside-{pid}")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def socket_inside(pid: int, family: int, kind: int, protocol: int = 0) -> socket.socket:
    """A socket of that namespace."""
    return inside(pid, lambda: socket.socket(family, kind, protocol))


def namespace_of(pid: int) -> str | None:
    """Which one it is, as the kernel writes it; None where the process is gone."""
    try:
        return os.readlink(f"/proc/{pid}/ns/net")
    except OSError:
        return None


def processes_in(namespaces: set[str]) -> list[int]:
    """Everyone who is in one of them."""
    return [
        pid
        for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())
        if namespace_of(pid) in namespaces
    ]


def sysctl_path(name: str) -> Path:
    """Where `net.ipv4.tcp_rto_max_ms` is."""
    return Path("/proc/sys") / name.replace(".", "/")
