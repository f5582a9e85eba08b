"""Where a node listens, and a stop that leaves nothing behind."""

from __future__ import annotations

import asyncio

import pytest

from multipaxos.client.link import ClientLink
from multipaxos.errors import MultipaxosError
from multipaxos.transport.connection import Connection
from multipaxos.transport.transport import Transport
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import Listener, hub, identity_of


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_stop_leaves_no_task_and_no_socket(uv: bool) -> None:
    config = local_config()

    async def main() -> None:
        before = asyncio.all_tasks()
        async with hub(config, 0) as (made, listener), hub(config, 1) as (other, _):
            await until(lambda: listener.up)
            link = await RawLink.to(config, 0)
            half = await RawLink.to(config, 0)
            await link.handshake(client_hello())
            await until(lambda: len(made.connections) == 3)
        assert asyncio.all_tasks() == before
        assert not made.connections
        assert not other.connections
        await link.ended()
        await half.ended()
        async with hub(config, 0):  # the port is free
            pass

    run(main(), uv=uv)


def test_a_port_that_is_taken_is_named() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0):
            second = Transport(config, identity_of(config, 0, 5), Listener())
            with pytest.raises(MultipaxosError, match=f"cannot listen on {config.nodes[0].address}"):
                await second.start()
            await second.stop()

    run(main())


def test_a_node_listens_at_the_place_that_is_given() -> None:
    """And at no other: something that passes connections on listens at its address in the configuration."""
    config, elsewhere = local_config(), local_config(1)
    place = elsewhere.nodes[0]

    async def main() -> None:
        listener = Listener()
        made = Transport(config, identity_of(config, 1), listener, place.place)
        await made.start()
        try:
            assert made.port == place.port
            link = await RawLink.to(elsewhere, 0)
            assert (await link.handshake(peer_hello(config, 0))).node == 1
            await until(lambda: (0, 500) in listener.up.values())
            link.close()
            with pytest.raises(ConnectionRefusedError):
                await RawLink.to(config, 1)
            second = Transport(config, identity_of(config, 2), Listener(), place.place)
            with pytest.raises(MultipaxosError, match=f"cannot listen on {place.address}"):
                await second.start()
            await second.stop()
        finally:
            await made.stop()

    run(main())


def test_a_link_before_its_connection_refuses_to_write() -> None:
    config = local_config()

    async def main() -> None:
        made = Transport(config, identity_of(config, 0), Listener())
        with pytest.raises(RuntimeError, match="before it was connected"):
            Connection(made).write(b"x")
        ClientLink(print, lambda: None).close()  # harmless

    run(main())
