"""Making links what a topology asks for (bandwidth, delay, jitter, loss), and reading back what the kernel has.

Theory. Bandwidth is a bucket (HTB) at both ends of each link. The whole delay of a way is given once, at its sender: by
netem if the kernel has it and every way has the same delay, else by the delay element, which knows a packet's
destination and keeps streams in order under jitter. The bucket comes before the delay, as a packet first goes onto the
wire, then along it. The loss of a way is that of two links, and is drawn once, at its receiver (see `filters`).

Rules. A topology that this machine cannot give is refused before anything is built. The exit status of every command
counts. Hosts make no large segments if packets are lost, or on a slow link: what is lost, or waits, is one packet.
"""

from __future__ import annotations

import json
import re
import sys
import time
from pathlib import Path
from typing import Any

from evaluation import machine
from evaluation.errors import EvaluationError, NetworkRefused, Unsupported
from evaluation.host import Host, here, set_filters
from evaluation.model import Topology

RATE_MBIT_MAX = 1000  # Mininet ignores more, and the processor would be the limit
HOSTS_MAX = 200
# Up to this bandwidth a large segment of 64 kB would hold up a link for 5 ms and more; above it, the processor needs
# large segments.
SINGLE_FRAMES_MBIT_MAX = 100
BURST_BYTES = 15_000  # that the bucket gives at once: ten frames
NETEM_LIMIT = 100_000  # packets that may be under way
ELEMENT_START_S = 10
ELEMENTS = Path(__file__).resolve().parent.parent  # where `python -m evaluation.delay` can be found


def path_loss(topology: Topology) -> float:
    """The loss of a way: both of its links lose packets."""
    return 1 - (1 - topology.loss) ** 2


def delays(topology: Topology) -> bool:
    """Does any way take time?"""
    count = topology.nodes + topology.clients
    return topology.jitter_ms > 0 or any(
        topology.one_way_ms(a, b) > 0 for a in range(count) for b in range(count) if a != b
    )


def uses_netem(topology: Topology) -> bool:
    """Does the kernel delay packets? Otherwise the delay element does, if any way takes time."""
    return delays(topology) and not topology.sites and topology.jitter_ms == 0 and machine.can_netem()


def refuse(topology: Topology) -> None:
    """Raises Unsupported if this machine, or any, cannot give what is asked."""
    count = topology.nodes + topology.clients
    if topology.nodes < 1 or topology.clients < 0 or count > HOSTS_MAX:
        raise Unsupported(f"{topology.nodes} nodes and {topology.clients} clients: ask for 1 to {HOSTS_MAX} hosts")
    if topology.rate_mbit is not None:
        if not 0 < topology.rate_mbit <= RATE_MBIT_MAX:
            raise Unsupported(f"{topology.rate_mbit} Mbit/s: ask for up to {RATE_MBIT_MAX}, or for no bandwidth at all")
        if not machine.can_shape_htb():
            raise Unsupported("this kernel has no HTB, so no bandwidth: load sch_htb, or take one of Debian's kernels")
    if not 0 <= topology.loss < 1:
        raise Unsupported(f"a loss of {topology.loss}: ask for a share from 0 to below 1")
    if topology.loss and not machine.can_filter():
        raise Unsupported("this kernel has no BPF filters, so no loss: load cls_bpf and sch_ingress")
    _refuse_sites(topology, count)
    if topology.delay_ms < 0 or not 0 <= topology.jitter_ms <= topology.delay_ms + _least_site_delay_ms(topology) / 2:
        raise Unsupported(
            f"a delay of {topology.delay_ms} ms, a jitter of {topology.jitter_ms}: nothing arrives before it is sent"
        )


def _least_site_delay_ms(topology: Topology) -> float:
    count = topology.nodes + topology.clients
    if not topology.sites or len(topology.sites) != count or count < 2:
        return 0.0
    return min(topology.one_way_ms(a, b) - 2 * topology.delay_ms for a in range(count) for b in range(count) if a != b)


def _refuse_sites(topology: Topology, count: int) -> None:
    """Refuses names that do not fit, because a misspelt name would be a delay of zero."""
    known = set(topology.sites)
    named = {name for name, _ in topology.site_delays_ms}
    if not known and not named:
        return
    if len(topology.sites) != count:
        raise Unsupported(f"{len(topology.sites)} sites for {count} hosts: name the site of each, nodes first")
    needed = {f"{a}-{b}" for a in known for b in known if a < b}
    possible = needed | {f"{a}-{a}" for a in known}
    if needed - named or named - possible or any(delay_ms < 0 for _, delay_ms in topology.site_delays_ms):
        raise Unsupported(
            f"delays of {sorted(named)} for the sites {sorted(known)}: give {sorted(needed)}, none below 0 ms"
        )


# -- bandwidth, delay and loss


def shape(topology: Topology, hosts: list[Host], folder: Path) -> None:
    """Makes every link what is asked. The delay elements write their reports into `folder`."""
    element = delays(topology) and not uses_netem(topology)
    for host in hosts:
        if element:
            _prepare_element(host, hosts)
        commands = [f"qdisc add dev {host.wire} clsact"] if machine.can_filter() else []
        commands += _discipline(topology, host.interface, delayed=uses_netem(topology))
        host.run(["tc", "-batch", "-"], words="\n".join(commands) + "\n")
        if topology.rate_mbit is not None:
            here(["tc", "-batch", "-"], "\n".join(_discipline(topology, host.port, delayed=False)) + "\n")
        if _packet_by_packet(topology):
            host.run(["ip", "link", "set", host.interface, "gso_max_segs", "1"])
    if topology.loss:
        set_filters(hosts, {host.index: (frozenset(), (path_loss(topology),)) for host in hosts})
    if element:
        _start_elements(topology, hosts, folder)


