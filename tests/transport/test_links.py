"""Links on real sockets: how they are made, renewed and counted."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from multipaxos.client.discovery import fetch_status
from multipaxos.transport import transport
from multipaxos.transport.connection import Connection
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import Hello, decode_status_reply, encode_status_request
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import Listener, hub


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_one_link_for_each_pair(uv: bool) -> None:
    config = local_config()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            hubs = [await stack.enter_async_context(hub(config, i)) for i in range(3)]
            await until(lambda: all(len(listener.up) == 2 for _, listener in hubs))
            for i, (made, listener) in enumerate(hubs):
                assert sorted(listener.up.values()) == [(j, 100 + j) for j in range(3) if j != i]
                assert len(made.connections) == 2
            link = hubs[0][0].peers[2]
            link.write(b"from node 0")
            at = hubs[2][0].peers[0].link
            await until(lambda: hubs[2][1].data[at] == b"from node 0")
            assert not any(made.closes for made, _ in hubs)

    run(main(), uv=uv)


def test_a_broken_link_is_made_again() -> None:
    config = local_config(2)

    async def main() -> None:
        async with hub(config, 0) as (dialler, listener):
            for life in range(3):
                async with hub(config, 1, incarnation=900 + life) as (_, other):
                    await until(lambda: listener.up and other.up)
                    assert list(listener.up.values()) == [(1, 900 + life)]
                    assert list(dialler.peers) == [1]
                await until(lambda: not listener.up)
                assert not dialler.peers
            assert [what for what, _, _ in listener.reports] == ["up", "down"] * 3

    run(main())


def test_the_pause_between_dials_grows_and_stays_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config(2)
    pauses: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)
        await real_sleep(0)

    async def main() -> None:
        async with hub(config, 0):
            while len(pauses) < 40:
                await real_sleep(0.001)

    monkeypatch.setattr(transport.asyncio, "sleep", sleep)
    run(main())
    assert all(0.5 * transport.DIAL_PAUSE_S <= pause_s <= 1.5 * transport.DIAL_PAUSE_MAX_S for pause_s in pauses)
    assert pauses[0] <= 1.5 * transport.DIAL_PAUSE_S
    late = pauses[10:]
    assert min(late) >= 0.5 * transport.DIAL_PAUSE_MAX_S
    assert len(set(late)) > 10  # random: nodes that started together do not stay in step


def test_a_dial_into_silence_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A host that drops packets must not hold the dialling node for the kernel's minutes."""
    config = local_config(2)
    monkeypatch.setattr(transport, "DIAL_S", 0.02)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        dials = 0

        async def swallow(*arguments: object, **how: object) -> None:
            nonlocal dials
            dials += 1
            await asyncio.Event().wait()

        made = Transport(config, 0, 100, Listener())
        monkeypatch.setattr(loop, "create_connection", swallow)
        await made.start()
        await until(lambda: dials >= 3)
        await made.stop()

    run(main())


def test_traffic_is_counted_by_kind_and_outlives_its_link() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            peer = await RawLink.to(config, 1)
            hello = peer_hello(config, 0)
            peer.send(hello.encode())
            theirs = await peer.hello()
            third = Hello(**{**vars(hello), "echo": theirs.nonce}).encode()
            frame = encode_status_request(5)
            peer.send(third + frame)  # in one chunk with the end of the handshake
            await until(lambda: listener.data.get(1) == frame)
            peer.send(b"more")
            await until(lambda: listener.data[1] == frame + b"more")
            assert await fetch_status((config.nodes[1].host, config.nodes[1].port)) is not None
            counted = {"links": 1, "received_bytes": len(frame) + 4, "sent_bytes": 0}
            assert made.traffic() == {"peer": counted, "client": {}}
            peer.close()
            await until(lambda: not listener.up)
            assert made.traffic() == {"peer": counted, "client": {}}

    run(main())


def test_an_admin_asks_again_and_again_on_one_link() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0) as (made, listener):
            link = await RawLink.to(config, 0)
            await link.handshake(client_hello("admin"))
            link.send(b"".join(encode_status_request(nonce) for nonce in range(5000)))
            for nonce in range(5000):
                assert decode_status_reply(await link.frame())[0] == nonce
            link.send(b"\xff" * 64)
            await link.ended()
            assert made.closes == {"bytes that are no handshake": 1}
            assert not listener.reports

    run(main())


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_node_that_reaches_itself_has_no_link(uv: bool) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0) as (made, listener):
            place = (config.nodes[1].host, config.nodes[1].port)
            _, reached = await made.loop.create_connection(lambda: Connection(made, 1), *place, local_addr=place)
            await until(reached.lost.done)
            assert not made.closes, "it was no link, so it is not refused"
            assert not listener.reports

    run(main(), uv=uv)
