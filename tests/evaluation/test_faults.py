"""Faults of the evaluation on plain processes in real namespaces: each takes effect, or is refused."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation import faults, host, machine, measure, processes
from evaluation.errors import EvaluationError, FaultRefused
from evaluation.faults import Injector, cuts
from evaluation.model import Fault, Topology
from evaluation.network import Network
from tests.evaluation.left import children, interfaces_of, needs_namespaces

pytestmark = needs_namespaces
BUSY = "import time\nwhile True: pass"
NODES = 5


class Plain:
    """A system of busy processes that accept no connection."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self.leads = 0
        self.processes: dict[int, subprocess.Popen[bytes]] = {}

    def leader(self) -> int:
        return self.leads

    def start_node(self, node: int, words: str = "import time; time.sleep(1000)") -> None:
        command = [sys.executable, "-S", "-c", words]
        self.processes[node] = self.network.nodes[node].popen(command, self.folder / f"log-{node}", append=True)


@pytest.fixture(scope="module")
def _network() -> Iterator[Network]:
    before = children()
    with Network(Topology(nodes=NODES, clients=1)) as network:
        tag = network.tag
        yield network
    assert interfaces_of(tag) == []
    assert children() <= before


@pytest.fixture
def system(_network: Network, tmp_path: Path) -> Iterator[Plain]:
    """A system without processes yet; those that a test starts are ended after it."""
    plain = Plain(_network, tmp_path)
    yield plain
    for process in plain.processes.values():
        process.kill()
        process.wait()


@pytest.fixture
def injector(system: Plain) -> Iterator[Injector]:
    """An injector whose faults are undone, after which nothing is cut off."""
    with Injector(system.network, system) as one:
        yield one
    assert hears(system.network) == {(a, b) for a, b in measure.all_pairs(NODES + 1)}
    assert all(not other.cut_off and not other.losses for other in system.network.hosts)


def hears(network: Network) -> set[tuple[int, int]]:
    """The pairs that answer one echo."""
    found = measure.round_trips(network.hosts, measure.all_pairs(len(network.hosts)), 1, 0.3)
    return {pair for pair, times_ns in found.items() if times_ns}


def fault(kind: Any, target: Any = None, **options: Any) -> Fault:
    return Fault(kind=kind, at_s=0.0, target=target, **options)


def in_time(injected: faults.Injected) -> bool:
    """Are the times of a fault in their order, and not later than now?"""
    times = [injected.asked_ns, injected.began_ns, injected.took_effect_ns, time.monotonic_ns()]
    return times == sorted(times) and injected.asked_ns > 0


# -- processes


def test_kill_kills_and_restart_starts(system: Plain, injector: Injector) -> None:
    system.start_node(2)
    before = system.processes[2]
    killed = injector.inject(fault("kill", 2))
    assert killed.target == 2
    assert killed.evidence == {"pid": before.pid, "wait_status": -signal.SIGKILL}
    assert before.returncode == -signal.SIGKILL
    restarted = injector.inject(fault("restart"))
    assert restarted.target == 2
    assert restarted.evidence["pid"] == system.processes[2].pid != before.pid
    assert system.processes[2].poll() is None
    assert all(in_time(one) for one in (killed, restarted))
    assert [one.kind for one in injector.done] == ["kill", "restart"]
    assert killed.to_json()["evidence"] == killed.evidence


def test_leader_and_follower_are_those_of_that_moment(system: Plain, injector: Injector) -> None:
    for node in range(3):
        system.start_node(node)
    system.leads = 1
    assert injector.inject(fault("kill", "leader")).target == 1
    system.leads = 0
    assert injector.inject(fault("kill", "follower")).target == 2
    with pytest.raises(FaultRefused, match="no follower lives"):
        injector.inject(fault("stop", "follower"))
    assert injector.inject(fault("restart", "follower")).target == 2


