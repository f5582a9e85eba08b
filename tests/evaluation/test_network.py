"""Networks of the evaluation, in real namespaces: they are as asked for, or refused; and nothing of them is left."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from evaluation import delay, filters, machine, measure, namespaces, shaping
from evaluation import network as network_module
from evaluation.errors import EvaluationError, NetworkRefused, Unsupported
from evaluation.host import here, set_filters
from evaluation.model import Topology
from evaluation.network import LOSSY_SYSCTLS, SYSCTLS, Network
from tests.evaluation.left import children, interfaces_of, needs_namespaces

pytestmark = needs_namespaces
JITTERED = Topology(nodes=2, clients=0, delay_ms=4.0, jitter_ms=2.0)
WIDE = Topology(
    nodes=3,
    clients=1,
    sites=("oslo", "rome", "bern", "oslo"),
    site_delays_ms=(("oslo-rome", 20.0), ("bern-oslo", 15.0), ("bern-rome", 5.0)),
)


@pytest.fixture(autouse=True)
def _nothing_left() -> Iterator[None]:
    """After a test no process, and no namespace except this process's own, of its network is left."""
    before = children()
    yield
    assert children() <= before


def rtt_ms(network: Network, a: int, b: int, rounds: int = 3) -> float:
    """The quickest of a few round trips, in milliseconds."""
    times_ns = measure.round_trips(network.hosts, [(a, b)], rounds)[a, b]
    assert times_ns, f"{b} does not answer {a}"
    return min(times_ns) / 1e6


MACHINE = ("net/core/wmem_max", "net/core/rmem_max", "net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem", "kernel/pty/max")


def test_the_machine_keeps_its_settings() -> None:
    """It runs in a process of its own, because Mininet sets them once in each process."""
    script = (
        "from evaluation.model import Topology; from evaluation.network import Network as N\nwith N(Topology()): pass"
    )
    before = [(Path("/proc/sys") / name).read_text() for name in MACHINE]
    path = str(Path(network_module.__file__).parents[1])
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60, env={**os.environ, "PYTHONPATH": path})
    assert [(Path("/proc/sys") / name).read_text() for name in MACHINE] == before


# -- reaching each other, and running things


def test_all_reach_all_and_nothing_is_left(tmp_path: Path) -> None:
    with Network(Topology(nodes=3, clients=2)) as network:
        tag, pids = network.tag, [host.pid for host in network.hosts]
        assert [host.index for host in network.nodes] == [0, 1, 2]
        assert [host.index for host in network.clients] == [3, 4]
        assert len({host.address for host in network.hosts}) == 5
        found = network.verify()
        assert len(found["delay_ms"]) == 10
        assert len(interfaces_of(tag)) == 6
        sleeper = network.nodes[0].popen(["sleep", "1000"], tmp_path / "log")
    assert sleeper.returncode == -signal.SIGKILL
    assert interfaces_of(tag) == []
    assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()]


def test_a_process_is_itself_in_its_host_and_writes_to_its_log(tmp_path: Path) -> None:
    with Network(Topology(nodes=2, clients=0)) as network:
        host, log = network.nodes[1], tmp_path / "log"
        words = "import os, sys; print(os.getpid(), os.getcwd(), os.environ['WHO'], flush=True); sys.stderr.write('e')"
        process = host.popen([sys.executable, "-c", words], log, env={"WHO": "me"}, cwd=tmp_path)
        assert process.wait(10) == 0
        assert log.read_text().splitlines() == [f"{process.pid} {tmp_path} me", "e"]
        again = host.popen(["echo", "more"], log, append=True)
        assert again.wait(10) == 0
        assert log.read_text().endswith("e" + "more\n")
        sleeper = host.popen(["sleep", "1000"], log)
        deadline = time.monotonic() + 10
        while namespaces.namespace_of(sleeper.pid) != namespaces.namespace_of(host.pid):
            assert time.monotonic() < deadline
        sleeper.send_signal(signal.SIGTERM)
        assert sleeper.wait(10) == -signal.SIGTERM


