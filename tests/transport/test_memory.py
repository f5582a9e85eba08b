"""What floods leave in memory goes back to the system, seldom and for links that left much unread."""

from __future__ import annotations

import asyncio

import pytest

from multipaxos.transport import connection, memory
from multipaxos.transport.memory import Memory, trim
from multipaxos.wire.codec import VALUE_BYTES_MAX
from tests.server.nodes import OK, cluster, one_node
from tests.support.link_by_hand import Caller, RawLink, client_hello, get, put, run, until


def test_free_memory_is_given_back_once_for_links_that_held_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TRIM_S", 0.01)
    given: list[int] = []

    async def main() -> None:
        held = Memory(asyncio.get_running_loop(), lambda: given.append(1))
        for _ in range(3):
            held.heavy_link_gone()
        assert not given
        await until(lambda: given)
        assert (len(given), held.trims) == (1, 1)
        held.heavy_link_gone()
        held.stop()
        assert held._timer is not None
        assert held._timer.cancelled()

    run(main())


def test_trimming_gives_free_pages_back_and_harms_nobody() -> None:
    kept = [bytes(60_000) for _ in range(200)]
    del kept[::2]
    trim()
    assert all(each == bytes(60_000) for each in kept)


def test_a_node_trims_after_a_client_that_read_nothing_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TRIM_S", 0.01)
    config = one_node()

    async def main() -> None:
        async with cluster(config) as (server,):
            good, lazy = await Caller.to(config, 0), await Caller.to(config, 0)
            assert (await good.call(put(b"big", bytes(VALUE_BYTES_MAX))))[0] == OK
            assert (await lazy.call(put(b"k", b"v")))[0] == OK
            for _ in range(16):
                lazy.session.submit(get(b"big"))
            lazy.link.send(lazy.session.output())
            await until(lambda: server.facts()["held"]["unread_bytes"] > connection.CLIENT_UNSENT_BYTES)
            assert server.facts()["held"]["memory_trims"] == 0
            lazy.link.close()
            await until(lambda: server.facts()["held"]["memory_trims"] == 1)
            assert (await good.call(get(b"big")))[0] == OK
            loud = await RawLink.to(config, 0)
            await loud.handshake(client_hello())
            loud.send(bytes(4) + (400_000).to_bytes(4, "little") + bytes(1 << 20))  # a frame that was begun
            await until(lambda: server.facts()["partial_bytes"] > 1 << 20)
            loud.close()
            await until(lambda: server.facts()["held"]["memory_trims"] == 2)
            assert (await good.call(get(b"k")))[0] == OK
            lazy = await RawLink.to(config, 0)
            lazy.close()
            await until(lambda: server.transport.strangers.count == 1)
            assert server.transport.memory._timer is None, "who held little is no reason"
            good.link.close()

    run(main())
