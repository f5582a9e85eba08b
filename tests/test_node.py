"""The node as its shell sees it: frames whole and in parts, links, jobs, memory."""

import random
import struct

import pytest

from multipaxos import codec

from .rig import OPEN_SESSION, Rig, ballot, command

COMMANDS = [command(0, 900 + i, b"", OPEN_SESSION) for i in range(6)]
B1 = ballot(1, 1)


def story():
    """Some frames of a leader, one chunk."""
    return b"".join(
        [
            codec.encode("ping", ballot=B1, nonce=1, slot_out=1, voting=True),
            codec.encode("phase1a", ballot=B1, first=1),
            codec.encode_phase2a(B1, 1, 5, (0, 1, 1), COMMANDS[:3]),
            codec.encode("decision", ballot=B1, first=1, end=4),
        ]
    )


def state(rig):
    """What a chunk did."""
    rig.sync()
    return rig.node.status(), rig.take(101), rig.meta, rig.records, rig.closed


def test_a_chunk_may_be_cut_at_every_byte():
    whole = Rig()
    whole.receive(101, story())
    expected = state(whole)
    assert expected[0]["slot_out"] == 4
    data = story()
    for cut in range(1, len(data)):
        rig = Rig()
        rig.receive(101, data[:cut])
        rig.receive(101, data[cut:])
        status, sent, meta, records, closed = state(rig)
        assert status == expected[0]
        assert meta[b"ballot"] == expected[2][b"ballot"]
        assert [one[1:] for one in records] == [one[1:] for one in expected[3]]
        assert closed == {}
        assert sorted(one["kind"] for one in sent) == sorted(one["kind"] for one in expected[1])


def test_a_chunk_may_come_byte_by_byte():
    rig = Rig()
    for byte in story():
        rig.receive(101, bytes([byte]))
    assert state(rig)[0]["slot_out"] == 4
    assert rig.closed == {}


def test_parts_of_different_links_do_not_mix():
    rig = Rig()
    one, two = (
        codec.encode_phase2a(B1, 1, 5, (0, 1, 1), COMMANDS[:1]),
        codec.encode("decision", ballot=B1, first=1, end=2),
    )
    rig.receive(101, one[:20])
    rig.receive(102, two[:9])
    rig.receive(101, one[20:])
    rig.receive(102, two[9:])
    assert rig.node.slot_out == 2


def segments(frame):
    """The frame's message in two segments: a far pointer to the root, in standard stream framing."""
    size = struct.unpack_from("<I", frame, 4)[0]
    body = frame[8:]
    landing = struct.pack("<Q", 2 | 0 << 3 | 1 << 32)
    return struct.pack("<IIII", 1, 1, size, 0) + landing + body


def test_frames_of_several_segments_are_read():
    rig = Rig()
    frame = codec.encode("phase1a", ballot=B1, first=1)
    two = segments(frame)
    rig.receive(101, two[:30])
    rig.receive(101, two[30:] + codec.encode("ping", ballot=B1, nonce=4, slot_out=1, voting=True))
    rig.sync()
    assert rig.closed == {}
    assert {one["kind"] for one in rig.take(101)} >= {"phase1b", "pong"}


def test_a_request_of_several_segments_keeps_its_payload():
    rig = Rig()
    at = rig.lead()
    rig.client()
    rig.receive(1, segments(codec.encode_request([command(0, 31, b"", OPEN_SESSION)])))
    rig.receive(1, segments(codec.encode_request([command(1, 1, b"payload")])))
    rig.sync()
    rig.accept(1, at, 1, 3)
    assert rig.journal.entries == [b"payload"]


# -- hostile bytes


@pytest.mark.parametrize(
    "data",
    [
        b"\xff" * 64,
        struct.pack("<II", 0, 1 << 28) + bytes(64),
        struct.pack("<I", 600) + bytes(64),
        struct.pack("<II", 0, 1) + b"\xff" * 8,
        codec.encode("phase1a", ballot=B1, first=1)[:8] + bytes(range(256)),
    ],
    ids=["ones", "too large", "many segments", "wild pointer", "garbage body"],
)
def test_a_bad_frame_closes_its_link_only(data):
    rig = Rig()
    rig.client()
    rig.receive(101, data)
    assert set(rig.closed) == {101}
    assert rig.closed[101]
    assert rig.node.status()["bad_frames"] == 1
    assert rig.node.status()["peers"] == [2]
    rig.receive(101, story())
    assert rig.node.acceptor.ballot_num == 0
    rig.receive(102, codec.encode("ping", ballot=0, nonce=1, slot_out=1, voting=True))
    assert rig.from_peer(2, "pong")


def test_frames_before_the_bad_one_count():
    rig = Rig()
    rig.receive(101, story() + b"\xff" * 32)
    assert rig.node.slot_out == 4
    assert set(rig.closed) == {101}


