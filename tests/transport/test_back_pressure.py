"""Nothing waits without bound: for a client, for a peer, for a link that closes."""

from __future__ import annotations

import asyncio
import socket

import pytest

from multipaxos.transport import connection, transport
from multipaxos.wire.codec import CUT_BYTES
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import hub, stuffed


def held(served: connection.Connection) -> int:
    """What the transport holds of what was written."""
    assert served._transport is not None
    return served._transport.get_write_buffer_size()


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
def test_the_owner_is_told_what_a_client_does_not_read(uv: bool) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, client_hello())
            await until(lambda: listener.up)
            served = made.links[1]
            while held(served) <= connection.CLIENT_UNSENT_BYTES:
                assert not listener.backlogs
                served.write(bytes(1 << 16))
            assert listener.backlogs[1] == [held(served)], "at once: before anything else is answered"
            for _ in range(3):
                served.write(bytes(1 << 16))
            assert listener.backlogs[1][1:] == [held(served) - more for more in (2 << 16, 1 << 16, 0)]
            while listener.backlogs[1][-1]:
                await link.reader.read(1 << 16)
            assert len(listener.backlogs[1]) == 5
            link.close()

    run(main(), uv=uv)


def test_a_client_that_reads_nothing_for_long_loses_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(connection, "CLIENT_DEAF_S", 0.2)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            deaf = await stuffed(config, client_hello())
            await until(lambda: listener.up)
            made.links[1].write(bytes(24 << 20))
            await until(lambda: not made.connections and not listener.up)
            assert made.closes == {connection.DEAF_CLIENT: 1}
            assert made.held()["unread_bytes"] == 0
            deaf.close()

    run(main())


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_slow_client_keeps_its_link_as_long_as_it_reads_at_all(uv: bool) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            slow = await RawLink.to(config, 1)
            await slow.handshake(client_hello())
            await until(lambda: listener.up)
            served = made.links[1]
            served.write(bytes(24 << 20))
            for _ in range(3):
                assert served._timer is not None
                before = served._read_bytes
                while served._acknowledged_bytes() == before:
                    await slow.reader.read(1 << 16)
                served._judge_reader()  # as its timer does
                assert 1 in made.links
                assert held(served) > connection.CLIENT_UNSENT_BYTES
            while held(served):
                await slow.reader.read(1 << 16)
            assert served._timer is None, "nobody judges a client that reads"
            served.write(bytes(24 << 20))
            while 1 in made.links:  # the kernels' buffers fill, and then nothing is acknowledged
                served._judge_reader()
                await asyncio.sleep(0)
            assert made.closes == {connection.DEAF_CLIENT: 1}
            slow.close()

    run(main(), uv=uv)


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_control_waits_for_one_cut_of_bulk_and_a_slow_peer_keeps_its_link(uv: bool) -> None:
    config = local_config()
    pieces = [b"b" * CUT_BYTES] * 512
    control = b"c" * 100

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, peer_hello(config, 0))
            await until(lambda: listener.up)
            served = made.peers[0]
            assert served.write_bulk(pieces) == len(pieces) * CUT_BYTES
            await asyncio.sleep(0)
            await until(lambda: held(served) > 0)
            served.write(control)
            assert held(served) <= CUT_BYTES + len(control)
            assert listener.backlogs[1], "what the kernel took at once is reported"
            for _ in range(100):
                await asyncio.sleep(0)
                assert held(served) <= CUT_BYTES + len(control)
            assert listener.up, "however much waits"

            came = bytearray()
            whole = len(pieces) * CUT_BYTES + len(control)
            while len(came) < whole:
                came += await link.reader.read(1 << 16)
                assert held(served) <= CUT_BYTES + len(control)
            ahead = came.index(b"c")
            assert came[ahead : ahead + len(control)] == control
            # the receiver's buffers, the kernel's unsent bytes with a page or two more, and one cut in the transport
            assert ahead < 4 * CUT_BYTES + connection.PEER_NOTSENT_BYTES
            await until(lambda: listener.backlogs[1][-1] == 0)
            assert sorted(listener.backlogs[1], reverse=True) == listener.backlogs[1], "it only fell"
            assert len(listener.backlogs[1]) <= len(pieces) + 1
            assert not made.closes
            link.close()

    run(main(), uv=uv)


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_bulk_that_the_kernel_takes_is_reported_at_once(uv: bool) -> None:
    config = local_config(2)

    async def main() -> None:
        async with hub(config, 0) as (dialler, one), hub(config, 1) as (_, other):
            await until(lambda: one.up and other.up)
            (ours,), (theirs,) = one.up, other.up
            for size in (10, CUT_BYTES, 1, 3 * CUT_BYTES):
                one.backlogs.clear()
                other.data[theirs] = b""
                pieces = [b"b" * min(CUT_BYTES, size - at) for at in range(0, size, CUT_BYTES)]
                dialler.peers[1].write(b"a")
                dialler.peers[1].write_bulk(pieces)
                dialler.peers[1].write(b"z")
                assert not one.backlogs, "the owner is writing now"
                await until(lambda: one.backlogs.get(ours, [1])[-1] == 0)
                await until(lambda: len(other.data[theirs]) == size + 2)  # noqa: B023
                assert other.data[theirs][:1] == b"a"
                assert other.data[theirs].count(b"b") == size
            ordinary = dialler.peers[1]._transport
            assert ordinary is not None
            assert ordinary.get_write_buffer_limits() == (0, CUT_BYTES), "small writes gather again"

    run(main(), uv=uv)