def test_a_dead_node_is_not_killed_nor_stopped_again(system: Plain, injector: Injector) -> None:
    system.start_node(0)
    with pytest.raises(FaultRefused, match="was not killed"):
        injector.inject(fault("restart", 0))
    system.processes[0].terminate()
    system.processes[0].wait(10)
    for kind in ("kill", "stop", "slow"):
        with pytest.raises(FaultRefused, match="node 0 ended before"):
            injector.inject(fault(kind, 0, amount=0.5))
    with pytest.raises(FaultRefused, match="node 3 has no process"):
        injector.inject(fault("kill", 3))
    with pytest.raises(FaultRefused, match="needs a target"):
        injector.inject(fault("kill"))
    with pytest.raises(FaultRefused, match="no node has had kill before"):
        injector.inject(fault("restart"))


def test_a_restart_that_starts_nothing_is_refused(system: Plain, injector: Injector) -> None:
    system.start_node(0)
    injector.inject(fault("kill", 0))
    system.start_node = lambda node: None  # type: ignore[method-assign]
    with pytest.raises(FaultRefused, match="node 0 ended before"):
        injector.inject(fault("restart", 0))

    def fails(node: int) -> None:
        raise EvaluationError("its port is taken")

    system.start_node = fails  # type: ignore[method-assign]
    with pytest.raises(FaultRefused, match="restart of 0: its port is taken"):
        injector.inject(fault("restart", 0))


def test_stop_stops_and_continue_continues(system: Plain, injector: Injector) -> None:
    system.start_node(0, "import threading\nthreading.Thread(target=threading.Event().wait).start()\n" + BUSY)
    process = system.processes[0]
    assert processes.wait_for(lambda: threads(process.pid) == 2)
    stopped = injector.inject(fault("stop", 0))
    assert stopped.evidence["state"] == "T"
    used = cpu_ticks(process.pid)
    with pytest.raises(FaultRefused, match="it would change nothing"):
        injector.inject(fault("stop", 0))
    assert cpu_ticks(process.pid) == used
    continued = injector.inject(fault("continue"))
    assert continued.target == 0
    assert "T" not in continued.evidence["state"]
    assert processes.wait_for(lambda: cpu_ticks(process.pid) > used)
    assert in_time(stopped)
    assert in_time(continued)


def test_a_signal_without_effect_is_refused(system: Plain, injector: Injector, monkeypatch: pytest.MonkeyPatch) -> None:
    system.start_node(0)
    monkeypatch.setattr(faults, "wait_for", lambda condition: processes.wait_for(condition, 0.05))
    monkeypatch.setattr(system.processes[0], "send_signal", lambda number: None)
    with pytest.raises(FaultRefused, match="after SIGSTOP"):
        injector.inject(fault("stop", 0))
    assert injector.done == []


def test_whoever_is_stopped_goes_on_at_the_end(system: Plain) -> None:
    with Injector(system.network, system) as injector:
        system.start_node(1)
        injector.inject(fault("stop", 1))
    assert processes.wait_for(lambda: processes.state_of(system.processes[1].pid) != "T")


