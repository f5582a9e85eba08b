"""Links: who is refused and how, what hostile bytes do, how links are renewed, and that nothing waits without bound."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import random
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from multipaxos import local_cluster as local
from multipaxos.client import discovery
from multipaxos.client import link as client_link
from multipaxos.client.discovery import fetch_status, fetch_statuses, find_leader
from multipaxos.client.link import ClientLink, dial
from multipaxos.config.cluster import Config, Sizes
from multipaxos.errors import HandshakeRefused, MultipaxosError, NoQuorum
from multipaxos.local_cluster import free_base_port, is_free
from multipaxos.transport import transport
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import Hello, decode_status_reply, encode_status_request
from tests.support.link_by_hand import RawLink, ask_status, client_hello, local_config, peer_hello, run, until


class Listener:
    """The owner of links: writes down what it is told."""

    def __init__(self) -> None:
        self.up: dict[int, tuple[int, int]] = {}  # link: node, incarnation
        self.told: list[tuple[str, int, int]] = []
        self.data: dict[int, bytes] = {}

    def link_up(self, link: int, node: int, incarnation: int) -> None:
        assert link not in self.data, "a link's number is never used twice"
        self.up[link] = node, incarnation
        self.data[link] = b""
        self.told.append(("up", link, node))

    def received(self, link: int, data: bytes) -> None:
        assert link in self.up, "nothing comes before the handshake, or after the end"
        self.data[link] += data

    def link_down(self, link: int) -> None:
        node, _ = self.up.pop(link)
        self.told.append(("down", link, node))

    def status(self) -> str:
        return json.dumps({"hello": "world"})


@contextlib.asynccontextmanager
async def hub(config: Config, node: int = 0, incarnation: int = 0) -> AsyncIterator[tuple[Transport, Listener]]:
    """A transport that listens."""
    listener = Listener()
    made = Transport(config, node, incarnation or 100 + node, listener)
    await made.start()
    try:
        yield made, listener
    finally:
        await made.stop()
        assert not made.connections


async def refusal(config: Config, node: int, hello: Hello) -> str:
    """What a node answers to a hello; the link must end."""
    link = await RawLink.to(config, node)
    theirs = await link.handshake(hello)
    if theirs.refusal:
        await link.ended()
    link.close()
    return theirs.refusal


# -- refusals


REFUSALS: list[tuple[str, dict[str, object], str]] = [
    ("cluster", {"cluster": "other"}, "it belongs to cluster 'other', this is 'test'"),
    ("configuration", {"configuration": 1}, "its configuration differs from this node's"),
    (
        "newer version",
        {"version_min": 2, "version_max": 3},
        "protocol versions 2 to 3, this node 1 to 1: upgrade",
    ),
    (
        "older version",
        {"version_min": 0, "version_max": 0},
        "protocol versions 0 to 0, this node 1 to 1: upgrade",
    ),
    ("target", {"target": 2}, "it looks for node 2, this is node 1: compare the addresses"),
    ("unknown node", {"node": 3}, "node 3 is not one of this node's peers"),
    ("no node", {"node": -1}, "node -1 is not one of this node's peers"),
    ("own id", {"node": 1}, "node 1 is not one of this node's peers"),
    ("own incarnation", {"incarnation": 101}, "it has this node's incarnation: a copied data directory"),
]


@pytest.mark.parametrize(("changes", "text"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_peer_that_does_not_fit_is_refused_by_name(
    changes: dict[str, object], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            assert text in await refusal(config, 1, peer_hello(config, 0, **changes))
            assert made.closes == {"refused": 1}
            assert not listener.told

    with caplog.at_level(logging.WARNING):
        run(main())
    assert text.split("'")[0] in caplog.text


def test_two_quorum_systems_never_meet() -> None:
    config = local_config()
    other = Config(name=config.name, nodes=config.nodes, quorum=Sizes(3, 1))

    async def main() -> None:
        async with hub(config, 1) as (one, listener), hub(other, 0) as (zero, others):
            await until(lambda: one.closes["refused"] and zero.closes["refused by the other side"])
            assert not listener.told
            assert not others.told

    run(main())


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"cluster": "other"}, "cluster 'other'"), ({"version_min": 9, "version_max": 9}, "versions 9 to 9"),
     ({"target": 2}, "looks for node 2")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["client", "admin"])
def test_a_client_that_does_not_fit_is_refused(kind: str, changes: dict[str, object], text: str) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0):
            hello = {"cluster": "", "kind": kind, "nonce": 7}
            assert text in await refusal(config, 0, Hello(**{**hello, **changes}))  # type: ignore[arg-type]

    run(main())


def test_a_node_that_answers_in_anothers_place_is_refused() -> None:
    config = local_config()

    async def main() -> None:
        def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def speak() -> None:
                link = RawLink(reader, writer)
                theirs = await link.hello()
                assert theirs.target == 1
                link.send(peer_hello(config, 2, echo=theirs.nonce).encode())
                refusals.append((await link.hello()).refusal)
                await link.ended()

            tasks.append(asyncio.create_task(speak()))

        refusals: list[str] = []
        tasks: list[asyncio.Task[None]] = []
        place = config.nodes[1]
        server = await asyncio.start_server(answer, place.host, place.port)
        async with hub(config, 0) as (_, listener):
            await until(lambda: refusals)
            assert "node 2 answers where node 1 should be" in refusals[0]
            assert not listener.told
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()

    run(main())


def test_a_copy_is_refused_while_the_first_speaks_and_the_first_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = local_config()
    monkeypatch.setattr(transport, "COPY_S", 1000.0)

    async def main() -> None:
        async with hub(config, 1) as (_, listener):
            first = await RawLink.to(config, 1)
            assert not (await first.handshake(peer_hello(config, 0))).refusal
            await until(lambda: listener.up)
            text = "a living process already is node 0 with the same incarnation"
            assert text in await refusal(config, 1, peer_hello(config, 0))
            first.send(b"still here")
            await until(lambda: listener.data[1] == b"still here")
            assert listener.up == {1: (0, 500)}
            first.close()

    run(main())


def test_a_dead_incarnation_does_not_come_up_after_its_successor() -> None:
    """Its last hello was on its way while it died, was wiped and started again: founding rests on this order."""
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (_, listener):
            old, new = await RawLink.to(config, 1), await RawLink.to(config, 1)
            hello = peer_hello(config, 0, incarnation=1000, target=1)
            old.send(hello.encode())
            theirs = await old.hello()
            assert not (await new.handshake(peer_hello(config, 0, incarnation=2000, target=1))).refusal
            await until(lambda: listener.up)
            old.send(peer_hello(config, 0, incarnation=1000, target=1, echo=theirs.nonce).encode())
            assert "another incarnation since" in (await old.hello()).refusal
            await old.ended()
            assert listener.up == {1: (0, 2000)}
            later = await RawLink.to(config, 1)
            assert not (await later.handshake(peer_hello(config, 0, incarnation=3000, target=1))).refusal
            await until(lambda: (0, 3000) in listener.up.values())
            new.close()
            later.close()

    run(main())


def test_who_was_silent_may_come_anew_with_the_same_incarnation(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(transport, "COPY_S", 0.0)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            first, second = await RawLink.to(config, 1), await RawLink.to(config, 1)
            await first.handshake(peer_hello(config, 0))
            await until(lambda: listener.up)
            await second.handshake(peer_hello(config, 0))
            await until(lambda: len(listener.told) == 3)
            assert listener.told == [("up", 1, 0), ("down", 1, 0), ("up", 2, 0)]
            await first.ended()
            assert listener.told == [("up", 1, 0), ("down", 1, 0), ("up", 2, 0)]
            assert made.closes == {"replaced by a newer link": 1}
            assert list(made.peers) == [0]
            second.close()

    run(main())


def test_a_third_hello_without_the_echo_is_refused() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (_, listener):
            for hello in (peer_hello(config, 0), client_hello(), client_hello("admin")):
                link = await RawLink.to(config, 1)
                link.send(hello.encode())
                theirs = await link.hello()
                link.send(Hello(**{**vars(hello), "echo": theirs.nonce + 1}).encode())
                assert "without the echo" in (await link.hello()).refusal
                await link.ended()
            assert not listener.told

    run(main())


# -- links that are made


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
            assert [what for what, _, _ in listener.told] == ["up", "down"] * 3

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
    """A host that swallows packets must not hold the dialler for the system's minutes."""
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

        class Loop:
            """The loop, but for its connections."""

            create_connection = staticmethod(swallow)

            def __getattr__(self, name: str) -> object:
                return getattr(loop, name)

        made.loop = Loop()  # type: ignore[assignment]
        await made.start()
        await until(lambda: dials >= 3)
        await made.stop()

    run(main())


