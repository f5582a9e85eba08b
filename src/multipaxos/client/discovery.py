"""What nodes say of themselves, and which of them leads."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from multipaxos.client.link import CONNECT_S, ClientLink, dial
from multipaxos.errors import NoQuorum
from multipaxos.wire.codec import split as split_frames
from multipaxos.wire.schema import decode_status_reply, encode_status_request


async def fetch_status(address: tuple[str, int]) -> dict[str, Any] | None:
    """What a node says of itself, or None where it does not answer."""
    answer: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
    received = b""

    def on_data(data: bytes) -> None:
        nonlocal received
        received += data
        frames, _ = split_frames(received)
        if frames and not answer.done():
            answer.set_result(json.loads(decode_status_reply(frames[0])[1]))

    def on_lost() -> None:
        if not answer.done():
            answer.set_result(None)

    link: ClientLink | None = None
    try:
        link = await dial(address, on_data, on_lost, "admin")
        link.write(encode_status_request(1))
        async with asyncio.timeout(CONNECT_S):
            return await answer
    except (OSError, TimeoutError):
        return None
    finally:
        if link is not None:
            link.close()


async def fetch_statuses(addresses: list[tuple[str, int]]) -> list[dict[str, Any] | None]:
    """Of all nodes at once."""
    return list(await asyncio.gather(*(fetch_status(address) for address in addresses)))


async def _first_leader(addresses: list[tuple[str, int]]) -> tuple[str, int] | None:
    """Asks all at once; who says first to lead. A node that is silent keeps nobody waiting."""
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
    """The address of the node that leads; waits for one. Raises NoQuorum."""
    loop = asyncio.get_running_loop()
    end = loop.time() + timeout_s
    while loop.time() < end:
        address = await _first_leader(addresses)
        if address is not None:
            return address
        await asyncio.sleep(0.05)
    names = ", ".join(f"{host}:{port}" for host, port in addresses)
    raise NoQuorum(f"no node of {names} leads after {timeout_s:g} s: start the others, or look at `multipaxos status`")
