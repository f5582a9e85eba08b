"""Systems under test: their command lines and their output, from recordings; LibPaxos, by a stand-in, from start to
stop.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

# ruff: noqa: E402
np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")

import evaluate
from evaluation import etcd_load, namespaces, records, runs
from evaluation.errors import EvaluationError, SystemFailed
from evaluation.model import Spec, Topology, Workload
from evaluation.systems import Settings, System, etcd, libpaxos, multipaxos, system, systems
from multipaxos.config.cluster import Config, Grid, Sizes
from multipaxos.load.operation_log import OperationLog
from tests.evaluation.standins import StandInNetwork, ground, libpaxos_programs

LINE = "12345 value/sec, 7.53 Mbps, latency min 120 us max 900 us avg 181 us"
SPEC = Spec(experiment="some", system="libpaxos", workload=Workload(outstanding=10, value_size=64))


@pytest.fixture
def network() -> Iterator[StandInNetwork]:
    made = StandInNetwork()
    yield made
    made.close()


# -- what there is


def test_systems_are_found_by_their_files() -> None:
    assert set(systems()) == {"multipaxos", "libpaxos", "etcd"}
    for name, kind in systems().items():
        assert kind.name == name
        assert system(name) is kind
        assert kind.storages
        assert kind.title
        assert kind.message_delays in (3, 4)
    assert {name for name, kind in systems().items() if kind.open_loop} == {"multipaxos"}
    assert system("libpaxos").differences
    assert system("etcd").differences


def test_an_unknown_system_is_refused_with_the_known_ones() -> None:
    with pytest.raises(EvaluationError, match="no system 'raft': choose one of etcd, libpaxos, multipaxos"):
        system("raft")


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["steady", "--systems", "multipaxos,libpaxos"], 3, "give the folder of its sample programs by --libpaxos-bin"),
        (["steady", "--systems", "libpaxos", "--libpaxos-bin", "EMPTY"], 3, "lacks replica, client"),
        (["steady", "--systems", "raft"], 2, "choose one of etcd, libpaxos, multipaxos"),
        (["nothing"], 2, "choose one of all, steady, sizes, values, traces, outages, quorums, durability"),
        (["steady", "some-folder"], 2, "only analyse takes a folder"),
        (["analyse", "EMPTY"], 1, "has no runs: give the folder that --out named"),
        (["steady", "--runs", "0"], 2, "runs"),
    ],
)
def test_what_cannot_be_done_is_refused_with_what_to_do(
    tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    """It is refused before anything is written."""
    empty = tmp_path / "empty"
    empty.mkdir()
    out = tmp_path / "out"
    told = [str(empty) if word == "EMPTY" else word for word in arguments]
    result = CliRunner().invoke(evaluate.main, [*told, "--out", str(out)])
    assert result.exit_code == code
    assert words in result.output
    assert not out.exists()
    assert list(empty.iterdir()) == []


@pytest.mark.parametrize("package", ["numpy", "scipy", "matplotlib"])
def test_a_missing_package_is_reported_with_how_to_get_it(tmp_path: Path, package: str) -> None:
    """It is reported before anything is run, even if only the figures need it."""
    hide = (
        "import importlib.machinery, sys\n"
        "find = importlib.machinery.PathFinder.find_spec\n"
        "def without(name, path=None, target=None):\n"
        f"    return None if name.partition('.')[0] == {package!r} else find(name, path, target)\n"
        "importlib.machinery.PathFinder.find_spec = without\n"
        "import evaluate\n"
        "from evaluation import machine\n"
        "machine.os.geteuid = lambda: 0\n"
        "machine.shutil.which = lambda program: program\n"
        f"sys.argv[1:] = ['steady', '--out', {str(tmp_path / 'out')!r}]\n"
        "evaluate.main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", hide], capture_output=True, text=True, timeout=60, env=etcd.with_path(os.environ)
    )
    assert done.returncode == 3, done.stderr
    assert f"{package}: pip install 'multipaxos[evaluation]'" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_missing_etcd_is_reported_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    missing = system("etcd").missing(Settings())
    assert missing is not None
    assert "etcd-server" in missing


# -- LibPaxos's words


@pytest.mark.parametrize(
    ("line", "count"),
    [
        (LINE, 12345),
        (LINE + "\n", 12345),
        ("0 value/sec, 0.00 Mbps, latency min 0 us max 0 us avg 0 us", 0),
        ("Connected to proposer", None),
        ("Connection refused", None),
        ("Caught signal 2", None),
        ("", None),
        ("value/sec, 7.53 Mbps, latency min 120 us max 900 us avg 181 us", None),
        ("-5 value/sec, 7.53 Mbps, latency min 120 us max 900 us avg 181 us", None),
        ("12345 value/sec, 7.53 Mbps", None),  # of another version, which measures no latency
        ("\ufffd\ufffd 12345", None),
        (LINE + " " + LINE, None),
    ],
)
def test_a_line_of_libpaxoss_client(line: str, count: int | None) -> None:
    assert libpaxos.parse_line(line) == count


def test_no_half_line_is_taken_for_a_whole_one() -> None:
    assert [libpaxos.parse_line(LINE[:end]) for end in range(len(LINE))] == [None] * len(LINE)


def test_a_log_is_read_line_by_line(tmp_path: Path, network: StandInNetwork) -> None:
    one = libpaxos.Libpaxos(ground(SPEC, network, tmp_path, Settings(tmp_path)))
    zero = b"0 value/sec, 0.00 Mbps, latency min 0 us max 0 us avg 0 us"
    lines = (b"Connected to proposer", LINE.encode(), b"\xff\xfe junk", zero, LINE[:30].encode())
    (tmp_path / "client0.log").write_bytes(b"\n".join(lines))
    assert one.counts(0) == [12345, 0]


@pytest.mark.parametrize(
    ("text", "nodes", "sizes"),
    [("majority", 3, (2, 2)), ("majority", 4, (3, 3)), ("majority", 1, (1, 1)), ("sizes 4 2", 5, (4, 2))],
)
def test_quorums_of_libpaxos(text: str, nodes: int, sizes: tuple[int, int]) -> None:
    assert libpaxos.quorums_of(text, nodes) == sizes


@pytest.mark.parametrize("text", ["grid 2 3", "sizes 4", "", "majority of 5"])
def test_quorums_that_libpaxos_has_not(text: str) -> None:
    with pytest.raises(EvaluationError, match="majority, or sizes Q1 Q2"):
        libpaxos.quorums_of(text, 5)


def test_a_configuration_of_libpaxos(tmp_path: Path, network: StandInNetwork) -> None:
    one = libpaxos.Libpaxos(ground(SPEC, network, tmp_path, Settings(tmp_path)))
    lines = one.configuration(0).splitlines()
    places = [f"replica {place} {host.address} 8800" for place, host in enumerate(network.nodes)]
    assert lines == [
        *places,
        "verbosity error",
        "quorum-1 2",
        "quorum-2 2",
        "group-1 3",
        "group-2 3",
        "storage-backend memory",
    ]
    assert one.configuration(None) == one.configuration(2)


def test_a_configuration_of_libpaxos_with_everything(tmp_path: Path) -> None:
    options = (("sync", True), ("group1", 4), ("group2", 2), ("catch_up", False), ("proposer_timeout_s", 2))
    spec = Spec(experiment="some", system="libpaxos", storage="lmdb", quorum="sizes 4 2", options=options)
    one = libpaxos.Libpaxos(ground(spec, StandInNetwork(5), tmp_path, Settings(tmp_path)))
    assert one.configuration(3).splitlines()[5:] == [
        "verbosity error",
        "quorum-1 4",
        "quorum-2 2",
        "group-1 4",
        "group-2 2",
        "learner-catch-up no",
        "proposer-timeout 2",
        "storage-backend lmdb",
        f"lmdb-env-path {tmp_path}/data/node3/acceptor",
        "lmdb-mapsize 4gb",
        "lmdb-sync yes",
    ]
    assert (tmp_path / "data" / "node3").is_dir()


def test_libpaxos_syncs_only_where_it_is_told_to(tmp_path: Path, network: StandInNetwork) -> None:
    spec = Spec(experiment="some", system="libpaxos", storage="lmdb")
    one = libpaxos.Libpaxos(ground(spec, network, tmp_path, Settings(tmp_path)))
    assert "lmdb-sync no" in one.configuration(0).splitlines()
    assert "storage-backend memory" in one.configuration(None).splitlines()  # a client has no disk


def test_libpaxos_has_no_open_loop(tmp_path: Path, network: StandInNetwork) -> None:
    spec = Spec(experiment="some", system="libpaxos", workload=Workload(rate_per_s=100.0))
    with pytest.raises(EvaluationError, match="no open loop"):
        libpaxos.Libpaxos(ground(spec, network, tmp_path, Settings(tmp_path)))


def test_seconds_are_written_as_the_analysis_reads_them(tmp_path: Path) -> None:
    path = tmp_path / "seconds-0.csv"
    libpaxos.Libpaxos.write_seconds(path, [5, 0, 7], 9_000_000_123)
    assert path.read_text() == "at_ns,completed\n7000000123,5\n8000000123,0\n9000000123,7\n"
    assert runs._read_seconds(path).tolist() == [(7_000_000_123, 5), (8_000_000_123, 0), (9_000_000_123, 7)]


# -- LibPaxos's stand-in


def test_libpaxos_from_start_to_stop(tmp_path: Path, network: StandInNetwork) -> None:
    """Its proposer is killed: its client stays at zero, and the records say so."""
    settings = Settings(libpaxos_programs(tmp_path / "bin"))
    assert system("libpaxos").missing(settings) is None
    assert set(system("libpaxos").provenance(settings)) == {"replica", "client"}
    one = libpaxos.Libpaxos(ground(SPEC, network, tmp_path, settings))
    one.start()
    one.begin_load()
    began_ns = time.monotonic_ns()
    assert one.leader() == 0
    one.processes[0].kill()
    one.processes[0].wait()
    (told,) = one.end_load()
    ended_ns = time.monotonic_ns()
    assert told == {"client": 0, "records": "seconds-0.csv", "outstanding": 10}
    rows = runs._read_seconds(tmp_path / "seconds-0.csv")
    assert rows["completed"].tolist() == [10_000, 0]
    # the second in which the proposer died ends within the load; its time is when its line was seen
    assert began_ns < rows["at_ns"][-1] <= ended_ns
    assert np.diff(rows["at_ns"]).tolist() == [10**9]
    assert one.check()["failures"] == []  # a fault killed it by SIGKILL
    words = ["-o", "10", "-v", "64", "-p", "0"]
    assert network.clients[0].commands == [
        ["stdbuf", "-oL", str(tmp_path / "bin" / "client"), str(tmp_path / "paxos-client.conf"), *words]
    ]
    one.stop()
    assert all(process.poll() is not None for host in network.hosts for process in host.started)
    assert network.clients[0].started[0].returncode == -signal.SIGKILL  # its records are complete


def test_the_time_of_the_last_second_is_that_of_its_line(tmp_path: Path, network: StandInNetwork) -> None:
    """Another line may come after it, and would move every second of the run."""
    settings = Settings(libpaxos_programs(tmp_path / "bin"))
    client = tmp_path / "bin" / "client"
    client.write_text(
        f"#!{sys.executable} -uS\nimport time\nprint({LINE!r})\ntime.sleep(0.5)\nprint({LINE!r})\n"
        "time.sleep(0.2)\nprint('Connection reset by peer')\ntime.sleep(60)\n"
    )
    one = libpaxos.Libpaxos(ground(SPEC, network, tmp_path, settings))
    one.start()
    one.begin_load()
    counts, at_ns = one.after_next_line(0)
    log = tmp_path / "client0.log"
    assert counts == [12345, 12345]
    deadline = time.monotonic() + 10
    while b"reset" not in log.read_bytes():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    of_file_ns = time.monotonic_ns() - (time.time_ns() - log.stat().st_mtime_ns)
    assert of_file_ns - at_ns > 100_000_000


@pytest.mark.parametrize("program", ["replica", "client"])
def test_a_program_of_libpaxos_that_dies_is_reported_with_its_last_words(
    tmp_path: Path, network: StandInNetwork, program: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is reported at once, not after a time-out."""
    settings = Settings(libpaxos_programs(tmp_path / "bin"))
    (tmp_path / "bin" / program).write_text("#!/bin/sh\necho one thing\necho no shared library\nexit 127\n")
    one = libpaxos.Libpaxos(ground(SPEC, network, tmp_path, settings))
    monkeypatch.setattr("evaluation.systems.START_S", 3600.0)
    one.start()
    with pytest.raises(SystemFailed, match=r"LibPaxos.* ended: no shared library"):
        one.begin_load()
    one.stop()


