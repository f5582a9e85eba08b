"""Floods of connections, unread answers and log lines: each is bounded in all, and who holds most gives way."""

from __future__ import annotations

import asyncio
import logging
import resource

import pytest

from multipaxos.transport import limits
from multipaxos.transport.connection import CLIENT_UNSENT_BYTES
from multipaxos.transport.handshake import CROWDED, NO_HANDSHAKE
from multipaxos.transport.limits import Crowd, Limits, LogLimit, Unread
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import hub, stuffed

# -- who gives way


def test_who_has_most_gives_way_and_of_his_the_first() -> None:
    crowd: Crowd[int] = Crowd()
    for address, thing in (("a", 1), ("b", 2), ("b", 3), ("b", 4), ("c", 5)):
        crowd.add(address, thing)
    assert (crowd.count, crowd.most(), crowd.of("b"), crowd.of("x")) == (5, 3, 3, 0)
    assert crowd.first_of_most() == 2
    assert crowd.first_of_most(lambda thing: -thing) == 4
    crowd.discard("b", 2)
    crowd.discard("b", 2)
    crowd.discard("x", 9)
    assert (crowd.count, crowd.first_of_most()) == (4, 3)
    for address, thing in (("a", 1), ("b", 3), ("b", 4), ("c", 5)):
        crowd.discard(address, thing)
    assert (crowd.count, crowd.most()) == (0, 0)


def test_whoever_has_read_since_is_not_closed() -> None:
    held = {"a": 60, "b": 50}
    unread: Unread[str] = Unread(100, held.__getitem__)
    assert unread.note("a", 60) is None
    assert unread.note("b", 40) is None
    held["a"] = 10
    assert unread.note("b", 50) is None
    assert unread.sum_bytes == 60
    held["b"] = 95
    assert unread.note("b", 95) == "b"
    assert unread.note("b", 0) is None
    assert unread.sum_bytes == 10


def test_log_lines_of_a_cause_are_bounded_and_the_next_says_how_many_were_left_out() -> None:
    log_limit = LogLimit(Limits(log_lines=3, log_s=10.0))
    said = [log_limit.allows("flood", 100.0 + i / 100) for i in range(50)]
    assert said == ["", "", ""] + [None] * 47
    assert log_limit.allows("other", 101.0) == ""
    assert log_limit.left_out == 47
    assert log_limit.allows("flood", 110.0) == " (47 more of these were not logged)"
    assert log_limit.allows("flood", 200.0) == ""


# -- connections


def test_a_flood_of_silent_connections_keeps_neither_peers_nor_clients_out() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            silent = [await RawLink.to(config, 1) for _ in range(300)]
            await until(lambda: made.closes[limits.TOO_MANY_HALF_OPEN] == 300 - Limits().half_open)
            await until(lambda: len(made.connections) == Limits().half_open)
            assert made.held()["half_open"] == Limits().half_open
            peer, client = await RawLink.to(config, 1), await RawLink.to(config, 1)
            assert not (await peer.handshake(peer_hello(config, 0))).refusal
            assert not (await client.handshake(client_hello())).refusal
            await until(lambda: len(listener.up) == 2)
            for link in [*silent, peer, client]:
                link.close()
            await until(lambda: not made.connections)
            assert made.held()["half_open"] == 0

    run(main())


def test_one_address_cannot_have_all_links() -> None:
    config = local_config()
    few = Limits(links=6, links_of_address=4)

    async def main() -> None:
        async with hub(config, 1, limits=few) as (made, listener):

            async def come(host: str) -> tuple[RawLink, str]:
                link = await RawLink.to(config, 1, local_addr=(host, 0))
                return link, (await link.handshake(client_hello())).refusal

            crowd = [await come("127.9.9.1") for _ in range(4)]
            await until(lambda: len(listener.up) == 4)
            assert all(not refusal for _, refusal in crowd)
            late, refusal = await come("127.9.9.1")
            assert refusal == "this node has 4 links, 4 of them from 127.9.9.1: close some, or use another node"
            await late.ended()
            others = [await come(f"127.9.9.{host}") for host in (2, 3)]
            await until(lambda: len(listener.up) == 6)
            newest, refusal = await come("127.9.9.4")
            assert not refusal
            await crowd[0][0].ended()
            await until(lambda: sorted(listener.up) == [2, 3, 4, 5, 6, 7])
            assert made.closes == {CROWDED: 1, limits.TOO_MANY_LINKS: 1}
            again, refusal = await come("127.9.9.1")
            assert refusal.startswith("this node has 6 links, 3 of them from")
            peer = await RawLink.to(config, 1, local_addr=("127.9.9.1", 0))
            assert not (await peer.handshake(peer_hello(config, 0))).refusal
            await until(lambda: made.peers)
            assert made.held()["links_of_clients"] == 6
            for link in [late, again, newest, peer, *(each for each, _ in crowd + others)]:
                link.close()
            await until(lambda: not made.connections)
            assert made.held()["links_of_clients"] == 0

    run(main())


def test_the_limit_of_descriptors_is_raised_and_bounds_the_links(monkeypatch: pytest.MonkeyPatch) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)

    async def main() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 512), hard))
        async with hub(local_config()) as (made, _):
            assert resource.getrlimit(resource.RLIMIT_NOFILE) == (hard, hard)
            assert 1 <= made.links_max <= Limits().links
            assert made.held()["descriptors_max"] == hard
        monkeypatch.setattr("multipaxos.transport.transport.raised_descriptors", lambda: 1024)
        async with hub(local_config()) as (made, _):
            assert made.links_max == 1024 - 256 - 128 - 2 * 3

    run(main())


def test_a_flood_of_refused_connections_does_not_flood_the_log(caplog: pytest.LogCaptureFixture) -> None:
    config = local_config()
    count = 200

    async def main() -> None:
        async with hub(config, 1) as (made, _):
            for _ in range(count):
                link = await RawLink.to(config, 1)
                link.send(b"GET / HTTP/1.1\r\n\r\n")
                await link.ended()
            assert made.closes == {NO_HANDSHAKE: count}
            assert made.held()["log_lines_left_out"] >= count - 2 * Limits().log_lines

    with caplog.at_level(logging.WARNING):
        run(main())
    assert Limits().log_lines <= caplog.text.count(NO_HANDSHAKE) <= 2 * Limits().log_lines


# -- bytes


def test_forty_readers_that_never_read_hold_a_bounded_sum() -> None:
    config = local_config()
    count = 40
    answer = bytes(1 << 20)  # one object, whoever it waits for

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            good = await RawLink.to(config, 1)
            await good.handshake(client_hello())
            lazy = [await stuffed(config, client_hello()) for _ in range(count)]
            await until(lambda: len(listener.up) == count + 1)
            most = 0
            for _ in range(63):
                for link in list(made.links)[1:]:
                    if link in made.links:
                        made.links[link].write(answer)
                held = sum(connection.unsent_bytes() for connection in made.links.values())
                most = max(most, held)
                assert made.unread_answers.sum_bytes <= Limits().unread_bytes
                assert held <= Limits().unread_bytes + count * CLIENT_UNSENT_BYTES
                await asyncio.sleep(0)  # what was closed lets go of its answers
            assert most > Limits().unread_bytes // 2
            assert made.closes == {limits.TOO_MUCH_UNREAD: made.closes[limits.TOO_MUCH_UNREAD]}
            assert made.closes[limits.TOO_MUCH_UNREAD] > 0
            assert 1 in made.links, "who holds nothing is not closed"
            for link in [good, *lazy]:
                link.close()
            await until(lambda: not made.connections)
            assert made.held()["unread_bytes"] == 0

    run(main())
