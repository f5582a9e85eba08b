"""One network for one run: built from a topology, verified before use, and always taken down.

Theory. Mininet makes the hosts (a namespace each), one Linux bridge, and a link from each host to it. Link addresses
are set and known, so no packet is spent on finding them. `shaping` makes the links what was asked, and `verify`
measures whether they are. Names are unique in the machine, so other runs may go on beside this one.

Rules.
- Nothing runs on a network that is not as it was asked.
- A link is taken down at the bridge's side, because the host's side would lose its routes.
- On the way out every process in the hosts' namespaces is ended, no matter which process started it, and every
  interface that carries this network's name is removed. A second Ctrl-C waits until that is done.
- Mininet's own messages are kept, not printed.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import random
import shutil
import signal
import string
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any

from evaluation import machine, measure, namespaces, shaping
from evaluation.errors import EvaluationError, NetworkRefused, Unsupported
from evaluation.host import Host, here
from evaluation.model import Topology

INTERFACES = Path("/sys/class/net")
TAKE_DOWN_S = 15

# Settings of every host before anything starts there; the same for all systems. TCP's patience decides how long a
# system stays away after a partition: by default a sender waits up to two minutes before it tries again.
SYSCTLS: Mapping[str, str] = {"net.ipv4.tcp_rto_max_ms": "1000"}
# If packets are lost, the shortest wait decides: by default 200 ms, while a round trip takes less than one.
LOSSY_SYSCTLS: Mapping[str, str] = {**SYSCTLS, "net.ipv4.tcp_rto_min_us": "5000"}
_ALWAYS = {
    "net.ipv6.conf.all.disable_ipv6": "1",  # because its neighbour discovery would count as traffic
    "net.ipv6.conf.default.disable_ipv6": "1",
    "net.ipv4.conf.all.rp_filter": "0",  # because with a delay element packets come in by another interface
}
_NOTED = ("net.ipv4.tcp_congestion_control", "net.ipv4.tcp_rto_max_ms", "net.ipv4.tcp_rto_min_us")

# -- how far a measurement may be from what was asked
# An echo passes two delay elements, and this process must be awake to see it: 0.1 ms each on a quiet machine, up to a
# millisecond on a busy one. The quickest of several echoes counts, so a busy moment does not refuse a good network.
DELAY_TOLERANCE_MS, DELAY_TOLERANCE_SHARE = 1.0, 0.05
DELAY_EARLY_MS = 0.05  # no echo is early by more than the clock's grain
# A bucket gives its rate, less acknowledgements on the same link (about 2 %), and give or take its portions.
RATE_LEAST_SHARE, RATE_MOST_SHARE = 0.90, 1.06
LOSS_SIGMAS = 4.5  # of the binomial distribution: a good network is refused once in 100,000 links
LOSS_DATAGRAMS_LEAST, LOSS_DATAGRAMS_MOST = 2_000, 20_000
ATTEMPTS = 3  # a measurement that was disturbed is repeated; a wrong network is wrong each time
ECHOES, ECHOES_JITTERED = 4, 15
ECHOES_LOST = 6  # answers that are expected if packets are lost: none comes once in 400 pairs, never three times


class Network:
    """Hosts around one bridge; a context manager. `sysctls`: settings of the hosts, in place of the usual ones."""

    def __init__(self, topology: Topology, *, sysctls: Mapping[str, str] | None = None) -> None:
        self.topology = topology
        self.hosts: list[Host] = []
        self.messages: list[str] = []  # of Mininet
        self.verified: dict[str, Any] = {}
        wanted = sysctls if sysctls is not None else (LOSSY_SYSCTLS if topology.loss else SYSCTLS)
        self._sysctls = {**_ALWAYS, **wanted}
        self._not_set: dict[str, str] = {}
        self._mininet: Any = None
        self._namespaces: set[str] = set()
        self.tag = ""
        self._folder: Path | None = None

    @property
    def nodes(self) -> list[Host]:
        """The hosts of the nodes."""
        return self.hosts[: self.topology.nodes]

    @property
    def clients(self) -> list[Host]:
        """The hosts of the clients."""
        return self.hosts[self.topology.nodes :]

    def __enter__(self) -> Network:
        reason = machine.missing()
        if reason is not None:
            raise Unsupported(reason)
        shaping.refuse(self.topology)
        try:
            self._build()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # -- building

    def _build(self) -> None:
        self.tag = _unused_tag()
        self._folder = Path(tempfile.mkdtemp(prefix="evaluation-network-"))
        with _mininet_kept_quiet(self.messages):
            from mininet.net import Mininet
            from mininet.nodelib import LinuxBridge

            Mininet.inited = True  # otherwise it would change buffer sizes and other limits of the whole machine
            net = Mininet(switch=LinuxBridge, controller=None, autoSetMacs=True, autoStaticArp=True)
            self._mininet = net
            for index in range(self.topology.nodes + self.topology.clients):
                node = net.addHost(f"{self.tag}h{index}")
                self._namespaces.add(_namespace_of_its_own(node.pid))
            switch = net.addSwitch(f"{self.tag}s", dpid="1")
            for node in net.hosts:
                net.addLink(node, switch)
            net.build()
            net.start()
            self.hosts = [self._host(index, node) for index, node in enumerate(net.hosts)]
        self._check_bridge(f"{self.tag}s")
        self._set_sysctls()
        shaping.shape(self.topology, self.hosts, self._folder)

    def _host(self, index: int, node: Any) -> Host:
        wire = node.defaultIntf()
        link = wire.link
        port = link.intf2 if link.intf1 is wire else link.intf1
        return Host(index, node.name, node.IP(), node.MAC(), node.pid, port.name, wire.name, wire.name)

    def _check_bridge(self, bridge: str) -> None:
        """Raises EvaluationError if the bridge lacks a port, because Mininet ignores exit statuses."""
        ports = {entry.name for entry in (INTERFACES / bridge / "brif").iterdir()}
        missing = [host.port for host in self.hosts if host.port not in ports]
        if missing:
            raise EvaluationError(f"the bridge {bridge} has no port {missing}: Mininet said {self.messages}")

    def _set_sysctls(self) -> None:
        for host in self.hosts:
            self._not_set.update(namespaces.inside(host.pid, self._write_sysctls))
        for name in (f"{self.tag}s", *(host.port for host in self.hosts)):
            path = namespaces.sysctl_path("net.ipv6.conf") / name / "disable_ipv6"
            if path.exists():
                path.write_text("1")

    def _write_sysctls(self) -> dict[str, str]:
        """Writes the settings; returns those that could not be set, and why."""
        failed = {}
        for name, value in self._sysctls.items():
            try:
                namespaces.sysctl_path(name).write_text(value)
            except OSError as error:
                failed[name] = f"{value} was asked: {error.strerror}"
        return failed

    # -- taking down

    def close(self) -> None:
        """Ends and removes everything of this network; may be called again."""
        with _uninterrupted(), contextlib.ExitStack() as stack:  # each is tried, even if another one fails
            stack.callback(self._remove_folder)
            stack.callback(self._sweep)
            stack.callback(self._stop_mininet)
            stack.callback(self._end_processes)

    def _stop_mininet(self) -> None:
        if self._mininet is None:
            return
        with _mininet_kept_quiet(self.messages):
            try:
                self._mininet.stop()
            except Exception as error:  # a shell that was interrupted refuses: the sweep replaces this
                self.messages.append(f"stop: {error!r}")
        self._mininet = None

    def _remove_folder(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder)
            self._folder = None

    def _end_processes(self) -> None:
        """Ends the processes that were started in the hosts, by their ids, because a process that begins is not in its
        namespace yet; then all processes in the namespaces, except Mininet's own shells."""
        for host in self.hosts:
            for process in host.processes:
                process.kill()
                process.wait()
        shells = {node.pid for node in self._mininet.hosts} if self._mininet is not None else set()
        deadline = time.monotonic() + TAKE_DOWN_S
        while left := set(namespaces.processes_in(self._namespaces)) - shells:
            if time.monotonic() > deadline:
                raise EvaluationError(f"processes {left} of the network {self.tag} do not end")
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)

    def _sweep(self) -> None:
        """Removes what Mininet's own way of stopping leaves, mostly nothing. Raises EvaluationError if it stays."""
        if not self.tag:
            return
        deadline = time.monotonic() + TAKE_DOWN_S
        while left := self._left():
            for pid in _shells(self.tag):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
            for name in _interfaces(self.tag):
                with contextlib.suppress(EvaluationError):  # it went with its namespace in the meantime
                    here(["ip", "link", "delete", name])
            if time.monotonic() > deadline:
                raise EvaluationError(f"left behind by the network {self.tag}: {left}")
            time.sleep(0.02)
        self.tag = ""

    def _left(self) -> list[str]:
        processes = namespaces.processes_in(self._namespaces)
        return [*_interfaces(self.tag), *(f"process {pid}" for pid in {*processes, *_shells(self.tag)})]

    # -- verifying

    def verify(self) -> dict[str, Any]:
        """Reads back and measures the network; returns what was asked and found. Raises NetworkRefused."""
        self.check()
        found: dict[str, Any] = {"delay_ms": self._verify_delays()}
        if self.topology.loss:
            found["loss"] = self._verify_loss()
        if self.topology.rate_mbit is not None:
            found["rate_mbit"] = self._verify_rates()
        self.check()
        self.verified = found
        return found

    def check(self) -> None:
        """Checks without measuring, as at the end of a run: the kernel still has what was asked, and the delay elements
        live and had time for every packet. Raises NetworkRefused."""
        for host in self.hosts:
            shaping.check_read_back(self.topology, host, shaping.read_back(host))
            for process in host.processes[:1] if self._has_elements() else []:
                if process.poll() is not None:
                    raise NetworkRefused(f"the delay element of {host.name} has ended: {self._element_words(host)}")
        for name, report in self._element_reports().items():
            if report["overflow"]:
                lost = report["overflow"]
                raise NetworkRefused(f"the delay element of {name} lost {lost} packets because it had no time")

    def _has_elements(self) -> bool:
        return shaping.delays(self.topology) and not shaping.uses_netem(self.topology)

    def _verify_delays(self) -> dict[str, Any]:
        """Measures the round trip of each two hosts; without delays, only that they reach each other."""
        told: dict[str, Any] = {}
        for attempt in range(ATTEMPTS):
            told, problem = self._delays()
            if problem is None:
                return told
            if attempt == ATTEMPTS - 1:
                raise NetworkRefused(problem)
        return told

    def _delays(self) -> tuple[dict[str, Any], str | None]:
        pairs = measure.all_pairs(len(self.hosts))
        jitter_ms = self.topology.jitter_ms
        rounds = ECHOES_JITTERED if jitter_ms else ECHOES if self._is_delayed() else 1
        rounds = (
            max(rounds, round(ECHOES_LOST / (1 - shaping.path_loss(self.topology)) ** 2)) if self._loses() else rounds
        )
        asked_ms = {(a, b): self.topology.one_way_ms(a, b) + self.topology.one_way_ms(b, a) for a, b in pairs}
        slowest_s = max(asked_ms.values(), default=0.0) / 1e3 * 1.2 + 4 * jitter_ms / 1e3
        found = measure.round_trips(self.hosts, pairs, rounds, slowest_s + (0.1 if self._loses() else 0.5))
        told: dict[str, Any] = {}
        problem = None
        for (a, b), times_ns in found.items():
            if not times_ns:
                return told, f"{self.hosts[b].name} does not answer {self.hosts[a].name}: they are not connected"
            found_ms = (sum(times_ns) / len(times_ns) if jitter_ms else min(times_ns)) / 1e6
            told[f"{a}-{b}"] = {"asked": asked_ms[a, b], "found": round(found_ms, 3)}
            # the mean of so many sums of four uniform draws, each with a variance of jitter^2 / 3
            spread_ms = 3.5 * (4 * jitter_ms**2 / 3 / len(times_ns)) ** 0.5
            most_ms = asked_ms[a, b] * (1 + DELAY_TOLERANCE_SHARE) + DELAY_TOLERANCE_MS + spread_ms
            if self._is_delayed() and not asked_ms[a, b] - DELAY_EARLY_MS - spread_ms <= found_ms <= most_ms:
                problem = (
                    f"a round trip of {found_ms:.2f} ms between {self.hosts[a].name} and {self.hosts[b].name}; "
                    f"the topology asks for {asked_ms[a, b]:.2f} to {most_ms:.2f}"
                )
        if problem is None and jitter_ms:
            problem = self._jitter_problem(found)
        return told, problem

    def _jitter_problem(self, found: Mapping[measure.Pair, list[int]]) -> str | None:
        """Over all pairs together: do round trips differ as much as was asked? A sentence if they do not."""
        squares = [(one - sum(times_ns) / len(times_ns)) ** 2 for times_ns in found.values() for one in times_ns]
        deviation_ms = (sum(squares) / max(1, len(squares) - len(found))) ** 0.5 / 1e6
        asked_ms = (4 * self.topology.jitter_ms**2 / 3) ** 0.5
        if 0.5 * asked_ms <= deviation_ms <= 1.5 * asked_ms + DELAY_TOLERANCE_MS:
            return None
        return f"round trips deviate by {deviation_ms:.2f} ms; the topology asks for {asked_ms:.2f}"

    def _loses(self) -> bool:
        return self.topology.loss > 0

    def _is_delayed(self) -> bool:
        return shaping.delays(self.topology)

    def round_trip_s(self) -> float:
        """The longest round trip that was asked for, without any load, in seconds."""
        count = len(self.hosts)
        ways = [self.topology.one_way_ms(a, b) for a in range(count) for b in range(count) if a != b]
        return 2 * (max(ways, default=0.0) + 2 * self.topology.jitter_ms) / 1e3

    def _verify_loss(self) -> dict[str, Any]:
        """Measures the loss from each host to the next."""
        asked = shaping.path_loss(self.topology)
        count = min(max(LOSS_DATAGRAMS_LEAST, round(100 / asked)), LOSS_DATAGRAMS_MOST)
        tolerance = LOSS_SIGMAS * (asked * (1 - asked) / count) ** 0.5
        arrived = measure.arrivals(self.hosts, measure.ring(len(self.hosts)), count, self.round_trip_s() / 2)
        for (a, b), number in arrived.items():
            if abs(1 - number / count - asked) > tolerance:
                raise NetworkRefused(
                    f"{1 - number / count:.4f} of {count} packets lost from {self.hosts[a].name} to "
                    f"{self.hosts[b].name}; the topology asks for {asked:.4f} within {tolerance:.4f}"
                )
        return {
            f"{a}-{b}": {"asked": round(asked, 6), "found": round(1 - number / count, 6), "packets": count}
            for (a, b), number in arrived.items()
        }

    def _verify_rates(self) -> dict[str, Any]:
        """Measures the bandwidth from each host to the next: every link, both ways. Disturbed links are measured again,
        alone."""
        asked = self.topology.rate_mbit or 0.0
        pairs = measure.ring(len(self.hosts))
        found: dict[measure.Pair, float] = {}
        for _ in range(ATTEMPTS):
            loss = shaping.path_loss(self.topology)
            found |= measure.rates_mbit(self.hosts, pairs, asked, self.round_trip_s(), loss)
            pairs = [pair for pair in pairs if not RATE_LEAST_SHARE <= found[pair] / asked <= RATE_MOST_SHARE]
            if not pairs:
                return {f"{a}-{b}": {"asked": asked, "found": round(rate, 2)} for (a, b), rate in found.items()}
        a, b = pairs[0]
        raise NetworkRefused(
            f"{found[a, b]:.2f} Mbit/s from {self.hosts[a].name} to {self.hosts[b].name}; "
            f"the topology asks for {asked:.2f}"
        )

    # -- reporting

    def counters(self) -> dict[str, dict[str, int]]:
        """By host's name: the bytes and packets that it sent and received since the network was built, as its link
        counts them. A large segment counts as one packet."""
        told = {}
        for host in self.hosts:
            folder = INTERFACES / host.port / "statistics"
            # the bridge's side received what the host sent
            told[host.name] = {
                f"{of_host}_{unit}": int((folder / f"{of_port}_{unit}").read_text())
                for of_host, of_port in (("tx", "rx"), ("rx", "tx"))
                for unit in ("bytes", "packets")
            }
        return told

    def provenance(self) -> dict[str, Any]:
        """The facts of this network, as read back now."""
        return {
            "hosts": {host.name: {"address": host.address, "mac": host.mac} for host in self.hosts},
            "tc": {host.name: shaping.read_back(host) for host in self.hosts},
            "dropped_by_filters": {host.name: host.dropped() for host in self.hosts} if machine.can_filter() else {},
            "delayed_by": self._delayed_by(),
            "delay_elements": self._element_reports(),
            "sysctls": namespaces.inside(self.hosts[0].pid, self._read_sysctls),
            "sysctls_not_set": self._not_set,
            "verified": self.verified,
            "mininet_said": self.messages,
        }

    def _delayed_by(self) -> str | None:
        if not self._is_delayed():
            return None
        return "netem" if shaping.uses_netem(self.topology) else "evaluation.delay"

    def _read_sysctls(self) -> dict[str, str]:
        told = {}
        for name in (*self._sysctls, *_NOTED):
            with contextlib.suppress(OSError):
                told[name] = namespaces.sysctl_path(name).read_text().strip()
        return told

    def _element_words(self, host: Host) -> str:
        return (self._folder / f"delay-{host.index}.log").read_text(errors="replace")[-500:] if self._folder else ""

    def _element_reports(self) -> dict[str, Any]:
        """What has passed each delay element so far, and what it lost."""
        if not self._has_elements():
            return {}
        told = {}
        for host in self.hosts:
            before = self._element_words(host)
            os.kill(host.processes[0].pid, signal.SIGUSR1)
            deadline = time.monotonic() + 5
            while (words := self._element_words(host)) == before:
                if time.monotonic() > deadline:
                    raise NetworkRefused(f"the delay element of {host.name} does not answer: {words}")
                time.sleep(0.002)
            told[host.name] = json.loads(words.splitlines()[-1])
        return told