def test_a_node_that_ends_by_itself_is_a_broken_promise(tmp_path: Path, network: StandInNetwork) -> None:
    settings = Settings(libpaxos_programs(tmp_path / "bin"))
    one = libpaxos.Libpaxos(ground(SPEC, network, tmp_path, settings))
    (tmp_path / "bin" / "replica").write_text("#!/bin/sh\necho what a pity\nexit 9\n")
    one.start_node(1)
    one.processes[1].wait(10)
    assert one.check()["failures"] == ["node 1 ended by itself with code 9: what a pity"]


# -- etcd's answers, as etcd 3.4 and later give them

HEAD = (
    "Access-Control-Allow-Origin: *\r\nContent-Type: application/json\r\n"
    "Grpc-Metadata-Content-Type: application/grpc\r\nDate: Wed, 25 Nov 2026 13:32:58 GMT\r\n"
)
BODY = (
    '{"header":{"cluster_id":"14841639068965178418","member_id":"10276657743932975437","revision":"2","raft_term":"2"}}'
)
TAKEN = f"HTTP/1.1 200 OK\r\n{HEAD}Content-Length: {len(BODY)}\r\n\r\n{BODY}".encode()
CHUNK = '{"error":"etcdserver: key is not provided","message":"etcdserver: key is not provided","code":3}'
TRAILER = "Grpc-Trailer-Content-Type: application/grpc\r\n"
REFUSED = (
    f"HTTP/1.1 400 Bad Request\r\n{HEAD}Trailer: Grpc-Trailer-Content-Type\r\nTransfer-Encoding: chunked\r\n\r\n"
    f"{len(CHUNK):x}\r\n{CHUNK}\r\n0\r\n{TRAILER}\r\n"
).encode()
ILLEGAL = b'HTTP/1.1 400 Bad Request\r\nContent-Length: 10\r\n\r\n{"code":3}'
CHUNKS = (
    f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n14\r\n{BODY[:20]}\r\n{len(BODY) - 20:X};some=thing\r\n"
    f"{BODY[20:]}\r\n0\r\n\r\n"
).encode()
ANSWERS = [(TAKEN, 200, 2), (REFUSED, 400, 0), (ILLEGAL, 400, 0), (CHUNKS, 200, 2)]
NAMES = ["taken", "refused in a chunk", "refused", "taken in chunks"]


