"""The blocking client: the same methods, from threads without a loop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from multipaxos import commands
from multipaxos.client import client as client_module
from multipaxos.client.blocking import BlockingClient
from multipaxos.errors import (
    ClientClosed,
    CompareFailed,
    ConfigurationError,
    KeyExists,
    NoQuorum,
    NotSent,
    Overloaded,
)
from tests.client.servers import cluster, nowhere
from tests.support.link_by_hand import PATIENCE_S, until

Addresses = list[tuple[str, int]]


def on_cluster(use: Callable[[Addresses], None]) -> None:
    """Plays `use` in a thread, beside a cluster of one node."""

    async def run() -> None:
        async with cluster() as addresses:
            await asyncio.to_thread(use, addresses)

    asyncio.run(run())


def test_every_method() -> None:
    def use(addresses: Addresses) -> None:
        with BlockingClient(addresses, timeout_s=PATIENCE_S) as kv:
            first = kv.put(b"k", b"v")
            assert kv.get(b"k") == b"v"
            assert kv.get_versioned(b"k") == (b"v", first)
            with pytest.raises(KeyExists):
                kv.create(b"k", b"v")
            second = kv.update(b"k", b"w")
            assert kv.cas(b"k", second, b"x") > second > first
            with pytest.raises(CompareFailed):
                kv.cas(b"k", b"other", b"y")
            done = kv.transact([commands.exists(b"k")], [commands.put(b"l", b"1")])
            assert done.succeeded
            assert [key for key, _, _ in kv.scan(b"").pairs] == [b"k", b"l"]
            kv.remove(b"l")
            assert kv.get(b"l") is None
            assert kv.apply(commands.get(b"k"))[9:] == b"x"

    on_cluster(use)


def test_calls_of_several_threads() -> None:
    def use(addresses: Addresses) -> None:
        with BlockingClient(addresses, timeout_s=PATIENCE_S) as kv, ThreadPoolExecutor(4) as threads:
            versions = list(threads.map(lambda i: kv.put(b"k%d" % (i % 7), b"v"), range(100)))
            assert len(set(versions)) == 100
            assert len(kv.scan(b"k").pairs) == 7

    on_cluster(use)


def test_a_closed_client_has_no_thread_and_raises() -> None:
    kv = BlockingClient([nowhere()], timeout_s=0.05)
    (thread,) = (each for each in threading.enumerate() if each.name == "multipaxos-client")
    with pytest.raises(NoQuorum):
        kv.put(b"k", b"v")
    kv.close()
    kv.close()
    assert not thread.is_alive()
    with pytest.raises(ClientClosed):
        kv.get(b"k")


def test_time_outs_and_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call's own time-out, a call without room, and one that does not wait for it."""
    monkeypatch.setattr(client_module, "OUTSTANDING_MAX", 1)
    with BlockingClient([nowhere()], timeout_s=PATIENCE_S) as kv, ThreadPoolExecutor(1) as threads:
        first = threads.submit(kv.put, b"k", b"v", timeout_s=1.0)
        asyncio.run(until(lambda: kv._client._session.unanswered))
        with pytest.raises(NotSent):
            kv.put(b"k", b"v", timeout_s=0.05)
        with pytest.raises(Overloaded):
            kv.apply(commands.get(b"k"), wait=False)
        with pytest.raises(NoQuorum, match="may yet take effect"):
            first.result()


def test_a_client_that_cannot_be_made_leaves_no_thread() -> None:
    before = set(threading.enumerate())
    with pytest.raises(ConfigurationError):
        BlockingClient("no address")
    assert set(threading.enumerate()) == before
