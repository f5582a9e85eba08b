"""Messaging, apart from Paxos: links over TCP, their handshake, reconnection and back-pressure.

Theory. A link carries frames; what is in them is not this module's business, but for the first ones. The
handshake is three hellos: who connects says who it is with a nonce; the other side answers with its own,
echoing that nonce; the first side echoes in turn. So each side knows that the other was alive when the connection had
been made. Bytes of a dead process may still arrive: a handshake does not count if its connection was made before one
with another incarnation of that node was done. So, once a link is up with an incarnation, none comes up with an
earlier one, which is what founding rests on. A hello that does not fit is
answered with a refusal, by name, and the link is closed.

Rules.
- A node listens at its address in the configuration, where the others dial it - or at `listen`, where something that
  passes links on stands between: a container's bridge, a translation of addresses.
- One link for a pair of nodes: the one with the lower id dials, and dials again with a growing, random
  pause. A newer link replaces an older one.
- Nothing reaches the core before the handshake is done; before that, bytes and time are bounded.
- Back-pressure by bytes: a client whose answers it does not read is not read from. A peer is always read
  from, or two could wait for one another; one for which too much waits, or which acknowledges nothing for
  too long, loses its link (what was on it is sent again on the next one). So what waits for any link is
  bounded; what comes from it is, for the core queues a bounded number of bytes and answers `overloaded`
  beyond.
- A closed link is neither written to nor read from; what is unsent may linger for a moment, not longer.
- What the other side says goes to the log cut and quoted, and never into the names of counters.
- Two processes with one incarnation are refused where they meet.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import socket
from collections import Counter
from collections.abc import Callable
from typing import Protocol, cast

from multipaxos.config.addresses import format_address
from multipaxos.config.cluster import Config
from multipaxos.errors import ConfigurationError
from multipaxos.wire.codec import CodecError
from multipaxos.wire.codec import split as split_frames
from multipaxos.wire.schema import Hello, decode_status_request, encode_status_reply

log = logging.getLogger("multipaxos.transport")

VERSION_MIN = VERSION_MAX = 1
HANDSHAKE_S = 3.0
HANDSHAKE_BYTES = 64 << 10
DIAL_PAUSE_S = 0.01
DIAL_PAUSE_MAX_S = 0.3
DIAL_S = 2.0
PEER_UNSENT_BYTES = 64 << 20
PEER_DEAF_MS = 5000
# A client whose machine vanished is noticed after a minute and a half; the system's own wait is two hours.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
CLIENT_UNSENT_BYTES = 1 << 20  # then it is not read from
CLIENT_UNSENT_BYTES_MAX = 64 << 20  # then it loses its link: answers to what it had sent before
LINGER_S = 1.0
TEXT_LOGGED = 300

COMPARE = "compare the addresses in the configurations"
SAME = "nodes, roles, quorum and window must be the same everywhere"
COPIED = "a copied data directory is not a node"
COPY_S = 1.0


def reaches_itself(connected: asyncio.BaseTransport) -> bool:
    """Is this socket connected to itself? So it can be when nobody listens on a port that the system hands out
    to who dials: the kernel may choose just that port for our own end. It means that nobody is there, and as
    long as it stays open, nobody can be."""
    return bool(connected.get_extra_info("sockname") == connected.get_extra_info("peername"))


class Owner(Protocol):
    """Who uses the links: the server."""

    def link_up(self, link: int, node: int, incarnation: int) -> None:
        """A handshake with a peer, or a client (node -1), is done."""

    def received(self, link: int, data: bytes) -> None:
        """A chunk came."""

    def link_down(self, link: int) -> None:
        """A link is gone."""

    def status(self) -> str:
        """What an admin link is told, as JSON."""


class Connection(asyncio.Protocol):
    """One TCP connection, from its first byte to its last."""

    def __init__(self, hub: Transport, dialled: int = -1) -> None:
        self.hub = hub
        self.dialled = dialled  # the node that we dialled; -1: they dialled us
        self.link = 0  # set when the handshake is done
        self.peer = -1
        self.kind = "peer"
        self.incarnation = 0
        self.heard_s = self.up_s = 0.0
        self.received_bytes = 0  # both without the handshake
        self.sent_bytes = 0
        self.write: Callable[[bytes], None] = self._not_connected
        self._transport: asyncio.Transport | None = None
        self._pending = b""
        self._nonce = secrets.randbits(63) | 1
        self.number = hub.number_connection()
        self._theirs: Hello | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self.lost: asyncio.Future[None] = hub.loop.create_future()

    def _not_connected(self, data: bytes) -> None:
        raise RuntimeError("a link was written to before it was connected")

    @property
    def name(self) -> str:
        """For the log."""
        where = self._transport.get_extra_info("peername") if self._transport else None
        who = f"node {self.peer}" if self.peer >= 0 else self.kind
        return f"{who} at {where[0]}:{where[1]}" if where else who

    @property
    def identity(self) -> str:
        """A name that both ends have for this connection, once the handshake is done: it is made of their nonces."""
        assert self._theirs is not None, "a connection has no name before its handshake"
        return f"{self._nonce ^ self._theirs.nonce:016x}"

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sets the socket's ways, and speaks first if we dialled."""
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        self._transport.set_write_buffer_limits(high=CLIENT_UNSENT_BYTES)
        self._timer = self.hub.loop.call_later(HANDSHAKE_S, self.close, "no handshake in time")
        self.hub.connections.add(self)
        if self.hub.stopping or reaches_itself(transport):
            self.abort()
            return
        if self.dialled >= 0:
            self.write(self.hub.hello(self._nonce, 0, self.dialled).encode())

    def data_received(self, data: bytes) -> None:
        """To the core, or to the handshake."""
        if self._closing:
            return
        if self.link:
            self.heard_s = self.hub.time()
            self.received_bytes += len(data)
            self.hub.owner.received(self.link, data)
        else:
            self._handshake(data)

    def _handshake(self, data: bytes) -> None:
        self._pending += data
        try:
            while not self.link and not self._closing:
                frames, rest = split_frames(self._pending[:HANDSHAKE_BYTES])
                if not frames:
                    if len(rest) >= HANDSHAKE_BYTES:
                        self.close("too many bytes before the handshake")
                    return
                self._take(frames)
        except CodecError as error:
            self.close("bytes that are no handshake", str(error))
            return
        rest, self._pending = self._pending, b""
        if rest and not self._closing:
            self.received_bytes += len(rest)
            self.hub.owner.received(self.link, rest)

    def _take(self, frames: list[bytes]) -> None:
        """Frames before the handshake is done; what comes after it stays in `_pending`."""
        used = 0
        for frame in frames:
            used += len(frame)
            if self._theirs is not None and self.kind == "admin":
                self._answer_admin(frame)
            else:
                self._on_hello(Hello.decode(frame))
            if self.link or self._closing:
                break
        self._pending = self._pending[used:]

    def _on_hello(self, hello: Hello) -> None:
        """The first hello of the other side, or the one that echoes ours."""
        if hello.refusal:
            self.close("refused by the other side", hello.refusal)
            return
        if self._theirs is None:
            reason = self.hub.misfit(hello, self.dialled)
            if reason:
                self._refuse(reason)
                return
            self._theirs, self.kind = hello, hello.kind
            self.peer = hello.node if hello.kind == "peer" else -1
            self.incarnation = hello.incarnation
            if self.dialled < 0:
                self.write(self.hub.hello(self._nonce, hello.nonce, hello.node).encode())
                return
        if hello.echo != self._nonce:
            self._refuse("a hello without the echo of our nonce")
            return
        if self.peer >= 0 and self.hub.is_outlived(self):
            self._refuse(f"node {self.peer} came up in another incarnation since this connection was made: dial again")
            return
        if self.dialled >= 0:
            self.write(self.hub.hello(self._nonce, hello.nonce, hello.node).encode())
        self._finish_timer()
        self.hub.up(self, self._theirs)

    def _answer_admin(self, frame: bytes) -> None:
        try:
            nonce = decode_status_request(frame)
        except CodecError:
            if Hello.decode(frame).echo != self._nonce:  # the third hello
                self._refuse("a hello without the echo of our nonce")
            self._finish_timer()
            return
        self.write(encode_status_reply(nonce, self.hub.owner.status()))

    def _finish_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, reason: str) -> None:
        self.write(self.hub.hello(0, 0, -1, refusal=reason).encode())
        self.close("refused", reason)

    def pause_writing(self) -> None:
        """The other side does not read what we have for it."""
        if self._transport is None or self._closing:
            return
        if self.link and self.peer >= 0:
            self.close(f"more than {PEER_UNSENT_BYTES} bytes unsent")
            self.abort()
            return
        self._transport.pause_reading()
        self.write = self._write_while_paused

    def _write_while_paused(self, data: bytes) -> None:
        """Answers to what was read before the pause: bounded too."""
        assert self._transport is not None
        self._transport.write(data)
        if self._transport.get_write_buffer_size() > CLIENT_UNSENT_BYTES_MAX:
            self.close(f"more than {CLIENT_UNSENT_BYTES_MAX} bytes of answers unread")
            self.abort()

    def resume_writing(self) -> None:
        """It reads again."""
        if self._transport is not None and not self._closing and not self._transport.is_closing():
            self.write = self._transport.write
            self._transport.resume_reading()

    def handshake_done(self) -> None:
        """More may wait for a peer than for anybody else: its messages are the protocol's own."""
        assert self._transport is not None
        self.heard_s = self.up_s = self.hub.time()
        raw = self._transport.get_extra_info("socket")
        if self.peer >= 0:
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_DEAF_MS)
            self._transport.set_write_buffer_limits(high=PEER_UNSENT_BYTES)

    def close(self, reason: str, detail: str = "") -> None:
        """Ends the connection, once; counted by `reason`, logged. What is unsent lingers for LINGER_S."""
        if self._transport is None or self._closing:
            return
        self._closing = True
        self.hub.closes[reason] += 1
        log.warning("closing the link to %s: %s%s", self.name, reason, detail and f": {detail[:TEXT_LOGGED]!r}")
        self.hub.silence(self)
        self._finish_timer()
        self._transport.close()
        self._timer = self.hub.loop.call_later(LINGER_S, self.abort)

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whoever ended it."""
        self._finish_timer()
        self._closing = True
        self.hub.connections.discard(self)
        if self.link:
            self.hub.past[self.kind].update(self.traffic())
            self.hub.down(self)
        if not self.lost.done():
            self.lost.set_result(None)

    def traffic(self) -> dict[str, int]:
        """What this link has carried."""
        return {"links": 1, "received_bytes": self.received_bytes, "sent_bytes": self.sent_bytes}

    def abort(self) -> None:
        """At once, without sending what is left."""
        if self._transport is not None:
            self._transport.abort()


class Transport:
    """All links of one node: it listens for everybody, and dials the peers with a higher id."""

    def __init__(
        self, config: Config, node: int, incarnation: int, owner: Owner, listen: tuple[str, int] | None = None
    ) -> None:
        self.config = config
        self.node = node
        self.listen = listen or (config.nodes[node].host, config.nodes[node].port)
        self.incarnation = incarnation
        self.owner = owner
        self.loop = asyncio.get_running_loop()
        self.time = self.loop.time
        self.digest = config.digest()
        self.links: dict[int, Connection] = {}  # that can be written to
        self.reported: set[int] = set()  # that the owner believes to be up
        self.peers: dict[int, Connection] = {}
        self.met: dict[int, tuple[int, int]] = {}  # node -> its newest incarnation, how many connections were made then
        self.connections: set[Connection] = set()
        self.closes: Counter[str] = Counter()
        self.past: dict[str, Counter[str]] = {"peer": Counter(), "client": Counter()}  # links that ended
        self.port = 0
        self.stopping = False
        self._next_link = 1
        self._connections_made = 0
        self._server: asyncio.Server | None = None
        self._dialling: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Listens, then dials."""
        try:
            self._server = await self.loop.create_server(lambda: Connection(self), *self.listen, reuse_address=True)
        except OSError as error:
            where = format_address(*self.listen)
            raise ConfigurationError(f"cannot listen on {where}: {error.strerror}; is the port taken?") from error
        self.port = self._server.sockets[0].getsockname()[1]
        for peer in range(self.node + 1, len(self.config.nodes)):
            self._dialling.append(self.loop.create_task(self._dial(peer)))

    async def stop(self) -> None:
        """Closes everything; when it returns there is no socket and no task."""
        self.stopping = True
        for task in self._dialling:
            task.cancel()
        if self._server is not None:
            self._server.close()
        await asyncio.gather(*self._dialling, return_exceptions=True)
        while self.connections:
            for connection in self.connections:
                connection.abort()
            await asyncio.wait([connection.lost for connection in self.connections])
        if self._server is not None:
            await self._server.wait_closed()

    async def _dial(self, peer: int) -> None:
        """Keeps a link to one peer."""
        node = self.config.nodes[peer]
        pause_s = DIAL_PAUSE_S
        while True:
            try:
                async with asyncio.timeout(DIAL_S):  # the system's own time-out is minutes
                    _, connection = await self.loop.create_connection(
                        lambda: Connection(self, peer), node.host, node.port
                    )
                await asyncio.shield(connection.lost)
                if connection.link and self.time() - connection.up_s > DIAL_PAUSE_MAX_S:
                    pause_s = DIAL_PAUSE_S  # one that ends as soon as it is up is refused by the other side's core
            except OSError as error:  # a time-out is one
                log.debug("node %d at %s does not answer: %s", peer, node.address, error)
            await asyncio.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(pause_s * 2, DIAL_PAUSE_MAX_S)

    def hello(self, nonce: int, echo: int, target: int, refusal: str = "") -> Hello:
        """What we say of ourselves."""
        return Hello(
            cluster=self.config.name, configuration=self.digest, node=self.node, target=target,
            incarnation=self.incarnation, version_min=VERSION_MIN, version_max=VERSION_MAX, kind="peer",
            nonce=nonce, echo=echo, refusal=refusal,
        )  # fmt: skip

    def misfit(self, hello: Hello, dialled: int) -> str:
        """Why a link with the sender of this hello cannot be; empty if it can."""
        if hello.version_min > VERSION_MAX or hello.version_max < VERSION_MIN:
            return (
                f"it speaks protocol versions {hello.version_min} to {hello.version_max}, "
                f"this node {VERSION_MIN} to {VERSION_MAX}: upgrade the older one"
            )
        if (hello.cluster or hello.kind == "peer") and hello.cluster != self.config.name:
            return f"it belongs to cluster {hello.cluster!r}, this is {self.config.name!r}"
        if hello.target not in (-1, self.node):
            return f"it looks for node {hello.target}, this is node {self.node}: {COMPARE}"
        return "" if hello.kind != "peer" else self._misfit_of_peer(hello, dialled)

    def _misfit_of_peer(self, hello: Hello, dialled: int) -> str:
        if hello.configuration != self.digest:
            return f"its configuration differs from this node's: {SAME}"
        if not 0 <= hello.node < len(self.config.nodes) or hello.node == self.node:
            return f"node {hello.node} is not one of this node's peers"
        if dialled >= 0 and hello.node != dialled:
            return f"node {hello.node} answers where node {dialled} should be: {COMPARE}"
        if hello.incarnation == self.incarnation:
            return f"it has this node's incarnation: {COPIED}"
        other = self.peers.get(hello.node)
        if other is not None and dialled < 0 and self._is_copy(other, hello):
            return f"a living process already is node {hello.node} with the same incarnation: {COPIED}"
        return ""

    def _is_copy(self, other: Connection, hello: Hello) -> bool:
        """Who connects anew has let the old link fall silent; two that both speak are a node and its copy."""
        return other.incarnation == hello.incarnation and self.loop.time() - other.heard_s < COPY_S

    def number_connection(self) -> int:
        """Connections are numbered as they are made, from 1."""
        self._connections_made += 1
        return self._connections_made

    def is_outlived(self, connection: Connection) -> bool:
        """Was a handshake with another incarnation of its node done since this connection was made?"""
        incarnation, made = self.met.get(connection.peer, (connection.incarnation, 0))
        return incarnation != connection.incarnation and connection.number <= made

    def up(self, connection: Connection, hello: Hello) -> None:
        """A handshake is done."""
        connection.link = self._next_link
        self._next_link += 1
        self.links[connection.link] = connection
        self.reported.add(connection.link)
        connection.handshake_done()
        if connection.peer < 0:
            self.owner.link_up(connection.link, -1, 0)
            return
        older = self.peers.get(hello.node)
        self.peers[hello.node] = connection
        self.met[hello.node] = hello.incarnation, self._connections_made
        if older is not None:
            older.close("replaced by a newer link")
            older.abort()
            self.down(older)
        self.owner.link_up(connection.link, hello.node, hello.incarnation)

    def traffic(self) -> dict[str, dict[str, int]]:
        """By kind of link, since the start: how many handshakes were done, and what the links carried."""
        total = {kind: Counter(past) for kind, past in self.past.items()}
        for connection in self.connections:
            if connection.link:
                total[connection.kind].update(connection.traffic())
        return {kind: dict(counts) for kind, counts in total.items()}

    def silence(self, connection: Connection) -> None:
        """A link that closes is not written to; its owner hears of it later, not in the midst of writing."""
        self.links.pop(connection.link, None)

    def down(self, connection: Connection) -> None:
        """A link is gone: told once."""
        self.silence(connection)
        if connection.link not in self.reported:
            return
        self.reported.discard(connection.link)
        if connection.peer >= 0 and self.peers.get(connection.peer) is connection:
            del self.peers[connection.peer]
        self.owner.link_down(connection.link)