@pytest.mark.parametrize(("answer", "status", "revision"), ANSWERS, ids=NAMES)
def test_an_answer_of_etcd_wherever_it_is_cut(answer: bytes, status: int, revision: int) -> None:
    whole = (status, revision, len(answer))
    assert etcd_load.answer_of(answer) == whole
    assert etcd_load.answer_of(answer + TAKEN) == whole  # the bytes after it belong to the next answer
    for cut in range(len(answer)):
        assert etcd_load.answer_of(answer[:cut]) is None, answer[:cut]


def test_a_request_to_etcd_says_how_long_it_is() -> None:
    head, _, body = etcd_load.request_of(b"00000007", b"x" * 64, "10.0.0.1").partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head.split(b"\r\n")
    assert head.startswith(b"POST /v3/kv/put HTTP/1.1\r\n")
    assert json.loads(body) == {"key": "MDAwMDAwMDc=", "value": "eHh4" * 21 + "eA=="}


# a server that answers each connection's requests by a list, again and again
SERVER = """
import asyncio, base64, json, sys
answers = [base64.b64decode(word) for word in json.loads(sys.argv[1])]
async def serve(reader, writer):
    number = 0
    while True:
        head = await reader.readuntil(b"\\r\\n\\r\\n")
        await reader.readexactly(int(head.lower().partition(b"content-length:")[2].split()[0]))
        answer = answers[number % len(answers)]
        number += 1
        half = len(answer) // 2
        for part in (answer[:half], answer[half:]):
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0.0005)
async def main():
    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


def test_the_load_on_etcd_goes_on_after_refusals(tmp_path: Path) -> None:
    """One connection has answers of both kinds: each has its row, and the next answer is read from its beginning."""
    answers = json.dumps([base64.b64encode(answer).decode() for answer in (TAKEN, REFUSED, ILLEGAL)])
    path = tmp_path / "operations-0.npy"
    server = subprocess.Popen([sys.executable, "-c", SERVER, answers], stdout=subprocess.PIPE, text=True)
    try:
        assert server.stdout is not None
        port = int(server.stdout.readline())
        command = [sys.executable, "-m", "evaluation.etcd_load", "--records", str(path), "--outstanding", "2"]
        command += [
            "--endpoints",
            f"127.0.0.1:1,127.0.0.1:{port}",
            "--client",
            "3",
        ]  # the first has no server
        load = subprocess.Popen(command, env=etcd.with_path(os.environ), stdout=subprocess.PIPE, text=True)
        deadline = time.monotonic() + 20
        while not path.exists() or path.stat().st_size < 256 + 60 * 40:
            assert load.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.01)
        load.send_signal(signal.SIGINT)
        words, _ = load.communicate(timeout=20)
        assert load.returncode == 0
    finally:
        server.kill()
        server.communicate()
    rows = records.read(path)
    assert json.loads(words) == {"commands": len(rows)}
    assert sorted(rows["sequence"].tolist()) == list(range(1, len(rows) + 1))
    assert set(rows["client"].tolist()) == {3}
    taken, refused = rows[rows["outcome"] == records.OK], rows[rows["outcome"] == records.REFUSED]
    assert len(taken) >= 19
    assert abs(len(refused) - 2 * len(taken)) <= 6
    assert set(taken["slot"].tolist()) == {2}
    assert (rows["answered_ns"] > rows["sent_ns"]).all()


def test_the_load_on_etcd_reports_what_it_does_not_understand(tmp_path: Path) -> None:
    """A worker that fails ends the load with a reason; it is not just one command less outstanding."""

    async def junk() -> None:
        load = etcd_load.Load([("127.0.0.1", port)], file, options)
        await load.run()

    options = {"seed": 1, "key_size": 8, "keys": 10, "value_size": 8, "client": 0, "outstanding": 1}
    with socket.create_server(("127.0.0.1", 0)) as server, OperationLog(tmp_path / "operations-0.npy") as file:
        port = server.getsockname()[1]

        def answer() -> None:
            connection, _ = server.accept()
            connection.recv(1 << 16)
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhm")
            while connection.recv(1 << 16):
                pass
            os.kill(os.getpid(), signal.SIGTERM)
            connection.close()

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(json.JSONDecodeError):
            asyncio.run(junk())
        thread.join()


@pytest.mark.skipif(shutil.which("etcd") is None, reason="no etcd: install Debian's etcd-server")
def test_provenance_of_etcd() -> None:
    told = system("etcd").provenance(Settings())
    assert str(told["version"]).startswith("etcd Version: 3.")
    assert len(told["etcd"]) == 64


def test_what_etcd_is_told(tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    fake = tmp_path / "bin" / "etcd"
    fake.parent.mkdir()
    fake.write_text("#!/bin/sh\necho cannot bind >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    spec = Spec(experiment="some", system="etcd", storage="disk", options=(("election_timeout_ms", 500),))
    one = etcd.Etcd(ground(spec, network, tmp_path))
    one.start_node(1)
    (command,) = network.nodes[1].commands
    values = dict(zip(command[1::2], command[2::2], strict=True))
    addresses = [host.address for host in network.nodes]
    assert values["--name"] == "n1"
    assert values["--data-dir"] == str(tmp_path / "data" / "node1")
    assert values["--initial-cluster"] == ",".join(f"n{n}=http://{a}:2380" for n, a in enumerate(addresses))
    assert values["--advertise-client-urls"] == f"http://{addresses[1]}:2379"
    assert values["--election-timeout"] == "500"
    assert "--heartbeat-interval" not in values
    one.processes[1].wait(10)
    monkeypatch.setattr(namespaces, "inside", lambda pid, do: do())  # no node listens at its addresses
    with pytest.raises(SystemFailed, match=r"node \d of etcd ended: cannot bind"):
        one.start()
    one.stop()


@pytest.mark.parametrize("before", [None, "", "/some/where"])
def test_the_client_of_etcd_finds_what_this_process_finds(before: str | None) -> None:
    found = etcd.with_path({"PATH": "/bin", **({} if before is None else {"PYTHONPATH": before})})
    assert found["PATH"] == "/bin"
    assert found["PYTHONPATH"].split(":")[1:] == ([before] if before else [])
    assert (Path(found["PYTHONPATH"].split(":")[0]) / "evaluation" / "etcd_load.py").is_file()


def test_the_leader_of_etcd_is_the_node_that_says_so_itself(
    tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    one = etcd.Etcd(ground(Spec(experiment="some", system="etcd", storage="disk"), network, tmp_path))
    follower = {"header": {"member_id": "11"}, "leader": "22"}
    for rows, leader in (
        ([follower, {"header": {"member_id": "22"}, "leader": "22"}, None], 1),
        ([follower, None, None], None),
        ([{"header": {"member_id": "11"}}, None, None], None),  # it has no leader
    ):
        told = dict(zip([one.place(node) for node in range(3)], rows, strict=True))
        monkeypatch.setattr(namespaces, "inside", lambda pid, do: do())
        monkeypatch.setattr(etcd, "status_of", told.__getitem__)
        assert one.find_leader() == leader


# -- multipaxos


def test_what_multipaxos_is_told(tmp_path: Path, network: StandInNetwork) -> None:
    spec = Spec(
        experiment="some",
        system="multipaxos",
        storage="lmdb",
        workload=Workload(outstanding=7, keys=50, key_size=16, value_size=100, zipf=0.9, read_share=0.25),
        quorum="sizes 3 1",
        options=(("election_timeout_ms", 300), ("ping_interval_ms", 60), ("window", 128)),
        trace=True,
    )
    one = multipaxos.Multipaxos(ground(spec, network, tmp_path))
    config = Config.load(tmp_path / "cluster.toml")
    assert config == one.config
    assert [node.address for node in config.nodes] == [f"{host.address}:7400" for host in network.nodes]
    assert config.quorum == Sizes(3, 1)
    assert (config.election_timeout_ms, config.ping_interval_ms, config.window) == (300, 60, 128)
    command = one.load_command(0)
    assert command[:4] == [sys.executable, "-m", "multipaxos", "bench"]
    values = dict(zip(command[7::2], command[8::2], strict=True))
    assert command[4:7] == ["--cluster", ",".join(f"{host.address}:7400" for host in network.nodes), "--json"]
    assert {name: values[f"--{name}"] for name in ("outstanding", "keys", "key-size", "value-size")} == {
        "outstanding": "7",
        "keys": "50",
        "key-size": "16",
        "value-size": "100",
    }
    assert (values["--zipf"], values["--read-share"], values["--client"], values["--seed"]) == ("0.9", "0.25", "0", "1")
    assert "--rate" not in values
    assert values["--records"] == str(tmp_path / "operations-0.npy")


def test_an_open_loop_of_multipaxos(tmp_path: Path, network: StandInNetwork) -> None:
    spec = Spec(experiment="some", system="multipaxos", workload=Workload(rate_per_s=1500.0, arrivals="fixed"))
    command = multipaxos.Multipaxos(ground(spec, network, tmp_path)).load_command(0)
    assert command[-4:] == ["--rate", "1500.0", "--arrivals", "fixed"]


@pytest.mark.parametrize(
    ("text", "quorum"),
    [("majority", "majority"), ("sizes 4 2", Sizes(4, 2)), ("grid 2 3", Grid(2, 3))],
)
def test_quorums_of_multipaxos(text: str, quorum: object) -> None:
    assert multipaxos.quorum_of(text) == quorum


@pytest.mark.parametrize("text", ["grid 2", "all", ""])
def test_quorums_that_multipaxos_has_not(text: str) -> None:
    with pytest.raises(EvaluationError, match="grid ROWS COLUMNS"):
        multipaxos.quorum_of(text)


def status(node: int, slot_out: int = 5, state: str = "aa", **more: object) -> dict[str, object]:
    """A row of `multipaxos status --json`."""
    return {"id": node, "alive": True, "slot_out": slot_out, "state_hash": state, **more}


def checked(
    tmp_path: Path, network: StandInNetwork, rows: list[dict[str, object]], monkeypatch: pytest.MonkeyPatch
) -> list[str]:
    """The failures that a check finds if the nodes have this status."""
    monkeypatch.setattr(multipaxos, "LEVEL_S", 0.0)
    monkeypatch.setattr(multipaxos.Multipaxos, "statuses", lambda self: rows)
    spec = Spec(experiment="some", system="multipaxos", topology=Topology(nodes=3))
    one = multipaxos.Multipaxos(ground(spec, network, tmp_path))
    one.clients.append(network.clients[0].popen(["true"], tmp_path / "client0.log"))
    with OperationLog(tmp_path / "operations-0.npy"):
        pass
    failures: list[str] = one.check()["failures"]
    return failures


def test_nodes_that_are_level_and_equal(
    tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [status(0), status(1), {"id": 2, "alive": False}]
    assert checked(tmp_path, network, rows, monkeypatch) == []


def test_nodes_that_are_not_level(tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    (failure,) = checked(tmp_path, network, [status(0, 5), status(1, 6)], monkeypatch)
    assert failure.endswith("[5, 6]")


def test_states_that_differ(tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    (failure,) = checked(tmp_path, network, [status(0), status(1, state="bb")], monkeypatch)
    assert failure == "the nodes' states differ at one slot: ['aa', 'bb']"


def test_no_node_that_lives(tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch) -> None:
    assert checked(tmp_path, network, [{"id": 0, "alive": False}], monkeypatch) == ["no node lives"]


def test_the_leader_is_that_of_the_highest_ballot(
    tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ballots compare by their numbers: 10 is above 9."""
    one = multipaxos.Multipaxos(ground(Spec(experiment="some", system="multipaxos"), network, tmp_path))
    rows = [status(0, leading=True, ballot="9.0"), status(1, leading=True, ballot="10.1"), status(2, leading=False)]
    monkeypatch.setattr(multipaxos.Multipaxos, "statuses", lambda self: rows)
    assert one.leader() == 1