def _namespace_of_its_own(pid: int) -> str:
    """The namespace of a host. All processes in it will be killed, so it is never that of this process."""
    found = namespaces.namespace_of(pid)
    if found is None or found == namespaces.namespace_of(os.getpid()):
        raise EvaluationError(f"Mininet made no namespace for its shell {pid}: is mnexec the one of Debian's mininet?")
    return found


def _unused_tag() -> str:
    """The beginning of every name: bridges and ports have names of the whole machine, of at most 15 characters."""
    for _ in range(1000):
        tag = "m" + "".join(random.SystemRandom().choices(string.ascii_lowercase, k=5))
        if not _interfaces(tag):
            return tag
    raise EvaluationError(f"no free name among the interfaces in {INTERFACES}: remove those of runs that are over")


def _interfaces(tag: str) -> list[str]:
    return sorted(entry.name for entry in INTERFACES.iterdir() if entry.name.startswith(tag))


def _shells(tag: str) -> list[int]:
    """The shells of Mininet with this network's name that this process has started; an interrupted start may leave
    one."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        with contextlib.suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            parent = (entry / "stat").read_text().rpartition(")")[2].split()[1]
            if any(word.startswith(b"mininet:" + tag.encode()) for word in words) and int(parent) == os.getpid():
                found.append(int(entry.name))
    return found


@contextlib.contextmanager
def _mininet_kept_quiet(messages: list[str]) -> Iterator[None]:
    """Keeps Mininet's messages in `messages`, because Mininet prints its errors and goes on."""
    from mininet.log import lg

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            messages.append(record.getMessage().strip())

    before, level = lg.handlers[:], lg.level
    lg.handlers[:] = [Keep(logging.WARNING)]
    lg.setLevel(logging.WARNING)
    try:
        yield
    finally:
        lg.handlers[:] = before
        lg.setLevel(level)


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Makes Ctrl-C wait until this is over. Threads other than the first one receive no Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []

    def remember(number: int, _frame: FrameType | None) -> None:
        came.append(number)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt
