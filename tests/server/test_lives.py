"""Nodes that another one claims to be: a copy of a data directory, and a directory that was replaced and put back."""

from __future__ import annotations

import contextlib
import copy
from dataclasses import replace

from multipaxos.config.addresses import format_address
from multipaxos.config.members import Member
from multipaxos.server.server import Server
from multipaxos.storage.memory import MemoryStorage
from tests.server.nodes import OK, cluster, three_nodes
from tests.support.link_by_hand import Caller, local_config, put, run, until

COPIED = "it runs on a copy of another process's data directory: end one of them, start the other one again"


def refused(server: Server) -> int:
    """How many links the node has refused, or others have refused to it."""
    closes = server.transport.closes
    return closes["refused"] + closes["refused by the other side"]


def elsewhere() -> tuple[str, int]:
    """A place to listen where no other node dials."""
    return local_config(1).nodes[0].place


async def linked(servers: list[Server]) -> Caller:
    """A client of node 1 that has written, once all nodes are linked."""
    caller = await Caller.to(servers[1].config, 1)
    assert (await caller.call(put(b"k", b"1")))[0] == OK
    await until(lambda: all(len(server.facts()["peers"]) == 2 for server in servers))
    return caller


def test_a_copy_of_a_directory_is_refused_while_the_node_lives() -> None:
    config = three_nodes()
    storages = [MemoryStorage() for _ in range(3)]

    async def main() -> None:
        async with cluster(config, list(storages)) as servers:
            caller = await linked(servers)
            async with Server(config, 0, copy.deepcopy(storages[0]), listen=elsewhere()) as second:
                await until(lambda: min(server.transport.closes["refused"] for server in servers[1:]) >= 2)
                assert second.facts()["peers"] == []
                assert [server.facts()["peers"] for server in servers] == [[1, 2], [0, 2], [0, 1]]
                assert (await caller.call(put(b"k", b"2")))[0] == OK
            caller.link.close()

    run(main())


def test_copies_of_which_each_peer_meets_only_one_are_both_refused() -> None:
    """Node 0 reaches node 2 at one place, node 1 reaches a copy of it at another place."""
    config = three_nodes()
    there = replace(config, nodes=(*config.nodes[:2], Member(2, format_address(*elsewhere()))))
    storages = [MemoryStorage() for _ in range(3)]

    async def main() -> None:
        async with cluster(config, list(storages)) as servers:
            (await linked(servers)).link.close()
        storages.append(copy.deepcopy(storages[2]))
        async with contextlib.AsyncExitStack() as stack:
            one, two, copied, other = [
                await stack.enter_async_context(Server(seen, node, storages[place]))
                for place, (seen, node) in enumerate(((config, 0), (there, 1), (config, 2), (there, 2)))
            ]
            await until(lambda: COPIED in one.transport.closes and COPIED in two.transport.closes)
            await until(lambda: not copied.facts()["peers"] and not other.facts()["peers"])

    run(main())


def test_a_directory_that_another_one_followed_is_not_let_in_again() -> None:
    """Node 0's disk is replaced; then the old disk is put back, although the others have met the new one."""
    config = three_nodes()
    storages = [MemoryStorage() for _ in range(3)]

    async def main() -> None:
        async with cluster(config, list(storages)) as servers:
            caller = await linked(servers)
            await servers[0].stop()
            async with Server(config, 0, MemoryStorage()) as new:
                await until(lambda: new.facts()["peers"] == [1, 2])
            async with Server(config, 0, storages[0]) as old:
                await until(lambda: old.transport.closes["refused by the other side"] >= 4)
                assert old.facts()["peers"] == []
            async with Server(config, 0, MemoryStorage()) as newer:
                await until(lambda: newer.facts()["peers"] == [1, 2])
                assert (await caller.call(put(b"k", b"2")))[0] == OK
            caller.link.close()

    run(main())


def test_a_node_that_restarts_at_once_is_let_in() -> None:
    config = three_nodes()
    storages = [MemoryStorage() for _ in range(3)]

    async def main() -> None:
        async with cluster(config, list(storages)) as servers:
            for _ in range(3):
                await servers[0].stop()
                servers[0] = Server(config, 0, storages[0])
                await servers[0].start()
                await until(lambda: all(len(server.facts()["peers"]) == 2 for server in servers))
            assert not any(refused(server) for server in servers)
            await servers[0].stop()

    run(main())