def test_clients_and_admins() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0) as (made, listener):
            chunks: list[bytes] = []
            lost: list[bool] = []
            address = (config.nodes[0].host, config.nodes[0].port)
            link = await dial(address, chunks.append, lambda: lost.append(True))
            assert link.node == 0
            await until(lambda: listener.up)
            link.write(b"request")
            await until(lambda: listener.data.get(1) == b"request")
            assert listener.up == {1: (-1, 0)}
            made.links[1].write(b"answer")
            await until(lambda: b"".join(chunks) == b"answer")
            assert await fetch_status(address) == {"hello": "world"}
            assert await ask_status(config, 0) == {"hello": "world"}
            made.links[1].close("enough")
            await until(lambda: lost)
            await until(lambda: not listener.up)
            assert made.closes == {"enough": 1}
        nobody = (config.nodes[1].host, config.nodes[1].port)
        assert await fetch_statuses([address, nobody]) == [None, None]

    run(main())


def test_a_silent_node_keeps_nobody_from_the_leader(monkeypatch: pytest.MonkeyPatch) -> None:
    """As one that is cut off: it would be waited for until it is given up."""
    silent, follower, leader, given_up = ("h", 0), ("h", 1), ("h", 2), []

    async def ask(address: tuple[str, int]) -> dict[str, bool] | None:
        if address == silent:
            try:
                await asyncio.Event().wait()
            finally:
                given_up.append(address)
        return {"leading": address == leader}

    monkeypatch.setattr(discovery, "fetch_status", ask)
    assert asyncio.run(find_leader([silent, follower, leader], 60.0)) == leader
    assert given_up == [silent]
    with pytest.raises(NoQuorum):
        asyncio.run(find_leader([follower], 0.1))


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


