"""A client's link: the handshake with a node, and what is refused."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest

from multipaxos.client import link as client_link
from multipaxos.client.discovery import fetch_statuses
from multipaxos.client.link import ClientLink, dial
from multipaxos.config.addresses import parse_address
from multipaxos.errors import HandshakeRefused
from multipaxos.transport.handshake import ClientHandshake
from multipaxos.transport.identity import Versions
from multipaxos.wire.schema import Hello
from tests.support.link_by_hand import local_config, run, until
from tests.transport.hub import hub


def test_bytes_pass_both_ways() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0) as (made, listener):
            chunks: list[bytes] = []
            lost: list[bool] = []
            address = (config.nodes[0].host, config.nodes[0].port)
            link = await dial(address, chunks.append, lambda: lost.append(True))
            assert link.node_id == 0
            await until(lambda: listener.up)
            link.write(b"request")
            await until(lambda: listener.data.get(1) == b"request")
            assert listener.up == {1: (-1, 0)}
            made.links[1].write(b"answer")
            await until(lambda: b"".join(chunks) == b"answer")
            made.links[1].close("enough")
            await until(lambda: lost)
            await until(lambda: not listener.up)
            assert made.closes == {"enough": 1}
        empty = (config.nodes[1].host, config.nodes[1].port)
        assert await fetch_statuses([address, empty]) == [None, None]

    run(main())


def test_a_dial_reports_why_there_is_no_link(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    address = (config.nodes[0].host, config.nodes[0].port)

    async def main() -> None:
        async with hub(config, 0):
            monkeypatch.setattr(client_link, "ClientHandshake", partial(ClientHandshake, versions=Versions(8, 8)))
            with pytest.raises(HandshakeRefused, match="versions 8 to 8, this node 3 to 3"):
                await dial(address, print, lambda: None)
        with pytest.raises(OSError, match=r"[Cc]onnect"):
            await dial(address, print, lambda: None)
        mute = await asyncio.start_server(lambda reader, writer: held.append(writer), *address)
        held: list[asyncio.StreamWriter] = []
        with pytest.raises(TimeoutError, match=r"no answer in 0\.05 s"):
            await dial(address, print, lambda: None, limit_s=0.05)
        mute.close()
        for writer in held:
            writer.close()

    run(main())


def test_a_client_link_refuses_what_is_no_node() -> None:
    config = local_config()
    address = (config.nodes[0].host, config.nodes[0].port)

    async def main() -> None:
        held: list[asyncio.StreamWriter] = []

        def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            held.append(writer)
            writer.write(answers[len(held) - 1])

        answers = [b"HTTP/1.1 400 Bad Request\r\n\r\n", Hello(cluster="x", node=0, echo=1).encode()]
        server = await asyncio.start_server(answer, *address)
        for _ in answers:
            with pytest.raises(HandshakeRefused, match="no link with this node"):
                await dial(address, print, lambda: None)
        server.close()
        for writer in held:
            writer.close()

    run(main())


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_a_client_that_reaches_itself_has_no_link(uv: bool) -> None:
    """A dial to an ephemeral port where nobody listens can do this: the kernel may pick that port for our end."""
    place = parse_address(local_config().nodes[0].address)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        lost: list[bool] = []
        _, link = await loop.create_connection(
            lambda: ClientLink(lambda data: None, lambda: lost.append(True)), *place, local_addr=place
        )
        with pytest.raises(ConnectionRefusedError, match="nobody listens"):
            await link.ready
        await until(lambda: lost)

    run(main(), uv=uv)
