"""A transport, and an owner that keeps what is reported to it: for the tests of links."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import AsyncIterator

from multipaxos.config.cluster import Config
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import Hello
from tests.support.link_by_hand import RawLink


class Listener:
    """The owner of links: it keeps what is reported to it."""

    def __init__(self) -> None:
        self.up: dict[int, tuple[int, int]] = {}  # link -> node, incarnation
        self.reports: list[tuple[str, int, int]] = []  # up or down, link, node
        self.data: dict[int, bytes] = {}

    def link_up(self, link: int, node_id: int, incarnation: int) -> None:
        assert link not in self.data, "a link's number is never used twice"
        self.up[link] = node_id, incarnation
        self.data[link] = b""
        self.reports.append(("up", link, node_id))

    def received(self, link: int, data: bytes) -> None:
        assert link in self.up, "no chunk arrives before the handshake or after the end"
        self.data[link] += data

    def link_down(self, link: int) -> None:
        node_id, _ = self.up.pop(link)
        self.reports.append(("down", link, node_id))

    def status(self) -> str:
        return json.dumps({"hello": "world"})


@contextlib.asynccontextmanager
async def hub(config: Config, node_id: int = 0, incarnation: int = 0) -> AsyncIterator[tuple[Transport, Listener]]:
    """A transport that listens, and its owner."""
    listener = Listener()
    made = Transport(config, node_id, incarnation or 100 + node_id, listener)
    await made.start()
    try:
        yield made, listener
    finally:
        await made.stop()
        assert not made.connections


async def refusal(config: Config, node_id: int, hello: Hello) -> str:
    """The reason with which a node refuses a hello. The link must end."""
    link = await RawLink.to(config, node_id)
    theirs = await link.handshake(hello)
    if theirs.refusal:
        await link.ended()
    link.close()
    return theirs.refusal


async def stuffed(config: Config, hello: Hello) -> RawLink:
    """A link whose other side, the test, does not read: small buffers, no reader."""
    raw = socket.socket()
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    raw.setblocking(False)
    await asyncio.get_running_loop().sock_connect(raw, (config.nodes[1].host, config.nodes[1].port))
    link = RawLink(*await asyncio.open_connection(sock=raw, limit=1024))
    assert not (await link.handshake(hello)).refusal
    return link
