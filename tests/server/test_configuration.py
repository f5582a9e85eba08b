"""What safety rests on is durable: a node does not start with another configuration, and a start that cannot listen
writes nothing."""

from __future__ import annotations

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from multipaxos.commands import get, put
from multipaxos.config.cluster import Config, Sizes
from multipaxos.errors import DirectoryMismatch, MultipaxosError
from multipaxos.machine.state_machine import StateMachine
from multipaxos.node.output import META_BALLOT, META_REFUSED, META_VOTER, words
from multipaxos.server.server import Server
from multipaxos.storage.lmdb import LmdbStorage
from tests.server.nodes import OK, cluster, one_node
from tests.support.journal import Journal
from tests.support.link_by_hand import Caller, local_config, run, until


def storage(place: Path, config: Config, node: int) -> LmdbStorage:
    return LmdbStorage(place / str(node), config.name, node)


async def refuse(place: Path, config: Config, node: int, text: str, machine: StateMachine | None = None) -> None:
    """A start of a node with that configuration is refused, and writes nothing."""
    before = storage(place, config, node)
    meta = before.meta()
    before.close()
    with pytest.raises(DirectoryMismatch, match=text):
        await Server(config, node, storage(place, config, node), machine).start()
    after = storage(place, config, node)
    assert after.meta() == meta
    after.close()


def test_five_nodes_cut_to_three_lose_nothing(tmp_path: Path) -> None:
    """A write that 2, 3 and 4 have acknowledged would be gone if 0 and 1 were a majority of three."""
    five = local_config(5, election_timeout_ms=100, ping_interval_ms=20)
    three = replace(five, nodes=five.nodes[:3])

    async def main() -> None:
        async with cluster(five, [storage(tmp_path, five, i) for i in range(5)]) as servers:
            leader = next(i for i, server in enumerate(servers) if server.facts()["leading"])
            caller = await Caller.to(five, leader)
            assert (await caller.call(put(b"k", b"v")))[0] == OK
            caller.link.close()
        for node in range(3):
            await refuse(tmp_path, three, node, r"5 nodes in the directory, 3 now.*cannot be changed yet")
        async with cluster(five, [storage(tmp_path, five, i) for i in range(5)]) as servers:
            leader = next(i for i, server in enumerate(servers) if server.facts()["leading"])
            caller = await Caller.to(five, leader)
            assert (await caller.call(get(b"k")))[0] == OK
            caller.link.close()

    run(main())


def test_what_safety_rests_on_does_not_change_between_starts(tmp_path: Path) -> None:
    config = local_config(3)
    fewer = (*config.nodes[:2], replace(config.nodes[2], roles=("replica", "leader")))

    async def main() -> None:
        await touch(replace(config, window=64), storage(tmp_path, config, 0))
        await touch(config, storage(tmp_path, config, 0))  # nothing was promised, so a slip can be mended
        promised = storage(tmp_path, config, 0)
        promised.commit({META_BALLOT: words((1 << 24,))}, b"")
        promised.close()
        await refuse(
            tmp_path, replace(config, quorum=Sizes(1, 3)), 0, "quorum: majority in the directory, sizes 1 and 3"
        )
        await refuse(tmp_path, replace(config, nodes=fewer), 0, "roles of node 2: replica, leader, acceptor in the")
        await refuse(tmp_path, replace(config, window=64), 0, "window: 8192 in the directory, 64 now")
        await touch(replace(config, ping_interval_ms=9), storage(tmp_path, config, 0))

    run(main())


def test_a_node_does_not_come_back_without_its_machine(tmp_path: Path) -> None:
    """The store would apply the machine's commands in its own way."""
    config = one_node()

    async def main() -> None:
        await touch(config, storage(tmp_path, config, 0), Journal())
        await refuse(tmp_path, config, 0, "machine: tests.support.journal:Journal in the directory, key-value now")
        await touch(config, storage(tmp_path, config, 0), Journal())

    run(main())


def test_a_start_that_cannot_listen_founds_nothing(tmp_path: Path) -> None:
    config = one_node()

    async def main() -> None:
        with socket.socket() as taken:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            taken.bind(config.nodes[0].place)
            taken.listen()
            with pytest.raises(MultipaxosError, match="is the port taken"):
                await Server(config, 0, storage(tmp_path, config, 0)).start()
        held = storage(tmp_path, config, 0)
        assert held.meta() == {}
        held.close()
        await touch(config, storage(tmp_path, config, 0))
        held = storage(tmp_path, config, 0)
        assert META_VOTER in held.meta()
        held.close()

    run(main())


def test_refused_slots_are_kept_and_only_added_to(tmp_path: Path) -> None:
    config = one_node()

    async def main() -> None:
        for asked, kept in (((7,), [7]), ((), [7]), ((3, 7), [3, 7])):
            held = storage(tmp_path, config, 0)
            async with Server(config, 0, held, refused_slots=asked) as server:
                assert server.core.refused_slots == tuple(kept)
                assert server.facts()["refused_slots"] == kept
                assert held.meta()[META_REFUSED] == words(kept)

    run(main())


async def touch(config: Config, held: LmdbStorage, machine: StateMachine | None = None) -> None:
    """Starts a node and stops it; a node alone is founded meanwhile."""
    async with Server(config, 0, held, machine) as server:
        if len(config.nodes) == 1:
            await until(lambda: bool(server.facts()["voting"]), "founding")
