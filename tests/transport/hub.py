"""A transport, and an owner that keeps what is reported to it: for the tests of links."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator

from multipaxos.config.cluster import Config
from multipaxos.config.keys import Keys
from multipaxos.transport.identity import Identity
from multipaxos.transport.limits import Limits
from multipaxos.transport.meetings import Life
from multipaxos.transport.transport import Transport
from multipaxos.wire.schema import Hello
from tests.support.link_by_hand import RawLink


class Listener:
    """The owner of links: it keeps what is reported to it. `id`, `refused`: of its cluster."""

    def __init__(self) -> None:
        self.id = 0
        self.refused: tuple[int, ...] = ()
        self.others: dict[int, Hello] = {}  # link -> what the other side said
        self.up: dict[int, tuple[int, int]] = {}  # link -> node, incarnation
        self.reports: list[tuple[str, int, int]] = []  # up or down, link, node
        self.data: dict[int, bytes] = {}
        self.backlogs: dict[int, list[int]] = {}  # what was reported of each peer's link

    def link_up(self, link: int, other: Hello) -> None:
        assert link not in self.data, "a link's number is never used twice"
        self.others[link] = other
        self.up[link] = other.node, other.incarnation
        self.data[link] = b""
        self.reports.append(("up", link, other.node))

    def received(self, link: int, data: bytes) -> None:
        assert link in self.up, "no chunk arrives before the handshake or after the end"
        self.data[link] += data

    def link_down(self, link: int) -> None:
        node_id, _ = self.up.pop(link)
        self.reports.append(("down", link, node_id))

    def link_backlog(self, link: int, backlog: int) -> None:
        self.backlogs.setdefault(link, []).append(backlog)

    def unread(self, link: int, held_bytes: int) -> None:
        self.backlogs.setdefault(link, []).append(held_bytes)

    def cluster_id(self) -> int:
        return self.id

    def refused_slots(self) -> tuple[int, ...]:
        return self.refused


def identity_of(config: Config, node_id: int, incarnation: int = 0, process: int = 0) -> Identity:
    """The identity of a node; numbers that are not given are made of its id."""
    return Identity.of(config.charter(), node_id, Life(incarnation or 100 + node_id, process or 200 + node_id))


@contextlib.asynccontextmanager
async def hub(
    config: Config,
    node_id: int = 0,
    incarnation: int = 0,
    keys: Keys = (),
    process: int = 0,
    limits: Limits | None = None,
) -> AsyncIterator[tuple[Transport, Listener]]:
    """A transport that listens, and its owner."""
    listener = Listener()
    made = Transport(config, identity_of(config, node_id, incarnation, process), listener, keys=keys, limits=limits)
    await made.start()
    try:
        yield made, listener
    finally:
        await made.stop()
        assert not made.connections


async def refusal(config: Config, node_id: int, hello: Hello, keys: Keys = ()) -> str:
    """The reason with which a node refuses a hello. The link must end."""
    link = await RawLink.to(config, node_id)
    theirs = await link.handshake(hello, keys)
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
