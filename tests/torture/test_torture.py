"""The torture test, for a short while; its judge, links and plan see what they must. `make torture` is longer."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from random import Random
from typing import Any

import pytest
import uvloop

from multipaxos import commands
from multipaxos.commands import Answer, Exists, Mismatch, NotFound, Value, Written
from multipaxos.config.cluster import Config
from multipaxos.errors import NoQuorum
from multipaxos.judges.linearizability import Operation
from multipaxos.local_cluster import free_base_port
from tests.support.link_by_hand import PATIENCE_S, RawLink, client_hello, local_config, peer_hello, run, until
from tests.torture import judge
from tests.torture.faults import KINDS, plan
from tests.torture.network import CLIENT, WAITING_BYTES, Network, both_ways
from tests.torture.run import Options, Play, Verdict, shortened
from tests.torture.workload import Workload

pytestmark = pytest.mark.timeout(300)

TORTURE = [sys.executable, "-m", "tests.torture"]
ROOT = Path(__file__).resolve().parents[2]


# -- whole runs


def test_a_short_torture(tmp_path: Path) -> None:
    """Fifteen seconds of all kinds of faults: every promise is kept, and nothing is left behind."""
    result = subprocess.run(
        [*TORTURE, "--duration", "15", "--json"], capture_output=True, text=True, cwd=ROOT, check=False,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
    verdict = json.loads(result.stdout)
    assert f"seed {verdict['seed']}" in result.stderr
    assert not verdict["failures"]
    assert verdict["acknowledged"] > 300
    assert set(verdict["faults"]) == set(KINDS)
    assert sum(verdict["faults"].values()) > 3
    assert verdict["elections"] > 0
    assert not list(tmp_path.iterdir())


def test_an_interrupted_torture_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C ends every process, and takes the directory away."""
    command = [*TORTURE, "--duration", "100", "--seed", "5"]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env=environment) as process:
        try:
            assert process.stderr is not None
            while "operations" not in process.stderr.readline():
                assert process.poll() is None
            nodes = children(process.pid)
            assert nodes
            process.send_signal(signal.SIGINT)
            assert process.wait(100) == 130
        finally:
            process.kill()
    assert not [pid for pid in nodes if Path(f"/proc/{pid}").exists()]
    assert not list(tmp_path.iterdir())