@pytest.mark.parametrize("seed", range(20))
def test_random_and_altered_frames(seed):
    """Nothing but the link may fall, and a run of garbage yields no more than it holds."""
    chance = random.Random(seed)
    rig = Rig()
    kinds = [
        codec.encode("phase1a", ballot=B1, first=1),
        codec.encode("fetch", first=1, end=9),
        codec.encode("founding", incarnation=1001, fresh=True, incarnations=[1, 2, 3]),
        codec.encode_phase2a(B1, 1, 5, (0, 1, 1), COMMANDS),
        codec.encode_request(COMMANDS),
        codec.encode("fetched", first=1, end=2, mark=1, pvalues=[]),
        codec.encode("ping", ballot=B1, nonce=1, slot_out=1, voting=True),
    ]
    number = 200
    for _ in range(60):
        number += 1
        rig.link(1, number=number)
        frame = bytearray(chance.choice(kinds))
        for _ in range(chance.randint(0, 3)):
            frame[chance.randrange(4 if chance.random() < 0.1 else 8, len(frame))] = chance.randrange(256)
        cut = chance.randrange(len(frame))
        rig.node.receive(number, bytes(frame[:cut]))
        rig.node.receive(number, bytes(frame[cut:]))
        if rig.batch is None:
            rig.collect()
        rig.sync()
    assert set(rig.closed) <= set(range(101, number + 1))
    assert rig.node.failed == ""
    assert 102 not in rig.closed


@pytest.mark.parametrize("kind", ["phase1a", "fetch", "decision", "ping"])
def test_a_client_is_no_peer(kind):
    rig = Rig()
    rig.client()
    fields = dict.fromkeys(codec.FIELDS[kind], 1)
    rig.receive(1, codec.encode(kind, **fields))
    assert set(rig.closed) == {1}
    assert rig.node.acceptor.ballot_num == 0


def test_a_message_that_peers_do_not_send_closes_the_link():
    rig = Rig()
    rig.receive(101, codec.encode_response(1, []))
    assert set(rig.closed) == {101}


# -- links


def test_a_newer_link_of_a_peer_replaces_the_older():
    rig = Rig()
    rig.link(1, number=301)
    assert set(rig.closed) == {101}
    assert sorted(rig.node.status()["peers"]) == [1, 2]
    rig.node.link_down(101)
    assert sorted(rig.node.status()["peers"]) == [1, 2]


def test_answers_for_a_broken_link_are_dropped():
    rig = Rig()
    rig.send(1, "phase1a", ballot=B1, first=1)
    rig.take(101)
    rig.node.link_down(101)
    rig.sync()
    assert rig.take(101) == []
    assert rig.node.acceptor.ballot_num == B1


def test_bytes_of_an_unknown_link_are_ignored():
    rig = Rig()
    rig.receive(999, story())
    assert rig.node.acceptor.ballot_num == 0
    assert rig.closed == {}


# -- jobs and time


def test_one_batch_at_a_time_and_the_next_gathers():
    rig = Rig()
    rig.phase2a(1, B1, 1, COMMANDS[:1])
    first = rig.batch
    for slot in (2, 3, 4):
        rig.phase2a(1, B1, slot, COMMANDS[slot - 1 : slot])
    assert rig.batch is first
    rig.batch = None
    rig.commit(first)
    rig.node.done(first.token, True)
    rig.collect()
    assert rig.batch is not None
    assert rig.batch.records.count(codec.encode_phase2a(B1, 4, 5, (0, 1, 1), COMMANDS[3:4])) == 1
    rig.sync()
    assert len(rig.records) == 4


def test_a_job_that_is_unknown_is_ignored():
    rig = Rig()
    rig.node.done(12345, True)
    rig.node.done(0, False)
    rig.collect()
    assert rig.failed == ""


def test_time_never_goes_back():
    rig = Rig()
    rig.tick(1000)
    due = rig.node.next_tick_ns()
    rig.node.tick(5, 5)
    assert rig.node.next_tick_ns() == due


def test_the_next_tick_is_never_far():
    rig = Rig()
    assert 0 <= rig.node.next_tick_ns() - rig.now_ns <= 100_000_000
    rig.lead()
    assert 0 <= rig.node.next_tick_ns() - rig.now_ns <= 100_000_000


# -- memory


def test_memory_stays_bounded_over_a_long_log():
    """Rings forget what is decided and durable; only the log on disk grows."""
    rig = Rig(window=8)
    payload = b"v" * 1000
    for slot in range(1, 400):
        rig.phase2a(1, B1, slot, [command(3, slot, payload)], decided=(B1, 1, slot))
        rig.sync()
    assert rig.node.slot_out == 399
    assert rig.node.status()["memory_bytes"] < 40 * 1200
    assert len(rig.node.replica.decisions.slots()) <= 32


def test_a_slow_disk_holds_back_proposals():
    """What is not durable stays in memory, so the ring is full before the disk has caught up, and slot_in
    waits.
    """
    rig = Rig(window=4)
    at = rig.lead()
    rig.client()
    for i in range(60):
        rig.request(1, command(0, 500 + i, b"", OPEN_SESSION))
        rig.accept(1, at, 1, 100)
        rig.accept(2, at, 1, 100)
    assert rig.node.status()["slot_in"] <= 17
    assert rig.node.status()["requests"] >= 40
    for _ in range(20):
        rig.sync()
        rig.accept(1, at, 1, 100)
        rig.accept(2, at, 1, 100)
    assert rig.node.slot_out == 61
