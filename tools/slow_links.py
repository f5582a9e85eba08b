"""A cluster's machines as network namespaces with links of a given rate: for `tools/limits.py`.

Theory. Each node has a namespace, this process has one too, and a bridge in one more namespace joins them. A bucket
(HTB) at both ends of a link gives it its rate; behind each bucket lies a queue of QUEUE_S, as in a small switch. The
kernel counts what each namespace sends, and these counts are the bytes carried. `hold_back` puts a filter before a
namespace: what holds data is dropped, and bare acknowledgements pass, so that a node can send and hears nothing.

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

from multipaxos.config.cluster import Config
from multipaxos.config.members import Member
from multipaxos.errors import ConfigurationError
from multipaxos.local_cluster import LocalCluster

CLONE_NEWNET = 0x40000000
PORT = 7400
BURST_BYTES = 15_000
QUEUE_S, QUEUE_BYTES_MIN = 0.05, 64 << 10
BARE_BYTES_MAX = 90  # an IPv4 packet with TCP's head and options, and no data

# Classic BPF at a namespace's entry: IPv4 packets from the hosts that are named and longer than BARE_BYTES_MAX go.
LOAD_HALF, LOAD_WORD, JUMP_EQUAL, JUMP_ABOVE, RETURN = 0x28, 0x20, 0x15, 0x25, 0x06
TYPE_AT, LENGTH_AT, SOURCE_AT, IPV4 = 12, 16, 26, 0x0800
DROP, GO_ON = 2, 0xFFFFFFFF


def call(*words: str) -> str:
    """Runs a command; returns what it said. Raises ConfigurationError with its words if it fails."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20)
    if done.returncode:
        raise ConfigurationError(f"{' '.join(words)}: {done.stderr.strip() or 'failed'}")
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
        call("ip", "netns", "add", self.bridge)
        call("ip", "-n", self.bridge, "link", "add", "name", "hub", "type", "bridge")
        call("ip", "-n", self.bridge, "link", "set", "hub", "up")
        for index, name in enumerate(self.names):
            call("ip", "netns", "add", name)
            wire = ["type", "veth", "peer", "name", "wire", "netns", name]
            call("ip", "-n", self.bridge, "link", "add", "name", f"p{index}", *wire)
            call("ip", "-n", self.bridge, "link", "set", f"p{index}", "master", "hub", "up")
            call("ip", "-n", name, "address", "add", f"{host(index)}/24", "dev", "wire")
            call("ip", "-n", name, "link", "set", "lo", "up")
            call("ip", "-n", name, "link", "set", "wire", "up")
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
            call("ip", "-n", space, "link", "set", device, "gso_max_segs", "1")
            tc = ["tc", "-n", space]
            call(*tc, *f"qdisc add dev {device} root handle 1: htb default 1".split())
            rate = f"rate {round(rate_bytes_s * 8)}bit burst {BURST_BYTES} quantum 60000"
            call(*tc, *f"class add dev {device} parent 1: classid 1:1 htb {rate}".split())
            call(*tc, *f"qdisc add dev {device} parent 1:1 bfifo limit {queue_bytes}".split())

    def hold_back(self, index: int, others: Sequence[int]) -> None:
        """From now on this host gets no data from the others, only their acknowledgements."""
        code = [(LOAD_HALF, 0, 0, TYPE_AT), (JUMP_EQUAL, 1, 0, IPV4), (RETURN, 0, 0, GO_ON)]
        for other in others:
            source = int.from_bytes(bytes(map(int, host(other).split("."))), "big")
            code += [(LOAD_WORD, 0, 0, SOURCE_AT), (JUMP_EQUAL, 0, 3, source)]
            code += [(LOAD_HALF, 0, 0, LENGTH_AT), (JUMP_ABOVE, 0, 1, BARE_BYTES_MAX), (RETURN, 0, 0, DROP)]
        code.append((RETURN, 0, 0, GO_ON))
        text = ",".join([str(len(code)), *(" ".join(map(str, each)) for each in code)])
        tc = ["tc", "-n", self.names[index]]
        call(*tc, *"qdisc add dev wire clsact".split())
        call(*tc, *"filter add dev wire ingress pref 1 protocol all bpf direct-action bytecode".split(), text)

    def sent_bytes(self) -> list[int]:
        """What each host has sent up to now, heads of packets included."""
        rows: list[Any] = [json.loads(call("ip", "-s", "-j", "-n", name, "link", "show", "wire")) for name in self.names]
        return [int(row[0]["stats64"]["tx"]["bytes"]) for row in rows]

    def _remove(self) -> None:
        if self._home >= 0:
            _enter(self._home)
            os.close(self._home)
            self._home = -1
        for name in [*self.names, self.bridge]:
            if Path("/run/netns", name).exists():
                call("ip", "netns", "delete", name)


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
        """`ip netns exec` becomes the node, so the process id is the node's."""
        return ["ip", "netns", "exec", self.net.names[node_id], *super().command(node_id)]
