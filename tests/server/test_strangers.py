"""A stranger without the cluster's key: everything that it could do to a cluster without one, tried on a cluster with
one. Each try is refused and counted; no election, no log read, no link thrown out, nobody fooled."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from multipaxos.config.cluster import Config
from multipaxos.config.keys import Keys, read_keys, write_new_key
from multipaxos.errors import ConfigurationError
from multipaxos.node.output import META_VOTER
from multipaxos.server.server import Server
from multipaxos.storage.memory import MemoryStorage
from multipaxos.transport.handshake import NO_KEY
from multipaxos.wire.codec import encode
from multipaxos.wire.schema import Hello
from tests.server.nodes import OK, cluster, three_nodes
from tests.support.link_by_hand import Caller, RawLink, ask_status, client_hello, get, peer_hello, proved, put, run
from tests.support.link_by_hand import until as until

LARGE = (1 << 40) - 1  # the highest round that a ballot may have
MESSAGES = {
    "a ping of the highest round": encode(
        "ping", ballot=LARGE << 24 | 1, nonce=1, slot_out=1, voting=True, state_slot=0, state_hash=0, processes=[]
    ),
    "a pong of the highest round": encode(
        "pong",
        ballot=LARGE << 24 | 1,
        nonce=1,
        slot_out=1,
        leading=True,
        quorum=True,
        decided_ballot=LARGE << 24 | 1,
        decided_first=1,
        decided_end=9,
    ),
    "a phase 1a": encode("phase1a", ballot=LARGE << 24 | 1, first=1),
    "a fetch of the whole log": encode("fetch", first=1, end=1 << 20),
    "a fetched": encode("fetched", first=1, end=9, mark=9, pvalues=[]),
    "a decision": encode("decision", ballot=LARGE << 24 | 1, first=1, end=9),
    "a founding": encode("founding", incarnation=501, fresh=False, incarnations=[500, 501, 502]),
}


def with_key(folder: Path) -> tuple[Config, Keys]:
    """Three nodes that have a key."""
    path = folder / "cluster.key"
    write_new_key(path)
    return replace(three_nodes(), key_file=path), read_keys(path)


@asynccontextmanager
async def three_with_a_log(config: Config) -> AsyncIterator[list[Server]]:
    """A cluster in which something is written, and all nodes are linked."""
    async with cluster(config) as servers:
        caller = await Caller.to(config, 0)
        assert (await caller.call(put(b"secret", b"value")))[0] == OK
        await until(lambda: all(len(server.facts()["peers"]) == 2 for server in servers))
        await until(lambda: len({server.facts()["state_hash"] for server in servers}) == 1)
        yield servers
        assert (await caller.call(get(b"secret")))[1][9:] == b"value"
        caller.link.close()


def facts(servers: list[Server]) -> list[dict[str, Any]]:
    """What no stranger may change."""
    names = ("ballot", "leader", "voting", "peers", "founded", "slot_out", "state_hash")
    return [{name: server.facts()[name] for name in names} for server in servers]


async def try_as_peer(config: Config, node: int, hello: Hello, message: bytes, keys: Keys = ()) -> list[bytes]:
    """Sends both hellos of a peer and then a message, all without waiting. Returns all frames of the answer."""
    link = await RawLink.to(config, node)
    link.send(proved(keys, hello).encode() + proved(keys, hello, replace(hello, echo=1)).encode() + message)
    frames = []
    try:
        while True:
            frames.append(await link.frame())
    except (EOFError, ConnectionError):
        link.close()
    return frames


@pytest.mark.parametrize("message", MESSAGES)
def test_what_a_stranger_sends_as_a_peer_is_not_heard(message: str, tmp_path: Path) -> None:
    config, _ = with_key(tmp_path)

    async def main() -> None:
        async with three_with_a_log(config) as servers:
            before = facts(servers)
            true = servers[0].storage.incarnation
            tries = 0
            for hello in (
                peer_hello(config, 0),  # an incarnation that is made up: it threw the true link out
                peer_hello(config, 0, incarnation=true),  # then the true one: it was a founder
                peer_hello(config, 0, incarnation=true, proof=b"guess"),
            ):
                for keys in ((), (bytes(32),)):
                    for node in (1, 2):
                        (answer,) = await try_as_peer(config, node, hello, MESSAGES[message], keys)
                        told = Hello.decode(answer)
                        assert "it does not prove the key of cluster 'test'" in told.refusal
                        assert replace(told, refusal="") == Hello(cluster="test"), "and tells nothing else"
                        tries += 1
            assert facts(servers) == before
            assert sum(server.transport.closes[NO_KEY] for server in servers) == tries
            assert all(set(server.transport.closes) <= {NO_KEY} for server in servers), "no other link ended"

    run(main())


@pytest.mark.parametrize("message", MESSAGES)
def test_what_a_stranger_sends_as_a_client_is_refused(message: str, tmp_path: Path) -> None:
    config, _ = with_key(tmp_path)

    async def main() -> None:
        async with three_with_a_log(config) as servers:
            before = facts(servers)
            for server in servers:
                link = await RawLink.to(config, server.node_id)
                assert not (await link.handshake(client_hello())).refusal
                link.send(MESSAGES[message])
                await link.ended()
                assert server.transport.closes == {"a peer's message from a client": 1}
                assert server.facts()["bad_frames"] == 1
            assert facts(servers) == before

    run(main())


def test_a_stranger_is_no_admin(tmp_path: Path) -> None:
    config, keys = with_key(tmp_path)

    async def main() -> None:
        async with three_with_a_log(config) as (server, *_):
            for wrong in ((), (bytes(32),)):
                link = await RawLink.to(config, 0)
                theirs = await link.handshake(client_hello("admin"), wrong)
                assert "name the key file with --key-file or MULTIPAXOS_KEY_FILE" in theirs.refusal
                await link.ended()
            assert server.transport.closes[NO_KEY] == 2
            link = await RawLink.to(config, 0)
            assert not (await link.handshake(client_hello("admin"), keys)).refusal
            await link.frame()  # which node leads: an admin's link is a client's
            link.close()

    run(main())


def test_a_client_learns_the_clusters_name_and_id_and_the_nodes_id(tmp_path: Path) -> None:
    config, _ = with_key(tmp_path)

    async def main() -> None:
        async with three_with_a_log(config) as servers:
            assert len({server.running.cluster_id() for server in servers}) == 1
            assert servers[0].running.cluster_id()
            for server in servers:
                link = await RawLink.to(config, server.node_id)
                theirs = await link.handshake(client_hello())
                told = {"cluster": "test", "cluster_id": server.running.cluster_id(), "node": server.node_id}
                assert theirs == Hello(**told, nonce=theirs.nonce, echo=77)
                link.close()

    run(main())


def test_a_fresh_node_believes_no_founders_of_a_stranger(tmp_path: Path) -> None:
    config, _ = with_key(tmp_path)

    async def main() -> None:
        async with Server(config, 0, MemoryStorage()) as server:
            for node in (1, 2):
                await try_as_peer(config, 0, peer_hello(config, node), MESSAGES["a founding"])
            assert server.transport.closes == {NO_KEY: 2}
            assert not server.facts()["founded"]
            assert META_VOTER not in server.storage.meta()

    run(main())


def test_a_stranger_in_the_place_of_a_node_is_refused(tmp_path: Path) -> None:
    """Another cluster's node listens at the address of node 2: nobody takes it for node 2."""
    config, _ = with_key(tmp_path)
    (tmp_path / "other").mkdir()
    write_new_key(tmp_path / "other" / "cluster.key")

    async def main() -> None:
        for key_file in (None, tmp_path / "other" / "cluster.key"):
            async with (
                Server(replace(config, key_file=key_file), 2, MemoryStorage()) as stranger,
                Server(config, 0, MemoryStorage()) as one,
                Server(config, 1, MemoryStorage()) as two,
            ):
                await until(lambda: stranger.transport.closes[NO_KEY] >= 2)
                await until(lambda: one.facts()["peers"] == [1] and two.facts()["peers"] == [0])
                assert not stranger.facts()["peers"]
                assert not one.facts()["founded"], "with two of three"

    run(main())