@pytest.mark.parametrize("kind", ["peer", "client", "admin"])
def test_what_may_wait_for_a_link(kind: str) -> None:
    """Little for whoever connects, more once it is known to be a peer; a vanished machine is noticed."""
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, _):
            link = await RawLink.to(config, 1)
            await until(lambda: made.connections)
            (connection,) = made.connections
            socket_ = connection._transport.get_extra_info("socket")  # type: ignore[union-attr]
            assert limit(connection) == transport.CLIENT_UNSENT_BYTES
            await link.handshake(peer_hello(config, 0) if kind == "peer" else client_hello(kind))
            link.send(encode_status_request(1) if kind == "admin" else b"x")
            await until(lambda: connection.link or (kind == "admin" and connection._timer is None))
            expected = transport.PEER_UNSENT_BYTES if kind == "peer" else transport.CLIENT_UNSENT_BYTES
            assert limit(connection) == expected
            for option, value in transport.KEEPALIVE:
                assert socket_.getsockopt(socket.IPPROTO_TCP, option) == value
            link.close()

    def limit(connection: transport.Connection) -> int:
        assert connection._transport is not None
        return connection._transport.get_write_buffer_limits()[1]

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
            assert not listener.told

    run(main())


def test_a_dial_says_why_there_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    address = (config.nodes[0].host, config.nodes[0].port)

    async def main() -> None:
        async with hub(config, 0):
            monkeypatch.setattr(client_link, "VERSION_MIN", 8)
            monkeypatch.setattr(client_link, "VERSION_MAX", 8)
            with pytest.raises(HandshakeRefused, match="versions 8 to 8, this node 1 to 1"):
                await dial(address, print, lambda: None)
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await dial(address, print, lambda: None)
        mute = await asyncio.start_server(lambda reader, writer: held.append(writer), *address)
        held: list[asyncio.StreamWriter] = []
        with pytest.raises(TimeoutError, match=r"no answer in 0\.05 s"):
            await dial(address, print, lambda: None, limit_s=0.05)
        mute.close()
        for writer in held:
            writer.close()

    run(main())


