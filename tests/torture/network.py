"""Links between real processes that can be cut: a proxy in user space, which needs no privileges.

Theory. This proxy listens at a node's address in the configuration; the node itself listens elsewhere (`serve
--listen`). A process that dials through the proxy names itself in its first frame, the hello. So every byte belongs to
a pair (from, to): nodes by id, and CLIENT for all clients. A cut holds back the bytes of any number of pairs; when it
heals, these bytes arrive late, or the links are reset.

Rules.
- The end of a link is held back like its bytes: if a process closes the link or dies during the cut, the other side
  learns that only when the cut heals.
- The bytes that wait are bounded: above the bound the proxy does not read from the source, which then feels
  back-pressure.
- With a `rate` each direction of each link carries so many bytes a second; what waits for that waits here.
- A cut took effect if it has held something back. A reset is a TCP reset of a link that was open.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import cast

from multipaxos.wire.codec import CodecError
from multipaxos.wire.codec import split as split_frames
from multipaxos.wire.schema import Hello

CLIENT = -1
WAITING_BYTES = 1 << 20
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for 0 seconds
STOP_S = 10.0
SLICE_S = 0.005  # a rate is kept in slices of so long

Pair = tuple[int, int]
Address = tuple[str, int]


def both_ways(some: Iterable[int], others: Iterable[int]) -> set[Pair]:
    """All pairs between two groups, in both directions."""
    there = {(one, other) for one in some for other in others}
    return there | {(other, one) for one, other in there}


class Flow:
    """The bytes from one side of a link to the other. `pair` is None until the dialling process has named itself."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.pair: Pair | None = None
        self.waiting = bytearray()
        self.ended = False
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.blocked = False  # the target's own buffer is full
        self._paused = False
        self._slice: asyncio.TimerHandle | None = None  # the wire is busy until then

    def feed(self, data: bytes) -> None:
        """Adds bytes that the source has sent."""
        self.waiting += data
        self.push()

    def end(self) -> None:
        """Notes that the source has ended."""
        self.ended = True
        self.push()

    def push(self) -> None:
        """Passes on the waiting bytes, unless a cut holds them back."""
        if self.pair is not None and self.target is not None:
            if self.network.cuts[self.pair]:
                self.network.held_back[self.pair] += 1
            else:
                self._deliver(self.target)
        self.regulate()

    def _deliver(self, target: asyncio.Transport) -> None:
        if self._slice is not None and not target.is_closing():
            return
        rate = self.network.rate
        size = max(1, int(rate * SLICE_S)) if rate and not target.is_closing() else len(self.waiting)
        part = bytes(self.waiting[:size])
        del self.waiting[:size]
        if part and not target.is_closing():
            target.write(part)
            if rate:
                self._slice = asyncio.get_running_loop().call_later(len(part) / rate, self._next_slice)
        if self.ended and not self.waiting:
            target.close()

    def _next_slice(self) -> None:
        """The wire is free."""
        self._slice = None
        self.push()

    def regulate(self) -> None:
        """Reads from the source only while there is room for more bytes."""
        full = self.blocked or len(self.waiting) > WAITING_BYTES
        if full == self._paused or self.source is None or self.source.is_closing():
            return
        self._paused = full
        if full:
            self.source.pause_reading()
        else:
            self.source.resume_reading()


class Link:
    """A connection through the proxy: `there` flows from the dialling process to the node, `back` the other way."""

    def __init__(self, network: Network, node: int) -> None:
        self.network = network
        self.node = node
        self.there = Flow(network)
        self.back = Flow(network)

    @property
    def is_open(self) -> bool:
        """Are both ends open, and has the dialling process named itself?"""
        return self.there.pair is not None and not self.there.ended and not self.back.ended

    def on_data(self) -> None:
        """Reads the dialling process's name from its first frame, when that is complete."""
        if self.there.pair is not None:
            return
        try:
            frames, _ = split_frames(bytes(self.there.waiting))
            if not frames:
                return
            hello = Hello.decode(frames[0])
        except CodecError:
            self.reset()
            return
        who = hello.node if hello.kind == "peer" else CLIENT
        self.there.pair, self.back.pair = (who, self.node), (self.node, who)
        self.network.dial(self)

    def on_ended(self) -> None:
        """Forgets the link when both of its ends are gone."""
        if self.there.ended and (self.back.ended or self.back.source is None):
            self.network.links.discard(self)

    def reset(self) -> None:
        """Resets both ends."""
        for end in (self.there.source, self.back.source):
            if end is not None and not end.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
                end.abort()


