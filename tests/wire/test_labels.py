"""Labels: one line for every kind of message, and for bytes that are none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.paxos.settings import encode_setting
from multipaxos.wire import codec
from multipaxos.wire.labels import label_of
from tests.support.one_node import ballot, command


def run(at: int, first: int, *payloads: bytes) -> bytes:
    """A phase 2a frame, as pvalues have it."""
    return codec.encode_phase2a(at, first, 5, (0, 1, 1), [command(9, i, p) for i, p in enumerate(payloads, 1)])


def held(first: int, end: int, frame: bytes) -> dict[str, object]:
    """One entry of a list of pvalues."""
    return {"first": first, "end": end, "run": frame}


def phase1b(**fields: object) -> bytes:
    """A promise; of an empty acceptor unless `fields` say otherwise."""
    given_fields = {"ballot": ballot(2, 1), "first": 1, "end": codec.SLOTS_END, "mark": 1, "pvalues": [], **fields}
    return codec.encode("phase1b", **given_fields)


def pong(**fields: object) -> bytes:
    """An answer to a ping; of a node that does not lead unless `fields` say otherwise."""
    nothing = {"leading": False, "quorum": False, "decided_ballot": 0, "decided_first": 1, "decided_end": 1}
    return codec.encode("pong", ballot=ballot(2, 1), nonce=3, slot_out=6, **{**nothing, **fields})


def ranged(**fields: object) -> bytes:
    """The answer to a fetch."""
    return codec.encode("fetched", **{"first": 2, "end": 5, "mark": 1, "pvalues": [], **fields})


ONE = ballot(1, 0)
TWO = ballot(2, 1)
LABELS = {
    "phase1a 2.1 from 5": codec.encode("phase1a", ballot=TWO, first=5),
    "phase1a 2.1 from 5 part 9": codec.encode("phase1a", ballot=TWO, first=5, part=9),
    "phase1b 2.1 from 1": phase1b(),
    "phase1b 2.1 from 3: 3@1.0 4-5@1.0": phase1b(
        first=3, pvalues=[held(3, 4, run(ONE, 3, b"x")), held(4, 6, run(ONE, 4, b"y", b"z"))]
    ),
    "phase1b 2.1 from 3 up to 8 mark 3": phase1b(first=3, end=9, mark=3),
    "phase1b 2.1 refuses": phase1b(first=codec.SLOTS_END),
    "phase1b 2.1 from 1: 1@no run": phase1b(pvalues=[held(1, 2, b"rubbish!")]),
    "phase2a 1.0 slot 5: x": codec.encode_phase2a(ONE, 5, 7, (0, 1, 1), [command(9, 1)]),
    "phase2a 1.0 slots 5-6: x y; decided 1-4": codec.encode_phase2a(
        ONE, 5, 7, (ONE, 1, 5), [command(9, 1), command(9, 2, b"y")]
    ),
    "phase2a 2.1 slot 5: noop; decided below 5": codec.encode_phase2a(TWO, 5, 7, (TWO, 5, 5), [(0, 0, 0, 0, b"")]),
    "phase2a 2.1 slot 5: open; decided 4@1.0": codec.encode_phase2a(TWO, 5, 7, (ONE, 4, 5), [(0, 77, 2, 0, b"")]),
    "phase2a 1.0 slots 5-6: reconfigure close": codec.encode_phase2a(
        ONE, 5, 7, (0, 1, 1), [(2, 99, 3, 0, b""), (2, 99, 4, 0, b"")]
    ),
    "phase2a 1.0 slots 5-6: setting 2=3 setting": codec.encode_phase2a(
        ONE, 5, 7, (0, 1, 1), [(2, 1, 5, 0, encode_setting(2, 3)), (2, 2, 5, 0, b"x")]
    ),
    "phase2a 1.0 slot 5: empty": codec.encode_phase2a(ONE, 5, 7, (0, 1, 1), [command(9, 1, b"")]),
    "phase2a 1.0 slot 5: 00ff20": codec.encode_phase2a(ONE, 5, 7, (0, 1, 1), [command(9, 1, b"\0\xff ")]),
    "phase2a 1.0 slot 5: aaaaaaaaaaaaaaaaaaaaaaa…": codec.encode_phase2a(
        ONE, 5, 7, (0, 1, 1), [command(9, 1, b"a" * 25)]
    ),
    "phase2b 1.0 slot 5": codec.encode("phase2b", ballot=ONE, first=5, end=6, mark=1),
    "phase2b 1.0 slots 5-7 mark 4": codec.encode("phase2b", ballot=ONE, first=5, end=8, mark=4),
    "phase2b 2.1 no slots": codec.encode("phase2b", ballot=TWO, first=5, end=5, mark=1),
    "decision 1.0 decided 1-4": codec.encode("decision", ballot=ONE, first=1, end=5),
    "decision 1.0 decided below 5": codec.encode("decision", ballot=ONE, first=5, end=5),
    "decision 1.0 nothing decided": codec.encode("decision", ballot=ONE, first=1, end=1),
    "fetch slots 2-4": codec.encode("fetch", first=2, end=5),
    "fetched slots 2-4: 2-4@1.0": ranged(pvalues=[held(2, 5, run(ONE, 2, b"x", b"y", b"z"))]),
    "fetched no slots mark 2": ranged(end=2, mark=2),
    "ping ⊥ out 4": codec.encode("ping", ballot=0, nonce=1, slot_out=4, voting=True),
    "pong 2.1 out 6": pong(),
    "pong 2.1 out 6 leading": pong(leading=True),
    "pong 2.1 out 6 missing from 9": pong(missing=9),
    "pong 2.1 out 6 leading with a quorum; decided 3-5": pong(
        leading=True, quorum=True, decided_ballot=TWO, decided_first=3, decided_end=6
    ),
    "founding fresh, heard of 2": codec.encode("founding", incarnation=7, fresh=True, incarnations=[7, 0, 8]),
    "founding founders 3": codec.encode("founding", incarnation=7, fresh=False, incarnations=[7, 9, 8]),
    "request x y": codec.encode_request([command(9, 1), command(9, 2, b"y")]),
    "request x x x x x x and 3 more": codec.encode_request([command(9, i) for i in range(1, 10)]),
    "response session 9 open": codec.encode_response(9, [(77, 9, codec.ReplyStatus.OPENED, b"")]),
    "response 1 ok slot 10, 2 refused slot 11": codec.encode_response(9, [(1, 10, 0, b""), (2, 11, 1, b"no")]),
    "response 4 ahead": codec.encode_response(9, [(4, 0, codec.ReplyStatus.AHEAD, b"")]),
    "leading 2.1": codec.encode("leading", ballot=TWO),
    "piece of 6 bytes, 70 left": codec.encode("piece", left=70, data=b"a part"),
}


class TestLabels:
    """A label is one line for any frame."""

    @pytest.mark.parametrize(("label", "frame"), LABELS.items(), ids=list(LABELS))
    def test_every_kind_of_message(self, label: str, frame: bytes) -> None:
        assert label_of(frame) == label

    def test_no_kind_that_peers_or_clients_send_is_without_a_description(self) -> None:
        described = {label.partition(" ")[0] for label in LABELS}
        assert set(codec.KINDS) - described <= {"hello", "status_request", "status_reply"}

    def test_a_number_that_is_no_ballot_stays_a_number(self) -> None:
        assert label_of(codec.encode("leading", ballot=9)) == "leading ballot 9"

    @settings(max_examples=300, deadline=None)
    @given(st.one_of(st.binary(max_size=200), st.sampled_from(list(LABELS.values()))), st.data())
    def test_hostile_bytes(self, frame: bytes, data: st.DataObject) -> None:
        """Any bytes, and any message with a changed byte or cut short, have a label of one line."""
        if frame:
            at = data.draw(st.integers(0, len(frame) - 1))
            frame = frame[:at] + bytes([data.draw(st.integers(0, 255))]) + frame[at + 1 :]
            frame = frame[: data.draw(st.integers(0, len(frame)))]
        label = label_of(frame)
        assert label
        assert "\n" not in label
        assert label == label_of(frame)

    def test_bytes_that_are_no_message_say_so(self) -> None:
        assert label_of(b"") == "0 bytes that are no message (partial)"
        assert label_of(LABELS["fetch slots 2-4"][:-8]).endswith("bytes that are no message (partial)")
