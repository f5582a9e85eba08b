"""A client's connection to one node: the handshake, then bytes both ways.

Used by the client, the load generator and the command line alike. The three hellos are those of `transport`.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import Callable
from typing import cast

from multipaxos.errors import HandshakeRefused
from multipaxos.transport.transport import VERSION_MAX, VERSION_MIN, reaches_itself
from multipaxos.wire.codec import CodecError
from multipaxos.wire.codec import split as split_frames
from multipaxos.wire.schema import Hello, LinkKind

CONNECT_S = 1.0


class ClientLink(asyncio.Protocol):
    """One connection. `on_data` gets every chunk after the handshake; `on_lost` is called when it ends."""

    def __init__(
        self, on_data: Callable[[bytes], None], on_lost: Callable[[], None], kind: LinkKind = "client"
    ) -> None:
        self.on_data = on_data
        self.on_lost = on_lost
        self.kind = kind
        self.ready: asyncio.Future[Hello] = asyncio.get_running_loop().create_future()
        self.node = -1
        self.write: Callable[[bytes], None]
        self.paused = False
        self._nonce = secrets.randbits(63) | 1
        self._pending = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Says who we are."""
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write
        if reaches_itself(transport):
            self.ready.set_exception(ConnectionRefusedError("nobody listens there: the socket reached itself"))
            self.ready.exception()
            self._transport.abort()
            return
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.write(self._hello(0))

    def _hello(self, echo: int) -> bytes:
        return Hello(
            cluster="",
            version_min=VERSION_MIN,
            version_max=VERSION_MAX,
            kind=self.kind,
            nonce=self._nonce,
            echo=echo,
        ).encode()

    def data_received(self, data: bytes) -> None:
        """To the owner, or to the handshake."""
        if self.node >= 0:
            self.on_data(data)
            return
        self._pending += data
        try:
            frames, _ = split_frames(self._pending)
            if not frames:
                return
            hello = Hello.decode(frames[0])
            if hello.refusal or hello.echo != self._nonce or hello.node < 0:
                raise HandshakeRefused(hello.refusal or "the node did not echo our nonce")
        except (CodecError, HandshakeRefused) as error:
            self._fail(error)
            return
        rest = self._pending[len(frames[0]) :]
        self._pending = b""
        self.write(self._hello(hello.nonce))
        self.node = hello.node
        if not self.ready.done():
            self.ready.set_result(hello)
        if rest:
            self.on_data(rest)

    def _fail(self, error: Exception) -> None:
        if not self.ready.done():
            self.ready.set_exception(HandshakeRefused(f"no link with this node: {error}"))
            self.ready.exception()  # somebody may have given up waiting for it
        self.close()

    def pause_writing(self) -> None:
        """The node does not read."""
        self.paused = True

    def resume_writing(self) -> None:
        """It reads again."""
        self.paused = False

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        if not self.ready.done():
            self.ready.set_exception(ConnectionResetError("the node closed the connection during the handshake"))
            self.ready.exception()
        self.on_lost()

    def close(self) -> None:
        """Ends it."""
        if self._transport is not None:
            self._transport.abort()


async def dial(
    address: tuple[str, int],
    on_data: Callable[[bytes], None],
    on_lost: Callable[[], None],
    kind: LinkKind = "client",
    limit_s: float = CONNECT_S,
) -> ClientLink:
    """A link whose handshake is done. Raises OSError - TimeoutError after `limit_s` - or HandshakeRefused."""
    loop = asyncio.get_running_loop()
    link: ClientLink | None = None
    try:
        async with asyncio.timeout(limit_s):
            _, link = await loop.create_connection(lambda: ClientLink(on_data, on_lost, kind), *address)
            await link.ready
            return link
    except BaseException as error:
        if link is not None:
            link.close()
        if isinstance(error, TimeoutError):
            raise TimeoutError(f"no answer in {limit_s:g} s") from None
        raise
