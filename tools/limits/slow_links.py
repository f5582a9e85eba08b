"""A cluster's machines as network namespaces with links of a given rate: for `tools/limits`.

Theory. Each node has a namespace, this process has one too, and a bridge in one more namespace joins them. A bucket
(HTB) at both ends of a link gives it its rate; behind each bucket lies a queue of QUEUE_S, as in a small switch. The
kernel counts what each namespace sends, and these counts are the bytes carried. `take_in` lets the kernel of a host
take what others send to a process that is stopped.

Rules. The machine's own network is not touched, and no packet leaves these namespaces. `Net` is a context manager that
removes what it made. This thread is inside of the client's namespace meanwhile, so every process that it starts is too.
Only root can make namespaces.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tied import tied

from multipaxos.config.cluster import Config
from multipaxos.config.members import Member
from multipaxos.errors import ConfigurationError
from multipaxos.local_cluster import LocalCluster

CLONE_NEWNET = 0x40000000
PORT = 7400
BURST_BYTES = 15_000
QUEUE_S, QUEUE_BYTES_MIN = 0.05, 64 << 10


def call(words: str, *more: str) -> str:
    """Runs a command, given by its words and by `more` words that may hold blanks; returns what it said. Raises
    ConfigurationError with what it said if it fails."""
    command = [*words.split(), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise ConfigurationError(f"{' '.join(command)}: {done.stderr.strip() or 'failed'}")
    return done.stdout


def may_make_namespaces() -> bool:
    """Whether this process can make them."""
    return os.geteuid() == 0 and any(Path(place, "ip").exists() for place in os.get_exec_path())


def host(index: int) -> str:
    """The address of a host."""
    return f"10.77.0.{index + 1}"


class Net:
    """`rates`: bytes per second of each host's link, 0 for a link without a bound. The last host is this process."""

    def __init__(self, rates: Sequence[float]) -> None:
        self.rates = list(rates)
        self.names = [f"mpx{os.getpid()}-{index}" for index in range(len(rates))]
        self.bridge = f"mpx{os.getpid()}-b"
        self._home = -1

    def __enter__(self) -> Self:
        if not may_make_namespaces():
            raise ConfigurationError("links with a rate need network namespaces: run this as root, with iproute2")
        try:
            self._build()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _build(self) -> None:
        call(f"ip netns add {self.bridge}")
        here = f"ip -n {self.bridge} link"
        call(f"{here} add name hub type bridge")
        call(f"{here} set hub up")
        for index, name in enumerate(self.names):
            call(f"ip netns add {name}")
            call(f"{here} add name p{index} type veth peer name wire netns {name}")
            call(f"{here} set p{index} master hub up")
            call(f"ip -n {name} address add {host(index)}/24 dev wire")
            call(f"ip -n {name} link set lo up")
            call(f"ip -n {name} link set wire up")
            self.shape(index, self.rates[index])
        self._home = os.open("/proc/thread-self/ns/net", os.O_RDONLY)
        entered = os.open(f"/run/netns/{self.names[-1]}", os.O_RDONLY)
        _enter(entered)
        os.close(entered)

    def shape(self, index: int, rate_bytes_s: float) -> None:
        """Gives a host's link its rate, in both directions."""
        if not rate_bytes_s:
            return
        queue_bytes = max(QUEUE_BYTES_MIN, round(rate_bytes_s * QUEUE_S))
        for space, device in ((self.names[index], "wire"), (self.bridge, f"p{index}")):
            call(f"ip -n {space} link set {device} gso_max_segs 1")
            call(f"tc -n {space} qdisc add dev {device} root handle 1: htb default 1")
            rate = f"rate {round(rate_bytes_s * 8)}bit burst {BURST_BYTES} quantum 60000"
            call(f"tc -n {space} class add dev {device} parent 1: classid 1:1 htb {rate}")
            call(f"tc -n {space} qdisc add dev {device} parent 1:1 bfifo limit {queue_bytes}")

    def take_in(self, index: int, size_bytes: int) -> None:
        """From now on the kernel takes so many bytes for each new connection of this host, read or not."""
        call(f"ip netns exec {self.names[index]} sysctl -q -w", f"net.ipv4.tcp_rmem=4096 {size_bytes} {size_bytes}")

    def sent_bytes(self) -> list[int]:
        """What each host has sent up to now, heads of packets included."""
        rows: list[Any] = [json.loads(call(f"ip -s -j -n {name} link show wire")) for name in self.names]
        return [int(row[0]["stats64"]["tx"]["bytes"]) for row in rows]

    def _remove(self) -> None:
        if self._home >= 0:
            _enter(self._home)
            os.close(self._home)
            self._home = -1
        for name in [*self.names, self.bridge]:
            if Path("/run/netns", name).exists():
                call(f"ip netns delete {name}")


def _enter(space: int) -> None:
    """Moves this thread into a network namespace, given by a descriptor."""
    if ctypes.CDLL(None, use_errno=True).setns(space, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def config_of(nodes: int, learners: int = 0, **settings: Any) -> Config:
    """The nodes of a net: `nodes` of them have every role, the `learners` after them only replicate."""
    members = [Member(index, f"{host(index)}:{PORT}") for index in range(nodes)]
    members += [Member(index, f"{host(index)}:{PORT}", ("replica",)) for index in range(nodes, nodes + learners)]
    return replace(Config.local(nodes, PORT), nodes=tuple(members), key_file=Path("cluster.key"), **settings)


class PlacedCluster(LocalCluster):
    """A cluster whose node i runs in the namespace of host i."""

    def __init__(self, net: Net, config: Config, directory: Path, storage: str = "lmdb") -> None:
        super().__init__(replace(config, key_file=directory.absolute() / "cluster.key"), directory, storage)
        self.net = net

    def command(self, node_id: int) -> list[str]:
        """`tied` becomes `ip netns exec` and that becomes the node, so the process id is the node's."""
        return [*tied(), "ip", "netns", "exec", self.net.names[node_id], *super().command(node_id)]