def test_a_command_gives_its_output_or_its_words() -> None:
    with Network(Topology(nodes=1, clients=0)) as network:
        host = network.nodes[0]
        assert host.address in host.run(["ip", "-4", "addr"], 10)
        with pytest.raises(EvaluationError, match=r"ended with 2.*No such file"):
            host.run(["ls", "/not/there"], 10)
        with pytest.raises(EvaluationError, match=r"not done after 0\.1 s"):
            host.run(["sleep", "60"], 0.1)


def test_a_namespace_is_only_visited() -> None:
    mine = os.readlink("/proc/thread-self/ns/net")
    with Network(Topology(nodes=1, clients=0)) as network:
        pid = network.nodes[0].pid
        there = namespaces.inside(pid, lambda: os.readlink("/proc/thread-self/ns/net"))
        assert there == namespaces.namespace_of(pid) != mine
        with pytest.raises(ZeroDivisionError):
            namespaces.inside(pid, lambda: 1 // 0)
        assert os.readlink("/proc/thread-self/ns/net") == mine


def test_a_namespace_that_is_not_its_own_is_never_taken_for_a_hosts() -> None:
    with pytest.raises(EvaluationError, match="made no namespace"):
        network_module._namespace_of_its_own(os.getpid())


def test_counters_are_seen_from_the_host() -> None:
    with Network(Topology(nodes=2, clients=0)) as network:
        a, b = network.hosts
        before = network.counters()
        arrived = measure.arrivals(network.hosts, [(0, 1)], 1000, 0)
        after = network.counters()
        assert arrived == {(0, 1): 1000}
        for name, way in ((a.name, "tx"), (b.name, "rx")):
            assert 1000 <= after[name][f"{way}_packets"] - before[name][f"{way}_packets"] < 1020
            assert after[name][f"{way}_bytes"] - before[name][f"{way}_bytes"] >= 1000 * (32 + 42)
        assert after[a.name]["rx_packets"] - before[a.name]["rx_packets"] < 20


def test_sysctls_are_set_before_anything_starts_and_reported() -> None:
    with Network(Topology(nodes=2, clients=0)) as network:
        told = network.provenance()
        for name, value in SYSCTLS.items():
            path = namespaces.sysctl_path(name)
            if name in told["sysctls_not_set"]:
                assert not path.exists()
            else:
                assert namespaces.inside(network.hosts[1].pid, path.read_text).strip() == value
                assert told["sysctls"][name] == value
    with Network(Topology(nodes=1, clients=0), sysctls={"net.ipv4.tcp_no_such": "1"}) as network:
        assert list(network.provenance()["sysctls_not_set"]) == ["net.ipv4.tcp_no_such"]
        assert network.provenance()["sysctls"]["net.ipv4.tcp_rto_max_ms"] != "1000"


# -- bandwidth


def test_bandwidth_is_as_asked() -> None:
    with Network(Topology(nodes=3, clients=1, rate_mbit=20.0)) as network:
        found = network.verify()["rate_mbit"]
        assert sorted(found) == ["0-1", "1-2", "2-3", "3-0"]
        assert all(18.0 <= one["found"] <= 21.2 for one in found.values())
        assert network.provenance()["tc"][network.hosts[0].name]["sends"][0]["kind"] == "htb"
        # a slow link carries frames, not segments of 64 kB
        before = network.counters()[network.hosts[0].name]
        measure.rates_mbit(network.hosts, [(0, 1)], 20.0, 0, 0)
        after = network.counters()[network.hosts[0].name]
        assert after["tx_bytes"] - before["tx_bytes"] <= 1514 * (after["tx_packets"] - before["tx_packets"])


@pytest.mark.parametrize("side", ["host", "bridge"])
def test_a_link_that_lost_its_shape_is_refused(side: str) -> None:
    with Network(Topology(nodes=2, clients=1, rate_mbit=50.0)) as network:
        host = network.hosts[1]
        if side == "host":
            host.run(["tc", "qdisc", "del", "dev", host.interface, "root"])
        else:
            here(["tc", "qdisc", "del", "dev", host.port, "root"])
        with pytest.raises(NetworkRefused, match=f"{host.name}.*asks for 50000000"):
            network.verify()


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_bandwidth_is_measured_and_not_only_read(factor: float, monkeypatch: pytest.MonkeyPatch) -> None:
    with Network(Topology(nodes=2, clients=0, rate_mbit=20.0)) as network:
        monkeypatch.setattr(shaping, "check_read_back", lambda *_: None)  # as if `tc` had lied
        words = f"dev {{}} parent 5: classid 5:1 htb rate {round(20e6 * factor)}bit burst 15000"
        for host in network.hosts:
            host.run(f"tc class change {words.format(host.interface)}".split())
            here(f"tc class change {words.format(host.port)}".split())
        with pytest.raises(NetworkRefused, match=r"Mbit/s from .* asks for 20\.00"):
            network.verify()


# -- delay, jitter, loss


def test_delay_is_as_asked_by_whatever_gives_it() -> None:
    with Network(Topology(nodes=2, clients=1, delay_ms=3.0)) as network:
        found = network.verify()["delay_ms"]
        assert all(one["asked"] == 12.0 and 11.95 <= one["found"] <= 13.6 for one in found.values())
        told = network.provenance()
        assert told["delayed_by"] == ("netem" if machine.can_netem() else "evaluation.delay")


@pytest.fixture
def _without_netem(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "can_netem", lambda: False)


@pytest.mark.usefixtures("_without_netem")
def test_delay_element_takes_all_that_is_sent_and_only_once() -> None:
    with Network(Topology(nodes=2, clients=0, delay_ms=2.0)) as network:
        assert measure.arrivals(network.hosts, [(0, 1), (1, 0)], 3000, 0.004) == {(0, 1): 3000, (1, 0): 3000}
        reports = network.provenance()["delay_elements"]
        assert set(reports) == {host.name for host in network.hosts}
        assert all(report["frames"] >= 3000 for report in reports.values())
        assert all(report["overflow"] == report["refused"] == report["waiting"] == 0 for report in reports.values())


@pytest.mark.usefixtures("_without_netem")
def test_a_delay_element_that_lost_packets_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "LOSS_DATAGRAM_BYTES", 1400)
    with Network(Topology(nodes=2, clients=0, delay_ms=2.0)) as network:
        network.check()
        element = network.hosts[0].processes[0]
        element.send_signal(signal.SIGSTOP)  # it does not run, so its queue overflows
        measure.arrivals(network.hosts, [(0, 1)], 40_000, 0)
        element.send_signal(signal.SIGCONT)
        with pytest.raises(NetworkRefused, match=r"lost \d+ packets because it had no time"):
            network.check()


