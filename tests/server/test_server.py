"""Whole nodes in one loop: hostile frames, user machines, failing disks, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import threading
import weakref
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path

import pytest

from multipaxos.config.cluster import Config
from multipaxos.errors import ConfigurationError, DirectoryInUse, MultipaxosError, StorageError
from multipaxos.machine.state_machine import Context, StateMachine
from multipaxos.node.output import Read
from multipaxos.server.server import Server, serve
from multipaxos.storage.interface import Storage
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.storage.records import Record
from multipaxos.transport import transport
from multipaxos.wire.codec import (
    FRAME_BYTES_MAX,
    KEY_BYTES_MAX,
    VALUE_BYTES_MAX,
    CommandKind,
    ReplyStatus,
    encode,
    encode_request,
)
from tests.support.link_by_hand import (
    Caller,
    RawLink,
    ask_status,
    client_hello,
    get,
    local_config,
    peer_hello,
    put,
    run,
    until,
)

OK, REFUSED = ReplyStatus.OK, ReplyStatus.REFUSED


@contextlib.asynccontextmanager
async def cluster(config: Config, storages: list[Storage] | None = None) -> AsyncIterator[list[Server]]:
    """All nodes of a cluster, one of them leading."""
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for node in config.nodes:
            storage = storages[node.id] if storages else MemoryStorage()
            servers.append(await stack.enter_async_context(Server(config, node.id, storage)))
        await until(lambda: any(server.facts()["leading"] for server in servers), "a leader")
        yield servers


def one_node() -> Config:
    """A cluster of one: alone it is a majority."""
    return local_config(1, election_timeout_ms=50, ping_interval_ms=10)


def three_nodes() -> Config:
    """A cluster whose elections are quick."""
    return local_config(3, election_timeout_ms=100, ping_interval_ms=20)


class Counter(StateMachine):
    """Adds numbers; falsy while it is empty, which must not matter."""

    def __init__(self) -> None:
        self.sums: dict[bytes, int] = {}
        self.applied = 0

    def __len__(self) -> int:
        return len(self.sums)

    def apply(self, command: bytes, context: Context) -> bytes:
        self.applied += 1
        name, _, number = command.partition(b" ")
        if name == b"wrong":
            return "text"  # type: ignore[return-value]
        total = self.sums.get(name, 0) + int(number)
        self.sums[name] = total
        return str(total).encode()

    def snapshot(self) -> Iterator[bytes]:
        yield repr(sorted(self.sums.items())).encode()

    def restore(self, chunks: Iterable[bytes]) -> None:
        raise NotImplementedError(list(chunks))


# -- serving


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_three_nodes_serve_through_each_of_them(uv: bool) -> None:
    config = three_nodes()

    async def main() -> None:
        async with cluster(config) as servers:
            for i in range(3):
                caller = await Caller.to(config, i)
                assert (await caller.call(put(b"k%d" % i, b"value")))[0] == OK
                status, answer = await caller.call(get(b"k%d" % i))
                assert (status, answer[9:]) == (OK, b"value")
                caller.link.close()
            await until(lambda: len({server.facts()["slot_out"] for server in servers}) == 1)
            rows = [await ask_status(config, i) for i in range(3)]
            assert len({row["state_hash"] for row in rows}) == 1
            assert [row["address"] for row in rows] == [node.address for node in config.nodes]
            assert all(row["storage"] == "memory" and row["pid"] == os.getpid() and row["alive"] for row in rows)
            assert all(row["closes"] == {} for row in rows)

    run(main(), uv=uv)


def test_a_node_on_a_disk_remembers(tmp_path: Path) -> None:
    config = one_node()

    async def main() -> None:
        for life in range(3):
            async with cluster(config, [LmdbStorage(tmp_path, config.name, 0)]) as (server,):
                caller = await Caller.to(config, 0)
                for earlier in range(life):
                    assert (await caller.call(get(b"life %d" % earlier)))[1][9:] == b"lived"
                assert (await caller.call(put(b"life %d" % life, b"lived")))[0] == OK
                assert server.facts()["storage"] == "lmdb"
                caller.link.close()

    run(main())


# -- hostile frames after the handshake


def hostile_frames() -> dict[str, bytes]:
    """Frames that no client sends."""
    rng = random.Random(3)
    request = encode_request([(1, 1, CommandKind.APPLY, 0, put(b"k", b"v"))])
    oversized = bytes(4) + (FRAME_BYTES_MAX // 8 + 1).to_bytes(4, "little") + bytes(64)
    return {
        "random": bytes(rng.randrange(1, 256) for _ in range(512)),
        "oversized": oversized,
        "many segments": b"\xff" * 64,
        "wild pointer": request[:8] + b"\xf0\xff\xff\x7f\xff\xff\xff\x7f" + request[16:],
        "a peer's message": encode("ping", ballot=0, nonce=1, slot_out=1, voting=True),
    }


@pytest.mark.parametrize("name", ["random", "oversized", "many segments", "wild pointer", "a peer's message"])
def test_a_bad_frame_closes_its_link_and_no_other(name: str, caplog: pytest.LogCaptureFixture) -> None:
    config = one_node()
    frame = hostile_frames()[name]

    async def main() -> None:
        async with cluster(config) as (server,):
            good = await Caller.to(config, 0)
            assert (await good.call(put(b"k", b"before")))[0] == OK
            bad = await RawLink.to(config, 0)
            await bad.handshake(client_hello())
            await bad.frame()  # whom to follow: the node takes it for a client
            bad.send(frame)
            await bad.ended()
            closes = (await ask_status(config, 0))["closes"]
            assert sum(closes.values()) == 1
            assert server.facts()["bad_frames"] == 1
            assert (await good.call(get(b"k")))[1][9:] == b"before"
            assert (await good.call(put(b"k", b"after")))[0] == OK
            (reason,) = closes
            assert "closing the link to client at" in caplog.text
            assert reason in caplog.text
            good.link.close()

    with caplog.at_level(logging.WARNING):
        run(main())


def test_random_frames_close_links_at_most() -> None:
    config = one_node()
    rng = random.Random(11)
    request = encode_request([(1, i, CommandKind.APPLY, 0, put(b"key", b"value")) for i in range(1, 9)])

    async def main() -> None:
        async with cluster(config) as (server,):
            good = await Caller.to(config, 0)
            for _ in range(80):
                bad = await RawLink.to(config, 0)
                await bad.handshake(client_hello())
                await bad.frame()
                data = bytearray(request)
                for _ in range(rng.randrange(1, 8)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                bad.send(bytes(data))
                bad.writer.write_eof()
                await bad.ended()
            assert server.facts()["bad_frames"] > 10
            assert (await good.call(put(b"k", b"v")))[0] == OK
            server.node.invariants()
            good.link.close()

    run(main())


def test_a_bad_frame_from_a_peer_closes_its_link_and_the_cluster_goes_on() -> None:
    config = three_nodes()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(Server(config, i, MemoryStorage())) for i in (1, 2)]
            peer = await RawLink.to(config, 2)
            assert not (await peer.handshake(peer_hello(config, 0))).refusal
            await until(lambda: 0 in servers[1].facts()["peers"])
            peer.send(b"\xff" * 64)
            await peer.ended()
            await until(lambda: 0 not in servers[1].facts()["peers"])
            assert servers[1].facts()["bad_frames"] == 1
            await until(lambda: servers[1].facts()["peers"] == [1])
            await stack.enter_async_context(Server(config, 0, MemoryStorage()))
            caller = await Caller.to(config, 2)
            assert (await caller.call(put(b"k", b"v")))[0] == OK
            caller.link.close()

    run(main())


# -- commands that are refused


@pytest.mark.parametrize(
    ("payload", "text"),
    [(put(b"k" * (KEY_BYTES_MAX + 1), b"v"), "key"), (put(b"", b"v"), "key"), (b"", ""), (b"\xee", ""),
     (put(b"k", bytes(VALUE_BYTES_MAX + 1)), "value")],
    ids=["long key", "empty key", "empty command", "unknown", "long value"],
)  # fmt: skip
def test_what_is_over_a_limit_is_refused_by_the_machine(payload: bytes, text: str) -> None:
    config = one_node()

    async def main() -> None:
        async with cluster(config):
            caller = await Caller.to(config, 0)
            status, answer = await caller.call(payload)
            assert status == REFUSED
            assert text in answer.decode()
            assert len(answer) > 10
            assert (await caller.call(put(b"k" * KEY_BYTES_MAX, bytes(VALUE_BYTES_MAX))))[0] == OK
            assert len((await caller.call(get(b"k" * KEY_BYTES_MAX)))[1]) == 9 + VALUE_BYTES_MAX
            caller.link.close()

    run(main())


def test_a_machine_of_the_users_is_used_and_its_exceptions_are_answers() -> None:
    config = three_nodes()
    machines = [Counter() for _ in range(3)]

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for i, machine in enumerate(machines):
                await stack.enter_async_context(Server(config, i, MemoryStorage(), machine))
            caller = await Caller.to(config, 1)
            assert await caller.call(b"a 5") == (OK, b"5")
            status, answer = await caller.call(b"a five")
            assert status == REFUSED
            assert answer.startswith(b"ValueError: invalid literal for int()")
            status, answer = await caller.call(b"wrong")
            assert (status, answer) == (REFUSED, b"TypeError: the machine answered with str, not bytes")
            assert await caller.call(b"a 2") == (OK, b"7")
            await until(lambda: all(machine.applied == 4 for machine in machines))
            assert all(machine.sums == {b"a": 7} for machine in machines)
            caller.link.close()

    run(main())


# -- a disk that fails


class FailingStorage:
    """A disk that fails when told; it counts what it is asked after that."""

    kind = "lmdb"
    immediate = False

    def __init__(self) -> None:
        self._memory = MemoryStorage()
        self.incarnation = self._memory.incarnation
        self.error: Exception | None = None
        self.asked_after = 0
        self.closed = False
        self.gate = threading.Event()
        self.gate.set()
        self.finished = 0
        self.read_gate = threading.Event()
        self.read_gate.set()
        self.reading = 0

    def meta(self) -> dict[bytes, bytes]:
        return self._memory.meta()

    def records(self) -> Iterator[Record]:
        return self._memory.records()

    def commit(self, meta: Mapping[bytes, bytes], records: bytes) -> None:
        assert not self.closed
        self.gate.wait()
        if self.error is not None:
            self.asked_after += 1
            raise self.error
        self._memory.commit(meta, records)
        self.finished += 1

    def read(self, first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
        self.reading += 1
        self.read_gate.wait()
        return self._memory.read(first, end, max_bytes)

    def close(self) -> None:
        self.closed = True


@pytest.mark.parametrize("error", [StorageError("the disk is full"), ValueError("unforeseen")], ids=["foreseen", "not"])
def test_a_commit_that_fails_ends_the_node_and_it_promises_nothing_more(error: Exception) -> None:
    config = three_nodes()
    failing = FailingStorage()

    async def main() -> None:
        async with cluster(config, [MemoryStorage(), MemoryStorage(), failing]) as servers:
            caller = await Caller.to(config, 0)
            assert (await caller.call(put(b"k", b"v")))[0] == OK
            peer_writes: list[bytes] = []
            failing.error = error
            serving = asyncio.create_task(servers[2].serve_forever())
            assert (await caller.call(put(b"k", b"w")))[0] == OK  # the others are a majority
            await until(serving.done)
            with pytest.raises(StorageError, match=str(error)):
                serving.result()
            for connection in servers[2].transport.links.values():
                connection.write = peer_writes.append
            for i in range(20):
                assert (await caller.call(put(b"k", b"%d" % i)))[0] == OK
            assert not peer_writes
            assert failing.asked_after == 1
            caller.link.close()
        assert failing.closed

    run(main())


def test_serve_ends_with_what_ended_the_node() -> None:
    config = one_node()
    failing = FailingStorage()
    failing.error = StorageError("the disk is full")

    async def main() -> None:
        with pytest.raises(StorageError, match="the disk is full"):
            await serve(Server(config, 0, failing))
        assert failing.closed
        with pytest.raises((ConnectionError, OSError)):
            await RawLink.to(config, 0)

    run(main())


def test_nothing_is_answered_before_it_is_durable() -> None:
    config = one_node()
    slow = FailingStorage()

    async def main() -> None:
        async with cluster(config, [slow]):
            caller = await Caller.to(config, 0)
            assert (await caller.call(put(b"k", b"v")))[0] == OK
            slow.gate.clear()
            before = slow.finished
            calling = asyncio.create_task(caller.call(put(b"k", b"w")))
            await ask_status(config, 0)  # the loop is not held up by the disk
            done, _ = await asyncio.wait([calling], timeout=0.1)
            assert not done
            slow.gate.set()
            assert (await calling)[0] == OK
            assert slow.finished > before
            caller.link.close()

    run(main())


def test_a_commit_does_not_wait_for_reads() -> None:
    """Nodes that catch up read the log for long; the group commit goes on beside them."""
    config = one_node()
    slow = FailingStorage()

    async def main() -> None:
        async with cluster(config, [slow]) as servers:
            caller = await Caller.to(config, 0)
            slow.read_gate.clear()
            try:
                for token in range(1 << 40, (1 << 40) + 4):  # of nobody: their ends are ignored
                    servers[0]._read(Read(token, 1, 2, 1000))
                await until(lambda: slow.reading)
                assert (await caller.call(put(b"k", b"v")))[0] == OK
                assert slow.reading == 1, "the reads were still waiting"
            finally:
                slow.read_gate.set()
            await until(lambda: slow.reading == 4)
            caller.link.close()

    run(main())


def test_status_tells_the_traffic_of_both_kinds_of_link() -> None:
    config = three_nodes()

    async def main() -> None:
        async with cluster(config):
            caller = await Caller.to(config, 0)
            before = (await ask_status(config, 0))["traffic"]
            assert (await caller.call(put(b"k", bytes(5000))))[0] == OK
            after = (await ask_status(config, 0))["traffic"]
            assert before["client"]["links"] == after["client"]["links"] == 1, "admin links are not counted"
            assert after["peer"]["links"] == 2
            assert after["client"]["received_bytes"] - before["client"]["received_bytes"] > 5000
            assert before["client"]["sent_bytes"] < after["client"]["sent_bytes"]
            assert before["peer"]["sent_bytes"] + 5000 < after["peer"]["sent_bytes"]
            caller.link.close()

    run(main())


def test_a_stop_waits_for_the_commit_that_runs() -> None:
    config = one_node()
    slow = FailingStorage()

    async def main() -> None:
        server = Server(config, 0, slow)
        await server.start()
        await until(lambda: server.facts()["leading"])
        caller = await Caller.to(config, 0)
        assert (await caller.call(put(b"k", b"v")))[0] == OK
        slow.gate.clear()
        before = slow.finished
        calling = asyncio.create_task(caller.call(put(b"k", b"w")))
        await until(lambda: server._jobs)
        stopping = asyncio.create_task(server.stop())
        await asyncio.wait([calling])
        assert isinstance(calling.exception(), (EOFError, ConnectionError))
        assert not stopping.done()
        assert not slow.closed
        slow.gate.set()
        await stopping
        assert slow.closed
        assert slow.finished == before + 1

    run(main())


def test_a_node_that_listens_elsewhere_tells_the_address_that_others_know() -> None:
    config, elsewhere = one_node(), one_node()
    place = elsewhere.nodes[0]

    async def main() -> None:
        async with Server(config, 0, MemoryStorage(), listen=(place.host, place.port)):
            caller = await Caller.to(elsewhere, 0)
            assert (await caller.call(put(b"k", b"value")))[0] == OK
            assert (await ask_status(elsewhere, 0))["address"] == config.nodes[0].address

    run(main())


# -- starts that cannot be


def test_a_node_that_the_configuration_does_not_have() -> None:
    for node in (-1, 3):
        with pytest.raises(ConfigurationError, match=f"has no node {node}: its nodes are 0, 1, 2"):
            Server(local_config(), node, MemoryStorage())


def test_two_servers_with_one_directory(tmp_path: Path) -> None:
    config = one_node()

    async def main() -> None:
        async with Server(config, 0, LmdbStorage(tmp_path, config.name, 0)):
            with pytest.raises(DirectoryInUse, match=f"living process {os.getpid()}"):
                Server(config, 0, LmdbStorage(tmp_path, config.name, 0))
        LmdbStorage(tmp_path, config.name, 0).close()  # the stop let go of it

    run(main())


def test_a_second_start_of_a_node_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    config = one_node()

    async def main() -> None:
        threads = set(threading.enumerate())
        async with cluster(config) as (server,):
            second = Server(config, 0, LmdbStorage(tmp_path, config.name, 0))
            with pytest.raises(MultipaxosError, match="is the port taken"):
                await second.start()
            LmdbStorage(tmp_path, config.name, 0).close()  # a start that fails lets go of everything
            assert set(threading.enumerate()) == threads
            with pytest.raises(MultipaxosError, match="was started before"):
                await server.start()
            caller = await Caller.to(config, 0)
            assert (await caller.call(put(b"k", b"v")))[0] == OK
            caller.link.close()

    run(main())


def test_a_log_that_cannot_be_read_ends_the_start() -> None:
    config = one_node()
    broken = MemoryStorage()
    frame = b"no phase2a"
    broken.commit({}, b"".join(n.to_bytes(8, "little") for n in (1, 2, len(frame))) + frame)

    async def main() -> None:
        with pytest.raises(StorageError, match="record 1 at slot 1"):
            await Server(config, 0, broken).start()
        with pytest.raises((ConnectionError, OSError)):
            await RawLink.to(config, 0)

    run(main())


# -- the end


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_clean_stop_leaves_no_task_socket_or_thread(uv: bool, tmp_path: Path) -> None:
    config = three_nodes()

    async def main() -> None:
        tasks, threads, files = asyncio.all_tasks(), set(threading.enumerate()), open_files()
        storages: list[Storage] = [LmdbStorage(tmp_path / str(i), config.name, i) for i in range(3)]
        async with cluster(config, storages) as servers:
            caller = await Caller.to(config, 0)
            assert (await caller.call(put(b"k", b"v")))[0] == OK
            connections = weakref.WeakSet(c for server in servers for c in server.transport.connections)
            assert connections
        await servers[0].stop()  # again is harmless
        await caller.link.ended()
        await caller.link.writer.wait_closed()
        await asyncio.sleep(0)
        assert asyncio.all_tasks() == tasks
        assert set(threading.enumerate()) == threads
        await until(lambda: open_files() <= files, "all files closed")

    run(main(), uv=uv)


def open_files() -> set[str]:
    """What the descriptors of this process are open on."""
    found = set()
    for number in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            found.add(os.readlink(f"/proc/self/fd/{number}"))
    return found


# -- back-pressure


def test_a_client_that_does_not_read_bounds_what_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = one_node()
    value = bytes(200_000)
    monkeypatch.setattr(transport, "CLIENT_UNSENT_BYTES", 400_000)

    async def main() -> None:
        async with cluster(config) as (server,):
            good = await Caller.to(config, 0)
            assert (await good.call(put(b"big", value)))[0] == OK
            lazy = await Caller.to(config, 0)
            sequences = [lazy.session.submit(put(b"k", b"v"))]
            assert (await lazy.call(put(b"k", b"v")))[0] == OK
            (connection,) = [c for link, c in server.transport.links.items() if link == max(server.transport.links)]
            waiting = 0
            for _ in range(60):  # the buffers of the sockets hold some; 60 answers are 12 MB
                sequences.append(lazy.session.submit(get(b"big")))
                lazy.link.send(lazy.session.output())
                assert (await good.call(put(b"k", b"v")))[0] == OK
                assert connection._transport is not None
                waiting = max(waiting, connection._transport.get_write_buffer_size())
            assert 400_000 < waiting < 4_000_000
            answered: set[int] = set()
            while answered != set(sequences[1:]):
                for number, status, _, data in lazy.session.receive(await lazy.link.frame()):
                    if number in sequences[1:]:
                        assert (status, data[9:]) == (OK, value)
                        answered.add(number)
            lazy.link.close()
            good.link.close()

    run(main())
