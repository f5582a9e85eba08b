"""Handshakes on real sockets: which links are refused, how, and in which order links of one node come up."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace

import pytest

from multipaxos.config.cluster import Config, Sizes
from multipaxos.transport import transport
from multipaxos.wire.schema import Hello
from tests.support.link_by_hand import RawLink, client_hello, local_config, peer_hello, run, until
from tests.transport.hub import hub, refusal

REFUSALS: list[tuple[str, dict[str, object], str]] = [
    ("cluster", {"cluster": "other"}, "it belongs to cluster 'other', this is 'test'"),
    ("configuration", {"configuration": 1}, "its configuration differs from this node's"),
    (
        "newer version",
        {"version_min": 4, "version_max": 5},
        "protocol versions 4 to 5, this node 3 to 3: upgrade",
    ),
    (
        "older version",
        {"version_min": 1, "version_max": 1},
        "protocol versions 1 to 1, this node 3 to 3: upgrade",
    ),
    ("target", {"target": 2}, "it looks for node 2, this is node 1: compare the addresses"),
    ("unknown node", {"node": 3}, "node 3 is not one of this node's peers"),
    ("no node", {"node": -1}, "node -1 is not one of this node's peers"),
    ("own id", {"node": 1}, "node 1 is not one of this node's peers"),
    ("own incarnation", {"incarnation": 101}, "it has this node's incarnation: a copied data directory"),
    (
        "semantics",
        {"semantics_min": 2, "semantics_max": 3},
        "it knows semantics 2 to 3 of the log, this node 1 to 1: upgrade the older one",
    ),
]


@pytest.mark.parametrize(("changes", "text"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_a_peer_that_does_not_fit_is_refused_by_name(
    changes: dict[str, object], text: str, caplog: pytest.LogCaptureFixture
) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            assert text in await refusal(config, 1, peer_hello(config, 0, **changes))
            assert made.closes == {"refused": 1}
            assert not listener.reports

    with caplog.at_level(logging.WARNING):
        run(main())
    assert text.split("'")[0] in caplog.text


def test_two_quorum_systems_never_meet() -> None:
    config = local_config()
    other = Config(name=config.name, nodes=config.nodes, quorum=Sizes(3, 1))

    async def main() -> None:
        async with hub(config, 1) as (one, listener), hub(other, 0) as (zero, others):
            await until(lambda: one.closes["refused"] and zero.closes["refused by the other side"])
            assert not listener.reports
            assert not others.reports

    run(main())


@pytest.mark.parametrize(
    ("changes", "text"),
    [({"cluster": "other"}, "cluster 'other'"), ({"version_min": 9, "version_max": 9}, "versions 9 to 9"),
     ({"target": 2}, "looks for node 2")],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["client", "admin"])
def test_a_client_that_does_not_fit_is_refused(kind: str, changes: dict[str, object], text: str) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 0):
            hello = {"cluster": "", "kind": kind, "nonce": 7}
            assert text in await refusal(config, 0, Hello(**{**hello, **changes}))  # type: ignore[arg-type]

    run(main())


def test_a_node_that_answers_in_anothers_place_is_refused() -> None:
    config = local_config()

    async def main() -> None:
        def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            async def speak() -> None:
                link = RawLink(reader, writer)
                theirs = await link.hello()
                assert theirs.target == 1
                link.send(peer_hello(config, 2, echo=theirs.nonce).encode())
                refusals.append((await link.hello()).refusal)
                await link.ended()

            tasks.append(asyncio.create_task(speak()))

        refusals: list[str] = []
        tasks: list[asyncio.Task[None]] = []
        place = config.nodes[1]
        server = await asyncio.start_server(answer, place.host, place.port)
        async with hub(config, 0) as (_, listener):
            await until(lambda: refusals)
            assert "node 2 answers where node 1 should be" in refusals[0]
            assert not listener.reports
        await asyncio.gather(*tasks, return_exceptions=True)
        server.close()

    run(main())


OTHERS = [
    (
        "a copy",
        {"process": 77},
        "a living process already is node 0 with the same incarnation: a copied data directory",
    ),
    (
        "another directory",
        {"incarnation": 7},
        "a living process already is node 0, with another data directory: end one",
    ),
]


@pytest.mark.parametrize(("changes", "text"), [row[1:] for row in OTHERS], ids=[row[0] for row in OTHERS])
def test_a_link_that_speaks_is_not_replaced_by_another_life(
    changes: dict[str, int], text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = local_config()
    monkeypatch.setattr(transport, "SPEAKS_S", 1000.0)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            first, late = await RawLink.to(config, 1), await RawLink.to(config, 1)
            hello = peer_hello(config, 0, **changes)
            late.send(hello.encode())
            theirs = await late.hello()
            assert not (await first.handshake(peer_hello(config, 0))).refusal
            await until(lambda: listener.up)
            assert text in await refusal(config, 1, hello)
            late.send(replace(hello, echo=theirs.nonce).encode())  # its handshake was begun before the first was up
            assert text in (await late.hello()).refusal
            assert made.closes == {"refused": 2}
            first.send(b"still here")
            await until(lambda: listener.data[1] == b"still here")
            assert listener.up == {1: (0, 500)}
            first.close()

    run(main())


def test_the_same_process_may_connect_again_at_any_time(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(transport, "SPEAKS_S", 1000.0)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            first, second = await RawLink.to(config, 1), await RawLink.to(config, 1)
            await first.handshake(peer_hello(config, 0))
            await until(lambda: listener.up)
            await second.handshake(peer_hello(config, 0))
            await until(lambda: len(listener.reports) == 3)
            assert listener.reports == [("up", 1, 0), ("down", 1, 0), ("up", 2, 0)]
            await first.ended()
            assert listener.reports == [("up", 1, 0), ("down", 1, 0), ("up", 2, 0)]
            assert made.closes == {"replaced by a newer link": 1}
            assert list(made.peers) == [0]
            second.close()

    run(main())


def test_a_peer_that_was_silent_may_be_followed_by_another_life(monkeypatch: pytest.MonkeyPatch) -> None:
    config = local_config()
    monkeypatch.setattr(transport, "SPEAKS_S", 0.0)

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            links = []
            for changes in ({}, {"process": 77}, {"incarnation": 7}):
                links.append(await RawLink.to(config, 1))
                assert not (await links[-1].handshake(peer_hello(config, 0, **changes))).refusal
                await until(lambda: len(listener.reports) == 2 * len(links) - 1)
            assert made.closes == {"replaced by a newer link": 2}
            assert list(listener.up.values()) == [(0, 7)]
            for link in links:
                link.close()

    run(main())


def test_a_dead_incarnation_does_not_come_up_after_its_successor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its last hello was on its way while it died, was wiped and started again: founding rests on this order."""
    config = local_config()
    monkeypatch.setattr(transport, "SPEAKS_S", 0.0)

    async def main() -> None:
        async with hub(config, 1) as (_, listener):
            old, new = await RawLink.to(config, 1), await RawLink.to(config, 1)
            hello = peer_hello(config, 0, incarnation=1000, target=1)
            old.send(hello.encode())
            theirs = await old.hello()
            assert not (await new.handshake(peer_hello(config, 0, incarnation=2000, target=1))).refusal
            await until(lambda: listener.up)
            old.send(replace(hello, echo=theirs.nonce).encode())
            assert "another life since this connection was made: dial again" in (await old.hello()).refusal
            await old.ended()
            assert listener.up == {1: (0, 2000)}
            later = await RawLink.to(config, 1)
            assert not (await later.handshake(peer_hello(config, 0, incarnation=3000, target=1))).refusal
            await until(lambda: (0, 3000) in listener.up.values())
            new.close()
            later.close()

    run(main())