@pytest.mark.usefixtures("_without_netem")
def test_large_segments_pass_a_delay_element_whole() -> None:
    with Network(Topology(nodes=2, clients=0, delay_ms=0.5)) as network:
        measure.rates_mbit(network.hosts, [(0, 1)], 1000, 0.002, 0)
        counters = network.counters()[network.hosts[0].name]
        assert counters["tx_bytes"] > 3000 * counters["tx_packets"]


@pytest.mark.usefixtures("_without_netem")
def test_a_delay_element_that_ended_is_refused() -> None:
    with Network(Topology(nodes=2, clients=0, delay_ms=1.0)) as network:
        network.check()
        element = network.hosts[1].processes[0]
        element.kill()
        element.wait(10)
        with pytest.raises(NetworkRefused, match=f"the delay element of {network.hosts[1].name} has ended"):
            network.check()
        with pytest.raises(NetworkRefused, match=f"the delay element of {network.hosts[1].name} has ended"):
            network.verify()


@pytest.mark.usefixtures("_without_netem")
def test_a_delay_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with Network(Topology(nodes=2, clients=1, delay_ms=3.0)) as network:
        host = network.hosts[2]
        host.run(f"ip route replace 10.0.0.0/8 dev {host.wire} src {host.address}".split())
        for other in network.hosts[:2]:
            host.run(f"ip neigh replace {other.address} lladdr {other.mac} dev {host.wire} nud permanent".split())
        with pytest.raises(NetworkRefused, match=r"round trip of 6\.\d+ ms between .* asks for 12\.00"):
            network.verify()


