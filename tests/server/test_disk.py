"""A node and its disk: what waits for a commit, and what a commit that fails means."""

from __future__ import annotations

import asyncio

import pytest

from multipaxos.errors import StorageError
from multipaxos.node.output import Read
from multipaxos.server.server import Server
from multipaxos.storage.memory import MemoryStorage
from tests.server.nodes import OK, FailingStorage, cluster, one_node, three_nodes
from tests.support.link_by_hand import Caller, RawLink, ask_status, put, run, until


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


def test_serve_forever_ends_with_what_ended_the_node() -> None:
    config = one_node()
    failing = FailingStorage()
    failing.error = StorageError("the disk is full")

    async def main() -> None:
        with pytest.raises(StorageError, match="the disk is full"):
            async with Server(config, 0, failing) as server:
                await server.serve_forever()
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
            before, begun = slow.finished, slow.committing
            calling = asyncio.create_task(caller.call(put(b"k", b"w")))
            await until(lambda: slow.committing > begun)
            await ask_status(config, 0)  # the loop is not held up by the disk, and has sent what it had to send
            assert not calling.done()
            slow.gate.set()
            assert (await calling)[0] == OK
            assert slow.finished > before
            caller.link.close()

    run(main())


def test_a_commit_does_not_wait_for_reads() -> None:
    """A node that catches up makes others read their logs for long; the group commit goes on beside the reads."""
    config = one_node()
    slow = FailingStorage()

    async def main() -> None:
        async with cluster(config, [slow]) as servers:
            caller = await Caller.to(config, 0)
            slow.read_gate.clear()
            try:
                for token in range(1 << 40, (1 << 40) + 4):  # the core did not ask for them: it ignores the answers
                    servers[0].running._read(Read(token, 1, 2, 1000))
                await until(lambda: slow.reading)
                assert (await caller.call(put(b"k", b"v")))[0] == OK
                assert slow.reading == 1, "the reads were still waiting"
            finally:
                slow.read_gate.set()
            await until(lambda: slow.reading == 4)
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
        before, begun = slow.finished, slow.committing
        calling = asyncio.create_task(caller.call(put(b"k", b"w")))
        await until(lambda: slow.committing > begun)
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
