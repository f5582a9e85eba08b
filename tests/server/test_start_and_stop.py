"""Starts that cannot be, and an end that leaves nothing behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import threading
import weakref
from pathlib import Path

import pytest

from multipaxos.errors import ConfigurationError, DirectoryInUse, MultipaxosError, StorageError
from multipaxos.server.server import Server
from multipaxos.storage.interface import Storage
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.storage.memory import MemoryStorage
from tests.server.nodes import OK, cluster, one_node, three_nodes
from tests.support.link_by_hand import Caller, RawLink, local_config, put, run, until
from tests.support.records import pack


def test_a_node_that_the_configuration_does_not_have() -> None:
    for node in (-1, 3):
        with pytest.raises(ConfigurationError, match=f"has no node {node}: its nodes are 0, 1, 2"):
            Server(local_config(), node, MemoryStorage())


def test_a_server_that_was_not_started_has_nothing_to_show() -> None:
    server = Server(one_node(), 0, MemoryStorage())
    for query in (lambda: server.core, lambda: server.transport, server.facts):
        with pytest.raises(MultipaxosError, match="node 0 is not running: start the Server first"):
            query()


def test_two_servers_with_one_directory(tmp_path: Path) -> None:
    config = one_node()

    async def main() -> None:
        async with Server(config, 0, LmdbStorage(tmp_path, config.name, 0)):
            with pytest.raises(DirectoryInUse, match=f"living process {os.getpid()}"):
                Server(config, 0, LmdbStorage(tmp_path, config.name, 0))
        LmdbStorage(tmp_path, config.name, 0).close()  # the stop released it

    run(main())


def test_a_second_start_of_a_node_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    config = one_node()

    async def main() -> None:
        threads = set(threading.enumerate())
        async with cluster(config) as (server,):
            second = Server(config, 0, LmdbStorage(tmp_path, config.name, 0))
            with pytest.raises(MultipaxosError, match="is the port taken"):
                await second.start()
            LmdbStorage(tmp_path, config.name, 0).close()  # a start that fails releases everything
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
    broken.commit({}, pack([(1, 2, 1, b"no phase2a")]))

    async def main() -> None:
        with pytest.raises(StorageError, match="record 1 at slot 1"):
            await Server(config, 0, broken).start()
        with pytest.raises((ConnectionError, OSError)):
            await RawLink.to(config, 0)

    run(main())


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