def test_jitter_varies_and_keeps_order() -> None:
    """No packet comes early; how late one comes is up to the machine's load, so it is not judged here."""
    with Network(JITTERED) as network:
        network.check()
        times_ms = [one / 1e6 for one in measure.round_trips(network.hosts, [(0, 1)], 30)[0, 1]]
        assert min(times_ms) >= 2 * (8 - 4) - 0.05
        assert max(times_ms) - min(times_ms) > 1.0
        assert in_order(network, 200)


def made_up_round_trips(chance: random.Random, jitter_ms: float, mean_ms: float) -> dict[measure.Pair, list[int]]:
    """Round trips as `measure.round_trips` returns them: four uniform draws around the mean of each."""
    draws = ([chance.uniform(-jitter_ms, jitter_ms) for _ in range(4)] for _ in range(network_module.ECHOES_JITTERED))
    return {(0, 1): [round((mean_ms + sum(draw)) * 1e6) for draw in draws]}


def test_round_trips_are_judged_by_their_mean_and_their_deviation(monkeypatch: pytest.MonkeyPatch) -> None:
    """With made-up times: of the network that was asked for, and of others."""
    with Network(JITTERED) as network:
        for jitter_ms, mean_ms, problem in [(2.0, 16.0, ""), (0.1, 16.0, "deviate by"), (2.0, 40.0, "a round trip of")]:
            found = made_up_round_trips(random.Random(1), jitter_ms, mean_ms)
            monkeypatch.setattr(measure, "round_trips", lambda *arguments, found=found: found)
            if problem:
                with pytest.raises(NetworkRefused, match=problem):
                    network.verify()
            else:
                network.verify()


def in_order(network: Network, count: int) -> bool:
    """Do numbered datagrams arrive in the order in which they were sent, all of them?"""
    a, b = network.hosts[:2]
    kinds = (namespaces.socket.AF_INET, namespaces.socket.SOCK_DGRAM)
    with namespaces.socket_inside(a.pid, *kinds) as sender, namespaces.socket_inside(b.pid, *kinds) as receiver:
        receiver.bind((b.address, 0))
        receiver.settimeout(5)
        for number in range(count):
            sender.sendto(number.to_bytes(4, "big"), receiver.getsockname())
            time.sleep(0.0002)
        return [int.from_bytes(receiver.recv(4), "big") for _ in range(count)] == list(range(count))


def test_a_wide_area_has_its_delays_by_destination() -> None:
    with Network(WIDE) as network:
        found = network.verify()["delay_ms"]
        assert {name: one["asked"] for name, one in found.items()} == {
            "0-1": 40.0,
            "0-2": 30.0,
            "0-3": 0.0,
            "1-2": 10.0,
            "1-3": 40.0,
            "2-3": 30.0,
        }
        assert all(one["asked"] - 0.05 <= one["found"] <= one["asked"] * 1.05 + 1 for one in found.values())


def test_loss_is_as_asked_with_and_without_bandwidth() -> None:
    with Network(Topology(nodes=2, clients=1, loss=0.05, rate_mbit=50.0)) as network:
        found = network.verify()
        assert all(0.06 < one["found"] < 0.14 for one in found["loss"].values())
        assert all(one["asked"] == pytest.approx(1 - 0.95**2) for one in found["loss"].values())
        assert all(45 <= one["found"] <= 53 for one in found["rate_mbit"].values())
        told = network.provenance()["sysctls"]
        assert told["net.ipv4.tcp_rto_min_us"] == LOSSY_SYSCTLS["net.ipv4.tcp_rto_min_us"]


@pytest.mark.parametrize("loss", [0.0, 0.4])
def test_another_loss_than_asked_is_refused(loss: float) -> None:
    with Network(Topology(nodes=2, clients=0, loss=0.1)) as network:
        set_filters(network.hosts, {0: (frozenset(), (loss,))})
        with pytest.raises(NetworkRefused, match=r"lost from .* asks for 0\.1900"):
            network.verify()


