"""The proxy between nodes: cuts, resets, and links to nodes that are down."""

from __future__ import annotations

import asyncio
from random import Random

import pytest

from multipaxos.config.cluster import Config
from tests.support.link_by_hand import PATIENCE_S, RawLink, client_hello, local_config, peer_hello, run, until
from tests.torture.network import CLIENT, WAITING_BYTES, Network, both_ways

pytestmark = pytest.mark.timeout(300)


class Node:
    """Stands in for a node: listens, and keeps the bytes it receives."""

    def __init__(self) -> None:
        self.received = b""
        self.ended = False
        self.writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        self.writers.append(writer)
        try:
            while data := await reader.read(1 << 16):
                self.received += data
        except ConnectionResetError:
            self.received += b" reset"
        self.ended = True
        writer.close()


class Bench:
    """Node 1 behind the proxy; `link` is a link of node 0 to it."""

    def __init__(self, rate: int = 0) -> None:
        self.config: Config = local_config(2)
        behind = [(node.host, node.port) for node in local_config(2).nodes]
        self.node = Node()
        self.network = Network([(node.host, node.port) for node in self.config.nodes], behind, rate)

    async def __aenter__(self) -> Bench:
        self.server = await asyncio.start_server(self.node.serve, *self.network.nodes[1])
        await self.network.__aenter__()
        self.link = await self.dial(peer_hello(self.config, 0).encode())
        return self

    async def dial(self, hello: bytes) -> RawLink:
        """A link whose hello node 1 has received."""
        link = await RawLink.to(self.config, 1)
        self.node.received = b""
        link.send(hello)
        await until(lambda: self.node.received == hello)
        self.node.received = b""
        return link

    async def __aexit__(self, *error: object) -> None:
        self.link.close()
        await self.network.stop()
        assert not self.network.links
        self.server.close()


def test_with_a_rate_bytes_take_time_and_arrive_as_they_were_sent() -> None:
    """The end of the link comes after them."""

    async def main() -> None:
        rate, sent = 1 << 20, Random(1).randbytes(200_000)
        async with Bench(rate) as bench:
            began_s = asyncio.get_running_loop().time()
            bench.link.send(sent)
            bench.link.close()
            await until(lambda: bench.node.ended)
            assert bench.node.received == sent
            assert asyncio.get_running_loop().time() - began_s > 0.9 * len(sent) / rate

    run(main())


def test_what_a_cut_holds_back_comes_when_it_heals() -> None:
    """The end of the link is held back too; in the other direction nothing is."""

    async def main() -> None:
        async with Bench() as bench:
            cut = bench.network.cut({(0, 1)})
            assert not cut.took_effect
            bench.link.send(b"late")
            await until(lambda: cut.took_effect)
            bench.node.writers[0].write(b"back")
            async with asyncio.timeout(PATIENCE_S):
                assert await bench.link.reader.readexactly(4) == b"back"
            held = bench.network.held_back[0, 1]
            bench.link.close()
            await until(lambda: bench.network.held_back[0, 1] > held)  # the link's end is held back too
            assert (bench.node.received, bench.node.ended) == (b"", False)
            cut.heal(reset=False)
            await until(lambda: bench.node.ended)
            assert bench.node.received == b"late"

    run(main())


def test_a_cut_may_heal_with_a_reset() -> None:
    async def main() -> None:
        async with Bench() as bench:
            other = await bench.dial(client_hello().encode())
            cut = bench.network.cut(both_ways([0], [1]))
            bench.link.send(b"lost")
            other.send(b"of a client")
            await until(lambda: cut.took_effect and bench.node.received == b"of a client")
            cut.heal(reset=True)
            await until(lambda: bench.node.ended)
            assert bench.node.received == b"of a client reset"
            with pytest.raises(ConnectionResetError):
                await bench.link.reader.readexactly(1)
            assert bench.network.reset(both_ways([0], [1])) == 0
            assert bench.network.reset(both_ways([CLIENT], [1])) == 1
            other.close()

    run(main())


def test_cuts_add_up() -> None:
    """Bytes that two cuts hold back wait for both."""

    async def main() -> None:
        async with Bench() as bench:
            one, other = bench.network.cut({(0, 1)}), bench.network.cut(both_ways([0], [1]))
            bench.link.send(b"late")
            await until(lambda: one.took_effect and other.took_effect)
            one.heal(reset=True)
            bench.node.writers[0].write(b"back")
            await until(lambda: bench.network.held_back[1, 0])
            assert not bench.node.received
            other.heal(reset=False)
            await until(lambda: bench.node.received == b"late")

    run(main())


def test_a_dial_into_a_cut_is_held_back() -> None:
    """The node learns of the link only when the cut heals."""

    async def main() -> None:
        async with Bench() as bench:
            cut = bench.network.cut({(0, 1)})
            second = await RawLink.to(bench.config, 1)
            hello = peer_hello(bench.config, 0).encode()
            second.send(hello)
            await until(lambda: cut.took_effect)
            assert not bench.node.received
            cut.heal(reset=False)
            await until(lambda: bench.node.received == hello)
            second.close()

    run(main())


def test_the_bytes_that_wait_are_bounded_and_none_is_lost() -> None:
    async def main() -> None:
        async with Bench() as bench:
            cut = bench.network.cut({(0, 1)})
            sent = Random(1).randbytes(16 * WAITING_BYTES)
            bench.link.send(sent)
            (link,) = bench.network.links
            await until(lambda: len(link.there.waiting) > WAITING_BYTES)
            assert len(link.there.waiting) < 2 * WAITING_BYTES
            cut.heal(reset=False)
            await until(lambda: len(bench.node.received) == len(sent))
            assert bench.node.received == sent

    run(main())


def test_a_link_to_a_node_that_is_down_is_closed() -> None:
    """A link to a node that is down is closed, but not while a cut holds the node's bytes back."""

    async def main() -> None:
        async with Bench() as bench:
            for held in (False, True):
                cut = bench.network.cut({(1, 0)} if held else set())
                link = await RawLink.to(bench.config, 0)
                link.send(peer_hello(bench.config, 1).encode())
                cut.heal(reset=False)
                await link.ended()
            cut = bench.network.cut({(0, 1)})
            link = await RawLink.to(bench.config, 0)
            link.send(peer_hello(bench.config, 1).encode())
            await until(lambda: cut.took_effect)
            assert not link.reader.at_eof()
            cut.heal(reset=False)
            await link.ended()

    run(main())


def test_a_link_without_a_hello_is_closed() -> None:
    async def main() -> None:
        async with Bench() as bench:
            link = await RawLink.to(bench.config, 1)
            link.send(b"GET / HTTP/1.1\r\n\r\n")
            await link.ended()

    run(main())