def children(parent: int) -> list[int]:
    """The processes that a process has started, and not yet buried."""
    found = []
    for place in Path("/proc").glob("[0-9]*"):
        try:
            fields = (place / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        if int(fields[1]) == parent:
            found.append(int(place.name))
    return found


def played(directory: Path, **options: Any) -> Verdict:
    """A torture in this process."""
    play = Play(Options(**options), directory, lambda text: None)
    uvloop.run(play.run())
    return play.judge()


def test_a_disk_that_keeps_only_what_was_synced(tmp_path: Path) -> None:
    """All nodes are killed at once."""
    verdict = played(tmp_path, seed=3, duration_s=2, storage="test-dropping", kinds=["kill all"])
    assert not verdict.failures, verdict
    assert verdict.faults["kill all"] > 0


def test_a_missing_sync_is_noticed(tmp_path: Path) -> None:
    """The same without the sync: acknowledged writes are gone, and the history shows it."""
    verdict = played(tmp_path, seed=3, duration_s=2, storage="test-dropping-unsynced", kinds=["kill all"])
    assert verdict.faults["kill all"] > 0
    assert any("not linearizable" in failure for failure in verdict.failures), verdict
    assert len(judge.load(tmp_path / "history.jsonl")) == verdict.operations


def test_a_leader_that_is_cut_off_is_replaced(tmp_path: Path) -> None:
    """The cuts reach the links between real processes: another node leads, and nothing else went wrong."""
    verdict = played(tmp_path, seed=4, duration_s=5, kinds=["leader cut off"])
    assert not verdict.failures, verdict
    assert verdict.faults["leader cut off"] > 0
    assert verdict.elections > 1


def test_a_node_that_ends_by_itself_is_noticed(tmp_path: Path) -> None:
    """Killed by somebody else: its code and its log are told, and the torture ends at once."""
    play = Play(Options(seed=1, duration_s=60, kinds=["reset"]), tmp_path, lambda text: None)

    async def main() -> None:
        async def interfere() -> None:
            await until(lambda: len(play.workload.history) > 50)
            play.cluster.signal(1, signal.SIGKILL)

        interfering = asyncio.create_task(interfere())
        await play.run()
        await interfering

    began_s = time.monotonic()
    uvloop.run(main())
    assert time.monotonic() - began_s < 60
    failures = play.judge().failures
    assert any("node 1 ended by itself with code -9; its log ends:\n" in failure for failure in failures)
    assert not play.cluster.processes


# -- the judge

_instants = itertools.count(1)


def said(command: bytes, answer: Answer | None, key: bytes = b"k") -> Operation:
    """An operation after all those made before."""
    return Operation(1, key, command, answer, next(_instants) * 1000, next(_instants) * 1000)


def put(value: bytes, version: int, key: bytes = b"k") -> Operation:
    """One that was done."""
    return said(commands.put(key, value), Written(version), key)


def got(value: bytes, version: int) -> Operation:
    """A read."""
    return said(commands.get(b"k"), Value(value, version))


def test_a_good_history_passes() -> None:
    assert not judge.judge([put(b"a", 1), got(b"a", 1), put(b"b", 2), got(b"b", 2), got(b"b", 2)])


def test_a_lost_write_is_found() -> None:
    """It was acknowledged; a read after it sees what was there before. What is shown is the smallest part."""
    history = [put(b"0", 1), put(b"a", 2), put(b"b", 3), got(b"a", 2)]
    (failure,) = judge.judge(history)
    assert "not linearizable, key b'k'" in failure
    assert "put b'b'" in failure
    assert "put b'0'" not in failure
    (failure,) = judge.judge([put(b"a", 2), said(commands.get(b"k"), NotFound())])
    assert "not linearizable" in failure


def test_a_stale_read_is_found() -> None:
    """The new value was read, then the old one."""
    first = put(b"a", 1)
    unanswered = said(commands.put(b"k", b"b"), None)
    assert not judge.judge([first, unanswered, got(b"a", 1), got(b"b", 2)])
    (failure,) = judge.judge([first, unanswered, got(b"b", 2), got(b"a", 1)])
    assert "not linearizable" in failure


def test_a_second_effect_is_found() -> None:
    history = [put(b"a", 1), put(b"b", 2), got(b"a", 3)]
    assert "not linearizable" in judge.judge(history)[0]


def test_a_log_that_forked_is_found() -> None:
    """Two writes in one slot, though on two keys."""
    (failure,) = judge.judge([put(b"a", 7), put(b"b", 7, b"l")])
    assert failure.startswith("two writes were done in one slot")


def test_a_log_that_forgot_is_found() -> None:
    """A later write has an earlier slot, though on another key."""
    assert not judge.judge([put(b"a", 7), put(b"b", 8, b"l")])
    (failure,) = judge.judge([put(b"a", 7), put(b"b", 6, b"l")])
    assert failure.startswith("a write has a higher slot than one that was called after its answer")


def test_a_key_that_is_not_read_in_the_end_is_found() -> None:
    history = [put(b"a", 1), put(b"b", 2, b"l"), got(b"a", 1)]
    (failure,) = judge.never_read(history, history[2].invoked_ns)
    assert failure == "1 keys could not be read in the end, b'l' among them"
    assert not judge.never_read(history[::2], history[2].invoked_ns)
    assert judge.never_read(history[::2], history[2].invoked_ns + 1)


def test_a_history_is_kept_as_it_is(tmp_path: Path) -> None:
    odd = bytes(range(256))
    answers = [None, Written(3), Value(odd, 4), Mismatch(odd, 5), Exists(), NotFound()]
    history = [said(commands.cas(odd, odd, odd), answer, odd) for answer in answers]
    judge.save(history, tmp_path / "history")
    assert judge.load(tmp_path / "history") == history


def test_a_kept_history_is_judged_again(tmp_path: Path) -> None:
    judge.save([put(b"a", 1), said(commands.get(b"k"), NotFound())], tmp_path / "history")
    command = [*TORTURE, "--check", str(tmp_path / "history")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 1
    assert "not linearizable" in result.stdout


def test_the_longest_gap() -> None:
    one, other = put(b"a", 1), put(b"b", 2)
    assert judge.longest_gap_s([one, other]) == (other.answered_ns - one.answered_ns) / 1e9
    assert judge.longest_gap_s([one]) == 0


# -- the plan


def test_a_plan_is_its_seeds() -> None:
    """The same again, another for another seed; every kind comes; all faults end with their phase."""
    phases = list(itertools.islice(plan(1), 40))
    assert phases == list(itertools.islice(plan(1), 40))
    assert phases != list(itertools.islice(plan(2), 40))
    assert {fault.kind for phase in phases for fault in phase.faults} == set(KINDS)
    for phase in [*phases, *(shortened(phase, 2.0) for phase in phases)]:
        assert all(fault.begin_s + fault.length_s <= phase.length_s + 1e-9 for fault in phase.faults)


# -- liveness


def test_a_cluster_that_does_not_answer_is_noticed() -> None:
    workload = Workload([("127.0.0.1", free_base_port(1))], 1)

    async def main() -> None:
        calling = asyncio.create_task(workload.run())
        try:
            with pytest.raises(NoQuorum, match="got no answer"):
                await workload.until_all_are_answered(0.3)
        finally:
            calling.cancel()
            await asyncio.gather(calling, return_exceptions=True)
            await workload.close()

    uvloop.run(main())
    assert all(operation.answer is None for operation in workload.history)


# -- links


class Node:
    """Something that listens, and writes down what it is told."""

    def __init__(self) -> None:
        self.heard = b""
        self.ended = False
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.append(writer)
        try:
            while data := await reader.read(1 << 16):
                self.heard += data
        except ConnectionResetError:
            self.heard += b" reset"
        self.ended = True
        writer.close()


class Bench:
    """Node 1, and the proxy before it; `link` is one of node 0's."""

    def __init__(self) -> None:
        self.config: Config = local_config(2)
        behind = [(node.host, node.port) for node in local_config(2).nodes]
        self.node = Node()
        self.network = Network([(node.host, node.port) for node in self.config.nodes], behind)

    async def __aenter__(self) -> Bench:
        self.server = await asyncio.start_server(self.node.serve, *self.network.nodes[1])
        await self.network.__aenter__()
        self.link = await self.dial(peer_hello(self.config, 0).encode())
        return self

    async def dial(self, hello: bytes) -> RawLink:
        """A link whose hello has come through."""
        link = await RawLink.to(self.config, 1)
        self.node.heard = b""
        link.send(hello)
        await until(lambda: self.node.heard == hello)
        self.node.heard = b""
        return link

    async def __aexit__(self, *error: object) -> None:
        self.link.close()
        await self.network.stop()
        assert not self.network.links
        self.server.close()


def test_what_a_cut_holds_back_comes_when_it_heals() -> None:
    """The end of the link, too; the other way nothing is held back."""

    async def main() -> None:
        async with Bench() as bench:
            cut = bench.network.cut({(0, 1)})
            assert not cut.took_effect
            bench.link.send(b"late")
            await until(lambda: cut.took_effect)
            bench.node.writers[0].write(b"back")
            async with asyncio.timeout(PATIENCE_S):
                assert await bench.link.reader.readexactly(4) == b"back"
            held = bench.network.held_back[0, 1]
            bench.link.close()
            await until(lambda: bench.network.held_back[0, 1] > held)  # its end is held back as well
            assert (bench.node.heard, bench.node.ended) == (b"", False)
            cut.heal(reset=False)
            await until(lambda: bench.node.ended)
            assert bench.node.heard == b"late"

    run(main())


def test_a_cut_may_heal_with_a_reset() -> None:
    async def main() -> None:
        async with Bench() as bench:
            other = await bench.dial(client_hello().encode())
            cut = bench.network.cut(both_ways([0], [1]))
            bench.link.send(b"lost")
            other.send(b"of a client")
            await until(lambda: cut.took_effect and bench.node.heard == b"of a client")
            cut.heal(reset=True)
            await until(lambda: bench.node.ended)
            assert bench.node.heard == b"of a client reset"
            with pytest.raises(ConnectionResetError):
                await bench.link.reader.readexactly(1)
            assert bench.network.reset(both_ways([0], [1])) == 0
            assert bench.network.reset(both_ways([CLIENT], [1])) == 1
            other.close()

    run(main())


def test_cuts_add_up() -> None:
    """What two cuts hold back waits for both."""

    async def main() -> None:
        async with Bench() as bench:
            one, other = bench.network.cut({(0, 1)}), bench.network.cut(both_ways([0], [1]))
            bench.link.send(b"late")
            await until(lambda: one.took_effect and other.took_effect)
            one.heal(reset=True)
            bench.node.writers[0].write(b"back")
            await until(lambda: bench.network.held_back[1, 0])
            assert not bench.node.heard
            other.heal(reset=False)
            await until(lambda: bench.node.heard == b"late")

    run(main())


def test_a_dial_into_a_cut_is_held_back() -> None:
    """It is not known to the node before the cut heals."""

    async def main() -> None:
        async with Bench() as bench:
            cut = bench.network.cut({(0, 1)})
            second = await RawLink.to(bench.config, 1)
            hello = peer_hello(bench.config, 0).encode()
            second.send(hello)
            await until(lambda: cut.took_effect)
            assert not bench.node.heard
            cut.heal(reset=False)
            await until(lambda: bench.node.heard == hello)
            second.close()

    run(main())


def test_what_waits_in_a_cut_is_bounded_and_none_is_lost() -> None:
    async def main() -> None:
        async with Bench() as bench:
            cut = bench.network.cut({(0, 1)})
            sent = Random(1).randbytes(16 * WAITING_BYTES)
            bench.link.send(sent)
            (link,) = bench.network.links
            await until(lambda: len(link.there.waiting) > WAITING_BYTES)
            assert len(link.there.waiting) < 2 * WAITING_BYTES
            cut.heal(reset=False)
            await until(lambda: len(bench.node.heard) == len(sent))
            assert bench.node.heard == sent

    run(main())


def test_nobody_behind_the_proxy() -> None:
    """Who dials a node that is down finds the link closed, but not while it could not hear of that."""

    async def main() -> None:
        async with Bench() as bench:
            for held in (False, True):
                cut = bench.network.cut({(1, 0)} if held else set())
                link = await RawLink.to(bench.config, 0)
                link.send(peer_hello(bench.config, 1).encode())
                cut.heal(reset=False)
                await link.ended()
            cut = bench.network.cut({(0, 1)})
            link = await RawLink.to(bench.config, 0)
            link.send(peer_hello(bench.config, 1).encode())
            await until(lambda: cut.took_effect)
            assert not link.reader.at_eof()
            cut.heal(reset=False)
            await link.ended()

    run(main())


def test_who_says_no_hello_is_sent_away() -> None:
    async def main() -> None:
        async with Bench() as bench:
            link = await RawLink.to(bench.config, 1)
            link.send(b"GET / HTTP/1.1\r\n\r\n")
            await link.ended()

    run(main())
