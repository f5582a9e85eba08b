"""Faults on a running system: each is carried out, checked for its effect, and recorded with its times.

Theory. A fault that silently does nothing makes a good plot. So each fault ends by reading something that only its
effect can have changed: the wait status after SIGKILL, the state in /proc after SIGSTOP, the counter of a filter after
a packet was sent across a cut, the state of a link. `took_effect_ns` is the time when its last command was done; the
evidence is read after that time.

A partition says which of the hosts in its groups receive each other's packets (all other hosts receive everything):

| mode | groups | which hosts receive each other's packets |
| --- | --- | --- |
| full | two or more that share no host | hosts of the same group |
| one_way | two that share no host | all, except that the second group receives nothing from the first |
| bridge | two that share exactly one host | hosts that share a group: the common host connects both sides |
| partial | two or more, some of which overlap | hosts that share a group: each side sees another part of the whole |

A partition with a target in place of groups is about that node. full: the node is alone against all other hosts.
one_way: the node receives nothing from the other nodes, which receive its packets. bridge: the node and the next node
receive nothing from each other, and every other node receives from both.

A later partition replaces an earlier one; heal ends partitions and losses everywhere. `slow` gives a share of one CPU;
1 or more ends it. A loss of 0 ends it. Restart, continue and link_up without a target act on the node that was last
killed, stopped or taken down. A follower is the first living node that does not lead.

Rules. Times are CLOCK_MONOTONIC. A fault that did not take effect raises `FaultRefused`, so that nothing goes on as if
it had. Signals are sent to processes by their own ids. On the way out every fault is undone, except kills.
"""

from __future__ import annotations

import contextlib
import itertools
import signal
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any, Protocol

from evaluation import machine, measure
from evaluation.errors import EvaluationError, FaultRefused
from evaluation.host import here, set_filters
from evaluation.model import Fault, Target
from evaluation.network import INTERFACES, Network
from evaluation.processes import PATIENCE_S, Slowness, slowness, state_of, wait_for
from evaluation.shaping import path_loss

PROBES_MOST = 500  # that are sent to see a loss
PROBE_ROUNDS = 4
LOST_EXPECTED = 10  # probes: with so many, none is lost only once in 20,000 times
FORWARDING = "3"  # the state of a bridge's port that forwards
OPPOSITE = {"restart": "kill", "continue": "stop", "link_up": "link_down"}

Cut = tuple[int, int]  # the second host does not receive what the first one sends


class Control(Protocol):
    """What a fault needs of the system; a `System` has it."""

    processes: dict[int, subprocess.Popen[bytes]]

    def leader(self) -> int:
        """The node that leads now."""

    def start_node(self, node: int) -> None:
        """Starts one node's process again."""


@dataclass(frozen=True, kw_only=True)
class Injected:
    """One fault as it happened. `target`: its node or host, if it has one. `asked_ns`: when it was due or, without a
    schedule, asked for. `began_ns` and `took_effect_ns`: before its first and after its last command."""

    kind: str
    target: int | None
    asked_ns: int
    began_ns: int
    took_effect_ns: int
    evidence: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """The fault as plain values."""
        return asdict(self)


def cuts(fault: Fault) -> frozenset[Cut]:
    """The cuts that a partition's groups make. Raises FaultRefused if mode and groups do not fit."""
    groups = [frozenset(group) for group in fault.groups]
    shared = frozenset(host for one, other in itertools.combinations(groups, 2) for host in one & other)
    fits = {
        "full": len(groups) >= 2 and not shared,
        "one_way": len(groups) == 2 and not shared,
        "bridge": len(groups) == 2 and len(shared) == 1,
        "partial": len(groups) >= 2 and len(shared) >= 1,
    }
    if not fits[fault.mode] or not all(groups):
        raise FaultRefused(
            f"groups {fault.groups} make no partition {fault.mode!r}: see evaluation.faults for which do"
        )
    if fault.mode == "one_way":
        return frozenset(itertools.product(groups[0], groups[1]))
    named = sorted(frozenset().union(*groups))
    apart = frozenset(
        (a, b) for a in named for b in named if a != b and not any(a in group and b in group for group in groups)
    )
    if not apart:
        raise FaultRefused(f"groups {fault.groups} cut no host off: every two share a group")
    return apart


