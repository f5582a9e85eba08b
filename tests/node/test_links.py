"""Bytes of links: bad ones close their link and touch nothing else."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.wire import codec
from multipaxos.wire.schema import SCHEMA
from tests.support.one_node import OneNode, ballot, command

NO_BALLOTS = (1, (1 << 24) - 1)


def words(*values: int) -> bytes:
    """Little-endian, as a frame has them."""
    return struct.pack(f"<{len(values)}Q", *values)


class TestBadFrames:
    """Bytes that no honest peer or client sends."""

    @pytest.mark.parametrize(
        "data",
        [b"\xff" * 64, b"\0" * 64, (0).to_bytes(4, "little") + (1 << 30).to_bytes(4, "little") + b"x" * 8],
        ids=["noise", "zeros", "oversized"],
    )
    def test_a_bad_frame(self, data: bytes) -> None:
        one = OneNode()
        one.client(1)
        one.client(2)
        one.receive(1, data)
        assert 1 in one.closed
        assert 2 not in one.closed
        assert one.core.status()["bad_frames"] == 1
        one.receive(1, data)  # what was under way still comes
        assert one.core.status()["bad_frames"] == 1

    @given(st.binary(max_size=300))
    @settings(max_examples=200, deadline=None)
    def test_noise(self, data: bytes) -> None:
        one = OneNode()
        one.client(1)
        one.receive(1, data)
        one.receive(101, data)
        one.core.invariants()

    @pytest.mark.parametrize(
        "kind", ["phase1a", "phase1b", "phase2b", "decision", "fetch", "fetched", "ping", "pong", "founding"]
    )
    def test_a_client_cannot_speak_for_a_peer(self, kind: str) -> None:
        one = OneNode()
        one.client(1)
        one.receive(1, codec.encode(kind))
        assert "peer" in one.closed[1]

    @pytest.mark.parametrize("kind", ["response", "leading"])
    def test_what_only_clients_receive_closes_a_peers_link(self, kind: str) -> None:
        """A peer has no reason to send it."""
        one = OneNode()
        one.send(1, kind)
        assert "which peers do not send" in one.closed[101]

    def test_a_frame_that_pycapnp_cannot_read_closes_its_link(self) -> None:
        """Two segments; the second is not as long as the table of segments claims."""
        one = OneNode()
        frame = struct.pack("<4I", 1, 1, 1, 0) + words(2 | 7 << 3 | 1 << 32, 0)
        one.receive(101, frame)
        assert one.closed == {101: "a frame that is no message"}

    @pytest.mark.parametrize("at", NO_BALLOTS)
    @pytest.mark.parametrize("kind", ["ping", "phase2b", "phase1b", "pong", "decision"])
    def test_a_ballot_that_no_leader_makes_closes_its_link(self, kind: str, at: int) -> None:
        """Round 0 cannot be described in `status`."""
        one = OneNode()
        one.send(1, kind, ballot=at)
        assert one.closed == {101: "a ballot that no leader makes"}
        assert one.core.status()["ballot"] == "⊥"
        assert ballot(1, 0) == one.begin_scout()

    def test_a_watermark_at_no_ballot_closes_its_link(self) -> None:
        """It is seen as a ballot too."""
        one = OneNode()
        one.send(1, "pong", ballot=ballot(2, 1), leading=True, decided_ballot=1, decided_first=1, decided_end=2)
        assert one.closed == {101: "a ballot that no leader makes"}


class TestStatus:
    """The core hands requests for the status up: the shell answers."""

    def test_a_client_is_asked_for_at_most_once_in_a_wakeup(self) -> None:
        one = OneNode()
        one.client(1)
        one.client(2)
        one.core.receive(1, codec.encode("status_request", nonce=7) + codec.encode("status_request", nonce=8))
        one.core.receive(2, codec.encode("status_request", nonce=9))
        assert one.core.output().status_requests == [(1, 8), (2, 9)]
        assert one.core.output().status_requests == []

    def test_it_is_told_to_some_links_at_a_time(self) -> None:
        """However many links ask, and however often: a status costs a tenth of a millisecond."""
        one = OneNode()
        for link in range(1, 41):
            one.client(link)
        for link in range(1, 41):
            one.core.receive(link, codec.encode("status_request", nonce=link))
        assert [link for link, _ in one.core.output().status_requests] == list(range(1, 17))
        assert one.core.output().status_requests == []
        assert one.core.next_tick_ns() <= one.now_ns + 20_000_000
        one.core.receive(1, codec.encode("status_request", nonce=99))
        asked = []
        for _ in range(2):
            one.now_ns += 20_000_000
            one.core.tick(one.now_ns, one.now_ns)
            asked.append([link for link, _ in one.core.output().status_requests])
        assert asked == [list(range(17, 33)), [*range(33, 41), 1]]

    def test_a_link_that_is_gone_asks_no_more(self) -> None:
        one = OneNode()
        one.client(1)
        one.core.receive(1, codec.encode("status_request", nonce=7))
        one.core.link_down(1)
        assert one.core.output().status_requests == []

    def test_a_peer_does_not_ask(self) -> None:
        one = OneNode()
        one.send(1, "status_request", nonce=7)
        assert "which peers do not send" in one.closed[101]


class TestLinks:
    """Chunks are cut anywhere, and links replace one another."""

    def test_frames_cut_anywhere(self) -> None:
        at = ballot(1, 1)
        frames = [
            codec.encode_phase2a(at, slot, 5, (at, 1, slot), [command(9, slot, b"x" * slot)]) for slot in range(1, 8)
        ]
        data = b"".join(frames)
        for cut in range(1, len(data), 7):
            one = OneNode()
            for piece in (data[:cut], data[cut:]):
                one.receive(101, piece)
            assert one.core.slot_out == 7
        one = OneNode()
        for i in range(len(data)):
            one.receive(101, data[i : i + 1])
        assert one.core.slot_out == 7

    def test_a_message_in_several_segments_is_read(self) -> None:
        message = SCHEMA.Message.new_message(num_first_segment_words=2)
        body = message.init("phase2a")
        body.ballot, body.first, body.timeNs = ballot(1, 1), 1, 5
        commands = body.init("commands", 3)
        for i in range(3):
            commands[i].session, commands[i].sequence, commands[i].kind = 9, i + 1, "apply"
            commands[i].payload = b"p" * 2000
        frame = message.to_bytes()
        assert int.from_bytes(frame[:4], "little") > 0  # more than one segment
        one = OneNode()
        one.receive(101, frame)
        assert [slot for slot, _ in one.core.acceptor.pvalues()] == [1, 2, 3]

    def test_a_newer_link_replaces_the_older(self) -> None:
        one = OneNode()
        one.link(1, number=500)
        assert 101 in one.closed


def cut_of(frame: bytes, size: int) -> list[bytes]:
    """The pieces of a frame, each with so many of its bytes."""
    starts = range(0, len(frame), size)
    return [codec.encode("piece", left=max(0, len(frame) - at - size), data=frame[at : at + size]) for at in starts]


LONG = codec.encode_request([command(1, 1, bytes(90_000))])
WHOLE = 2**16 - 48  # bytes of a frame that a piece holds at most


class TestPieces:
    """A long frame travels in pieces, and control between them."""

    def test_a_long_run_leaves_in_pieces_and_a_short_one_whole(self) -> None:
        one = OneNode()
        at = one.lead()
        one.client(1)
        one.core.receive(1, codec.encode_request([command(0, 5, b"", codec.CommandKind.OPEN_SESSION)]))
        output = one.core.output()
        assert not output.bulk
        assert output.writes
        one.core.receive(1, LONG)
        output = one.core.output()
        assert [link for link, _ in output.bulk] == [101, 102]
        for _, frames in output.bulk:
            assert [len(frame) <= codec.CUT_BYTES for frame in frames] == [True, True]
            (run,), rest = codec.uncut(frames)
            assert codec.decode_phase2a(run)[0] == at
            assert not rest

    @pytest.mark.parametrize("size", [WHOLE, 40_000, 60_001])
    def test_a_frame_in_pieces_is_handled_when_it_is_whole(self, size: int) -> None:
        one = OneNode()
        ballot_ = ballot(1, 1)
        frame = codec.encode_phase2a(ballot_, 1, 5, (0, 1, 1), [command(1, 1, bytes(90_000))])
        *first, last = cut_of(frame, size)
        for piece in first:
            one.receive(101, piece)
        one.send(1, "ping", ballot=ballot_, nonce=7, slot_out=1)
        assert one.from_peer(1, "pong")
        assert one.core.acceptor.pvalues() == []
        one.receive(101, last)
        assert one.core.acceptor.pvalues() == [(1, ballot_)]

    @pytest.mark.parametrize(
        "pieces",
        [
            cut_of(LONG, 40_000)[1:],
            [cut_of(LONG, 40_000)[0]] * 2,
            [codec.encode("piece", left=90_000)],
            [codec.encode("piece", left=4 << 20, data=b"x")],
            [codec.encode("piece", left=1, data=bytes(70_000))],
            [codec.encode("piece", left=0, data=codec.encode("ping"))],
            cut_of(bytes(90_000), WHOLE),
        ],
        ids=["from the middle", "twice", "empty", "too long", "a long piece", "a short frame", "no frame"],
    )
    def test_a_piece_that_does_not_fit_closes_its_link(self, pieces: list[bytes]) -> None:
        one = OneNode()
        for piece in pieces:
            one.receive(101, piece)
        assert 101 in one.closed

    def test_a_client_sends_none(self) -> None:
        one = OneNode()
        one.client(1)
        one.receive(1, cut_of(LONG, WHOLE)[0])
        assert "peer" in one.closed[1]


class TestBegunFrames:
    """Frames that clients have begun and do not end."""

    LIMIT_BYTES = 128 << 20
    LIMIT_MS = 60_000

    def head(self, size: int) -> bytes:
        """The beginning of a frame of `size` bytes, its first word."""
        return struct.pack("<II", 0, size // 8 - 1)

    def test_three_hundred_of_them_hold_a_bounded_sum_and_who_holds_least_stays(self) -> None:
        one = OneNode()
        one.client(1)
        request = codec.encode_request([command(1, 1, bytes(1 << 12))])
        one.receive(1, request[:1000])
        begun = self.head(codec.FRAME_BYTES_MAX) + bytes(3 << 20)
        for link in range(2000, 2300):
            one.client(link)
            one.receive(link, begun)
            assert one.core.status()["partial_bytes"] <= self.LIMIT_BYTES
        assert 1 not in one.closed
        assert len(one.closed) == 300 - (self.LIMIT_BYTES - 1000) // len(begun)
        assert set(one.closed.values()) == {"too many bytes of frames that were begun, in all"}
        for link in range(2000, 2300):
            one.core.link_down(link)
        assert one.core.status()["partial_bytes"] < 1 << 11
        one.receive(1, request[1000:])
        assert 1 not in one.closed
        assert one.core.status()["partial_bytes"] == 0, "what it held is free when the frame is whole"

    def test_a_frame_has_to_end_in_time(self) -> None:
        one = OneNode()
        request = codec.encode_request([command(1, 1)])
        for link in (1, 2):
            one.client(link)
            one.receive(link, request[:-8])
        one.tick(self.LIMIT_MS - 1)
        one.receive(1, request[-8:-7])
        one.receive(2, request[-8:] + request[:8])
        assert not one.closed
        one.tick(200)
        assert one.closed == {1: "a frame that was begun and did not end in time"}
        one.tick(self.LIMIT_MS - 201)
        assert 2 not in one.closed, "its time began with the frame that is pending now"
        one.tick(200)
        assert 2 in one.closed
        assert one.core.status()["partial_bytes"] == 0

    def test_peers_are_not_counted(self) -> None:
        one = OneNode()
        one.receive(101, self.head(1 << 20) + bytes(1 << 16))
        assert one.core.status()["partial_bytes"] == 0
