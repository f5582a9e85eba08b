"""Links whose other side misbehaves: bad frames, and answers that are not read."""

from __future__ import annotations

import contextlib
import logging
import random

import pytest

from multipaxos.server.server import Server
from multipaxos.storage.memory import MemoryStorage
from multipaxos.transport import connection
from multipaxos.wire.codec import FRAME_BYTES_MAX, CommandKind, encode, encode_request
from tests.server.nodes import OK, cluster, one_node, three_nodes
from tests.support.link_by_hand import Caller, RawLink, ask_status, client_hello, get, peer_hello, put, run, until


def hostile_frames() -> dict[str, bytes]:
    """Frames that no client sends."""
    rng = random.Random(3)
    request = encode_request([(1, 1, CommandKind.APPLY, 0, put(b"k", b"v"))])
    oversized = bytes(4) + (FRAME_BYTES_MAX // 8 + 1).to_bytes(4, "little") + bytes(64)
    return {
        "random": bytes(rng.randrange(1, 256) for _ in range(512)),
        "oversized": oversized,
        "many segments": b"\xff" * 64,
        "wild pointer": request[:8] + b"\xf0\xff\xff\x7f\xff\xff\xff\x7f" + request[16:],
        "a peer's message": encode("ping", ballot=0, nonce=1, slot_out=1, voting=True),
    }


@pytest.mark.parametrize("name", ["random", "oversized", "many segments", "wild pointer", "a peer's message"])
def test_a_bad_frame_closes_its_link_and_no_other(name: str, caplog: pytest.LogCaptureFixture) -> None:
    config = one_node()
    frame = hostile_frames()[name]

    async def main() -> None:
        async with cluster(config) as (server,):
            good = await Caller.to(config, 0)
            assert (await good.call(put(b"k", b"before")))[0] == OK
            bad = await RawLink.to(config, 0)
            await bad.handshake(client_hello())
            await bad.frame()  # which node leads: the core knows the client
            bad.send(frame)
            await bad.ended()
            closes = (await ask_status(config, 0))["closes"]
            assert sum(closes.values()) == 1
            assert server.facts()["bad_frames"] == 1
            assert (await good.call(get(b"k")))[1][9:] == b"before"
            assert (await good.call(put(b"k", b"after")))[0] == OK
            (reason,) = closes
            assert "closing the link to client at" in caplog.text
            assert reason in caplog.text
            good.link.close()

    with caplog.at_level(logging.WARNING):
        run(main())


def test_random_frames_close_links_at_most() -> None:
    config = one_node()
    rng = random.Random(11)
    request = encode_request([(1, i, CommandKind.APPLY, 0, put(b"key", b"value")) for i in range(1, 9)])

    async def main() -> None:
        async with cluster(config) as (server,):
            good = await Caller.to(config, 0)
            for _ in range(80):
                bad = await RawLink.to(config, 0)
                await bad.handshake(client_hello())
                await bad.frame()
                data = bytearray(request)
                for _ in range(rng.randrange(1, 8)):
                    data[rng.randrange(len(data))] = rng.randrange(256)
                bad.send(bytes(data))
                bad.writer.write_eof()
                await bad.ended()
            assert server.facts()["bad_frames"] > 10
            assert (await good.call(put(b"k", b"v")))[0] == OK
            server.core.invariants()
            good.link.close()

    run(main())


def test_a_bad_frame_from_a_peer_closes_its_link_and_the_cluster_goes_on() -> None:
    config = three_nodes()

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = [await stack.enter_async_context(Server(config, i, MemoryStorage())) for i in (1, 2)]
            peer = await RawLink.to(config, 2)
            assert not (await peer.handshake(peer_hello(config, 0))).refusal
            await until(lambda: 0 in servers[1].facts()["peers"])
            peer.send(b"\xff" * 64)
            await peer.ended()
            await until(lambda: 0 not in servers[1].facts()["peers"])
            assert servers[1].facts()["bad_frames"] == 1
            await until(lambda: servers[1].facts()["peers"] == [1])
            await stack.enter_async_context(Server(config, 0, MemoryStorage()))
            caller = await Caller.to(config, 2)
            assert (await caller.call(put(b"k", b"v")))[0] == OK
            caller.link.close()

    run(main())


def test_a_client_that_does_not_read_bounds_what_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    config = one_node()
    value = bytes(200_000)
    monkeypatch.setattr(connection, "CLIENT_UNSENT_BYTES", 400_000)

    async def main() -> None:
        async with cluster(config) as (server,):
            good = await Caller.to(config, 0)
            assert (await good.call(put(b"big", value)))[0] == OK
            lazy = await Caller.to(config, 0)
            sequences = [lazy.session.submit(put(b"k", b"v"))]
            assert (await lazy.call(put(b"k", b"v")))[0] == OK
            (served,) = [c for link, c in server.transport.links.items() if link == max(server.transport.links)]
            waiting = 0
            for _ in range(60):  # the buffers of the sockets hold some; 60 answers are 12 MB
                sequences.append(lazy.session.submit(get(b"big")))
                lazy.link.send(lazy.session.output())
                assert (await good.call(put(b"k", b"v")))[0] == OK
                assert served._transport is not None
                waiting = max(waiting, served._transport.get_write_buffer_size())
            assert 400_000 < waiting < 4_000_000
            answered: set[int] = set()
            while answered != set(sequences[1:]):
                if lazy.session.rewind_wanted:  # `overloaded`: it had too many unacknowledged bytes
                    lazy.session.rewind()
                    lazy.link.send(lazy.session.output())
                for number, status, _, data in lazy.session.receive(await lazy.link.frame()):
                    if number in sequences[1:]:
                        assert (status, data[9:]) == (OK, value)
                        answered.add(number)
            lazy.link.close()
            good.link.close()

    run(main())
