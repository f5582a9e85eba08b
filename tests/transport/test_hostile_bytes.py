"""Bytes before the handshake: what hostile ones do, and how many bytes and how much time they get."""

from __future__ import annotations

import asyncio
import random

import pytest

from multipaxos.transport import connection, handshake
from multipaxos.wire.schema import encode_status_request
from tests.support.link_by_hand import RawLink, client_hello, local_config, run, until
from tests.transport.hub import hub


def hostile() -> list[bytes]:
    """Bytes that are no handshake, or not a whole one."""
    rng = random.Random(5)
    hello = client_hello().encode()
    words = [bytes(rng.randrange(256) for _ in range(rng.choice([1, 8, 64, 999]))) for _ in range(60)]
    flipped = []
    for _ in range(150):
        copy = bytearray(hello)
        for _ in range(rng.randrange(1, 5)):
            copy[rng.randrange(len(copy))] = rng.randrange(256)
        flipped.append(bytes(copy))
    cut = [hello[:size] for size in (0, 1, 7, 8, 9, len(hello) - 1)]
    other_messages = [encode_status_request(1), b"GET / HTTP/1.1\r\n\r\n", bytes(4096), b"\xff" * 4096]
    return words + flipped + cut + other_messages


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_hostile_bytes_never_reach_the_owner(uv: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()

    async def main() -> None:
        faults: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: faults.append(context))
        async with hub(config, 0) as (made, listener):
            for data in hostile():
                link = await RawLink.to(config, 0)
                link.send(data)
                link.writer.write_eof()
                await link.ended()
            await until(lambda: not made.connections)
            assert not listener.reports
            assert set(made.closes) <= {"bytes that are no handshake", "refused"}
            assert made.closes["bytes that are no handshake"] > 30
            done = await RawLink.to(config, 0)
            assert not (await done.handshake(client_hello())).refusal
            done.close()
        assert not faults

    run(main(), uv=uv)


def test_too_many_bytes_before_the_handshake() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0) as (made, _):
            link = await RawLink.to(config, 0)
            # A frame of 1 MiB would be allowed later: its start is well-formed.
            link.send(bytes(4) + (1 << 17).to_bytes(4, "little") + bytes(handshake.HANDSHAKE_BYTES))
            await link.ended()
            assert made.closes == {"too many bytes before the handshake": 1}

    run(main())


def test_a_link_without_a_handshake_in_time_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(connection, "HANDSHAKE_S", 0.05)

    async def main() -> None:
        async with hub(config, 0) as (made, listener):
            links = [await RawLink.to(config, 0) for _ in range(4)]
            links[1].send(client_hello().encode()[:20])
            links[2].send(client_hello().encode())  # and no third hello
            links[3].send(client_hello("admin").encode())
            for link in links:
                await link.ended()
            assert made.closes == {"no handshake in time": 4}
            assert not listener.reports
            monkeypatch.setattr(connection, "HANDSHAKE_S", 1000.0)
            done = await RawLink.to(config, 0)
            await done.handshake(client_hello())
            await until(lambda: listener.up)
            assert made.links[1]._timer is None, "a link that is up has no time limit"
            done.close()

    run(main())
