"""The status of nodes, and which of them leads.

Rules. Each question has a link of its own and waits at most CONNECT_S for the handshake and for the answer. Nodes are
asked at the same time, so a silent node does not delay the answers of the others.
"""

from __future__ import annotations

import asyncio
import json
from typing import Any

from multipaxos.client.link import CONNECT_S, ClientLink, dial
from multipaxos.errors import NoQuorum
from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError
from multipaxos.wire.codec import split as split_frames
from multipaxos.wire.schema import decode_status_reply, encode_status_request

POLL_S = 0.05


async def fetch_status(address: tuple[str, int]) -> dict[str, Any] | None:
    """The node's row of `multipaxos status`; None if it does not answer. Raises HandshakeRefused."""
    answer: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
    received = b""  # and not taken yet

    def on_data(data: bytes) -> None:
        nonlocal received
        try:
            frames, received = split_frames(received + data)
            for frame in frames:  # a node also says who leads
                if codec.decode_message(frame)["kind"] == "status_reply" and not answer.done():
                    answer.set_result(json.loads(decode_status_reply(frame)[1]))
        except (CodecError, ValueError):
            on_lost()

    def on_lost() -> None:
        if not answer.done():
            answer.set_result(None)

    link: ClientLink | None = None
    try:
        link = await dial(address, on_data, on_lost)
        link.write(encode_status_request(1))
        async with asyncio.timeout(CONNECT_S):
            return await answer
    except (OSError, TimeoutError):
        return None
    finally:
        if link is not None:
            link.close()


async def fetch_statuses(addresses: list[tuple[str, int]]) -> list[dict[str, Any] | None]:
    """The rows of all nodes, in the order of their addresses; None for a node that does not answer."""
    return list(await asyncio.gather(*(fetch_status(address) for address in addresses)))


async def _first_leader(addresses: list[tuple[str, int]]) -> tuple[str, int] | None:
    """The address of the first node that answers that it leads; None if no node leads."""
    asked = {asyncio.ensure_future(fetch_status(address)): address for address in addresses}
    try:
        waiting = set(asked)
        while waiting:
            answered, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in answered:
                status = each.result()
                if status is not None and status["leading"]:
                    return asked[each]
        return None
    finally:
        for each in asked:
            each.cancel()
        await asyncio.gather(*asked, return_exceptions=True)


async def find_leader(addresses: list[tuple[str, int]], timeout_s: float) -> tuple[str, int]:
    """The address of the node that leads. Waits until there is one; raises NoQuorum after `timeout_s`."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while loop.time() < end:
        address = await _first_leader(addresses)
        if address is not None:
            return address
        await asyncio.sleep(POLL_S)
    names = ", ".join(f"{host}:{port}" for host, port in addresses)
    raise NoQuorum(f"no node of {names} leads after {timeout_s:g} s: start the others, or look at `multipaxos status`")
