"""Limits of a whole node: the status shows each of them, and a link that sends at full speed has its share only."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections import Counter
from typing import Any

from multipaxos.server.server import Server
from multipaxos.transport.turns import TURN_BYTES
from multipaxos.wire.codec import CommandKind, encode_request
from multipaxos.wire.schema import encode_status_request
from tests.server.nodes import OK, cluster, one_node, three_nodes
from tests.support.link_by_hand import Caller, RawLink, ask_status, client_hello, get, put, run, until
from tests.support.places import ROOT


def names(facts: dict[str, Any]) -> set[str]:
    """All fields of a status, those of its parts too."""
    parts = [facts, facts["held"], *facts["traffic"].values()]
    return {name for part in parts for name in part}


def test_the_status_shows_every_limit_that_the_design_lists() -> None:
    text = (ROOT / "docs" / "design.md").read_text(encoding="utf-8")
    table = text[text.index("| limit | value |") :].split("\n\n")[0].splitlines()[2:]
    shown = {name for row in table for name in re.findall(r"`(\w+)`", row.split("|")[4])}
    assert len(shown) > 15

    config = one_node()

    async def main() -> None:
        async with cluster(config):
            assert shown <= names(await ask_status(config, 0))

    run(main())


def flood_frames() -> dict[str, bytes]:
    """Frames that a client may repeat for ever, about as long as uvloop reads at once."""
    unknown = [(1, index + 1, CommandKind.APPLY, 0, b"12345678") for index in range(1000)]
    return {
        "status": encode_status_request(1) * 6000,
        "void": encode_request([*unknown]) * 3,
        "values": encode_request([(1, 1, CommandKind.APPLY, 0, put(b"k", bytes(1 << 20)))]),
    }


def leader_of(servers: list[Server]) -> Server:
    return next(server for server in servers if server.facts()["leading"])


def test_links_at_full_speed_cost_a_good_client_no_more_than_their_turns() -> None:
    """By counts: while a command of a good client is on its way, a turn of the leader's loop brings TURN_BYTES at most
    of all links that flood, and a command takes few turns."""
    config = three_nodes()

    async def main() -> None:
        async with cluster(config) as servers, contextlib.AsyncExitStack() as stack:
            leader = leader_of(servers)
            transport, node = leader.transport, leader.node_id
            good = await Caller.to(config, node)
            assert (await good.call(put(b"k", b"v")))[0] == OK
            mine = max(transport.links)
            floods = []
            for frames in flood_frames().values():
                link = await RawLink.to(config, node)
                await link.handshake(client_hello())
                floods.append((link, frames))

            async def flood(link: RawLink, frames: bytes) -> None:
                while True:
                    link.send(frames)
                    await link.writer.drain()

            async def drain(link: RawLink) -> None:
                while await link.reader.read(1 << 20):
                    pass

            for link, frames in floods:
                for work in (flood(link, frames), drain(link)):
                    task = asyncio.create_task(work)
                    stack.callback(task.cancel)

            received, turn, most = transport.received, Counter[int](), 0

            def counted(link: int, data: bytes) -> None:
                nonlocal most
                if link != mine and transport.links[link].peer_id < 0:
                    turn[link] += len(data)
                    most = max(most, sum(turn.values()))
                received(link, data)

            next_turn = transport.turns.next_turn

            def begun(now_s: float) -> list[Any]:
                turn.clear()
                return next_turn(now_s)

            transport.received = counted  # type: ignore[method-assign]
            transport.turns.next_turn = begun  # type: ignore[method-assign]
            await until(lambda: transport.traffic["client"].long_turns > 20)
            for number in range(20):
                assert (await good.call(put(b"k", b"%d" % number)))[0] == OK
            assert (await good.call(get(b"k")))[1][9:] == b"19"
            assert 0 < most <= 2 * TURN_BYTES, "a turn, and what came before anybody had to wait"
            assert not transport.closes
            for link, _ in floods:
                link.close()
            good.link.close()

    run(main())