def test_a_client_link_refuses_what_is_no_node() -> None:
    config = local_config()
    address = (config.nodes[0].host, config.nodes[0].port)

    async def main() -> None:
        held: list[asyncio.StreamWriter] = []

        def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            writer.write(answers[len(held) - 1])

        answers = [b"HTTP/1.1 400 Bad Request\r\n\r\n", Hello(cluster="x", node=0, echo=1).encode()]
        server = await asyncio.start_server(answer, *address)
        for _ in answers:
            with pytest.raises(HandshakeRefused, match="no link with this node"):
                await dial(address, print, lambda: None)
        server.close()
        for writer in held:
            writer.close()

    run(main())


# -- hostile bytes before the handshake


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
            assert not listener.told
            assert set(made.closes) <= {"bytes that are no handshake", "refused"}
            assert made.closes["bytes that are no handshake"] > 30
            assert await ask_status(config, 0) == {"hello": "world"}
        assert not faults

    run(main(), uv=uv)


def test_too_many_bytes_before_the_handshake() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0) as (made, _):
            link = await RawLink.to(config, 0)
            # A frame of 1 MiB would be allowed later: its start is well-formed.
            link.send(bytes(4) + (1 << 17).to_bytes(4, "little") + bytes(transport.HANDSHAKE_BYTES))
            await link.ended()
            assert made.closes == {"too many bytes before the handshake": 1}

    run(main())


def test_who_says_nothing_in_time_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(transport, "HANDSHAKE_S", 0.05)

    async def main() -> None:
        async with hub(config, 0) as (made, listener):
            links = [await RawLink.to(config, 0) for _ in range(4)]
            links[1].send(client_hello().encode()[:20])
            links[2].send(client_hello().encode())  # and no third hello
            links[3].send(client_hello("admin").encode())
            for link in links:
                await link.ended()
            assert made.closes == {"no handshake in time": 4}
            assert not listener.told
            done = await RawLink.to(config, 0)
            await done.handshake(client_hello())
            await until(lambda: listener.up)
            await asyncio.sleep(0.1)  # twice the time: who is through stays
            assert listener.up
            done.close()

    run(main())


def test_what_the_other_side_says_names_no_counter(caplog: pytest.LogCaptureFixture) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, _):
            for i in range(20):
                await refusal(config, 1, peer_hello(config, 0, cluster=f"evil {i}\n" * 1000))
                link = await RawLink.to(config, 1)
                link.send(peer_hello(config, 0, refusal=f"I am {i}\nERROR forged").encode())
                await link.ended()
            assert made.closes == {"refused": 20, "refused by the other side": 20}

    with caplog.at_level(logging.WARNING):
        run(main())
    assert all("\n" not in record.getMessage() and len(record.getMessage()) < 600 for record in caplog.records)


# -- back-pressure


async def stuffed(config: Config, hello: Hello) -> RawLink:
    """A link whose other side, the test, does not read: small buffers, no reader."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (config.nodes[1].host, config.nodes[1].port))
    link = RawLink(*await asyncio.open_connection(sock=raw, limit=1024))
    assert not (await link.handshake(hello)).refusal
    return link


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_client_that_does_not_read_is_not_read_from_and_goes_on_later(uv: bool) -> None:
    config = local_config()
    answer = bytes(1 << 16)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, client_hello())
            await until(lambda: listener.up)
            connection = made.links[1]
            size = connection._transport.get_write_buffer_size  # type: ignore[union-attr]
            # the kernel's buffer would grow with what it is given, as far as the machine's settings allow
            connection._transport.get_extra_info("socket").setsockopt(  # type: ignore[union-attr]
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
            while size() <= transport.CLIENT_UNSENT_BYTES:
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
            assert waiting < 2 * transport.CLIENT_UNSENT_BYTES + 16 * len(answer)

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
    monkeypatch.setattr(transport, "CLIENT_UNSENT_BYTES_MAX", 8 << 20)

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
    monkeypatch.setattr(transport, "PEER_UNSENT_BYTES", 4 << 20)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            link = await stuffed(config, peer_hello(config, 0))
            await until(lambda: listener.up)
            connection = made.peers[0]
            written = 0
            while 1 in made.links:
                made.links[1].write(bytes(1 << 18))
                written += 1
            assert 16 <= written < 60
            assert listener.up, "the owner hears of it later: it was writing"
            await until(lambda: not listener.up)  # though the peer still does not read
            assert connection not in made.connections
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
            assert limit_ms == transport.PEER_DEAF_MS

    run(main())


def test_a_closed_link_lingers_no_longer_than_it_may(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing lets what is unsent go out first; who does not read must not keep the link so."""
    config = local_config()
    monkeypatch.setattr(transport, "LINGER_S", 0.05)

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


