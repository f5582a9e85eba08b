"""Traces: what a node writes of itself is true, complete and in time, and writing it changes nothing."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import Any

import pytest

from multipaxos.config.cluster import Config
from multipaxos.errors import StorageError
from multipaxos.machine.state_machine import Context
from multipaxos.node.node import Node
from multipaxos.node.output import META_VOTER
from multipaxos.server.server import Server
from multipaxos.storage.memory import MemoryStorage
from multipaxos.trace.file import Trace
from multipaxos.trace.messages import command_hash
from multipaxos.wire import codec
from tests.support.journal import Journal
from tests.support.link_by_hand import Caller, local_config, put, run, until
from tests.support.one_node import OneNode, ballot, command
from tests.trace.traced import OpenTracedNode, Traced, lines


def digest(made: tuple[Any, ...]) -> str:
    """The hash of a command as `command` makes it."""
    session, sequence, kind, _, payload, _ = made
    return command_hash(kind, session, sequence, payload)


# -- what is written


def test_an_election_is_traced(path: Path) -> None:
    traced = Traced(path, OneNode(1, linked=False))
    at = traced.one.lead()
    found = traced.take("scouting", "adopted", "sent")
    assert [(line["event"], line["ballot"], line.get("role")) for line in found if line["event"] != "sent"] == [
        ("scouting", at, None),
        ("adopted", at, "acceptor"),
        ("adopted", at, "leader"),
    ]
    assert {line["first"] for line in found if line["event"] == "scouting"} == {1}
    asked = [line for line in found if line["event"] == "sent" and line["kind"] == "phase1a"]
    assert [(line["peer"], line["link"], line["ballot"], line["first"]) for line in asked] == [
        (0, "link 100", at, 1),
        (2, "link 102", at, 1),
    ]


def test_a_command_is_traced_from_request_to_answer(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    node = traced.one
    at = node.lead()
    node.client()
    traced.take()
    opening = command(0, 7, b"", kind=2)
    node.request(1, opening)
    node.accept(1, at, 1, 2)
    node.sync()
    found = traced.take("received", "sent", "decided", "applied")
    kinds = [(line["event"], line.get("kind"), line.get("peer")) for line in found]
    assert kinds == [
        ("received", "request", -1),
        ("sent", "phase2a", 1),
        ("sent", "phase2a", 2),
        ("received", "phase2b", 1),
        ("decided", None, None),
        ("applied", None, None),
        ("sent", "response", -1),
    ]
    request, phase2a, _, phase2b, decided, applied, response = found
    assert request["commands"] == decided["hashes"] == [digest(opening)]
    assert decided["times_ns"] == [node.now_ns]
    for line in (phase2a, phase2b, decided):
        assert (line["ballot"], line["first"], line["end"]) == (at, 1, 2)
    assert (applied["first"], applied["end"]) == (response["first"], response["end"]) == (1, 2)
    assert phase2a["label"].startswith("phase2a 1.0 slot 1: open")
    assert request["bytes"] == len(codec.encode_request([opening]))
    times = [line["at_ns"] for line in found]
    assert times == sorted(times)
    assert {(line["node"], line["incarnation"]) for line in found} == {(0, f"{1000:016x}")}


def test_a_lone_leader_knows_the_times_of_its_commands(path: Path) -> None:
    """It sends its runs to no one: the times are in what it stores."""
    node = OneNode(nodes=1, linked=False)
    traced = Traced(path, node)
    node.begin_scout()
    node.client()
    node.tick(3)
    node.request(1, command(0, 7, b"", kind=2))
    node.sync()
    (decided,) = traced.take("decided")
    assert decided["times_ns"] == [node.now_ns]


def test_a_leader_knows_the_times_of_slots_that_are_decided_before_it_has_stored_them(path: Path) -> None:
    """Its disk is slow, and its two peers are a majority."""
    traced = Traced(path, OneNode(linked=False))
    node = traced.one
    at = node.lead()
    node.client()
    node.request(1, command(0, 7, b"", kind=2))
    assert node.batch is not None
    node.tick(3)
    node.request(1, command(0, 8, b"", kind=2))
    for peer in (1, 2):
        node.accept(peer, at, 1, 3)
    (decided,) = traced.take("decided")
    assert decided["times_ns"] == [node.now_ns - 3_000_000, node.now_ns]


def test_the_slots_that_a_watermark_decides_are_traced(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    node, at = traced.one, ballot(1, 2)
    run_of_two = [command(9, 1), command(9, 2, b"y")]
    node.phase2a(2, at, 1, run_of_two, time_ns=55)
    node.sync()
    found = traced.take()
    assert [line["event"] for line in found] == ["received", "adopted", "sent"]
    assert found[1]["role"] == "acceptor"
    node.send(2, "decision", ballot=at, first=1, end=3)
    received, decided, applied = traced.take()
    assert (received["kind"], received["decided_ballot"]) == ("decision", at)
    assert (received["decided_first"], received["decided_end"]) == (1, 3)
    assert (decided["first"], decided["end"], decided["ballot"]) == (1, 3, at)
    assert decided["hashes"] == [digest(one) for one in run_of_two]
    assert decided["times_ns"] == [55, 55]
    assert (applied["first"], applied["end"]) == (1, 3)


def test_slots_above_a_gap_are_traced_at_once_and_once(path: Path) -> None:
    """Slots 3 and 4 come by phase 2a and are decided before 1 and 2, which are fetched and held at another ballot."""
    traced = Traced(path, OneNode(linked=False))
    node, at = traced.one, ballot(2, 2)
    commands = [command(9, number) for number in range(1, 5)]
    node.phase2a(2, at, 3, commands[2:], time_ns=66)
    node.send(2, "decision", ballot=at, first=3, end=5)
    found = traced.take("decided", "applied")
    assert [(line["event"], line["first"], line["end"]) for line in found] == [("decided", 3, 5)]
    fetched = codec.encode_phase2a(ballot(1, 1), 1, 44, (0, 1, 1), commands[:2])
    node.send(2, "fetched", first=1, end=3, pvalues=[(1, 3, fetched)])
    decided, applied = traced.take("decided", "applied")
    assert (decided["first"], decided["end"], decided["ballot"]) == (1, 3, ballot(1, 1))
    assert decided["hashes"] == [digest(one) for one in commands[:2]]
    assert decided["times_ns"] == [44, 44]
    assert (applied["first"], applied["end"]) == (1, 5)


def test_fetched_slots_above_a_gap_are_traced_at_once(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    frame = codec.encode_phase2a(ballot(1, 1), 4, 44, (0, 1, 1), [command(9, 4)])
    traced.one.send(2, "fetched", first=4, end=5, pvalues=[(4, 5, frame)])
    (decided,) = traced.take("decided", "applied")
    assert (decided["first"], decided["end"], decided["times_ns"]) == (4, 5, [44])


def test_many_slots_of_two_ballots_are_two_lines(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    low, high = ballot(1, 1), ballot(2, 2)
    runs = [
        codec.encode_phase2a(at, first, 44, (0, 1, 1), [command(9, first + i) for i in range(10)])
        for at, first in ((low, 1), (high, 11))
    ]
    traced.one.send(2, "fetched", first=1, end=16, pvalues=[(1, 11, runs[0]), (11, 16, runs[1])])
    found = traced.take("decided", "applied")
    assert [(line["event"], line["first"], line["end"], line.get("ballot")) for line in found] == [
        ("decided", 1, 11, low),
        ("decided", 11, 16, high),
        ("applied", 1, 16, None),
    ]


def test_a_restart_says_where_it_begins_and_knows_what_its_disk_holds(path: Path) -> None:
    """Slot 1 was decided before the restart; slot 2 was accepted, so only the disk has its time."""
    traced = Traced(path, OneNode(linked=False))
    node, at = traced.one, ballot(1, 2)
    node.phase2a(2, at, 1, [command(9, 1)], time_ns=55)
    node.phase2a(2, at, 2, [command(9, 2)], time_ns=66, decided=(at, 1, 2))
    node.sync()
    traced.trace.close()
    storage = MemoryStorage()
    storage.commit({}, b"".join(value for _, _, value in node.records))
    before = len(lines(path))
    again = Traced(path, node.restart(), storage)
    started = lines(path)[before]
    assert (started["event"], started["slot_out"], started["ballot"], started["voting"]) == ("started", 2, at, True)
    again.one.send(2, "decision", ballot=at, first=1, end=3)
    decided, applied = again.take("decided", "applied")
    assert (decided["first"], decided["end"], decided["times_ns"]) == (2, 3, [66])
    assert (applied["first"], applied["end"]) == (2, 3)


def test_a_step_down_and_a_preemption_are_traced(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    at = traced.one.lead()
    for _ in range(40):
        traced.one.tick(100)
    stepped_down, scouting = traced.take("stepped_down", "scouting")[-2:]
    assert (stepped_down["event"], stepped_down["ballot"]) == ("stepped_down", at)
    assert (scouting["event"], scouting["first"]) == ("scouting", 1)
    traced.one.send(2, "ping", ballot=ballot(9, 2))
    (preempted,) = traced.take("preempted")
    assert preempted["ballot"] == ballot(9, 2)
    assert preempted["text"] == "preempted by ballot 9.2 while scouting"


def test_founding_and_other_events_are_traced(path: Path) -> None:
    traced = Traced(path, OneNode(nodes=2, founded=False, linked=False))
    node = traced.one
    node.send(1, "founding", incarnation=1001, fresh=True, incarnations=[1000, 1001])
    node.sync()
    (founded,) = traced.take("founded")
    assert "ballot" not in founded
    other = Traced(path.with_suffix(".other"), OneNode(nodes=2, founded=False, linked=False))
    other.one.send(1, "founding", incarnation=1001, fresh=False, incarnations=[77, 1001])
    (said,) = other.take("said")
    assert said["text"].startswith("this incarnation is no founder")


def test_frames_are_traced_when_they_are_whole(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    node = traced.one
    ping = codec.encode("ping", ballot=ballot(1, 2), nonce=3)
    stream = ping * 3
    found = []
    for piece in (stream[:5], stream[5 : len(ping) + 7], stream[len(ping) + 7 :]):
        node.receive(102, piece)
        found.append([(line["kind"], line["bytes"]) for line in traced.take("received")])
    assert found == [[], [("ping", len(ping))], [("ping", len(ping))] * 2]


def test_half_a_frame_does_not_outlive_its_link(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    ping = codec.encode("ping", ballot=ballot(1, 2), nonce=3)
    traced.one.receive(102, ping[:11])
    traced.one.core.link_down(102)
    traced.one.link(2, number=502)
    traced.one.receive(502, ping)
    found = traced.take("received", "linked", "unlinked")
    assert [(line["event"], line["link"]) for line in found] == [
        ("unlinked", "link 102"),
        ("linked", "link 502"),
        ("received", "link 502"),
    ]
    assert traced.one.core._rest == {}


def test_a_frame_in_another_layout_is_traced_as_its_message(path: Path) -> None:
    """The frame has two segments: the core has it rewritten, and accepts it."""
    traced = Traced(path, OneNode(linked=False))
    ping = codec.encode("ping", ballot=ballot(1, 2), nonce=3)
    body = ping[8:]
    far = (0x2 | 0 << 3 | 1 << 32).to_bytes(8, "little")  # a far pointer to the start of segment 1
    sizes = (1, 1, len(body) // 8)
    foreign = b"".join(size.to_bytes(4, "little") for size in sizes) + b"\0" * 4 + far + body
    traced.one.receive(102, foreign)
    received, *_ = traced.take("received")
    assert (received["kind"], received["bytes"], received["ballot"]) == ("ping", len(foreign), ballot(1, 2))
    assert "pong" in [message["kind"] for message in traced.one.take(102)]


@pytest.mark.parametrize(
    "bad", [b"\xff" * 64, codec.encode("fetch", first=1, end=2)[:16] + b"\x77" * 32], ids=["head", "body"]
)
def test_bytes_that_are_no_message_are_traced_as_malformed_and_close_the_link(path: Path, bad: bytes) -> None:
    traced = Traced(path, OneNode(linked=False))
    traced.one.receive(102, bad)
    (received,) = traced.take("received")
    assert (received["kind"], received["bytes"]) == ("malformed", len(bad))
    assert 102 in traced.one.closed
    assert not traced.trace.ended


# -- when it is written


def test_a_received_frame_is_traced_before_it_takes_effect(path: Path) -> None:
    class Timed(Journal):
        def apply(self, command: bytes, context: Context) -> bytes:
            applied_ns.append(time.monotonic_ns())
            return super().apply(command, context)

    applied_ns: list[int] = []
    traced = Traced(path, OneNode(linked=False, journal=Timed()))
    node, at = traced.one, ballot(1, 2)
    node.phase2a(2, at, 1, [command(0, 7, b"", kind=2), command(1, 1, nonce=7)])
    traced.take()
    node.send(2, "decision", ballot=at, first=1, end=3)
    received, _, applied = traced.take("received", "applied")  # the opening is applied before the machine's command
    assert received["at_ns"] < applied_ns[0] < applied["at_ns"]


def test_a_line_is_in_the_file_before_its_frame_is_sent(path: Path) -> None:
    traced = Traced(path, OneNode(linked=False))
    traced.one.core.receive(102, codec.encode("ping", ballot=ballot(1, 2), nonce=3))
    output = traced.one.core.output()
    assert [link for link, _ in output.writes] == [102]
    received, sent = traced.take("received", "sent")
    assert (received["kind"], sent["kind"]) == ("ping", "pong")


def test_a_traced_core_does_what_an_untraced_one_does(path: Path) -> None:
    """Both get the same story: every byte, batch and event is the same."""

    def story(node: OneNode) -> list[Any]:
        node.link(1)
        node.link(2)
        at = node.begin_scout()
        for peer in (1, 2):
            node.promise(peer, at)
        node.sync()
        node.client()
        node.request(1, command(0, 7, b"", kind=2))
        for slot in range(1, 4):
            node.accept(1, at, slot, slot + 1)
            node.request(1, command(1, slot, b"x%d" % slot))
        node.receive(102, b"\xff" * 64)
        node.send(1, "ping", ballot=ballot(5, 1))
        node.sync()
        return [
            node.sent,
            node.closed,
            [event.text for event in node.events],
            node.records,
            node.meta,
            node.decided(),
            node.core.status(),
        ]

    traced = OneNode(linked=False)
    trace = Trace(path, 0, 1000)
    traced.core = OpenTracedNode(traced.core, trace, MemoryStorage(), str)
    assert story(traced) == story(OneNode(linked=False))
    assert not trace.ended


# -- in a server


def three_nodes() -> Config:
    """A cluster with quick elections."""
    return local_config(3, election_timeout_ms=100, ping_interval_ms=20)


def test_servers_write_traces_that_fit_together(tmp_path: Path) -> None:
    config = three_nodes()
    paths = [tmp_path / f"{node.id}" for node in config.nodes]
    slot_out: list[int] = []

    async def main() -> None:
        async with contextlib.AsyncExitStack() as stack:
            servers = [
                await stack.enter_async_context(Server(config, node.id, MemoryStorage(), trace=paths[node.id]))
                for node in config.nodes
            ]
            await until(lambda: any(server.facts()["leading"] for server in servers), "a leader")
            caller = await Caller.to(config, 0)
            for number in range(5):
                await caller.call(put(b"key", b"%d" % number))
            caller.link.close()
            await until(lambda: len({server.core.slot_out for server in servers}) == 1)
            slot_out.append(servers[0].core.slot_out)

    run(main())
    found = [lines(each) for each in paths]
    for node, events in enumerate(found):
        assert (events[0]["event"], events[0]["storage"], events[0]["slot_out"]) == ("started", "memory", 1)
        assert (events[-1]["event"], events[-1]["reason"]) == ("ended", "stopped")
        peers = {line["peer"]: line["link"] for line in events if line["event"] == "linked"}
        for peer in {0, 1, 2} - {node}:
            assert peers[peer] in {line["link"] for line in found[peer] if line["event"] == "linked"}
        applied = [slot for line in events if line["event"] == "applied" for slot in range(line["first"], line["end"])]
        assert applied == list(range(1, slot_out[0]))
    decided = [
        [
            both
            for line in events
            if line["event"] == "decided"
            for both in zip(line["hashes"], line["times_ns"], strict=True)
        ]
        for events in found
    ]
    assert decided[0] == decided[1] == decided[2]
    assert len(decided[0]) >= 6  # a session and five writes
    assert all(time_ns for _, time_ns in decided[0])


def test_without_a_trace_there_is_nothing_between_shell_and_core() -> None:
    config = local_config(1, election_timeout_ms=50, ping_interval_ms=10)

    async def main() -> None:
        async with Server(config, 0, MemoryStorage()) as server:
            assert type(server.core) is Node

    run(main())


def test_a_trace_that_cannot_be_written_does_not_stop_a_node(tmp_path: Path, caplog: Any) -> None:
    config = local_config(1, election_timeout_ms=50, ping_interval_ms=10)

    async def main() -> None:
        async with Server(config, 0, MemoryStorage(), trace=tmp_path / "missing" / "trace") as server:
            await until(lambda: server.facts()["leading"])
            caller = await Caller.to(config, 0)
            assert (await caller.call(put(b"key", b"value")))[0] == codec.ReplyStatus.OK
            caller.link.close()

    run(main())
    assert "No such file or directory" in caplog.text
    assert caplog.text.count("ends here, the node goes on") == 1


def test_a_trace_says_why_a_node_ended(path: Path) -> None:
    class Failing(MemoryStorage):
        def commit(self, meta: Any, records: bytes) -> None:
            if META_VOTER in meta:
                raise StorageError("the disk is gone")
            super().commit(meta, records)

    config = local_config(1, election_timeout_ms=50, ping_interval_ms=10)

    async def main() -> None:
        async with Server(config, 0, Failing(), trace=path) as server:
            with pytest.raises(StorageError):
                await server.serve_forever()

    run(main())
    assert lines(path)[-1]["reason"] == "the disk is gone"
