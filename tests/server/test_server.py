"""Whole nodes in one loop: they serve, remember, refuse, and report their status."""

from __future__ import annotations

import ast
import contextlib
import json
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import multipaxos
from multipaxos.errors import ConfigurationError, MultipaxosError
from multipaxos.machine.state_machine import Context, StateMachine
from multipaxos.server.server import Server
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from multipaxos.wire.codec import KEY_BYTES_MAX, VALUE_BYTES_MAX
from tests.server.nodes import OK, REFUSED, cluster, one_node, three_nodes
from tests.support.link_by_hand import PATIENCE_S, Caller, ask_status, get, put, run, until


class Echo(StateMachine):
    """Answers with the command."""

    def apply(self, command: bytes, context: Context) -> bytes:
        return command

    def snapshot(self) -> Iterator[bytes]:
        return iter([])

    def restore(self, chunks: Iterable[bytes]) -> None:
        assert list(chunks) == []  # it has no state


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
        self.sums = dict(ast.literal_eval(b"".join(chunks).decode()))


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


def test_status_shows_the_traffic_of_each_kind_of_link() -> None:
    config = three_nodes()

    async def main() -> None:
        async with cluster(config):
            caller = await Caller.to(config, 0)
            before = json.loads((await caller.link.status(1))[1])["traffic"]
            assert (await caller.call(put(b"k", bytes(5000))))[0] == OK
            after = json.loads((await caller.link.status(2))[1])["traffic"]
            assert before["client"]["links"] == after["client"]["links"] == 1
            assert after["admin"] == {"links": 0, "received_bytes": 0, "sent_bytes": 0, "long_turns": 0}
            assert after["peer"]["links"] == 2
            assert after["client"]["received_bytes"] - before["client"]["received_bytes"] > 5000
            assert before["client"]["sent_bytes"] < after["client"]["sent_bytes"]
            assert before["peer"]["sent_bytes"] + 5000 < after["peer"]["sent_bytes"]
            caller.link.close()

    run(main())


def test_a_node_that_listens_elsewhere_shows_the_address_that_others_know() -> None:
    config, elsewhere = one_node(), one_node()
    place = elsewhere.nodes[0]

    async def main() -> None:
        async with Server(config, 0, MemoryStorage(), listen=(place.host, place.port)):
            caller = await Caller.to(elsewhere, 0)
            assert (await caller.call(put(b"k", b"value")))[0] == OK
            assert (await ask_status(elsewhere, 0))["address"] == config.nodes[0].address

    run(main())


@pytest.mark.parametrize("version", [0, "2", True, 1.5, 1 << 31])
def test_a_version_that_cannot_be(version: object) -> None:
    machine = Counter()
    machine.version = version  # type: ignore[assignment]
    with pytest.raises(ConfigurationError, match="versions are 1 to"):
        Server(three_nodes(), 0, MemoryStorage(), machine)


def test_a_client_of_the_store_at_another_machine_is_told() -> None:
    """The answer is none of the store's: a typed error that names the way out."""
    config = one_node()

    async def main() -> None:
        async with (
            Server(config, 0, MemoryStorage(), Echo()),
            multipaxos.Client([config.nodes[0].place], timeout_s=PATIENCE_S) as kv,
        ):
            with pytest.raises(MultipaxosError, match=r"use Client\.apply"):
                await kv.get(b"k")
            assert await kv.apply(b"6") == b"6"

    run(main())
