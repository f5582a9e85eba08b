"""One TCP connection of a node, from its first byte to its last: handshake, bytes both ways, back-pressure, end.

Theory. A connection belongs to a hub, which is all that it knows of the rest of the node. The handshake decides whether
the connection becomes a link; a link has a number, and its chunks go to the hub's owner as they arrive.

Rules.
- Back-pressure by bytes: a client that does not read its answers is not read from, the owner is told how much it holds,
  and if it reads nothing for CLIENT_DEAF_S it loses its link. A peer is always read from, because otherwise two nodes
  could wait for each other.
- Control is written at once. Bulk for a peer passes through an `Outbox`, so control waits for one cut of it at most;
  the kernel's own queue of bytes that it has not sent is held to PEER_NOTSENT_BYTES. The owner is told when what waits
  for a peer has become less, or more than one cut, and bounds by that what it gives.
- A peer loses its link when it acknowledges nothing for PEER_DEAF_MS, and never for what waits: what is cut has to be
  sent again from its beginning.
- A closed link is neither written to nor read from. Its unsent bytes may linger for LINGER_S, not longer.
- What the other side says goes to the log cut and quoted, and never into the names of counters.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import socket
import sys
import termios
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, cast

from multipaxos.transport.handshake import HANDSHAKE_S, TOO_LATE, NodeHandshake
from multipaxos.transport.outbox import Outbox
from multipaxos.transport.turns import SHORT_BYTES
from multipaxos.wire.codec import CUT_BYTES

log = logging.getLogger("multipaxos.transport")

# What the kernel holds beyond what is on its way: a frame of control waits behind it. One cut keeps a link of 1 Gbit/s
# busy for half a millisecond, and the loop comes round sooner than that.
PEER_NOTSENT_BYTES = CUT_BYTES
PEER_DEAF_MS = 5000
# A client whose machine vanished is noticed after a minute and a half; the kernel's own wait is two hours.
KEEPALIVE = ((socket.TCP_KEEPIDLE, 60), (socket.TCP_KEEPINTVL, 10), (socket.TCP_KEEPCNT, 3))
CLIENT_UNSENT_BYTES = 128 << 10  # beyond this the client is not read from, and counted: see `limits`
CLIENT_UNSENT_BYTES_MAX = 64 << 20  # beyond this it loses its link: answers to what it had sent before the pause
# A client that works reads something in this time, on any link; one that does not comes again and loses no answer.
CLIENT_DEAF_S = 30.0
DEAF_CLIENT = "a client that read no answer for too long"
LINGER_S = 1.0
TEXT_LOGGED = 300


def reaches_itself(connected: asyncio.BaseTransport) -> bool:
    """Whether this socket is connected to itself.

    This happens when nobody listens on an ephemeral port: the kernel may pick that very port for our end of the
    connection. Nobody else can listen on the port as long as such a socket is open.
    """
    return bool(connected.get_extra_info("sockname") == connected.get_extra_info("peername"))


@dataclass(slots=True)
class Traffic:
    """What the links of one kind have carried, handshakes left out. They share it, so it need not be added up over all
    links whenever somebody asks."""

    links: int = 0
    received_bytes: int = 0
    sent_bytes: int = 0
    long_turns: int = 0  # of which a part had to wait, see `turns`


class Hub(Protocol):
    """What a connection needs of the node that it belongs to."""

    loop: asyncio.AbstractEventLoop
    received: Callable[[int, bytes], None]  # (link, chunk)

    def received_much(self, connection: Connection, data: bytes) -> None:
        """A long chunk of a client: it may have to wait for its turn."""

    def handshake(self, dialled: int) -> NodeHandshake:
        """The handshake of a connection that has just been made."""

    def connected(self, connection: Connection) -> bool:
        """Takes note of a connection; False if it has to end: while the hub stops."""

    def up(self, connection: Connection) -> None:
        """The handshake is done: gives the link its number and reports it to the owner."""

    def closing(self, connection: Connection, reason: str) -> str | None:
        """The link closes: it is no longer written to. Returns what the log has to say beside it; None: no line."""

    def unread(self, connection: Connection, held_bytes: int) -> None:
        """A client that does not read holds so many bytes of answers; 0: it reads again."""

    def lost(self, connection: Connection) -> None:
        """The connection is gone."""

    def backlog(self, connection: Connection, backlog: int) -> None:
        """What waits for a peer, in bytes: it has become less, or more than one cut."""


class Connection(asyncio.Protocol):
    """One TCP connection. `dialled`: the node that was dialled, -1 if the other side dialled."""

    def __init__(self, hub: Hub, dialled: int = -1) -> None:
        self.hub = hub
        self.handshake = hub.handshake(dialled)
        self.link = 0  # the link's number, from 1, never used twice; 0 until the handshake is done
        self.heard_s = self.up_s = 0.0  # by the loop's clock: when a chunk arrived last, when the handshake was done
        self.traffic = Traffic()  # from the end of the handshake on that of all links of its kind
        self.write: Callable[[bytes], None] = self._not_connected
        self.lost: asyncio.Future[None] = hub.loop.create_future()
        self.host = ""  # the address of the other side, without a port
        self._now_s = hub.loop.time
        self._transport: asyncio.Transport | None = None
        # of the handshake; then of a client that does not read; then while unsent bytes linger
        self._timer: asyncio.TimerHandle | None = None
        self._closing = False
        self._outbox = Outbox()
        self._paused = False  # a client that does not read is not read from
        self._waits = False  # neither is one of which a part waits for its turn
        self.heavy = False  # it was one of those
        self._given_bytes = self._read_bytes = 0  # of a client: all that was written, what it acknowledged of that
        self._watches = False  # the transport reports when it holds nothing, not only when it holds more than a cut
        self._tells = False  # the owner is about to be told of the backlog

    def _not_connected(self, data: bytes) -> None:
        raise RuntimeError("a link was written to before it was connected")

    @property
    def peer_id(self) -> int:
        """The node at the other side, -1 if it is not known or no node."""
        return self.handshake.peer_id

    @property
    def name(self) -> str:
        """The name of the other side, for the log."""
        where = self._transport.get_extra_info("peername") if self._transport else None
        who = f"node {self.peer_id}" if self.peer_id >= 0 else self.handshake.kind
        return f"{who} at {where[0]}:{where[1]}" if where else who

    # -- beginning

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sets the socket's options, and speaks first if we dialled."""
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        where = transport.get_extra_info("peername")
        self.host = str(where[0]) if where else ""
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            raw.setsockopt(socket.IPPROTO_TCP, option, value)
        self._transport.set_write_buffer_limits(high=CLIENT_UNSENT_BYTES)
        self._timer = self.hub.loop.call_later(HANDSHAKE_S, self.close, TOO_LATE)
        if not self.hub.connected(self) or reaches_itself(transport):
            self.abort()
            return
        hello = self.handshake.open()
        if hello:
            self.write(hello)

    def data_received(self, data: bytes) -> None:
        """Passes a chunk to the owner, or to the handshake before that is done."""
        if self._closing:
            return
        if self.link:
            self.heard_s = self._now_s()
            self.traffic.received_bytes += len(data)
            if (len(data) > SHORT_BYTES or self._waits) and self.peer_id < 0:
                self.hub.received_much(self, data)
            else:
                self.hub.received(self.link, data)
        else:
            self._shake_hands(data)

    def wait_for_turn(self) -> None:
        """A part of what was read waits: no more is read."""
        if self._transport is not None and not self._waits:
            self._waits = self.heavy = True
            self.traffic.long_turns += 1
            self._transport.pause_reading()

    def read_on(self) -> None:
        """All that was read was handled."""
        self._waits = False
        if self._transport is not None and not (self._closing or self._paused or self._transport.is_closing()):
            self._transport.resume_reading()

    def _shake_hands(self, data: bytes) -> None:
        answer = self.handshake.receive(data)
        if answer:
            self.write(answer)
        if self.handshake.failure is not None:
            self.close(*self.handshake.failure)
        elif self.handshake.done:
            self._cancel_timer()
            self._become_a_link()
            rest = self.handshake.take_rest()
            if rest:
                self.data_received(rest)

    def _become_a_link(self) -> None:
        """Makes the connection a link. More bytes may wait for a peer than for a client, because the protocol needs a
        peer's messages."""
        assert self._transport is not None
        self.heard_s = self.up_s = self._now_s()
        if self.peer_id >= 0:
            raw = self._transport.get_extra_info("socket")
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, PEER_DEAF_MS)
            raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, PEER_NOTSENT_BYTES)
            self._transport.set_write_buffer_limits(high=CUT_BYTES, low=0)
        else:
            self.write = self._write_to_client
        self.hub.up(self)

    # -- bulk, of peers

    def write_bulk(self, pieces: Iterable[bytes]) -> int:
        """Bulk for a peer, in pieces of at most CUT_BYTES: they leave in order, behind all control. Returns their
        bytes."""
        taken = self._outbox.put(pieces)
        self._hand_on()
        return taken

    def _hand_on(self) -> None:
        """Hands on what the transport may hold now. If anything is left, goes on when the transport holds nothing."""
        transport = self._transport
        if transport is None or self._closing or transport.is_closing():
            return
        self._watch(True)
        buffered = transport.get_write_buffer_size
        while (piece := self._outbox.next(buffered())) is not None:
            transport.write(piece)
        if not buffered():
            self._watch(False)
        self._tell_if(self._outbox.fallen(buffered()) is not None)

    def _watch(self, on: bool) -> None:
        """The transport reports by `pause_writing` that it holds more than its limit, by `resume_writing` that it holds
        nothing. Where the limit is 0 it writes at once, so only bulk sets it to 0."""
        if on != self._watches:
            assert self._transport is not None
            self._watches = on
            self._transport.set_write_buffer_limits(high=0 if on else CUT_BYTES, low=0)

    def _tell_if(self, news: bool) -> None:
        """Tells the owner of the backlog, soon: it may be writing now."""
        if news and not self._tells:
            self._tells = True
            self.hub.loop.call_soon(self._tell)

    def _tell(self) -> None:
        self._tells = False
        if self._transport is not None and not self._closing:
            self.hub.backlog(self, self._outbox.backlog(self._transport.get_write_buffer_size()))

    # -- back-pressure

    def pause_writing(self) -> None:
        """The other side does not read what we have for it."""
        if self._transport is None or self._closing:
            return
        if self.peer_id >= 0 and self.link:
            self._tell_if(not self._watches)
            return
        self._paused = self.heavy = True
        self._transport.pause_reading()
        if self.link:
            self._judge_later()

    def _acknowledged_bytes(self) -> int:
        """Of what was written. The kernel's own queue is asked too: it takes more only when a third of it has left."""
        assert self._transport is not None
        raw = self._transport.get_extra_info("socket")
        in_kernel = int.from_bytes(fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)), sys.byteorder)
        return self._given_bytes - self.unsent_bytes() - in_kernel

    def _judge_later(self) -> None:
        self._read_bytes = self._acknowledged_bytes()
        self._timer = self.hub.loop.call_later(CLIENT_DEAF_S, self._judge_reader)

    def _judge_reader(self) -> None:
        """A client that has read nothing for a while loses its link."""
        if self._acknowledged_bytes() > self._read_bytes:
            self._judge_later()
        else:
            self.close(DEAF_CLIENT)
            self.abort()

    def unsent_bytes(self) -> int:
        """What the transport holds and the kernel has not taken."""
        return self._transport.get_write_buffer_size() if self._transport is not None else 0

    def _write_to_client(self, data: bytes) -> None:
        """Writes in cuts, because uvloop holds what it is given until all of it has left. Answers to what was read
        before a pause are bounded too, for this client and for all of them."""
        transport = self._transport
        assert transport is not None
        if len(data) <= CUT_BYTES:
            transport.write(data)
        else:
            for at in range(0, len(data), CUT_BYTES):
                transport.write(data[at : at + CUT_BYTES])
        self._given_bytes += len(data)
        if self._paused:
            self._note_unread()

    def _note_unread(self) -> None:
        held_bytes = self.unsent_bytes()
        if held_bytes > CLIENT_UNSENT_BYTES_MAX:
            self.close(f"more than {CLIENT_UNSENT_BYTES_MAX} bytes of answers unread")
            self.abort()
        else:
            self.hub.unread(self, held_bytes)

    def resume_writing(self) -> None:
        """The other side reads again."""
        if self._transport is None or self._closing or self._transport.is_closing():
            return
        if self.peer_id >= 0 and self.link:
            self._hand_on()
            return
        self._paused = False
        if self.link:
            self._cancel_timer()
        self.hub.unread(self, 0)
        if not self._waits:
            self.read_on()

    # -- end

    def close(self, reason: str, detail: str = "") -> None:
        """Ends the connection, once. The end is counted by `reason` and logged; unsent bytes linger for LINGER_S."""
        if self._transport is None or self._closing:
            return
        self._closing = True
        beside = self.hub.closing(self, reason)
        if beside is not None:
            said = detail and f": {detail[:TEXT_LOGGED]!r}"
            log.warning("closing the link to %s: %s%s%s", self.name, reason, said, beside)
        self._cancel_timer()
        self._transport.close()
        self._timer = self.hub.loop.call_later(LINGER_S, self.abort)

    def abort(self) -> None:
        """Ends the connection at once, without sending what is left."""
        if self._transport is not None:
            self._transport.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone, whichever side ended it."""
        self._cancel_timer()
        self._closing = True
        self.hub.lost(self)
        if not self.lost.done():
            self.lost.set_result(None)

    def _cancel_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
