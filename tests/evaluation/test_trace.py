"""Merging, checking and drawing traces: made-up ones with known verdicts, and those of a real cluster."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import uvloop

from evaluation import trace_merge
from evaluation.errors import BadRecords
from multipaxos.client.client import Client
from multipaxos.config.cluster import Config
from multipaxos.local_cluster import LocalCluster, free_base_port
from multipaxos.trace.file import HEADER_LINE

AT = 1 << 24  # ballot 1.0
HIGHER = (2 << 24) + 1
HASHES = ["aaaa", "bbbb", "cccc", "dddd"]


class Made:
    """A made-up trace, one event after the other, a microsecond apart unless a time is given."""

    def __init__(self, folder: Path, node: int, incarnation: str = "1") -> None:
        self.path = folder / f"{node}.jsonl"
        self.node = node
        self.incarnation = incarnation
        self.now_ns = 0
        self.lines: list[dict[str, Any]] = []
        self.start(at_ns=0)

    def tell(self, event: str, at_ns: int | None = None, **fields: Any) -> Made:
        """Adds any event."""
        self.now_ns = self.now_ns + 1000 if at_ns is None else at_ns
        who = {"at_ns": self.now_ns, "node": self.node, "incarnation": self.incarnation, "event": event}
        self.lines.append(who | fields)
        self.path.write_bytes(HEADER_LINE + b"".join(json.dumps(line).encode() + b"\n" for line in self.lines))
        return self

    def start(self, slot_out: int = 1, ballot: int = 0, at_ns: int | None = None) -> Made:
        """Begins a life."""
        return self.tell("started", at_ns, slot_out=slot_out, ballot=ballot)

    def message(self, event: str, peer: int, kind: str, at_ns: int | None = None, **fields: Any) -> Made:
        """Adds a message that was sent or received, on the one link of these two nodes."""
        between = "-".join(map(str, sorted((self.node, peer))))
        label = fields.pop("label", kind)
        return self.tell(event, at_ns, peer=peer, link=between, kind=kind, **({"bytes": 100} | fields), label=label)

    def decide(self, first: int, hashes: list[str], times_ns: list[int | None] | None = None, at: int = AT) -> Made:
        """Adds decided slots, not applied."""
        times_ns = times_ns or [5] * len(hashes)
        end = first + len(hashes)
        return self.tell("decided", first=first, end=end, ballot=at, hashes=hashes, times_ns=times_ns)

    def apply(self, first: int, end: int) -> Made:
        """Adds applied slots."""
        return self.tell("applied", first=first, end=end)

    def adopt(self, ballot: int, role: str = "acceptor") -> Made:
        """Adds an adoption."""
        return self.tell("adopted", ballot=ballot, role=role, text=f"adopted {ballot}")


def merged(*made: Made) -> trace_merge.Merged:
    """The merged trace of some made-up ones."""
    return trace_merge.merge(one.path for one in made)


@pytest.fixture
def two(tmp_path: Path) -> tuple[Made, Made]:
    """Two nodes that agree on four slots."""
    nodes = Made(tmp_path, 0), Made(tmp_path, 1)
    for one in nodes:
        one.decide(1, HASHES).apply(1, 5)
    return nodes


# -- checks


def test_two_nodes_that_agree_pass(two: tuple[Made, Made]) -> None:
    assert merged(*two).failures == []


@pytest.mark.parametrize(
    ("spoil", "failure"),
    [
        (
            lambda node: node.decide(5, ["eeee"]).apply(5, 6),
            "agreement: node 0 decided ffff in slot 5, node 1 eeee",
        ),
        (
            lambda node: node.decide(5, ["ffff"], [6]).apply(5, 6),
            "agreement: slot 5 has the time 5 at node 0, 6 at node 1",
        ),
        (
            lambda node: node.decide(5, ["ffff"]).decide(6, ["gggg"]).apply(6, 7),
            "log: node 1 applied slots 6 to 6 at 5000, where 5 was due",
        ),
        (
            lambda node: node.apply(5, 5),
            "log: node 1 applied slots 5 to 4 at 3000, where 5 was due",
        ),
        (
            lambda node: node.apply(5, 6),
            "log: node 1 applied slot 5 and had not decided it",
        ),
        (
            lambda node: node.decide(4, ["dddd"]),
            "log: node 1 decided slot 4 twice in one life",
        ),
        (
            lambda node: node.start(3).apply(3, 5),
            "log: node 1 applied slot 3 and had not decided it",
        ),
        (
            lambda node: node.start(3).decide(3, ["cccc", "zzzz"]),
            "agreement: node 0 decided dddd in slot 4, node 1 zzzz",
        ),
        (
            lambda node: node.adopt(HIGHER).adopt(AT),
            "ballots: node 1 adopted 1.0 as acceptor at 4000, after 2.1",
        ),
        (
            lambda node: node.adopt(HIGHER, "leader").adopt(HIGHER, "leader"),
            "ballots: node 1 adopted 2.1 as leader at 4000, after 2.1",
        ),
        (
            lambda node: node.adopt(HIGHER, "leader").start(5, AT).adopt(HIGHER, "leader"),
            "ballots: node 1 adopted 2.1 as leader at 5000, after 2.1",
        ),
        (
            lambda node: node.start(5, HIGHER).adopt(HIGHER),
            "ballots: node 1 adopted 2.1 as acceptor at 4000, after 2.1",
        ),
        (
            lambda node: node.message("sent", 7, "phase1b", ballot=HIGHER, first=1, end=2**64 - 1).start(5, AT),
            "ballots: node 1 started at 1.0 and had answered at 2.1",
        ),
        (
            lambda node: node.message("sent", 7, "phase2b", ballot=HIGHER, first=5, end=6).start(5, AT),
            "ballots: node 1 started at 1.0 and had answered at 2.1",
        ),
    ],
)
def test_what_does_not_hold_is_reported(two: tuple[Made, Made], spoil: Callable[[Made], Made], failure: str) -> None:
    two[0].decide(5, ["ffff"]).apply(5, 6)
    spoil(two[1])
    assert merged(*two).failures == [failure]


@pytest.mark.parametrize(
    "allowed",
    [
        lambda node: node.start(3).decide(3, ["cccc", "dddd"]).apply(3, 5),  # its disk had less than it had applied
        lambda node: node.start(9).decide(9, ["zzzz"]).apply(9, 10),  # its disk had more than its trace
        lambda node: node.decide(9, ["zzzz"]).decide(5, HASHES).apply(5, 10),  # decided out of order
        lambda node: node.start(5, AT).adopt(HIGHER).adopt(HIGHER, "leader").start(5, HIGHER),
        lambda node: node.adopt(HIGHER).start(5, AT),  # adopted, and never answered so
        lambda node: node.message("sent", 7, "phase2b", ballot=HIGHER, first=5, end=5).start(5, AT),
        lambda node: node.start(3).decide(3, ["cccc", "dddd"], [None, 5]).apply(3, 5),
    ],
)
def test_what_may_happen_is_no_failure(two: tuple[Made, Made], allowed: Callable[[Made], Made]) -> None:
    allowed(two[1])
    assert merged(*two).failures == []


def test_a_new_incarnation_is_a_new_node(two: tuple[Made, Made]) -> None:
    two[1].adopt(HIGHER).adopt(HIGHER, "leader").message("sent", 7, "phase1b", ballot=HIGHER, first=1, end=2)
    two[1].incarnation = "2"
    two[1].start(1, 0).adopt(AT).adopt(AT, "leader")
    assert merged(*two).failures == []


def test_many_failures_of_one_kind_are_cut_short(two: tuple[Made, Made]) -> None:
    two[0].decide(5, [f"a{i}" for i in range(30)])
    two[1].decide(5, [f"b{i}" for i in range(30)])
    failures = merged(*two).failures
    assert len(failures) == trace_merge.FAILURES_MAX + 1
    assert failures[-1] == "and 10 more like this"


# -- pairs


def test_what_was_sent_is_paired_in_order_and_the_rest_is_lost(two: tuple[Made, Made]) -> None:
    """Both directions of one link, and a frame that never arrived."""
    zero, one = two
    zero.message("sent", 1, "phase2a", 10_000).message("sent", 1, "ping", 11_000).message("sent", 1, "ping", 12_000)
    one.message("sent", 0, "ping", 10_500)
    one.message("received", 0, "phase2a", 11_500).message("received", 0, "ping", 11_600)
    zero.message("received", 1, "ping", 12_500)
    whole = merged(*two)
    assert whole.failures == []
    arrivals = [(line["node"], line["at_ns"], line["arrived_ns"]) for line in whole.events if line["event"] == "sent"]
    assert arrivals == [(0, 10_000, 11_500), (1, 10_500, 12_500), (0, 11_000, 11_600), (0, 12_000, None)]
    assert [line["sent_ns"] for line in whole.events if line["event"] == "received"] == [10_000, 11_000, 10_500]
    counted = trace_merge.summary(whole)["between_nodes"]
    assert (counted["ping"]["messages"], counted["ping"]["lost"]) == (3, 1)
    assert (counted["all"]["messages"], counted["all"]["lost"]) == (4, 1)


def test_what_is_lost_with_its_link_is_not_made_up_for_by_the_next_one(two: tuple[Made, Made]) -> None:
    zero, one = two
    zero.message("sent", 1, "ping", 10_000)
    zero.message("sent", 1, "ping", 20_000).lines[-1]["link"] = "new"
    one.message("received", 0, "ping", 21_000).lines[-1]["link"] = "new"
    for made in two:
        made.tell("said", 30_000, text="")
    whole = merged(*two)
    assert [line["arrived_ns"] for line in whole.events if line["event"] == "sent"] == [None, 21_000]
    assert whole.failures == []


@pytest.mark.parametrize(
    ("sent", "failure"),
    [
        ({"at_ns": 12_001}, "cause: node 1 received 'ping' from node 0 at 12000, before it was sent at 12001"),
        (None, "cause: node 1 received 'ping' from node 0 at 12000, which never sent it"),
        ({"label": "pong"}, "cause: node 1 received 'ping' from node 0 at 12000, which sent 'pong' in its place"),
        ({"bytes": 99}, "cause: node 1 received 'ping' from node 0 at 12000, which sent 'ping' in its place"),
    ],
)
def test_an_effect_without_its_cause_is_reported(
    two: tuple[Made, Made], sent: dict[str, Any] | None, failure: str
) -> None:
    if sent is not None:
        two[0].message("sent", 1, "ping", **({"at_ns": 11_000} | sent))
    two[1].message("received", 0, "ping", 12_000)
    assert merged(*two).failures == [failure]


def test_a_node_without_a_trace_is_believed(two: tuple[Made, Made]) -> None:
    two[0].message("sent", 7, "ping").message("received", 7, "pong").message("received", -1, "request")
    whole = merged(*two)
    assert whole.failures == []
    assert "arrived_ns" not in whole.events[-3]
    counted = trace_merge.summary(whole)
    assert counted["between_nodes"]["ping"]["lost"] == 0
    assert "pong" not in counted["between_nodes"]  # counted at the sender
    assert counted["clients"]["request"]["messages"] == 1


# -- reading and writing


def test_events_are_by_time_and_of_equal_times_by_file(two: tuple[Made, Made]) -> None:
    two[0].tell("said", 9000, text="a").tell("said", 9000, text="b")
    two[1].tell("said", 8000, text="c").tell("said", 9000, text="d")
    texts = [line["text"] for line in merged(*two).events if line["event"] == "said"]
    assert texts == ["c", "a", "b", "d"]


def test_the_merged_trace_can_be_read_again(two: tuple[Made, Made], tmp_path: Path) -> None:
    two[0].message("sent", 1, "ping")
    whole = merged(*two)
    whole.write(tmp_path / "merged")
    assert trace_merge.merge([tmp_path / "merged"]) == whole


@pytest.mark.parametrize("cut", [1, 20, 60])
def test_a_last_line_that_was_cut_off_is_not_read(two: tuple[Made, Made], cut: int) -> None:
    two[0].tell("said", text="cut off")
    two[0].path.write_bytes(two[0].path.read_bytes()[:-cut])
    assert "said" not in {line["event"] for line in merged(*two).events}


@pytest.mark.parametrize("left", [b"", HEADER_LINE[:7]])
def test_a_trace_of_a_node_killed_at_once_is_empty(two: tuple[Made, Made], left: bytes) -> None:
    two[1].path.write_bytes(left)
    assert merged(*two).nodes == [0]


@pytest.mark.parametrize(
    ("number", "line", "what"),
    [
        (3, b'{"at_ns":', "line 3: Expecting value"),
        (3, b"[]", "line 3: no JSON object"),
        (3, b"\xff\xfe", "line 3"),
        (3, b'{"at_ns":900}', "line 3: its node is None, not int"),
        (3, None, "line 3: its hashes is None, not list"),
        (4, b'{"at_ns":1,"node":0,"incarnation":"1","event":"said"}', "line 4: it is earlier than the line before"),
        (1, b'{"format":"multipaxos-trace","version":1}', "line 1: no trace of version 2"),
        (1, b"nonsense", "line 1"),
    ],
)
def test_damage_is_refused_by_file_and_line(two: tuple[Made, Made], number: int, line: bytes | None, what: str) -> None:
    lines = two[0].path.read_bytes().splitlines()
    if line is None:
        line = lines[number - 1].replace(b"hashes", b"hushes")
    two[0].path.write_bytes(b"\n".join([*lines[: number - 1], line, *lines[number:]]) + b"\n")
    with pytest.raises(BadRecords) as caught:
        merged(*two)
    assert str(two[0].path) in str(caught.value)
    assert what in str(caught.value)


def test_slots_and_hashes_must_be_equally_many(two: tuple[Made, Made]) -> None:
    two[0].tell("decided", first=5, end=7, ballot=AT, hashes=["a"], times_ns=[1, 1])
    with pytest.raises(BadRecords, match="line 5: its slots, hashes and times are not equally many"):
        merged(*two)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadRecords, match="missing cannot be read: No such file"):
        trace_merge.merge([tmp_path / "missing"])


# -- counting and drawing


def test_messages_are_counted_per_decided_slot(two: tuple[Made, Made]) -> None:
    for at_ns in range(10_000, 16_000, 1000):
        two[0].message("sent", 1, "phase2a", at_ns, bytes=50)
        two[1].message("received", 0, "phase2a", at_ns + 10, bytes=50)
    counted = trace_merge.summary(merged(*two))
    assert (counted["slots"], counted["nodes"], counted["failures"]) == (4, [0, 1], 0)
    assert counted["between_nodes"]["phase2a"] == {
        "messages": 6,
        "bytes": 300,
        "lost": 0,
        "messages_per_slot": 1.5,
        "bytes_per_slot": 75.0,
    }
    assert "phase2a               6       1.50          300      75.00      0" in trace_merge.table(counted)


def words(svg: str) -> list[str]:
    """The words of a diagram."""
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_a_diagram_shows_the_chosen_slots_and_nothing_else(tmp_path: Path) -> None:
    zero, one = Made(tmp_path, 0), Made(tmp_path, 1)
    zero.tell("scouting", 1_000_000, ballot=AT, first=1, text="scouting long before")
    zero.message("received", -1, "request", 99_000_000, commands=["aaaa"], label="request for it")
    zero.message("received", -1, "request", 99_000_001, commands=["bbbb"], label="request for another")
    for at_ns, first in ((99_100_000, 1), (99_200_000, 2)):
        fields = {"ballot": AT, "first": first, "end": first + 1, "label": f"phase2a slot {first}"}
        zero.message("sent", 1, "phase2a", at_ns, **fields)
        one.message("received", 0, "phase2a", at_ns + 300_000, **fields)
    one.message("sent", 0, "phase2b", 99_900_000, ballot=AT, first=1, end=2, label="phase2b lost")
    zero.tell("decided", 99_950_000, first=1, end=3, ballot=AT, hashes=HASHES[:2], times_ns=[5, 5])
    zero.message("sent", 1, "decision", 100_000_000, decided_end=3, label="decision of both")
    zero.message("sent", 1, "decision", 100_000_001, decided_end=4, label="decision of more")
    zero.message("sent", 7, "phase2a", 100_000_002, first=1, end=2, label="to a node without a trace")
    zero.message("sent", -1, "response", 100_000_003, first=1, end=2, label="response to it")
    one.message("received", 0, "decision", 101_000_000, decided_end=3, label="decision of both")
    one.message("received", 0, "decision", 101_000_001, decided_end=4, label="decision of more")
    one.tell("preempted", 102_000_000, ballot=HIGHER, text="preempted near it")
    one.tell("started", 103_000_000, slot_out=1, ballot=0)
    whole = merged(zero, one)
    svg = trace_merge.diagram(whole, 1, 2)
    said = [word for word in words(svg) if not word.endswith(" ms")]
    assert said[0].startswith("slots 1 to 1, from 99000000 ns on")
    assert said[1:4] == ["node 0", "node 1", "clients"]
    assert sorted(said[4:]) == sorted(
        [
            "request for it",
            "phase2a slot 1",
            "phase2b lost",
            "decided slot 1@1.0",
            "decision of both",
            "response to it",
            "preempted near it",
            "crash",
            "restart at slot 1",
        ]
    )
    assert svg.count("phase2 lost") == 1
    assert "dead" in svg


def test_phase_1_is_shown_where_it_is_near(tmp_path: Path) -> None:
    zero, one = Made(tmp_path, 0), Made(tmp_path, 1)
    for at_ns in (10_000_000, 80_000_000):
        zero.message("sent", 1, "phase1a", at_ns, ballot=AT, first=1, label=f"phase1a {at_ns}")
        one.message("received", 0, "phase1a", at_ns + 1000, ballot=AT, first=1, label=f"phase1a {at_ns}")
    zero.message("sent", 7, "phase1a", 80_000_001, ballot=AT, first=1, label="phase1a to nobody known")
    zero.tell("decided", 90_000_000, first=4, end=5, ballot=AT, hashes=["a"], times_ns=[5])
    said = words(trace_merge.diagram(merged(zero, one), 4, 5))
    assert "phase1a 80000000" in said
    assert "phase1a 10000000" not in said
    assert "phase1a to nobody known" not in said


def test_a_node_that_only_stops_writing_last_is_not_called_dead(two: tuple[Made, Made]) -> None:
    assert "crash" not in words(trace_merge.diagram(merged(*two), 1, 5))
    two[1].tell("said", two[1].now_ns + trace_merge.SILENT_NS + 1, text="alone")
    assert "crash" in words(trace_merge.diagram(merged(*two), 1, 5))


def test_a_node_that_was_stopped_is_not_called_dead(two: tuple[Made, Made]) -> None:
    two[0].tell("ended", reason="stopped").start(5)
    said = words(trace_merge.diagram(merged(*two), 1, 5))
    assert "crash" not in said
    assert {"stopped", "restart at slot 5"} <= set(said)
    two[1].tell("ended", reason="the disk is gone")
    assert "crash: the disk is gone" in words(trace_merge.diagram(merged(*two), 1, 5))


def test_slots_without_any_trace_are_refused(two: tuple[Made, Made]) -> None:
    with pytest.raises(BadRecords, match="nothing of slots 40 to 49"):
        trace_merge.diagram(merged(*two), 40, 50)


# -- the command line


def test_it_merges_draws_and_says_what_fails(two: tuple[Made, Made], tmp_path: Path, capsys: Any) -> None:
    out, svg = tmp_path / "out", tmp_path / "svg"
    call = [str(out), str(two[0].path), str(two[1].path), "--slots", "1:3", "--svg", str(svg)]
    assert trace_merge.main(call) == 0
    assert len(trace_merge.read(out)) == 6
    assert "decided slots 1-2@1.0" in words(svg.read_text())
    assert "4 slots decided, nodes 0, 1" in capsys.readouterr().out
    two[1].decide(4, ["zzzz"])
    assert trace_merge.main(call) == 1
    assert "failed: agreement: node 0 decided dddd in slot 4, node 1 zzzz" in capsys.readouterr().out
    two[1].path.write_bytes(b"nonsense\n")
    assert trace_merge.main(call) == 2
    assert f"trace_merge: {two[1].path}, line 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("more", "what"),
    [
        (["--slots", "1:3"], "both --slots and --svg"),
        (["--svg", "x"], "both --slots and --svg"),
        (["--slots", "3:3", "--svg", "x"], "'3:3': give A:B"),
        (["--slots", "0:3", "--svg", "x"], "'0:3': give A:B"),
        (["--slots", "three", "--svg", "x"], "'three': give A:B"),
    ],
)
def test_wrong_use_ends_with_2(two: tuple[Made, Made], tmp_path: Path, capsys: Any, more: list[str], what: str) -> None:
    with pytest.raises(SystemExit) as ended:
        trace_merge.main([str(tmp_path / "out"), str(two[0].path), *more])
    assert ended.value.code == 2
    assert what in capsys.readouterr().err


def test_a_trace_is_not_overwritten_by_the_merged_one(two: tuple[Made, Made], capsys: Any) -> None:
    before = two[0].path.read_bytes()
    with pytest.raises(SystemExit):
        trace_merge.main([str(two[0].path), str(two[0].path), str(two[1].path)])
    assert "is one of the traces" in capsys.readouterr().err
    assert two[0].path.read_bytes() == before


# -- a real cluster


def test_a_cluster_whose_leader_is_killed_passes_and_is_drawn(tmp_path: Path) -> None:
    """Three processes on disks under load; the leader is killed, another node leads, the killed one comes back."""
    config = Config.local(3, free_base_port(3))
    arguments = ["--trace", str(tmp_path / "trace-{node}.jsonl")]
    leaders: list[int] = []

    async def load(client: Client, count: int) -> None:
        for number in range(count):
            await asyncio.gather(*(client.put(b"key %d" % i, b"value %d" % number) for i in range(5)))

    async def main() -> None:
        async with LocalCluster(config, tmp_path, arguments=arguments) as cluster:
            async with Client(cluster.addresses, timeout_s=30) as client:
                leaders.append(await cluster.leader(30))
                await load(client, 20)
                cluster.kill(leaders[0])
                await load(client, 20)
                leaders.append(await cluster.leader(30))
                cluster.start_node(leaders[0])
                await cluster.wait_until_up([leaders[0]])
                await load(client, 20)
            await cluster.wait_until_level()  # after the client has closed its session, in a slot too

    uvloop.run(main())
    killed, follower = leaders
    assert killed != follower
    whole = trace_merge.merge(tmp_path / f"trace-{node}.jsonl" for node in range(3))
    assert whole.failures == []
    assert [event["event"] for event in whole.of(killed)].count("started") == 2
    assert [event["event"] for event in whole.of(killed)].count("ended") == 1
    counted = trace_merge.summary(whole)
    assert counted["slots"] > 300
    assert counted["between_nodes"]["phase2a"]["messages"] > 0
    for node in range(3):
        assert max(event["end"] for event in whole.of(node) if event["event"] == "applied") == counted["slots"] + 1
    again = [event for event in whole.of(killed) if event["event"] == "started"][1]
    elected = [event for event in whole.of(follower) if event["event"] == "adopted" and event["role"] == "leader"]
    second = [event for event in elected if event["at_ns"] < again["at_ns"]][-1]
    first = max(second["first"], again["slot_out"])  # proposed by the second leader, and told to the first one
    said = words(trace_merge.diagram(whole, first, first + 1, around_ns=10**10))
    ballot = f"{second['ballot'] >> 24}.{follower}"
    assert {"node 0", "node 1", "node 2", "clients", "crash"} <= set(said)
    for wanted in (f"scouting at ballot {ballot} ", f"phase1a {ballot} from", f"phase2a {ballot} slot", "decided slot"):
        assert any(word.startswith(wanted) for word in said), f"{wanted!r} is not in {said}"
    assert any(word.startswith("restart at slot") for word in said)
