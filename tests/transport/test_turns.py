"""Clients that send much share each turn of the loop; who sends little waits for nobody."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest

from multipaxos.transport import limits
from multipaxos.transport.limits import Limits
from multipaxos.transport.turns import SHORT_BYTES, TURN_BYTES, TURN_S, Turns
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import hub

LONG = bytes(range(256)) * 1000  # as much as uvloop reads at once


def rounds(turns: Turns[str]) -> list[dict[str, int]]:
    """What each of the following turns brings, until nobody waits; each takes as long as it may."""
    found, now_s = [], 100.0
    while "waiting":
        served = turns.next_turn(now_s)
        if not served:
            return found
        found.append({link: len(data) for link, data in served})
        now_s += TURN_S / 2
    return found


# -- the rule


def test_a_chunk_that_fits_a_turn_is_handled_at_once() -> None:
    turns: Turns[str] = Turns()
    assert not turns.goes_on
    assert turns.arrive("a", LONG[:100_000]) == LONG[:100_000]
    assert turns.arrive("b", LONG[:100_000]) == LONG[: TURN_BYTES - 100_000], "the rest of the turn"
    assert turns.arrive("c", LONG[:20_000]) == b""
    assert (turns.goes_on, "a" in turns, "b" in turns, "c" in turns) == (True, False, True, True)
    assert turns.waiting_bytes == 200_000 + 20_000 - TURN_BYTES
    assert rounds(turns) == [{"b": TURN_BYTES // 2, "c": 20_000}, {"b": 200_000 - TURN_BYTES - TURN_BYTES // 2}]
    assert turns.waiting_bytes == 0
    assert not turns.goes_on


def test_bytes_of_a_link_keep_their_order() -> None:
    turns: Turns[str] = Turns()
    got = bytearray(turns.arrive("a", LONG))
    got += turns.arrive("a", b"more")
    while turns.goes_on:
        for _, data in turns.next_turn(0.0):
            got += data
    assert got == LONG + b"more"


@pytest.mark.parametrize("count", [2, 4, 8, 40])
def test_those_that_wait_have_equal_shares_of_every_turn(count: int) -> None:
    turns: Turns[str] = Turns()
    turns.arrive("first", bytes(TURN_BYTES))
    for index in range(count):
        assert turns.arrive(f"link {index}", LONG) == b""
    served: Counter[str] = Counter()
    for turn in rounds(turns):
        assert sum(turn.values()) <= TURN_BYTES
        served.update(turn)
        left = [len(LONG) - served[f"link {index}"] for index in range(count)]
        assert max(left) - min(left) <= max(SHORT_BYTES, TURN_BYTES // count) or min(left) == 0
    assert set(served.values()) == {len(LONG)}


def test_turns_that_take_long_bring_less() -> None:
    turns: Turns[str] = Turns()
    turns.arrive("a", bytes(8 << 20))
    sizes = [len(turns.next_turn(10.0 * index)[0][1]) for index in range(6)]
    assert sizes == [TURN_BYTES, TURN_BYTES // 2, TURN_BYTES // 4, SHORT_BYTES, SHORT_BYTES, SHORT_BYTES]
    sizes = [len(turns.next_turn(60.0 + TURN_S / 2 * index)[0][1]) for index in range(3)]
    assert sizes == [SHORT_BYTES] * 3, "as long as they may"
    sizes = [len(turns.next_turn(60.0 + TURN_S)[0][1]) for _ in range(4)]
    assert sizes == [2 * SHORT_BYTES, 4 * SHORT_BYTES, TURN_BYTES, TURN_BYTES], "they took no time"
    turns.forget("a")
    turns.forget("a")
    assert turns.waiting_bytes == 0
    assert not turns.next_turn(99.0)


# -- links


def test_a_client_that_sends_much_gives_others_their_turn() -> None:
    config = local_config()
    much = LONG * 64

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            busy, small = await RawLink.to(config, 1), await RawLink.to(config, 1)
            await busy.handshake(client_hello())
            await until(lambda: 1 in listener.up)
            await small.handshake(client_hello())
            await until(lambda: 2 in listener.up)
            order: list[tuple[int, bytes]] = []
            made.received = lambda link, data: order.append((link, data))
            busy.send(much)
            await asyncio.sleep(0)
            small.send(b"s")
            await until(lambda: sum(len(data) for _, data in order) == len(much) + 1)
            assert b"".join(data for link, data in order if link == 1) == much
            assert max(len(data) for _, data in order) <= TURN_BYTES
            assert made.traffic["client"].long_turns > 0
            assert made.held()["waiting_bytes"] == 0
            for link in (busy, small):
                link.close()

    run(main())


@pytest.mark.parametrize("uv", [True, False], ids=["uvloop", "asyncio"])
def test_one_link_at_full_speed_costs_the_others_no_more_than_its_share(uv: bool) -> None:
    """By counts: between two chunks of a link that sends as much, or of one that sends little, the fast one gets no
    more than a turn."""
    config = local_config()
    much = LONG * 40

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            links = [await RawLink.to(config, 1) for _ in range(4)]
            for link in links:
                await link.handshake(client_hello())
            await until(lambda: len(listener.up) == 4)
            served: Counter[int] = Counter()
            worst = 0

            def received(link: int, data: bytes) -> None:
                nonlocal worst
                served[link] += len(data)
                if all(served[each] < len(much) for each in (1, 2, 3)) and len(served) == 3:
                    worst = max(worst, max(served.values()) - min(served.values()))

            made.received = received
            for link in links[:3]:
                link.send(much)
            await until(lambda: sum(served.values()) == 3 * len(much))
            # what one has ahead of another: a chunk that came when nobody waited, and its share of a turn
            assert worst <= 2 * len(LONG) + TURN_BYTES
            for link in links:
                link.close()

    run(main(), uv=uv)


def test_what_waits_is_bounded_in_all_and_a_link_that_is_gone_waits_no_more() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1, limits=Limits(waiting_bytes=200_000)) as (made, listener):
            links = [await RawLink.to(config, 1) for _ in range(6)]
            for link in links:
                await link.handshake(client_hello())
            await until(lambda: len(listener.up) == 6)
            got: Counter[int] = Counter()
            made.received = lambda link, data: got.update({link: len(data)})
            for number in range(1, 7):  # as if all of them had arrived in one turn of the loop
                made.links[number].data_received(LONG)
            assert made.held()["waiting_bytes"] <= 200_000
            assert made.closes == {limits.TOO_MUCH_WAITS: made.closes[limits.TOO_MUCH_WAITS]}
            assert 0 < made.closes[limits.TOO_MUCH_WAITS] < 6
            await until(lambda: not made.turns.goes_on)
            assert all(got[number] == len(LONG) for number in made.links)
            for link in links:
                link.close()

    run(main())


def test_a_peer_waits_for_no_turn() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            peer = await RawLink.to(config, 1)
            await peer.handshake(peer_hello(config, 0))
            await until(lambda: listener.up)
            made.peers[0].data_received(LONG)
            made.peers[0].data_received(LONG)
            assert listener.data[1] == LONG + LONG
            peer.close()

    run(main())
