"""What floods leave in memory goes back to the system, seldom and for links that left much unread."""

from __future__ import annotations

import asyncio

import pytest

from multipaxos.server import memory
from multipaxos.server.memory import Memory, trim
from multipaxos.transport import connection
from multipaxos.wire.codec import VALUE_BYTES_MAX
from tests.server.nodes import OK, cluster, one_node
from tests.support.link_by_hand import Caller, get, put, run, until


def test_free_memory_is_given_back_once_for_links_that_held_much(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "TRIM_S", 0.01)
    given: list[int] = []

    async def main() -> None:
        held = Memory(asyncio.get_running_loop(), lambda: given.append(1))
        for link in (1, 2, 3):
            held.held(link)
            held.held(link)
        held.gone(4)
        assert held._timer is None, "it held nothing"
        for link in (1, 2, 1):
            held.gone(link)
        await until(lambda: given)
        assert (len(given), held.trims) == (1, 1)
        held.gone(3)
        assert held._timer is not None
        held.stop()

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
            assert server.facts()["memory_trims"] == 0
            lazy.link.close()
            await until(lambda: server.facts()["memory_trims"] == 1)
            assert (await good.call(get(b"big")))[0] == OK
            good.link.close()

    run(main())