def test_a_program_drops_what_it_is_told_and_reads_back_equal() -> None:
    with Network(Topology(nodes=3, clients=0)) as network:
        cut_off = frozenset({network.hosts[0].address, network.hosts[2].address})
        set_filters(network.hosts, {1: (cut_off, (0.5,))})
        assert network.hosts[1].filter_found() == filters.program(cut_off, (0.5,))
        before = network.hosts[1].dropped()
        assert measure.arrivals(network.hosts, [(0, 1), (2, 1)], 100, 0) == {(0, 1): 0, (2, 1): 0}
        assert 200 <= network.hosts[1].dropped() - before < 210  # hosts send packets by themselves too
    with pytest.raises(EvaluationError, match="use a smaller network"):
        filters.program([f"10.0.{n // 250}.{n % 250}" for n in range(300)], ())


# -- what this machine cannot give


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        (Topology(rate_mbit=1500.0), "ask for up to 1000"),
        (Topology(rate_mbit=0.0), "ask for up to 1000"),
        (Topology(nodes=0), "ask for 1 to 200 hosts"),
        (Topology(loss=1.0), "below 1"),
        (Topology(delay_ms=1.0, jitter_ms=2.0), "nothing arrives before it is sent"),
        (Topology(delay_ms=-1.0), "nothing arrives before it is sent"),
        (Topology(nodes=2, clients=0, sites=("a",)), "1 sites for 2 hosts"),
        (Topology(nodes=2, clients=0, sites=("a", "b")), "give \\['a-b'\\]"),
        (Topology(nodes=2, clients=0, sites=("a", "b"), site_delays_ms=(("b-a", 3.0),)), "give \\['a-b'\\]"),
        (Topology(nodes=2, clients=0, sites=("a", "b"), site_delays_ms=(("a-b", -3.0),)), "none below 0"),
    ],
)
def test_what_cannot_be_had_is_refused_before_anything_is_built(asked: Topology, words: str) -> None:
    network = Network(asked)
    with pytest.raises(Unsupported, match=words):
        network.__enter__()
    assert network.tag == ""
    assert network.hosts == []


def test_a_machine_without_htb_or_filters_gives_no_bandwidth_and_no_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "can_shape_htb", lambda: False)
    monkeypatch.setattr(machine, "can_filter", lambda: False)
    with pytest.raises(Unsupported, match="no HTB"):
        Network(Topology(rate_mbit=10.0)).__enter__()
    with pytest.raises(Unsupported, match="no BPF filters"):
        Network(Topology(loss=0.1)).__enter__()
    with Network(Topology(nodes=2, clients=0)) as network:
        network.verify()
        assert network.provenance()["dropped_by_filters"] == {}


def test_a_machine_that_lacks_something_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine.shutil, "which", lambda name: None if name in ("mnexec", "brctl") else f"/bin/{name}")
    monkeypatch.setattr(machine, "missing", machine.missing.__wrapped__)
    expected = "no mnexec, brctl: apt-get install --no-install-recommends bridge-utils mininet"
    assert machine.missing() == expected
    with pytest.raises(Unsupported, match=expected):
        Network(Topology()).__enter__()
    monkeypatch.setattr(machine.os, "geteuid", lambda: 1000)
    assert "need root" in str(machine.missing())


def test_asking_what_the_machine_can_do_leaves_nothing() -> None:
    before = sorted(entry.name for entry in Path("/sys/class/net").iterdir() if not entry.name.startswith("m"))
    machine.can_netem.__wrapped__()
    assert machine.can_shape_htb.__wrapped__()
    assert machine.can_filter.__wrapped__()
    after = sorted(entry.name for entry in Path("/sys/class/net").iterdir() if not entry.name.startswith("m"))
    assert after == before


# -- errors and interrupts