# -- the key of a running cluster is changed


def test_the_key_is_changed_while_the_cluster_runs(tmp_path: Path) -> None:
    """OLD on all; then OLD and NEW, NEW and OLD, NEW on one after the other; nodes with neighbouring files are linked,
    and a command is answered in each step."""
    config = three_nodes()
    old, new = "11" * 32, "22" * 32
    storages = [MemoryStorage() for _ in range(3)]

    def node(id: int, *keys: str) -> Server:
        path = tmp_path / f"{id}.key"
        path.write_text("\n".join(keys))
        path.chmod(0o600)
        return Server(replace(config, key_file=path), id, storages[id])

    async def main() -> None:
        servers = [node(id, old) for id in range(3)]
        try:
            for server in servers:
                await server.start()
            await until(lambda: any(server.facts()["leading"] for server in servers))
            for keys in ((old, new), (new, old), (new,)):
                for id in range(3):
                    await servers[id].stop()
                    servers[id] = node(id, *keys)
                    await servers[id].start()
                    await until(lambda: all(len(server.facts()["peers"]) == 2 for server in servers))
                    caller = await Caller.to(config, (id + 1) % 3)
                    assert (await caller.call(put(b"k", b"v")))[0] == OK
                    caller.link.close()
            assert all(NO_KEY not in server.transport.closes for server in servers)
        finally:
            for server in servers:
                await server.stop()

    run(main())


