"""Links on real sockets: how they are made, renewed and counted."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from multipaxos.transport import transport
from multipaxos.transport.connection import Connection, Traffic
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import Hello, encode_status_request
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import Listener, hub, identity_of


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

        made = Transport(config, identity_of(config, 0), Listener())
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
            admin = await RawLink.to(config, 1)
            await admin.handshake(client_hello("admin"))
            await until(lambda: 2 in listener.up)
            counted = {"peer": Traffic(1, len(frame) + 4, 0), "client": Traffic(0, 0, 0), "admin": Traffic(1, 0, 0)}
            assert made.traffic == counted
            peer.close()
            admin.close()
            await until(lambda: not listener.up)
            assert made.traffic == counted

    run(main())


def test_what_the_owner_learns_of_the_other_side() -> None:
    """Of a client nothing, whatever it says; of a peer what it has said."""
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (_, listener):
            for kind in ("client", "admin"):
                link = await RawLink.to(config, 1)
                liar = peer_hello(config, 0, kind=kind, cluster_id=5, machine_version=9, refused_slots=(3,))
                assert not (await link.handshake(liar)).refusal
                await until(lambda: listener.up)
                assert list(listener.up.values()) == [(-1, 0)]
                (number,) = listener.up
                assert listener.others[number] == Hello(cluster="test", kind=kind, nonce=77)
                link.close()
                await until(lambda: not listener.up)
            peer = await RawLink.to(config, 1)
            hello = peer_hello(config, 0, cluster_id=5, machine_version=9, semantics_max=3, process=44)
            await peer.handshake(hello)
            await until(lambda: listener.up)
            (number,) = listener.up
            assert listener.others[number] == hello
            peer.close()

    run(main())


def test_a_handshake_that_told_other_refused_slots_makes_no_link() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await RawLink.to(config, 1)
            await until(lambda: made.connections)
            listener.refused = (5,)
            await link.handshake(peer_hello(config, 0))
            await link.ended()
            assert listener.reports == []
            assert made.closes == {transport.OTHER_SLOTS: 1}
            link.close()

    run(main())


def test_the_hellos_say_what_the_owner_knows_at_that_moment() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (_, listener):
            for id, refused in ((0, ()), (7, (3, 9))):
                listener.id, listener.refused = id, refused
                link = await RawLink.to(config, 1)
                theirs = await link.handshake(peer_hello(config, 0))
                assert (theirs.cluster_id, theirs.refused_slots) == (id, refused)
                link.close()
                await until(lambda: not listener.up)

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