def _packet_by_packet(topology: Topology) -> bool:
    """Do hosts send frames of a wire's size, and no large segments, which would be one packet to everything here?"""
    return topology.loss > 0 or (topology.rate_mbit is not None and topology.rate_mbit <= SINGLE_FRAMES_MBIT_MAX)


def _discipline(topology: Topology, interface: str, *, delayed: bool) -> list[str]:
    """The commands of `tc` for the packets that are sent on one interface."""
    lines = []
    parent = "root"
    if topology.rate_mbit is not None:
        bits = round(topology.rate_mbit * 1e6)
        lines += [
            f"qdisc add dev {interface} root handle 5: htb default 1",
            f"class add dev {interface} parent 5: classid 5:1 htb rate {bits}bit burst {BURST_BYTES} quantum 60000",
        ]
        parent = "parent 5:1"
    if delayed:
        delay_us = round(2 * topology.delay_ms * 1000)
        lines.append(f"qdisc add dev {interface} {parent} handle 10: netem delay {delay_us}us limit {NETEM_LIMIT}")
    return lines


def _prepare_element(host: Host, hosts: list[Host]) -> None:
    """Leads the host's packets into one end of a veth pair; packets to the host still come in by the wire."""
    entrance, exit_ = f"{host.name}-in", f"{host.name}-out"
    lines = [
        f"link add {entrance} address {host.mac} type veth peer name {exit_}",
        f"link set {entrance} addrgenmode none",
        f"link set {exit_} addrgenmode none",
        f"link set {entrance} up",
        f"link set {exit_} up",
        f"route replace 10.0.0.0/8 dev {entrance} src {host.address}",
        f"route flush 10.0.0.0/8 dev {host.wire}",
    ]
    lines += [
        f"neigh replace {other.address} lladdr {other.mac} dev {entrance} nud permanent"
        for other in hosts
        if other is not host
    ]
    host.run(["ip", "-batch", "-"], words="\n".join(lines) + "\n")
    host.interface = entrance


def _start_elements(topology: Topology, hosts: list[Host], folder: Path) -> None:
    """Starts a delay element in each host; returns when all of them take packets."""
    started = []
    for host in hosts:
        command = [sys.executable, "-S", "-m", "evaluation.delay"]
        command += ["--receive", f"{host.name}-out", "--send", host.wire]
        command += ["--jitter-ms", str(topology.jitter_ms), "--seed", str(host.index)]
        for other in hosts:
            if other is not host:
                command += ["--delay", f"{other.address}={topology.one_way_ms(host.index, other.index)}"]
        log = folder / f"delay-{host.index}.log"
        started.append((host, log, host.popen(command, log, cwd=ELEMENTS)))
    deadline = time.monotonic() + ELEMENT_START_S
    for host, log, process in started:
        while b"ready" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                words = log.read_text(errors="replace")[-500:]
                raise EvaluationError(f"the delay element of {host.name} did not start: {words}")
            time.sleep(0.002)


# -- reading back


def read_back(host: Host) -> dict[str, Any]:
    """What the kernel has for one host's link, as `tc` shows it."""
    return {
        "interface": host.interface,
        "sends": _told(host.run(["tc", "-j", "qdisc", "show", "dev", host.interface])),
        "sends_classes": host.run(["tc", "class", "show", "dev", host.interface]).splitlines(),
        "port": host.port,
        "gets": _told(here(["tc", "-j", "qdisc", "show", "dev", host.port])),
        "gets_classes": here(["tc", "class", "show", "dev", host.port]).splitlines(),
        "filter": [list(one) for one in host.filter_found()] if machine.can_filter() else [],
    }


def _told(words: str) -> list[dict[str, Any]]:
    told: list[dict[str, Any]] = json.loads(words) if words.strip() else []
    return told


def check_read_back(topology: Topology, host: Host, found: dict[str, Any]) -> None:
    """Raises NetworkRefused if the kernel has something else than was asked."""
    if topology.rate_mbit is not None:
        asked = round(topology.rate_mbit * 1e6 / 8) * 8
        for side in ("sends", "gets"):
            rates = [rate_bits(line) for line in found[f"{side}_classes"]]
            if rates != [asked]:
                raise NetworkRefused(f"{host.name} {side} at {rates} bit/s by tc; the topology asks for {asked}")
    if uses_netem(topology):
        kinds = [one["kind"] for one in found["sends"]]
        if "netem" not in kinds:
            raise NetworkRefused(f"{host.name} has {kinds} on {host.interface} by tc; the topology asks for netem")
    if topology.loss and not found["filter"]:
        raise NetworkRefused(f"{host.name} loses nothing by tc; the topology asks for {topology.loss}")


def rate_bits(line: str) -> int | None:
    """The rate of a class in bit/s, as `tc` writes it (not every version has it in JSON): "rate 10Mbit", exact by its
    units."""
    found = re.search(r" rate (\d+)([KMGT]?)bit", line)
    return int(found[1]) * {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}[found[2]] if found else None
