"""Nothing waits without bound: for a client, for a peer, for a link that closes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from multipaxos.transport import connection, transport
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import hub, stuffed


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_client_that_does_not_read_is_not_read_from_and_goes_on_later(uv: bool) -> None:
    config = local_config()
    answer = bytes(1 << 16)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, client_hello())
            await until(lambda: listener.up)
            served = made.links[1]
            size = served._transport.get_write_buffer_size  # type: ignore[union-attr]
            # the kernel's buffer would grow with what it is given, as far as the machine's settings allow
            served._transport.get_extra_info("socket").setsockopt(  # type: ignore[union-attr]
                socket.SOL_SOCKET, socket.SO_SNDBUF, len(answer)
            )
            answered = taken = 0

            def answer_all() -> int:
                """As a server: one answer for each byte of request."""
                nonlocal answered, taken
                while taken < len(listener.data[1]):
                    taken += 1
                    answered += len(answer)
                    made.links[1].write(answer)
                return taken

            sent = 0
            while size() <= connection.CLIENT_UNSENT_BYTES:
                link.send(b"r" * 8)
                sent += 8
                await until(lambda: answer_all() == sent)  # noqa: B023
            waiting, requests = size(), sent
            for _ in range(100):
                link.send(b"r" * 8)
                sent += 8
                await asyncio.sleep(0)
                answer_all()
            assert size() == waiting
            assert taken <= requests
            assert waiting < 2 * connection.CLIENT_UNSENT_BYTES + 16 * len(answer)

            async def read() -> None:
                left = sent * len(answer)
                while left:
                    left -= len(await link.reader.read(1 << 20))

            reading = asyncio.create_task(read())
            await until(lambda: answer_all() == sent)
            await reading
            assert answered == sent * len(answer)
            assert listener.up
            assert not made.closes
            link.close()

    run(main(), uv=uv)


def test_answers_to_what_was_read_before_the_pause_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(connection, "CLIENT_UNSENT_BYTES_MAX", 8 << 20)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, client_hello())
            await until(lambda: listener.up)
            written = 0
            while 1 in made.links:
                made.links[1].write(bytes(1 << 20))
                written += 1
            assert 8 <= written < 30
            await until(lambda: not listener.up and not made.connections)
            assert made.closes == {f"more than {8 << 20} bytes of answers unread": 1}
            link.close()

    run(main())


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_peer_that_never_reads_loses_its_link_and_comes_again(uv: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(connection, "PEER_UNSENT_BYTES", 4 << 20)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, peer_hello(config, 0))
            await until(lambda: listener.up)
            stuck = made.peers[0]
            written = 0
            while 1 in made.links:
                made.links[1].write(bytes(1 << 18))
                written += 1
            assert 16 <= written < 60
            assert listener.up, "the end is reported later, because the owner was writing"
            await until(lambda: not listener.up)  # although the peer still does not read
            assert stuck not in made.connections
            assert made.closes == {f"more than {4 << 20} bytes unsent": 1}
            again = await RawLink.to(config, 1)
            assert not (await again.handshake(peer_hello(config, 0))).refusal
            await until(lambda: listener.up)
            again.close()
            link.close()

    run(main(), uv=uv)


def test_a_peer_is_deaf_for_a_bounded_time() -> None:
    config = local_config(2)

    async def main() -> None:
        async with hub(config, 0) as (dialler, one), hub(config, 1) as (_, other):
            await until(lambda: one.up and other.up)
            raw = dialler.peers[1]._transport.get_extra_info("socket")  # type: ignore[union-attr]
            limit_ms = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit_ms == connection.PEER_DEAF_MS

    run(main())


def test_a_closed_link_lingers_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Unsent bytes are sent first; a client that does not read must not keep the link by that."""
    config = local_config()
    monkeypatch.setattr(connection, "LINGER_S", 0.05)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, client_hello())
            await until(lambda: listener.up)
            made.links[1].write(bytes(8 << 20))
            made.links[1].close("enough")
            assert not made.links
            await until(lambda: not made.connections and not listener.up)
            link.close()

    run(main())


@pytest.mark.parametrize("kind", ["peer", "client", "admin"])
def test_what_may_wait_for_a_link(kind: str) -> None:
    """Little waits for an unknown side, more for one that is known to be a peer; a machine that vanished is noticed."""
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, _):
            link = await RawLink.to(config, 1)
            await until(lambda: made.connections)
            (served,) = made.connections
            socket_ = served._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert limit(served) == connection.CLIENT_UNSENT_BYTES
            await link.handshake(peer_hello(config, 0) if kind == "peer" else client_hello(kind))
            await until(lambda: served.link)
            expected = connection.PEER_UNSENT_BYTES if kind == "peer" else connection.CLIENT_UNSENT_BYTES
            assert limit(served) == expected
            for option, value in connection.KEEPALIVE:
                assert socket_.getsockopt(socket.IPPROTO_TCP, option) == value
            link.close()

    def limit(connection: transport.Connection) -> int:
        assert connection._transport is not None
        return connection._transport.get_write_buffer_limits()[1]

    run(main())