# -- starts


def test_a_node_that_others_reach_does_not_start_without_a_key() -> None:
    async def main() -> None:
        storage = MemoryStorage()
        server = Server(three_nodes(), 0, storage, listen=("0.0.0.0", 7400))
        with pytest.raises(ConfigurationError, match=r"needs a key, because 0\.0\.0\.0:7400 is not of this machine"):
            await server.start()

    run(main())


def test_a_node_does_not_start_with_a_key_file_that_others_can_read(tmp_path: Path) -> None:
    config, _ = with_key(tmp_path)
    assert config.key_file is not None
    config.key_file.chmod(0o644)

    async def main() -> None:
        with pytest.raises(ConfigurationError, match="its mode is 0644, so others may use the key: chmod 600"):
            await Server(config, 0, MemoryStorage()).start()

    run(main())


# -- status


def test_a_flood_of_requests_for_status_costs_one_answer(tmp_path: Path) -> None:
    """For each link, in a wake-up or 20 ms: 5,000 requests in one chunk are one wake-up, or a few if it is cut."""
    config, _ = with_key(tmp_path)

    async def main() -> None:
        async with three_with_a_log(config) as (server, *_):
            answers = []
            answer = server.running._answer_status
            server.running._answer_status = lambda requests: (answers.append(len(requests)), answer(requests))[1]  # type: ignore[method-assign,func-returns-value]
            link = await RawLink.to(config, 0)
            await link.handshake(client_hello())
            nonce, _ = await link.status(1)
            assert nonce == 1
            chunks = 0
            received = server.running.received

            def count(link: int, data: bytes) -> None:
                nonlocal chunks
                chunks += len(data) > 1000
                received(link, data)

            server.transport.received = count
            link.send(b"".join(encode("status_request", nonce=nonce) for nonce in range(2, 5000)))
            asked = 1
            while (await link.status(5000))[0] < 5000:
                asked += 1
            assert max(answers) == 1
            assert sum(answers) <= chunks + 1 + asked
            assert chunks < 100
            assert (await ask_status(config, 0))["alive"], "others are answered meanwhile"
            link.close()

    run(main())