class Injector:
    """Carries out faults on one system; a context manager that undoes them."""

    def __init__(self, network: Network, control: Control) -> None:
        self.network = network
        self.control = control
        self.done: list[Injected] = []
        self._cuts: frozenset[Cut] = frozenset()
        self._losses: dict[int, float] = {}
        self._slow: dict[int, Slowness] = {}
        self._links_down: set[int] = set()
        self._last: dict[str, int] = {}  # by kind: its last target
        self._dropped_before: dict[int, int] = {}  # by host: packets that its filters dropped before the last change
        self._kinds: Mapping[str, Callable[[Fault, int | None], _Effect]] = {
            "kill": self._kill,
            "stop": self._stop,
            "continue": self._continue,
            "restart": self._restart,
            "link_down": self._link_down,
            "link_up": self._link_up,
            "partition": self._partition,
            "heal": self._heal,
            "loss": self._loss,
            "slow": self._set_slow,
        }

    def __enter__(self) -> Injector:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.undo_all()

    def inject(self, fault: Fault, asked_ns: int | None = None) -> Injected:
        """Carries out a fault now. Raises FaultRefused if it did not take effect."""
        asked_ns = time.monotonic_ns() if asked_ns is None else asked_ns
        target = self._resolve(fault)
        try:
            began_ns, took_effect_ns, evidence = self._kinds[fault.kind](fault, target)
        except (OSError, EvaluationError) as error:
            if isinstance(error, FaultRefused):
                raise
            raise FaultRefused(f"{fault.kind} of {target}: {error}") from error
        if target is not None:
            self._last[fault.kind] = target
        injected = Injected(
            kind=fault.kind,
            target=target,
            asked_ns=asked_ns,
            began_ns=began_ns,
            took_effect_ns=took_effect_ns,
            evidence=evidence,
        )
        self.done.append(injected)
        return injected

    def schedule(self, faults: Sequence[Fault], began_ns: int, until_ns: int) -> list[Injected]:
        """Carries out each fault at its time after `began_ns`, then sleeps to `until_ns`. Ctrl-C ends it at once.
        Faults that are due after the end are left out; those that were carried out are also in `done`."""
        injected = []
        for fault in sorted(faults, key=lambda one: one.at_s):
            due_ns = began_ns + round(fault.at_s * 1e9)
            if due_ns >= until_ns:
                break
            _sleep_until(due_ns)
            injected.append(self.inject(fault, due_ns))
        _sleep_until(until_ns)
        return injected

    def confirm(self) -> dict[str, int]:
        """By host's name: how many packets its filters have dropped since the last change."""
        return {
            self.network.hosts[index].name: self.network.hosts[index].dropped() - before
            for index, before in self._dropped_before.items()
        }

    def undo_all(self) -> None:
        """Ends cuts, losses and slowness, sets links up and continues stopped processes."""
        with contextlib.ExitStack() as stack:  # each is tried, even if another one fails
            if self._cuts or self._losses:
                stack.callback(self._set_filters, frozenset(), {})
            for node in list(self._slow):
                stack.callback(self._slow.pop(node).end)
            for index in list(self._links_down):
                stack.callback(self._set_link, index, "up")
            for process in self.control.processes.values():
                if process.poll() is None and "T" in state_of(process.pid):
                    stack.callback(process.send_signal, signal.SIGCONT)

    # -- the target

    def _resolve(self, fault: Fault) -> int | None:
        """The node or host that a fault acts on; None for the whole network."""
        if fault.kind in OPPOSITE and not isinstance(fault.target, int):
            if OPPOSITE[fault.kind] not in self._last:
                raise FaultRefused(f"{fault.kind}: no node has had {OPPOSITE[fault.kind]} before: name the node")
            return self._last[OPPOSITE[fault.kind]]
        if fault.target is None:
            if fault.kind in ("partition", "heal"):
                return None
            raise FaultRefused(f"{fault.kind} needs a target: leader, follower or a number")
        target = self._node_of(fault.target)
        if not 0 <= target < len(self.network.hosts):
            raise FaultRefused(f"{fault.kind} of host {target}: there are {len(self.network.hosts)}")
        return target

    def _node_of(self, target: Target) -> int:
        if isinstance(target, int):
            return target
        leader = self.control.leader()
        if target == "leader":
            return leader
        for node, process in sorted(self.control.processes.items()):
            if node != leader and process.poll() is None:
                return node
        raise FaultRefused(f"no follower lives: the leader is {leader}")

    def _process(self, node: int | None) -> subprocess.Popen[bytes]:
        process = self.control.processes.get(-1 if node is None else node)
        if process is None:
            raise FaultRefused(f"node {node} has no process")
        if process.poll() is not None:
            raise FaultRefused(f"node {node} ended before, with {process.returncode}")
        return process

    # -- processes

    def _kill(self, _fault: Fault, target: int | None) -> _Effect:
        process = self._process(target)
        began_ns = time.monotonic_ns()
        process.kill()
        try:
            status = process.wait(PATIENCE_S)
        except subprocess.TimeoutExpired as error:
            raise FaultRefused(f"node {target} lives {PATIENCE_S} s after SIGKILL") from error
        took_effect_ns = time.monotonic_ns()
        if status != -signal.SIGKILL:
            raise FaultRefused(f"node {target} ended with {status}, not by SIGKILL")
        return began_ns, took_effect_ns, {"pid": process.pid, "wait_status": status}

    def _stop(self, _fault: Fault, target: int | None) -> _Effect:
        return self._signalled(target, signal.SIGSTOP, lambda state: state == "T")

    def _continue(self, _fault: Fault, target: int | None) -> _Effect:
        return self._signalled(target, signal.SIGCONT, lambda state: state != "gone" and "T" not in state)

    def _signalled(self, target: int | None, number: signal.Signals, reached: Callable[[str], bool]) -> _Effect:
        process = self._process(target)
        before = state_of(process.pid)
        if reached(before):
            raise FaultRefused(f"node {target} is {before!r} before {number.name}: it would change nothing")
        began_ns = time.monotonic_ns()
        process.send_signal(number)
        if not wait_for(lambda: reached(state_of(process.pid))):
            raise FaultRefused(f"node {target} is {state_of(process.pid)!r} after {number.name}")
        took_effect_ns = time.monotonic_ns()
        return began_ns, took_effect_ns, {"pid": process.pid, "state": state_of(process.pid), "before": before}

    def _restart(self, _fault: Fault, target: int | None) -> _Effect:
        before = self.control.processes.get(-1 if target is None else target)
        if target is None or before is None or before.poll() is None:
            raise FaultRefused(f"node {target} was not killed, so it cannot start again")
        began_ns = time.monotonic_ns()
        self.control.start_node(target)
        took_effect_ns = time.monotonic_ns()
        process = self._process(target)
        if process is before:
            raise FaultRefused(f"node {target} has no new process")
        return began_ns, took_effect_ns, {"pid": process.pid, "before": before.pid, "state": state_of(process.pid)}

    # -- links

    def _link_down(self, _fault: Fault, target: int | None) -> _Effect:
        return self._link(target, "down")

    def _link_up(self, _fault: Fault, target: int | None) -> _Effect:
        return self._link(target, "up")

    def _link(self, target: int | None, wanted: str) -> _Effect:
        assert target is not None  # it was resolved
        before = self._link_state(target)
        if before["operstate"] == wanted:
            raise FaultRefused(f"the link of host {target} is {wanted} already")
        began_ns = time.monotonic_ns()
        self._set_link(target, wanted)
        if not wait_for(lambda: self._link_state(target)["operstate"] == wanted):
            raise FaultRefused(f"the link of host {target} is {self._link_state(target)}; the fault asks for {wanted}")
        if wanted == "up" and not wait_for(lambda: self._link_state(target)["bridge_port"] == FORWARDING):
            raise FaultRefused(f"the bridge forwards nothing to host {target}: {self._link_state(target)}")
        took_effect_ns = time.monotonic_ns()
        return began_ns, took_effect_ns, self._link_state(target)

    def _set_link(self, index: int, wanted: str) -> None:
        """Sets the bridge's side of a link, so that the host keeps its routes and neighbours."""
        here(["ip", "link", "set", self.network.hosts[index].port, wanted])
        (self._links_down.add if wanted == "down" else self._links_down.discard)(index)

    def _link_state(self, index: int) -> dict[str, str]:
        folder = INTERFACES / self.network.hosts[index].port
        return {
            "port": self.network.hosts[index].port,
            "operstate": (folder / "operstate").read_text().strip(),
            "bridge_port": (folder / "brport" / "state").read_text().strip(),
        }

    # -- packets that do not arrive

    def _partition(self, fault: Fault, target: int | None) -> _Effect:
        everyone = range(len(self.network.hosts))
        if not fault.groups and target is not None:
            fault = replace(fault, groups=self._groups_around(target, fault.mode))
        if any(index not in everyone for group in fault.groups for index in group):
            raise FaultRefused(f"groups {fault.groups}: there are {len(everyone)} hosts, from 0 on")
        wanted = cuts(fault)
        began_ns = time.monotonic_ns()
        took_effect_ns = self._set_filters(wanted, self._losses)
        return began_ns, took_effect_ns, self._evidence_of_cuts(wanted)

    def _groups_around(self, target: int, mode: str) -> tuple[tuple[int, ...], ...]:
        """The groups of a partition that has a target alone."""
        nodes = [host.index for host in self.network.nodes if host.index != target]
        match mode:
            case "full":
                return (target,), tuple(host.index for host in self.network.hosts if host.index != target)
            case "one_way":
                return tuple(nodes), (target,)
            case "bridge" if len(nodes) == 2:
                return (target, nodes[1]), (nodes[0], nodes[1])
        raise FaultRefused(f"a partition {mode!r} of {len(nodes) + 1} nodes needs its groups")

    def _evidence_of_cuts(self, wanted: Iterable[Cut]) -> dict[str, Any]:
        """Sends an echo across each cut: its counter must move, and no answer may come."""
        hosts = self.network.hosts
        across = [cut for cut in sorted(wanted) if not self._links_down & set(cut)]
        before = {b: hosts[b].dropped() for _, b in across}
        for a, b in across:
            measure.echoes(hosts, a, b, 1)
        due = {b: before[b] + sum(1 for _, other in across if other == b) for b in before}
        wait_for(lambda: all(hosts[b].dropped() >= due[b] for b in due), PATIENCE_S, 0.005)
        moved = {b: hosts[b].dropped() - before[b] for b in before}
        unmoved = [b for b in due if moved[b] < due[b] - before[b]]
        answers = measure.round_trips(hosts, across, 1, self.network.round_trip_s() + 0.02)
        heard = [cut for cut, times_ns in answers.items() if times_ns]
        if unmoved or heard:
            raise FaultRefused(f"a cut that cuts nothing: counters of {unmoved} did not move, {heard} were answered")
        return {
            "cuts": [list(cut) for cut in sorted(wanted)],
            "echoes_dropped": {hosts[b].name: count for b, count in moved.items()},
        }

    def _heal(self, _fault: Fault, _target: int | None) -> _Effect:
        healed, hosts = self._cuts, self.network.hosts
        if not healed and not self._losses:
            raise FaultRefused("nothing to heal: no partition and no loss is there")
        dropped = self.confirm()
        began_ns = time.monotonic_ns()
        took_effect_ns = self._set_filters(frozenset(), {})
        across = sorted({(min(cut), max(cut)) for cut in healed if not self._links_down & set(cut)})
        rounds = 20 if self.network.topology.loss else 3
        answers = measure.round_trips(hosts, across, rounds, self.network.round_trip_s() + 0.1) if across else {}
        deaf = [cut for cut, times_ns in answers.items() if not times_ns]
        if deaf:
            raise FaultRefused(f"not healed: no answer between {deaf}")
        return began_ns, took_effect_ns, {"answered": [list(cut) for cut in across], "dropped": dropped}

    def _loss(self, fault: Fault, target: int | None) -> _Effect:
        assert target is not None  # it was resolved
        amount = fault.amount if fault.amount is not None else -1.0
        if not 0 <= amount <= 1:
            raise FaultRefused(f"a loss of {fault.amount}: give the share of packets as its amount, 0 to 1")
        losses = {index: loss for index, loss in self._losses.items() if index != target}
        if amount > 0:
            losses[target] = amount
        began_ns = time.monotonic_ns()
        took_effect_ns = self._set_filters(self._cuts, losses)
        evidence = {"filter": self.network.hosts[target].filter_found()}
        if amount > 0:
            evidence |= self._evidence_of_loss(target, amount)
        return began_ns, took_effect_ns, evidence

    def _evidence_of_loss(self, target: int, amount: float) -> dict[str, Any]:
        """Sends enough echoes that some are lost; the host's counter says how many."""
        host, count = self.network.hosts[target], min(PROBES_MOST, round(LOST_EXPECTED / amount))
        others = [
            other.index
            for other in self.network.hosts
            if other is not host and (other.index, target) not in self._cuts and other.index not in self._links_down
        ]
        if not others or target in self._links_down:
            raise FaultRefused(f"no host can reach host {target}: its loss cannot be seen")
        before = host.dropped()
        for round_ in range(1, PROBE_ROUNDS + 1):
            measure.echoes(self.network.hosts, others[0], target, count)
            wait_for(lambda: host.dropped() > before, self.network.round_trip_s() + 0.2, 0.005)
            if moved := host.dropped() - before:
                return {"echoes_sent": round_ * count, "packets_dropped": moved}
        sent = PROBE_ROUNDS * count
        raise FaultRefused(f"none of {sent} echoes to host {target} was lost; the fault asks for {amount}")

    def _set_filters(self, wanted: frozenset[Cut], losses: Mapping[int, float]) -> int:
        """Sets the filters that change; returns the time when the last one was set."""
        if not machine.can_filter():
            raise FaultRefused("this kernel has no BPF filters: load cls_bpf and sch_ingress")
        base = self._losses_of_topology()
        changes = {}
        for host in self.network.hosts:
            cut_off = frozenset(self.network.hosts[a].address for a, b in wanted if b == host.index)
            lost = (*base, losses[host.index]) if host.index in losses else base
            if (cut_off, lost) != (host.cut_off, host.losses):
                changes[host.index] = (cut_off, lost)
        affected = {b for _, b in wanted} | set(losses)
        self._dropped_before = {index: self.network.hosts[index].dropped() for index in sorted(affected)}
        set_filters(self.network.hosts, changes)
        took_effect_ns = time.monotonic_ns()
        self._cuts, self._losses = wanted, dict(losses)
        return took_effect_ns

    def _losses_of_topology(self) -> tuple[float, ...]:
        return (path_loss(self.network.topology),) if self.network.topology.loss else ()

    # -- slowness

    def _set_slow(self, fault: Fault, target: int | None) -> _Effect:
        assert target is not None  # it was resolved
        if fault.amount is None or fault.amount <= 0:
            raise FaultRefused(f"slow by {fault.amount}: give the share of one CPU as its amount, above 0; 1 ends it")
        process = self._process(target)
        began_ns = time.monotonic_ns()
        if target in self._slow:
            self._slow.pop(target).end()
        if fault.amount >= 1:
            return began_ns, time.monotonic_ns(), {"pid": process.pid, "share": 1}
        share = self._slow[target] = slowness(process.pid, fault.amount)
        share.begin()
        took_effect_ns = time.monotonic_ns()
        return began_ns, took_effect_ns, {"pid": process.pid, "share": fault.amount, **share.evidence()}


_Effect = tuple[int, int, dict[str, Any]]  # began_ns, took_effect_ns, evidence


def _sleep_until(due_ns: int) -> None:
    while (left_ns := due_ns - time.monotonic_ns()) > 0:
        time.sleep(left_ns / 1e9)
