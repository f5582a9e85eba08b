"""All links of one node: it listens, dials its peers, and dials again.

Theory. A link carries frames; what is in them does not concern this folder, except for the hellos of the handshake.
`connection` moves the bytes of one connection, `handshake` judges hellos; this file decides when connections are made,
which link of a peer is in use, and reports to the owner.

Rules.
- A node listens at its address in the configuration, where the others dial it, or at `listen`, if something that passes
  connections on stands between them: a container's bridge, or a translation of addresses.
- Two nodes have one link. The node with the lower id dials, and dials again after a growing, random pause. A newer link
  replaces an older one, but one that speaks only if the same process is at the other end of both.
- A hello tells the slots that this node refuses. If they have changed before the handshake is done, it becomes no link.
- Connections are bounded in all, without a handshake, and by address, see `limits`; links of peers are not among them.
- Each link is reported to the owner once when it is up and once when it is down, in that order. A link that replaces
  another is reported as up after the other is reported as down.
"""

from __future__ import annotations

import asyncio
import logging
import random
import secrets
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

from multipaxos.config.addresses import format_address
from multipaxos.config.cluster import Config
from multipaxos.config.keys import Keys
from multipaxos.errors import ConfigurationError
from multipaxos.transport.connection import Connection, Traffic
from multipaxos.transport.handshake import NodeHandshake
from multipaxos.transport.identity import Identity
from multipaxos.transport.limits import (
    TOO_MANY_HALF_OPEN,
    TOO_MANY_LINKS,
    TOO_MUCH_UNREAD,
    TOO_MUCH_WAITS,
    Crowd,
    Limits,
    LogLimit,
    Unread,
    raised_descriptors,
)
from multipaxos.transport.meetings import Life, Meetings
from multipaxos.transport.memory import Memory
from multipaxos.transport.turns import Turns
from multipaxos.wire.schema import Hello, LinkKind

log = logging.getLogger("multipaxos.transport")

DIAL_PAUSE_S = 0.01
DIAL_PAUSE_MAX_S = 0.3
OTHER_SLOTS = "other slots are refused here since our hello"
DIAL_S = 2.0  # the kernel's own time-out is minutes
SPEAKS_S = 1.5  # a link on which nothing arrived for so long may be replaced; peers ping each other every second


class Owner(Protocol):
    """What uses the links: the server."""

    def link_up(self, link: int, other: Hello) -> None:
        """A handshake is done. `other`: what a peer has said of itself; of a client or an admin only the kind."""

    def received(self, link: int, data: bytes) -> None:
        """A chunk arrived."""

    def link_down(self, link: int) -> None:
        """A link is gone."""

    def link_backlog(self, link: int, backlog: int) -> None:
        """What waits for a peer and has not reached the kernel, in bytes: it has become less, or more than one cut."""

    def unread(self, link: int, held_bytes: int) -> None:
        """What a client does not read, in bytes; 0: it reads again. The owner may be writing to the link now."""

    def cluster_id(self) -> int:
        """The id of the cluster, 0 while the node has none."""

    def refused_slots(self) -> tuple[int, ...]:
        """The slots that an operator has told the cluster to refuse."""


