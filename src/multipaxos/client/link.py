"""A client's connection to one node: the handshake, then bytes both ways.

Theory. The client, the load generator and the command line use the same link. The handshake is that of
`transport.handshake`; this file carries its bytes.

Rules.
- `on_data` gets every chunk that arrives after the handshake. `on_lost` is called once, when the link is gone.
- The link is `paused` while the kernel takes no more; `on_room` is called when it does again. The kernel is to hold
  little that it has not sent (UNSENT_BYTES): what is in it cannot be taken back.
"""

from __future__ import annotations

import asyncio
import fcntl
import secrets
import socket
import struct
import termios
from collections.abc import Callable
from typing import cast

from multipaxos.config.keys import Keys
from multipaxos.errors import HandshakeRefused
from multipaxos.transport.connection import reaches_itself
from multipaxos.transport.handshake import ClientHandshake, Failure
from multipaxos.wire.schema import Hello, LinkKind

CONNECT_S = 1.0
UNSENT_BYTES = 128 << 10


class ClientLink(asyncio.Protocol):
    """One connection. `ready` gets the node's hello, or OSError or HandshakeRefused; `node_id` is -1 until then.
    `keys`: those of the cluster's file, for an admin."""

    def __init__(
        self,
        on_data: Callable[[bytes], None],
        on_lost: Callable[[], None],
        kind: LinkKind = "client",
        keys: Keys = (),
    ) -> None:
        self.on_data = on_data
        self.on_lost = on_lost
        self.ready: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.node_id = -1
        self.on_room: Callable[[], None] = lambda: None
        self.paused = False  # what is written now waits in memory
        self.written_bytes = self.received_bytes = 0
        self._handshake = ClientHandshake(kind, secrets.randbits(63) | 1, keys=keys)
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the first hello."""
        self._transport = cast(asyncio.Transport, transport)
        if reaches_itself(transport):
            self._fail(ConnectionRefusedError("nobody listens there: the socket reached itself"))
            return
        raw = transport.get_extra_info("socket")
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, UNSENT_BYTES)
        self.write(self._handshake.open())

    def write(self, data: bytes) -> None:
        """Sends bytes. There must have been a connection."""
        assert self._transport is not None
        self.written_bytes += len(data)
        self._transport.write(data)

    def unsent_bytes(self) -> int:
        """How much of what was written has not arrived in the node's kernel."""
        if self._transport is None or self._transport.is_closing():
            return 0
        there = fcntl.ioctl(self._transport.get_extra_info("socket").fileno(), termios.TIOCOUTQ, bytes(4))
        return self._transport.get_write_buffer_size() + int(struct.unpack("i", there)[0])

    def data_received(self, data: bytes) -> None:
        """Passes a chunk to the owner, or to the handshake before that is done."""
        self.received_bytes += len(data)
        if self.node_id >= 0:
            self.on_data(data)
        elif self._handshake.failure is None:
            self._shake_hands(data)

    def _shake_hands(self, data: bytes) -> None:
        answer = self._handshake.receive(data)
        if answer:
            self.write(answer)
        if self._handshake.failure is not None:
            self._fail(self._refused(self._handshake.failure))
        elif self._handshake.theirs is not None:
            self.node_id = self._handshake.theirs.node
            if not self.ready.done():
                self.ready.set_result(self._handshake.theirs)
            rest = self._handshake.take_rest()
            if rest:
                self.on_data(rest)

    @property
    def theirs(self) -> Hello:
        """What the node said of itself. The handshake must be done."""
        return self.ready.result()

    @staticmethod
    def _refused(failure: Failure) -> HandshakeRefused:
        return HandshakeRefused(f"no link with this node: {failure.detail or failure.reason}")

    def _fail(self, error: Exception) -> None:
        self._give_up(error)
        self.close()

    def _give_up(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(error)
            self.ready.exception()  # the caller may have stopped waiting for it

    def pause_writing(self) -> None:
        """The kernel takes no more."""
        self.paused = True

    def resume_writing(self) -> None:
        """The kernel takes more."""
        self.paused = False
        self.on_room()

    def connection_lost(self, exc: Exception | None) -> None:
        """The link is gone."""
        self._give_up(ConnectionResetError("the node closed the connection during the handshake"))
        self.on_lost()

    def close(self) -> None:
        """Ends the link at once."""
        if self._transport is not None:
            self._transport.abort()


async def dial(
    address: tuple[str, int],
    on_data: Callable[[bytes], None],
    on_lost: Callable[[], None],
    kind: LinkKind = "client",
    limit_s: float = CONNECT_S,
    keys: Keys = (),
) -> ClientLink:
    """A link whose handshake is done. Raises OSError (TimeoutError after `limit_s`) or HandshakeRefused."""
    loop = asyncio.get_running_loop()
    link: ClientLink | None = None
    try:
        async with asyncio.timeout(limit_s):
            _, link = await loop.create_connection(lambda: ClientLink(on_data, on_lost, kind, keys), *address)
            await link.ready
            return link
    except BaseException as error:
        if link is not None:
            link.close()
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"no answer in {limit_s:g} s") from None
        raise