def test_a_node_that_does_not_answer_is_a_row_too(
    tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nodes are asked in the namespace of the first client, which is this process's own; no node listens there."""
    monkeypatch.setattr(namespaces, "inside", lambda pid, do: do())
    one = multipaxos.Multipaxos(ground(Spec(experiment="some", system="multipaxos"), network, tmp_path))
    assert [(row["id"], row["alive"]) for row in one.statuses()] == [(0, False), (1, False), (2, False)]


# -- stopping


class Deaf(System):
    """A system whose processes ignore SIGTERM."""

    name, title, message_delays, storages = "deaf", "Deaf", 4, ("memory",)

    @classmethod
    def missing(cls, settings: Settings) -> str | None:
        return None

    @classmethod
    def provenance(cls, settings: Settings) -> dict[str, str]:
        return {}

    def start(self) -> None:
        self.start_node(0)

    def start_node(self, node: int) -> None:
        script = "trap '' TERM; echo deaf; while :; do read x; done < /dev/zero"
        self.processes[node] = self.network.nodes[node].popen(["sh", "-c", script], self.folder / f"node{node}.log")

    def leader(self) -> int:
        return 0

    def begin_load(self) -> None:
        pass

    def end_load(self) -> list[dict[str, object]]:
        return []

    def check(self) -> dict[str, object]:
        return {"failures": []}


def test_stop_also_ends_a_process_that_ignores_it(
    tmp_path: Path, network: StandInNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evaluation.systems.POLITE_S", 0.2)
    one = Deaf(ground(Spec(experiment="some", system="deaf"), network, tmp_path))
    one.start()
    deadline = time.monotonic() + 10
    while one.last_words("node0.log") != "deaf":
        assert time.monotonic() < deadline
        time.sleep(0.01)
    one.stop()
    assert one.processes[0].returncode == -signal.SIGKILL
    one.stop()  # again