class End(asyncio.Protocol):
    """One socket of a link: the bytes it receives go into `incoming`, the bytes it sends come out of `outgoing`."""

    def __init__(self, link: Link, incoming: Flow, outgoing: Flow) -> None:
        self.link = link
        self.incoming = incoming
        self.outgoing = outgoing

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Sends the bytes that waited for this connection."""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.incoming.source = self.outgoing.target = cast(asyncio.Transport, transport)
        self.link.network.links.add(self.link)
        self.outgoing.push()

    def data_received(self, data: bytes) -> None:
        """Passes on bytes that the socket has received."""
        self.incoming.feed(data)
        self.link.on_data()

    def pause_writing(self) -> None:
        """Holds bytes back because the socket's peer does not read."""
        self.outgoing.blocked = True
        self.outgoing.regulate()

    def resume_writing(self) -> None:
        """Sends again because the socket's peer reads again."""
        self.outgoing.blocked = False
        self.outgoing.regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        """Passes the end of the connection on, like its bytes."""
        self.incoming.end()
        self.link.on_ended()


class Cut:
    """Pairs between which no byte passes until `heal`."""

    def __init__(self, network: Network, pairs: Iterable[Pair]) -> None:
        self.network = network
        self.pairs = frozenset(pairs)
        self._before = self._held_back()
        network.cuts.update(self.pairs)

    def _held_back(self) -> int:
        return sum(self.network.held_back[pair] for pair in self.pairs)

    @property
    def took_effect(self) -> bool:
        """Has the cut held something back?"""
        return self._held_back() > self._before

    def heal(self, reset: bool) -> None:
        """Passes the bytes on, or resets their links; pairs that another cut still holds are left alone."""
        self.network.cuts.subtract(self.pairs)
        for link in list(self.network.links):
            flows = [flow for flow in (link.there, link.back) if flow.pair in self.pairs]
            if reset and any(flow.pair is not None and not self.network.cuts[flow.pair] for flow in flows):
                link.reset()
            else:
                for flow in flows:
                    flow.push()


class Network:
    """The proxy of a whole cluster. `fronts`: its own address for each node; `nodes`: the nodes' real addresses;
    `rate`: bytes a second of each direction of each link, 0: as many as there are."""

    def __init__(self, fronts: Sequence[Address], nodes: Sequence[Address], rate: int = 0) -> None:
        self.rate = rate
        self.fronts = fronts
        self.nodes = nodes
        self.cuts: Counter[Pair] = Counter()
        self.held_back: Counter[Pair] = Counter()
        self.links: set[Link] = set()
        self._servers: list[asyncio.Server] = []
        self._dials: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Network:
        loop = asyncio.get_running_loop()
        try:
            for node, front in enumerate(self.fronts):
                self._servers.append(await loop.create_server(lambda node=node: self._front(node), *front))
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    def _front(self, node: int) -> End:
        link = Link(self, node)
        return End(link, link.there, link.back)

    async def stop(self) -> None:
        """Closes all servers and links."""
        for server in self._servers:
            server.close()
        for dial in self._dials:
            dial.cancel()
        await asyncio.gather(*self._dials, return_exceptions=True)
        self.cuts.clear()
        async with asyncio.timeout(STOP_S):
            while self.links:
                for link in list(self.links):
                    link.reset()
                await asyncio.sleep(0.01)

    def dial(self, link: Link) -> None:
        """Connects the link to its node."""
        task = asyncio.get_running_loop().create_task(self._dial(link))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, link: Link) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: End(link, link.back, link.there), *self.nodes[link.node]
            )
        except OSError:  # the node is down: the dialling process finds its link closed
            link.back.end()
            link.on_ended()

    def cut(self, pairs: Iterable[Pair]) -> Cut:
        """Cuts these pairs."""
        return Cut(self, pairs)

    def reset(self, pairs: Iterable[Pair]) -> int:
        """Resets the links between these pairs, and returns their number."""
        wanted = set(pairs)
        found = [link for link in self.links if link.is_open and link.there.pair in wanted]
        for link in found:
            link.reset()
        return len(found)