def test_control_of_more_than_a_cut_is_reported_too() -> None:
    """So the owner stops giving runs to a link that carries nothing."""
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, peer_hello(config, 0))
            await until(lambda: listener.up)
            served = made.peers[0]
            while held(served) <= CUT_BYTES:
                served.write(bytes(1 << 14))
                await asyncio.sleep(0)
            await until(lambda: listener.backlogs)
            assert listener.backlogs[1][0] > CUT_BYTES
            while held(served):
                await link.reader.read(1 << 16)
            await until(lambda: listener.backlogs[1][-1] == 0)
            link.close()

    run(main())


def test_a_peer_that_acknowledges_nothing_loses_its_link_and_comes_again(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(connection, "PEER_DEAF_MS", 200)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, peer_hello(config, 0))
            await until(lambda: listener.up)
            stuck = made.peers[0]
            stuck.write_bulk([bytes(CUT_BYTES)] * 64)
            await until(lambda: not listener.up)
            assert stuck not in made.connections
            again = await RawLink.to(config, 1)
            assert not (await again.handshake(peer_hello(config, 0))).refusal
            await until(lambda: listener.up)
            stuck.write_bulk([b"late"])
            again.close()
            link.close()

    run(main())


def test_a_peer_is_deaf_for_a_bounded_time() -> None:
    config = local_config(2)

    async def main() -> None:
        async with hub(config, 0) as (dialler, one), hub(config, 1) as (_, other):
            await until(lambda: one.up and other.up)
            raw = dialler.peers[1]._transport.get_extra_info("socket")  # type: ignore[union-attr]
            limit_ms = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
            assert limit_ms == connection.PEER_DEAF_MS
            lowat = raw.getsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT)
            assert lowat == connection.PEER_NOTSENT_BYTES

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
    """A bounded number of bytes is held for whoever does not read; a machine that vanished is noticed."""
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
            expected = CUT_BYTES if kind == "peer" else connection.CLIENT_UNSENT_BYTES
            assert limit(served) == expected
            for option, value in connection.KEEPALIVE:
                assert socket_.getsockopt(socket.IPPROTO_TCP, option) == value
            link.close()

    def limit(connection: transport.Connection) -> int:
        assert connection._transport is not None
        return connection._transport.get_write_buffer_limits()[1]

    run(main())