def test_an_incarnation_that_was_followed_never_comes_up_again() -> None:
    """Nor does a process of the same directory, on whatever connection: its successor's link need not be up."""
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, listener):
            for incarnation, process in ((1, 10), (1, 11), (2, 20)):
                link = await RawLink.to(config, 1)
                assert not (
                    await link.handshake(peer_hello(config, 0, incarnation=incarnation, process=process))
                ).refusal
                await until(lambda: listener.up)
                link.close()
                await until(lambda: not listener.up)
            directory = "node 0 came up with another data directory since: start it with that one alone; to go back"
            for process in (10, 11, 12):
                assert directory in await refusal(config, 1, peer_hello(config, 0, incarnation=1, process=process))
            assert not await refusal(config, 1, peer_hello(config, 0, incarnation=2, process=21))
            await until(lambda: not listener.up)
            text = "another process came up as node 0 with this incarnation since: a copied data directory"
            assert text in await refusal(config, 1, peer_hello(config, 0, incarnation=2, process=20))
            assert made.closes == {"refused": 4}

    run(main())


def test_a_third_hello_without_the_echo_is_refused() -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (_, listener):
            for hello in (peer_hello(config, 0), client_hello(), client_hello("admin")):
                link = await RawLink.to(config, 1)
                link.send(hello.encode())
                theirs = await link.hello()
                link.send(replace(hello, echo=theirs.nonce + 1).encode())
                assert "without the echo" in (await link.hello()).refusal
                await link.ended()
            assert not listener.reports

    run(main())


def test_text_of_the_other_side_names_no_counter(caplog: pytest.LogCaptureFixture) -> None:
    config = local_config()

    async def main() -> None:
        async with hub(config, 1) as (made, _):
            for i in range(20):
                await refusal(config, 1, peer_hello(config, 0, cluster=f"evil {i}\n" * 1000))
                link = await RawLink.to(config, 1)
                link.send(peer_hello(config, 0, refusal=f"I am {i}\nERROR forged").encode())
                await link.ended()
            assert made.closes == {"refused": 20, "refused by the other side": 20}

    with caplog.at_level(logging.WARNING):
        run(main())
    assert all("\n" not in record.getMessage() and len(record.getMessage()) < 600 for record in caplog.records)