class Boom(Exception):
    """The error of the tests below."""


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
def test_nothing_is_left_after_an_error_inside(error: type[BaseException], tmp_path: Path) -> None:
    tags, pids = [], []

    def run() -> None:
        with network:
            tags.append(network.tag)
            pids.append(network.nodes[0].popen(["sh", "-c", "sleep 1000 & sleep 1000"], tmp_path / "log").pid)
            raise error

    network = Network(Topology(delay_ms=1.0, rate_mbit=10.0))
    with pytest.raises(error):
        run()
    assert interfaces_of(*tags) == []
    assert [namespaces.namespace_of(pid) for pid in pids] == [None]
    assert network.close() is None, "once more does no harm"


@pytest.mark.parametrize("error", [Boom, KeyboardInterrupt])
@pytest.mark.parametrize(
    "where", ["addHost", "addSwitch", "addLink", "configHosts", "start", "shape", "startShell", "cmd"]
)
def test_nothing_is_left_of_a_network_half_built(
    where: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    break_in_the_middle(where, error, monkeypatch)
    network = Network(Topology(nodes=3, clients=0, rate_mbit=10.0))
    tags: list[str] = []
    monkeypatch.setattr(network_module, "_unused_tag", lambda: tags.append(f"m{where.lower()[:5]}x") or tags[-1])
    with pytest.raises(error):
        network.__enter__()
    assert tags
    assert interfaces_of(tags[0]) == []
    assert network_module._shells(tags[0]) == []


def break_in_the_middle(where: str, error: type[BaseException], monkeypatch: pytest.MonkeyPatch) -> None:
    """Makes the third call fail, after it has done its work or, for `cmd`, in the middle of it."""
    from mininet.net import Mininet
    from mininet.node import Node

    owner: Any = {"shape": shaping, "startShell": Node, "cmd": Node}.get(where, Mininet)
    original = getattr(owner, where)
    calls = []

    def broken(*words: Any, **options: Any) -> Any:
        calls.append(where)
        last = {"configHosts": 1, "start": 1, "shape": 1, "addSwitch": 1, "cmd": 14}.get(where, 3)
        if where == "cmd" and len(calls) == last:
            words[0].sendCmd("sleep 0.3; echo interrupted")  # its shell takes no command until it ends
            raise error
        result = original(*words, **options)
        if len(calls) == last:
            raise error
        return result

    monkeypatch.setattr(owner, where, broken)


@pytest.mark.usefixtures("ctrl_c")
def test_ctrl_c_while_taking_down_waits_until_it_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    original = Network._end_processes

    def interrupted(network: Network) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        original(network)

    monkeypatch.setattr(Network, "_end_processes", interrupted)
    monkeypatch.setattr(network_module, "TAKE_DOWN_S", 3)
    network = Network(Topology(nodes=2, clients=0)).__enter__()
    tag = network.tag
    process = network.nodes[0].popen(["sleep", "1000"], tmp_path / "log")
    try:
        with pytest.raises(KeyboardInterrupt):
            network.close()
        assert process.returncode == -signal.SIGKILL
    finally:
        monkeypatch.undo()
        network.close()
    assert interfaces_of(tag) == []
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_two_networks_at_once_do_not_meet(capfd: pytest.CaptureFixture[str]) -> None:
    with Network(Topology(nodes=2, clients=0)) as one, Network(Topology(nodes=2, clients=0)) as other:
        one.verify()
        other.verify()
        assert one.tag != other.tag
        assert one.hosts[0].address == other.hosts[0].address
        here(["ip", "link", "set", other.hosts[1].port, "down"])
        assert rtt_ms(one, 0, 1) < 1000
        with pytest.raises(NetworkRefused, match="does not answer"):
            other.verify()
    captured = capfd.readouterr()
    assert captured.out == captured.err == "", "Mininet's words are kept, not printed"
    assert isinstance(one.messages, list)


def test_a_network_can_be_built_in_another_thread() -> None:
    results: list[Any] = []

    def work() -> None:
        with Network(Topology(nodes=2, clients=0)) as network:
            results.append(network.verify())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join(30)
    assert results


def test_a_delay_element_says_how_it_is_used() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evaluation.delay", "--help"], cwd=shaping.ELEMENTS, capture_output=True, text=True
    )
    assert done.returncode == 0
    assert "--jitter-ms" in done.stdout
    assert delay.LATE_NS > 0