def threads(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/task").iterdir()))


def cpu_ticks(pid: int) -> int:
    """The processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


# -- slowness


def share_of_cpu(pid: int, seconds: float = 0.6) -> float:
    before, began = cpu_ticks(pid), time.monotonic()
    time.sleep(seconds)
    return (cpu_ticks(pid) - before) / os.sysconf("SC_CLK_TCK") / (time.monotonic() - began)


def test_slow_gives_a_share_of_a_cpu_and_one_ends_it(system: Plain, injector: Injector) -> None:
    system.start_node(0, BUSY)
    pid = system.processes[0].pid
    group = Path(f"/proc/{pid}/cgroup").read_text()
    slow = injector.inject(fault("slow", 0, amount=0.1))
    assert share_of_cpu(pid) <= 0.16
    slower = injector.inject(fault("slow", 0, amount=0.05))
    assert share_of_cpu(pid) <= 0.10
    injector.inject(fault("slow", 0, amount=1.0))
    assert Path(f"/proc/{pid}/cgroup").read_text() == group
    assert processes.wait_for(lambda: share_of_cpu(pid, 0.3) > 0.2)
    assert in_time(slow)
    if machine.cpu_groups():
        assert slow.evidence["by"].startswith("cgroup v")
        assert slower.evidence["quota_us period_us"] == "1000 20000"
        assert not Path(slow.evidence["group"]).exists()


def test_without_groups_slowness_is_by_signals(
    system: Plain, injector: Injector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "cpu_groups", lambda: None)
    system.start_node(0, BUSY)
    slow = injector.inject(fault("slow", 0, amount=0.2))
    assert slow.evidence["by"] == "SIGSTOP and SIGCONT"
    assert share_of_cpu(system.processes[0].pid) <= 0.35
    injector.inject(fault("kill", 0))
    injector.undo_all()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("slow-")]


def test_a_slow_node_that_was_killed_leaves_no_group(system: Plain) -> None:
    with Injector(system.network, system) as injector:
        system.start_node(0, BUSY)
        evidence = injector.inject(fault("slow", 0, amount=0.3)).evidence
        injector.inject(fault("kill", 0))
    assert not Path(evidence.get("group", "/none")).exists()


@pytest.mark.parametrize("amount", [None, 0.0, -1.0])
def test_a_slowness_of_nothing_is_refused(system: Plain, injector: Injector, amount: float | None) -> None:
    system.start_node(0)
    with pytest.raises(FaultRefused, match="give the share of one CPU"):
        injector.inject(fault("slow", 0, amount=amount))


# -- links


def test_a_link_down_cuts_off_and_keeps_routes_and_neighbours(system: Plain, injector: Injector) -> None:
    node = system.network.hosts[3]
    known = node.run(["ip", "neigh"]), node.run(["ip", "route"]).replace(" linkdown", "")
    down = injector.inject(fault("link_down", 3))
    assert down.evidence["operstate"] == "down"
    assert hears(system.network) == {pair for pair in measure.all_pairs(NODES + 1) if 3 not in pair}
    with pytest.raises(FaultRefused, match="is down already"):
        injector.inject(fault("link_down", 3))
    up = injector.inject(fault("link_up"))
    assert up.target == 3
    assert up.evidence["operstate"] == "up"
    assert len(hears(system.network)) == 15
    assert (node.run(["ip", "neigh"]), node.run(["ip", "route"])) == known
    assert in_time(down)
    assert in_time(up)


def test_a_link_that_is_down_is_up_at_the_end(system: Plain) -> None:
    with Injector(system.network, system) as injector:
        injector.inject(fault("link_down", 2))
        injector.inject(fault("partition", groups=((0,), (1, 2))))
    assert hears(system.network) == set(measure.all_pairs(NODES + 1))


# -- partitions


def apart(*pairs: tuple[int, int]) -> set[tuple[int, int]]:
    """All pairs except those."""
    return set(measure.all_pairs(NODES + 1)) - set(pairs)


def test_a_full_partition(system: Plain, injector: Injector) -> None:
    injected = injector.inject(fault("partition", groups=((0, 1), (2, 3, 4))))
    # host 5, the client, is in no group: it receives everything
    assert hears(system.network) == apart((0, 2), (0, 3), (0, 4), (1, 2), (1, 3), (1, 4))
    assert len(injected.evidence["cuts"]) == 12
    expected = {system.network.hosts[b].name: count for b, count in enumerate((3, 3, 2, 2, 2))}
    assert injected.evidence["echoes_dropped"] == expected
    assert in_time(injected)
    moved = injector.confirm()
    assert all(moved[name] >= count for name, count in expected.items())
    healed = injector.inject(fault("heal"))
    assert hears(system.network) == apart()
    assert len(healed.evidence["answered"]) == 6
    assert all(healed.evidence["dropped"][name] >= count for name, count in expected.items())
    with pytest.raises(FaultRefused, match="nothing to heal"):
        injector.inject(fault("heal"))


def test_a_one_way_partition(system: Plain, injector: Injector) -> None:
    injected = injector.inject(fault("partition", groups=((0,), (1, 2)), mode="one_way"))
    assert injected.evidence["cuts"] == [[0, 1], [0, 2]]
    assert datagrams(system.network, 0, 1) == 0
    assert datagrams(system.network, 1, 0) == 20
    assert datagrams(system.network, 0, 3) == 20
    assert set(injected.evidence["echoes_dropped"]) == {system.network.hosts[b].name for b in (1, 2)}


def test_a_bridge(system: Plain, injector: Injector) -> None:
    injector.inject(fault("partition", groups=((0, 1, 2), (2, 3, 4)), mode="bridge"))
    assert hears(system.network) == apart((0, 3), (0, 4), (1, 3), (1, 4))


def test_a_partial_partition(system: Plain, injector: Injector) -> None:
    injector.inject(fault("partition", groups=((0, 1, 2, 3), (1, 2, 3, 4)), mode="partial"))
    assert hears(system.network) == apart((0, 4))
    # a later partition replaces it
    injector.inject(fault("partition", groups=((0, 1, 2), (2, 3), (3, 4, 0)), mode="partial"))
    assert hears(system.network) == apart((1, 3), (1, 4), (2, 4))


def test_one_alone(system: Plain, injector: Injector) -> None:
    system.leads = 4
    injected = injector.inject(fault("partition", "leader"))
    assert injected.target == 4
    assert hears(system.network) == {pair for pair in measure.all_pairs(NODES + 1) if 4 not in pair}


def datagrams(network: Network, a: int, b: int) -> int:
    """How many of 20 datagrams arrive."""
    return measure.arrivals(network.hosts, [(a, b)], 20, 0)[a, b]


@pytest.mark.parametrize(
    ("mode", "groups"),
    [
        ("full", ()),
        ("full", ((0, 1),)),
        ("full", ((0, 1), (1, 2))),
        ("full", ((0, 1), ())),
        ("one_way", ((0,), (1,), (2,))),
        ("bridge", ((0, 1), (2, 3))),
        ("bridge", ((0, 1, 2), (1, 2, 3))),
        ("partial", ((0, 1), (2, 3))),
        ("partial", ((0, 1, 2), (1, 2))),
    ],
)
def test_groups_that_make_no_such_partition_are_refused(mode: Any, groups: tuple[tuple[int, ...], ...]) -> None:
    with pytest.raises(FaultRefused, match="groups"):
        cuts(fault("partition", groups=groups, mode=mode))


def test_groups_of_hosts_that_are_not_there_are_refused(injector: Injector) -> None:
    with pytest.raises(FaultRefused, match="there are 6 hosts"):
        injector.inject(fault("partition", groups=((0, 1), (2, 17))))
    with pytest.raises(FaultRefused, match="there are 6"):
        injector.inject(fault("link_down", 6))


def test_a_partition_that_cuts_nothing_is_refused(injector: Injector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "set_filters", lambda hosts, wanted: None)  # as if `tc` had done nothing
    monkeypatch.setattr(faults, "PATIENCE_S", 0.05)
    with pytest.raises(FaultRefused, match="a cut that cuts nothing: counters of"):
        injector.inject(fault("partition", groups=((0,), (1, 2))))
    assert injector.done == []


def test_a_filter_that_tc_does_not_take_is_refused(injector: Injector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host.filters, "bytecode", lambda instructions: "1,999 0 0 0")
    with pytest.raises(FaultRefused, match="tc accepted no filter"):
        injector.inject(fault("partition", groups=((0,), (1, 2))))


# -- losses


def test_loss_drops_a_share_of_what_comes_to_a_host(system: Plain, injector: Injector) -> None:
    injected = injector.inject(fault("loss", 1, amount=0.25))
    assert injected.evidence["packets_dropped"] > 0
    arrived = measure.arrivals(system.network.hosts, [(0, 1), (1, 0)], 2000, 0)
    assert 1400 <= arrived[0, 1] <= 1600
    assert arrived[1, 0] == 2000
    injector.inject(fault("loss", 1, amount=0.0))
    assert measure.arrivals(system.network.hosts, [(0, 1)], 2000, 0) == {(0, 1): 2000}


def test_loss_and_partition_go_together_and_heal_ends_both(system: Plain, injector: Injector) -> None:
    injector.inject(fault("partition", groups=((0,), (1,))))
    injector.inject(fault("loss", 1, amount=0.5))
    assert datagrams(system.network, 0, 1) == 0
    assert 300 <= measure.arrivals(system.network.hosts, [(2, 1)], 800, 0)[2, 1] <= 500
    injector.inject(fault("heal"))
    assert datagrams(system.network, 0, 1) == datagrams(system.network, 2, 1) == 20


def test_a_loss_that_loses_nothing_is_refused(injector: Injector, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(faults, "set_filters", lambda hosts, wanted: None)
    with pytest.raises(FaultRefused, match=r"was lost; the fault asks for 0\.5"):
        injector.inject(fault("loss", 1, amount=0.5))
    with pytest.raises(FaultRefused, match="give the share of packets"):
        injector.inject(fault("loss", 1, amount=1.5))


def test_a_fault_does_not_end_the_loss_that_the_network_has(tmp_path: Path) -> None:
    with Network(Topology(nodes=3, clients=0, loss=0.1)) as network:
        with Injector(network, Plain(network, tmp_path)) as injector:
            injector.inject(fault("partition", groups=((0,), (1,))))
            injector.inject(fault("heal"))
        network.verify()


# -- with delays: packets that are under way when a cut is made


def test_a_partition_of_a_wide_area_takes_effect_too(tmp_path: Path) -> None:
    topology = Topology(nodes=3, clients=0, sites=("a", "b", "b"), site_delays_ms=(("a-b", 40.0),))
    with Network(topology) as network, Injector(network, Plain(network, tmp_path)) as injector:
        injected = injector.inject(fault("partition", groups=((0,), (1, 2))))
        assert injected.took_effect_ns - injected.began_ns < 1e9
        assert all(count >= 1 for count in injected.evidence["echoes_dropped"].values())
        injector.inject(fault("heal"))
        injector.inject(fault("link_down", 0))
        with pytest.raises(FaultRefused, match="no host can reach host 0"):
            injector.inject(fault("loss", 0, amount=0.5))


# -- a schedule


def test_a_schedule_is_kept_and_reports_its_times(system: Plain, injector: Injector) -> None:
    for node in range(2):
        system.start_node(node)
    began_ns = time.monotonic_ns()
    plan = [
        Fault(kind="restart", at_s=0.3),
        Fault(kind="kill", at_s=0.1, target="leader"),
        Fault(kind="kill", at_s=99.0, target=1),
    ]
    done = injector.schedule(plan, began_ns, began_ns + 400_000_000)
    assert time.monotonic_ns() >= began_ns + 400_000_000
    assert [(one.kind, one.target) for one in done] == [("kill", 0), ("restart", 0)]
    assert [one.asked_ns - began_ns for one in done] == [100_000_000, 300_000_000]
    assert all(in_time(one) for one in done)


@pytest.mark.usefixtures("ctrl_c")
def test_a_schedule_is_interrupted_at_once(system: Plain, injector: Injector) -> None:
    began_ns = time.monotonic_ns()
    timer = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        injector.schedule([Fault(kind="kill", at_s=50.0, target=0)], began_ns, began_ns + 60 * 10**9)
    timer.join()
    assert time.monotonic_ns() - began_ns < 10 * 10**9
