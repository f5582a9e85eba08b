"""Links between real processes that can be cut: a proxy in user space, which needs no privileges.

Theory. A node's address in the configuration is where this proxy listens; the node itself listens elsewhere (`serve
--listen`). Who dials through the proxy says in its first frame, the hello, who it is. So every byte belongs to a pair
(from, to): nodes by id, and CLIENT for all clients. A cut holds back what is said from one to the other, of as many
pairs as one likes; when it heals, what was held back arrives late, or the links are reset.

Rules.
- An end is something said, too: of who closes a link, or dies, while its words are held back, the other side hears
  only when the cut heals.
- What waits is bounded: beyond, the source is not read from, and its own back-pressure begins.
- A cut took effect when it has held something back. A reset is a TCP reset of a link that was open.
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
RESET_AT_CLOSE = struct.pack("ii", 1, 0)  # SO_LINGER on, for no time
STOP_S = 10.0

Pair = tuple[int, int]
Address = tuple[str, int]


def both_ways(some: Iterable[int], others: Iterable[int]) -> set[Pair]:
    """All pairs between two groups."""
    there = {(one, other) for one in some for other in others}
    return there | {(other, one) for one, other in there}


class Flow:
    """What one side of a link says to the other. `pair` is None until it is known who dialled."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.pair: Pair | None = None
        self.waiting = bytearray()
        self.ended = False
        self.source: asyncio.Transport | None = None
        self.target: asyncio.Transport | None = None
        self.blocked = False  # the target's own buffer is full
        self._paused = False

    def feed(self, data: bytes) -> None:
        """Something is said."""
        self.waiting += data
        self.push()

    def end(self) -> None:
        """The source has ended."""
        self.ended = True
        self.push()

    def push(self) -> None:
        """Passes on what may pass."""
        if self.pair is not None and self.target is not None:
            if self.network.cuts[self.pair]:
                self.network.held_back[self.pair] += 1
            else:
                self._deliver(self.target)
        self.regulate()

    def _deliver(self, target: asyncio.Transport) -> None:
        if self.waiting and not target.is_closing():
            target.write(bytes(self.waiting))
        self.waiting.clear()
        if self.ended:
            target.close()

    def regulate(self) -> None:
        """Reads from the source only while there is room."""
        full = self.blocked or len(self.waiting) > WAITING_BYTES
        if full == self._paused or self.source is None or self.source.is_closing():
            return
        self._paused = full
        if full:
            self.source.pause_reading()
        else:
            self.source.resume_reading()


class Link:
    """A connection through the proxy: from who dialled, there, to a node, and back."""

    def __init__(self, network: Network, node: int) -> None:
        self.network = network
        self.node = node
        self.there = Flow(network)
        self.back = Flow(network)

    @property
    def is_open(self) -> bool:
        """Do both ends stand, and is it known between whom?"""
        return self.there.pair is not None and not self.there.ended and not self.back.ended

    def on_said(self) -> None:
        """Who dialled has said something: the first frame tells who it is."""
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
        """One end is gone; with the other it is forgotten."""
        if self.there.ended and (self.back.ended or self.back.source is None):
            self.network.links.discard(self)

    def reset(self) -> None:
        """Breaks it at both ends."""
        for end in (self.there.source, self.back.source):
            if end is not None and not end.is_closing():
                end.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
                end.abort()


class End(asyncio.Protocol):
    """One socket of a link: what it says goes into `said`, what it is told comes out of `told`."""

    def __init__(self, link: Link, said: Flow, told: Flow) -> None:
        self.link = link
        self.said = said
        self.told = told

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """What waited for it may go."""
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.said.source = self.told.target = cast(asyncio.Transport, transport)
        self.link.network.links.add(self.link)
        self.told.push()

    def data_received(self, data: bytes) -> None:
        """Something is said."""
        self.said.feed(data)
        self.link.on_said()

    def pause_writing(self) -> None:
        """It does not read."""
        self.told.blocked = True
        self.told.regulate()

    def resume_writing(self) -> None:
        """It reads again."""
        self.told.blocked = False
        self.told.regulate()

    def connection_lost(self, exc: Exception | None) -> None:
        """Its end is said too."""
        self.said.end()
        self.link.on_ended()


class Cut:
    """Some pairs between which nothing passes, until it is healed."""

    def __init__(self, network: Network, pairs: Iterable[Pair]) -> None:
        self.network = network
        self.pairs = frozenset(pairs)
        self._before = self._held_back()
        network.cuts.update(self.pairs)

    def _held_back(self) -> int:
        return sum(self.network.held_back[pair] for pair in self.pairs)

    @property
    def took_effect(self) -> bool:
        """Was something held back?"""
        return self._held_back() > self._before

    def heal(self, reset: bool) -> None:
        """What was held back arrives, or its links are reset; where another cut holds still, nothing changes."""
        self.network.cuts.subtract(self.pairs)
        for link in list(self.network.links):
            flows = [flow for flow in (link.there, link.back) if flow.pair in self.pairs]
            if reset and any(flow.pair is not None and not self.network.cuts[flow.pair] for flow in flows):
                link.reset()
            else:
                for flow in flows:
                    flow.push()


class Network:
    """The proxy of a whole cluster. `fronts`: where it listens for each node; `nodes`: where they listen themselves."""

    def __init__(self, fronts: Sequence[Address], nodes: Sequence[Address]) -> None:
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
        """Closes everything."""
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
        """Goes on to the node that the link is for."""
        task = asyncio.get_running_loop().create_task(self._dial(link))
        self._dials.add(task)
        task.add_done_callback(self._dials.discard)

    async def _dial(self, link: Link) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: End(link, link.back, link.there), *self.nodes[link.node]
            )
        except OSError:  # nobody is there: who dialled finds its link closed
            link.back.end()
            link.on_ended()

    def cut(self, pairs: Iterable[Pair]) -> Cut:
        """Nothing passes between these pairs any more."""
        return Cut(self, pairs)

    def reset(self, pairs: Iterable[Pair]) -> int:
        """Breaks the links between these pairs; how many there were."""
        wanted = set(pairs)
        found = [link for link in self.links if link.is_open and link.there.pair in wanted]
        for link in found:
            link.reset()
        return len(found)