class Transport:
    """All links of a node. `listen`: the (host, port) to listen on, if it is not the node's address. `keys`: the
    cluster's. `limits`: others than the usual ones.

    `start` raises ConfigurationError if that place cannot be listened on.
    """

    def __init__(
        self,
        config: Config,
        identity: Identity,
        owner: Owner,
        listen: tuple[str, int] | None = None,
        keys: Keys = (),
        limits: Limits | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.links_max = self.limits.links  # or fewer, if the process has few descriptors
        self.descriptors_max = 0  # of the process, once it listens
        self.half_open: Crowd[Connection] = Crowd()
        self.strangers: Crowd[Connection] = Crowd()  # links of clients and admins
        self.unread_answers: Unread[Connection] = Unread(self.limits.unread_bytes, Connection.unsent_bytes)
        self.turns: Turns[Connection] = Turns()
        self.log_limit = LogLimit(self.limits)
        self.config = config
        self.identity = identity
        self.keys = keys
        self.listen = listen or config.nodes[identity.node_id].place
        self.owner = owner
        self.received: Callable[[int, bytes], None] = owner.received
        self.loop = asyncio.get_running_loop()
        self.memory = Memory(self.loop)
        self.links: dict[int, Connection] = {}  # those that can be written to
        self.peers: dict[int, Connection] = {}
        self.connections: set[Connection] = set()
        self.closes: Counter[str] = Counter()
        self.port = 0
        self._meetings = Meetings()
        self._announced: set[int] = set()  # links that the owner believes to be up
        self.traffic: dict[LinkKind, Traffic] = {"peer": Traffic(), "client": Traffic(), "admin": Traffic()}
        self._stopping = False
        self._turn_planned = False
        self._last_link = 0
        self._server: asyncio.Server | None = None
        self._dialling: list[asyncio.Task[None]] = []

    # -- life

    async def start(self, when_bound: Callable[[], None] = lambda: None) -> None:
        """Listens, then dials. `when_bound` is called when the place is this node's, before anything is received."""
        self.descriptors_max = raised_descriptors()
        spare = self.descriptors_max - self.limits.half_open - self.limits.descriptors_kept - 2 * len(self.config.nodes)
        self.links_max = max(1, min(self.limits.links, spare))
        try:
            self._server = await self.loop.create_server(
                lambda: Connection(self), *self.listen, reuse_address=True, start_serving=False
            )
            when_bound()
            await self._server.start_serving()
        except OSError as error:
            where = format_address(*self.listen)
            raise ConfigurationError(f"cannot listen on {where}: {error.strerror}; is the port taken?") from error
        self.port = self._server.sockets[0].getsockname()[1]
        for peer_id in range(self.identity.node_id + 1, len(self.config.nodes)):
            self._dialling.append(self.loop.create_task(self._dial(peer_id)))

    async def stop(self) -> None:
        """Closes everything: when it returns, no socket and no task is left."""
        self._stopping = True
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
        self.memory.stop()

    async def _dial(self, peer_id: int) -> None:
        """Keeps a link to one peer."""
        pause_s = DIAL_PAUSE_S
        while True:
            if await self._dial_once(peer_id):
                pause_s = DIAL_PAUSE_S
            await asyncio.sleep(pause_s * (0.5 + random.random()))
            pause_s = min(pause_s * 2, DIAL_PAUSE_MAX_S)

    async def _dial_once(self, peer_id: int) -> bool:
        """One connection, until it ends. Returns whether it was a link that lasted: one that ends as soon as it is up
        was refused by the other side's core."""
        node = self.config.nodes[peer_id]
        try:
            async with asyncio.timeout(DIAL_S):
                _, connection = await self.loop.create_connection(
                    lambda: Connection(self, peer_id), node.host, node.port
                )
            await asyncio.shield(connection.lost)
        except OSError as error:  # a time-out is one
            log.debug("node %d at %s does not answer: %s", peer_id, node.address, error)
            return False
        return connection.link != 0 and self.loop.time() - connection.up_s > DIAL_PAUSE_MAX_S

    # -- for connections (`connection.Hub`)

    def handshake(self, dialled: int) -> NodeHandshake:
        """See `Hub`."""
        owner = self.owner
        identity = replace(self.identity, cluster_id=owner.cluster_id(), refused_slots=owner.refused_slots())
        nonce = secrets.randbits(63) | 1
        return NodeHandshake(identity, self._meetings, self._speaking, nonce, dialled, self.keys)

    def _speaking(self, node_id: int) -> Life | None:
        """The life of a peer that is linked and speaks. A node that connects again has stopped speaking on its old
        link; if both speak, they are two."""
        other = self.peers.get(node_id)
        if other is None or other.link not in self.links or self.loop.time() - other.heard_s >= SPEAKS_S:
            return None
        return other.handshake.life

    def connected(self, connection: Connection) -> bool:
        """See `Hub`."""
        self.connections.add(connection)
        if connection.handshake.dialled < 0:
            self._admit(connection)
        return not self._stopping

    def _admit(self, connection: Connection) -> None:
        """Somebody has connected. What its handshake has to answer, if it is no peer, is known now."""
        host = connection.host
        theirs, everybody = self.strangers.of(host), self.strangers.count
        if theirs >= self.limits.links_of_address or (everybody >= self.links_max and theirs >= self.strangers.most()):
            connection.handshake.crowded = (
                f"this node has {everybody} links, {theirs} of them from {host}: close some, or use another node"
            )
        self.half_open.add(host, connection)
        if self.half_open.count > self.limits.half_open:
            self._throw_out(self.half_open.first_of_most(), TOO_MANY_HALF_OPEN)

    def _throw_out(self, connection: Connection, reason: str) -> None:
        connection.close(reason)
        connection.abort()
        self._forget(connection)

    def _forget(self, connection: Connection) -> None:
        """The connection counts no more."""
        host = connection.host
        self.half_open.discard(host, connection)
        self.strangers.discard(host, connection)
        self.unread_answers.note(connection, 0)
        self.turns.forget(connection)

    def received_much(self, connection: Connection, data: bytes) -> None:
        """See `Hub`."""
        now = self.turns.arrive(connection, data)
        if connection in self.turns:
            connection.wait_for_turn()
            if self.turns.waiting_bytes > self.limits.waiting_bytes:
                self._throw_out(self.turns.greatest(), TOO_MUCH_WAITS)
        self._plan_turn()
        if now and connection.link in self.links:
            self.received(connection.link, now)

    def _plan_turn(self) -> None:
        if self.turns.goes_on and not self._turn_planned:
            self._turn_planned = True
            self.loop.call_soon(self._next_turn)

    def _next_turn(self) -> None:
        """The loop has come round: everybody was heard."""
        self._turn_planned = False
        for connection, data in self.turns.next_turn(time.monotonic()):
            if connection.link in self.links:
                self.received(connection.link, data)
            if connection not in self.turns:
                connection.read_on()
        self._plan_turn()

    def unread(self, connection: Connection, held_bytes: int) -> None:
        """See `Hub`."""
        if connection.link in self._announced:
            self.owner.unread(connection.link, held_bytes)
        greatest = self.unread_answers.note(connection, held_bytes)
        if greatest is not None:
            self._throw_out(greatest, TOO_MUCH_UNREAD)

    def up(self, connection: Connection) -> None:
        """See `Hub`."""
        self.half_open.discard(connection.host, connection)
        if connection.peer_id >= 0 and connection.handshake.told_slots != self.owner.refused_slots():
            connection.close(OTHER_SLOTS)
            return
        self._last_link += 1
        connection.link = self._last_link
        connection.traffic = self.traffic[connection.handshake.kind]
        connection.traffic.links += 1
        self.links[connection.link] = connection
        self._announced.add(connection.link)
        peer_id, other = connection.peer_id, connection.handshake.theirs
        assert other is not None, "a link is up when the other side has said who it is"
        older = self.peers.get(peer_id)
        if peer_id >= 0:
            self.peers[peer_id] = connection
        else:
            if self.strangers.count >= self.links_max:
                self._throw_out(self.strangers.first_of_most(lambda each: each.heard_s), TOO_MANY_LINKS)
            self.strangers.add(connection.host, connection)
        if older is not None:
            older.close("replaced by a newer link")
            older.abort()
            self._down(older)
        self.owner.link_up(connection.link, other)

    def closing(self, connection: Connection, reason: str) -> str | None:
        """See `Hub`. The link is reported as down later, because the owner may be writing now."""
        self.closes[reason] += 1
        self.links.pop(connection.link, None)
        return self.log_limit.allows(reason, self.loop.time())

    def lost(self, connection: Connection) -> None:
        """See `Hub`."""
        self.connections.discard(connection)
        self._forget(connection)
        if connection.heavy:
            self.memory.heavy_link_gone()
        if connection.link:
            self._down(connection)

    def backlog(self, connection: Connection, backlog: int) -> None:
        """See `Hub`."""
        if connection.link in self._announced:
            self.owner.link_backlog(connection.link, backlog)

    def held(self) -> dict[str, int]:
        """How far the limits are reached, for the status."""
        return {
            "links_of_clients": self.strangers.count,
            "links_of_clients_max": self.links_max,
            "links_of_one_address": self.strangers.most(),
            "descriptors_max": self.descriptors_max,
            "half_open": self.half_open.count,
            "unread_bytes": self.unread_answers.sum_bytes,
            "waiting_bytes": self.turns.waiting_bytes,
            "memory_trims": self.memory.trims,
            "log_lines_left_out": self.log_limit.left_out,
        }

    def _down(self, connection: Connection) -> None:
        """A link is gone: it is reported to the owner, once."""
        self.links.pop(connection.link, None)
        if connection.link not in self._announced:
            return
        self._announced.discard(connection.link)
        if connection.peer_id >= 0 and self.peers.get(connection.peer_id) is connection:
            del self.peers[connection.peer_id]
        self.owner.link_down(connection.link)