# -- the end


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
            second = Transport(config, 0, 5, Listener())
            with pytest.raises(MultipaxosError, match=f"cannot listen on {config.nodes[0].address}"):
                await second.start()
            await second.stop()

    run(main())


def test_a_node_listens_where_it_is_told() -> None:
    """And nowhere else: at its address in the configuration is what passes links on to it."""
    config, elsewhere = local_config(), local_config(1)
    place = elsewhere.nodes[0]

    async def main() -> None:
        listener = Listener()
        made = Transport(config, 1, 101, listener, (place.host, place.port))
        await made.start()
        try:
            assert made.port == place.port
            link = await RawLink.to(elsewhere, 0)
            assert (await link.handshake(peer_hello(config, 0))).node == 1
            await until(lambda: (0, 500) in listener.up.values())
            link.close()
            with pytest.raises(ConnectionRefusedError):
                await RawLink.to(config, 1)
            second = Transport(config, 2, 102, Listener(), (place.host, place.port))
            with pytest.raises(MultipaxosError, match=f"cannot listen on {place.address}"):
                await second.start()
            await second.stop()
        finally:
            await made.stop()

    run(main())


def test_free_base_port_gives_ports_that_are_free() -> None:
    base = free_base_port(4)
    assert all(is_free(base + i) for i in range(4))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        assert not is_free(taken.getsockname()[1])


def test_free_base_port_leaves_alone_what_the_kernel_gives_to_who_dials(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "EPHEMERAL", tmp_path / "range")
    for low, high in ((20_000, 65_535), (1024, 40_000), (10_050, 65_535)):
        (tmp_path / "range").write_text(f"{low}\t{high}\n")
        for _ in range(20):
            base = free_base_port(5)
            assert 10_000 <= base <= 65_531
            assert base + 4 < low or base > high
    (tmp_path / "range").write_text("1024 65535")
    with pytest.raises(MultipaxosError, match="outside 1024 to 65535"):
        free_base_port(1)


def to_itself() -> socket.socket:
    """A socket that is connected to itself, as a dial to a port where nobody listens can be."""
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.connect(made.getsockname())
    made.setblocking(False)
    return made


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_client_that_reaches_itself_reaches_nobody(uv: bool) -> None:
    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: list[bool] = []
        _, link = await loop.create_connection(
            lambda: ClientLink(lambda data: None, lambda: lost.append(True), "client"), sock=to_itself()
        )
        with pytest.raises(ConnectionRefusedError, match="nobody listens"):
            await link.ready
        await until(lambda: lost)

    run(main(), uv=uv)


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_node_that_reaches_itself_reaches_nobody(uv: bool) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0) as (made, listener):
            _, connection = await made.loop.create_connection(lambda: transport.Connection(made, 1), sock=to_itself())
            await until(connection.lost.done)
            assert not made.closes, "it was no link, so it is not refused"
            assert not listener.told

    run(main(), uv=uv)


def test_a_link_before_its_connection_refuses_to_write() -> None:
    config = local_config()

    async def main() -> None:
        made = Transport(config, 0, 1, Listener())
        with pytest.raises(RuntimeError, match="before it was connected"):
            transport.Connection(made).write(b"x")
        ClientLink(print, lambda: None).close()  # harmless

    run(main())
