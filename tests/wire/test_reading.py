"""Reading frames: the values that pycapnp reads, or an error that says what is wrong, for any bytes."""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.wire import codec, schema
from multipaxos.wire.codec import CodecError
from tests.wire.oracle import (
    BODIES,
    BODY,
    STRUCTS,
    by_pycapnp,
    command,
    encode,
    fault_of,
    list_at,
    messages,
    pointers_of,
    run_of,
    seen_by_pycapnp,
    struct_name,
    struct_node,
    struct_pointer,
    word_frame,
)


@given(messages)
def test_reads_what_pycapnp_wrote_and_the_other_way_round(message: dict[str, Any]) -> None:
    assert codec.decode_message(by_pycapnp(message)) == message
    assert seen_by_pycapnp(encode(message)) == message


@given(messages, st.integers(0, 7))
def test_a_frame_may_lie_at_any_address(message: dict[str, Any], offset: int) -> None:
    frame = encode(message)
    assert codec.decode_message(memoryview(bytes(offset) + frame)[offset:]) == message


@given(st.lists(messages, max_size=5), st.integers(0, 40), st.integers(0, 7))
def test_split(stream: list[dict[str, Any]], extra: int, offset: int) -> None:
    frames = [encode(message) for message in stream]
    rest = codec.encode("ping", ballot=1, nonce=2, slot_out=3, voting=True)[:extra]
    data = memoryview(bytes(offset) + b"".join(frames) + rest)[offset:]
    assert codec.split(data) == (frames, rest)


def test_a_large_frame_is_refused_before_it_arrives() -> None:
    for table in (struct.pack("<II", 0, 2**32 - 1), struct.pack("<II", 0, codec.FRAME_BYTES_MAX // 8)):
        with pytest.raises(CodecError) as caught:
            codec.split(table)
        assert caught.value.fault == "oversized"
    several = struct.pack("<III", 1, codec.FRAME_BYTES_MAX // 16, codec.FRAME_BYTES_MAX // 16)
    with pytest.raises(CodecError) as caught:
        codec.split(several)
    assert caught.value.fault == "oversized"
    for segments in (codec.FRAME_BYTES_MAX, 512, 2**32 - 1):
        with pytest.raises(CodecError) as caught:
            codec.split(struct.pack("<I", segments))
        assert caught.value.fault == "malformed"
    with pytest.raises(CodecError) as caught:
        schema.flatten(bytes(codec.FRAME_BYTES_MAX + 8))
    assert caught.value.fault == "oversized"


def test_a_small_table_is_awaited() -> None:
    assert codec.split(struct.pack("<II", 0, codec.FRAME_BYTES_MAX // 8 - 1))[0] == []


# -- hostile bytes


def yielded(message: object) -> int:
    """Bytes that a decoded message holds, elements counted as their least size on the wire."""
    if isinstance(message, dict):
        return sum(map(yielded, message.values()))
    if isinstance(message, list):
        return sum(8 + yielded(each) if isinstance(each, dict) else 8 for each in message)
    return len(message) if isinstance(message, bytes) else 0


def rewords(frame: bytes) -> bytes:
    """The frame with a segment table that fits its length."""
    return struct.pack("<II", 0, (len(frame) - 8) // 8) + frame[8:]


@given(messages)
@settings(max_examples=30)
def test_truncated_frames(message: dict[str, Any]) -> None:
    frame = encode(message)
    for size in range(len(frame)):
        assert fault_of(frame[:size]) == "partial"
        assert codec.split(frame[:size]) == ([], frame[:size])
    assert fault_of(frame + b"\0") == "malformed"


@given(messages)
@settings(max_examples=30)
def test_truncated_segments(message: dict[str, Any]) -> None:
    frame = encode(message)
    for size in range(8, len(frame), 8):
        assert fault_of(rewords(frame[:size])) == "malformed"


@given(messages, st.data())
@settings(max_examples=600)
def test_mutated_frames_are_refused_or_read_as_pycapnp_reads_them(message: dict[str, Any], data: st.DataObject) -> None:
    frame = bytearray(encode(message))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(8, len(frame) - 1))
        frame[at] ^= data.draw(st.integers(1, 255))
    try:
        decoded = codec.decode_message(memoryview(b"odd" + frame)[3:])
    except CodecError as error:
        assert codec.run_frame(frame) is None
        if error.fault == "foreign":
            try:
                decoded = codec.decode_message(schema.flatten(bytes(frame)))
            except CodecError:
                return
            assert yielded(decoded) <= len(frame) + 8 * schema.TRAVERSAL_SLACK_WORDS
        return
    assert yielded(decoded) <= len(frame)
    if decoded["kind"] in codec.FIELDS:
        assert decoded == seen_by_pycapnp(frame)
    run = codec.run_frame(frame)
    assert (run is None) == (decoded["kind"] != "phase2a")
    if run is not None:
        assert codec.decode_message(run) == decoded


@given(st.binary(max_size=200))
def test_noise(noise: bytes) -> None:
    for frame in (noise, rewords(noise.ljust(8, b"\0")[: len(noise) // 8 * 8 or 8])):
        with suppress(CodecError):
            assert codec.decode_message(frame)["kind"] in codec.KINDS
        try:
            flat = schema.flatten(frame)
        except CodecError:
            continue
        assert len(flat) <= len(frame) + 8 * schema.TRAVERSAL_SLACK_WORDS


def aliased(count: int, size: int) -> bytes:
    """A request whose commands all point to the payload of the first."""
    frame = bytearray(codec.encode("request", commands=[command(payload=b"a" * size)] + [command()] * (count - 1)))
    first = BODY + 24 + 24
    for i in range(1, count):
        at = first + 32 * i
        offset = 4 * (count - 1 - i)
        frame[at : at + 8] = struct.pack("<II", offset << 2 | 1, size << 3 | 2)
    return bytes(frame)


def test_overlapping_pointers_do_not_unfold() -> None:
    frame = aliased(count=400, size=4096)
    assert len(seen_by_pycapnp(frame)["commands"]) == 400, "the attack is well-formed"
    assert fault_of(frame) == "foreign"
    with pytest.raises(CodecError, match="traversal limit"):
        schema.flatten(frame)


@pytest.mark.parametrize("count", [1, 2**20, 2**29 - 1])
def test_lists_of_empty_elements_are_refused(count: int) -> None:
    frame = bytearray(codec.encode("request"))
    at = list_at("request")
    frame[at + 16 : at + 24] = struct.pack("<IHH", count << 2 & 0xFFFFFFFF, 0, 0)
    assert fault_of(bytes(frame)) == "malformed"
    frame[at : at + 8] = struct.pack("<II", 1 << 2 | 1, count << 3)  # a list of Void
    assert fault_of(bytes(frame)) == "malformed"


LISTS = [(kind, offset) for kind in BODIES for offset in pointers_of(struct_name(kind)).values()]
NO_LISTS = {
    "beyond the frame": 0x1 | 1 << 20 | 7 << 32,
    "before the frame": 0x1 | (1 << 32) - (1 << 20) | 7 << 32,
    "a struct": 1 << 32,
    "far": 0x2 | 1 << 3,
    "a capability": 0x3,
}


@pytest.mark.parametrize("pointer", NO_LISTS.values(), ids=NO_LISTS)
@pytest.mark.parametrize(("kind", "offset"), LISTS)
def test_pointers_that_lead_to_no_list(kind: str, offset: int, pointer: int) -> None:
    frame = bytearray(codec.encode(kind, **({"first": 1, "commands": [command()]} if kind == "phase2a" else {})))
    at = list_at(kind) + 8 * offset
    frame[at : at + 8] = struct.pack("<Q", pointer)
    assert fault_of(bytes(frame)) in ("malformed", "foreign")


@pytest.mark.parametrize("pointer", NO_LISTS.values(), ids=NO_LISTS)
@pytest.mark.parametrize(("kind", "field"), [("request", "commands"), ("response", "replies"), ("fetched", "pvalues")])
def test_pointers_that_lead_to_no_bytes(kind: str, field: str, pointer: int) -> None:
    values = command() if field == "commands" else dict.fromkeys(codec.ELEMENTS[field], 0)
    bytes_field = {"commands": "payload", "replies": "data", "pvalues": "run"}[field]
    frame = bytearray(codec.encode(kind, **{field: [{**values, bytes_field: b"12345678"}]}))
    element = list_at(kind) + 8 * struct_node(struct_name(kind)).pointerCount + 8
    at = element + 8 * struct_node(STRUCTS[field]).dataWordCount + 8 * pointers_of(STRUCTS[field])[bytes_field]
    (raw,) = struct.unpack_from("<Q", frame, at)
    assert (raw & 3, raw >> 32) == (1, 8 << 3 | 2), "that is where the bytes are"
    frame[at : at + 8] = struct.pack("<Q", pointer)
    assert fault_of(bytes(frame)) in ("malformed", "foreign")


def test_counts_that_do_not_hold() -> None:
    frame = bytearray(codec.encode("request", commands=[command()]))
    at = list_at("request")
    frame[at + 16 : at + 20] = struct.pack("<I", 2 << 2)
    assert fault_of(bytes(frame)) == "malformed"
    frame = bytearray(codec.encode("founding", incarnations=[1, 2]))
    at = list_at("founding")
    frame[at + 4 : at + 8] = struct.pack("<I", 3 << 3 | 5)
    assert fault_of(bytes(frame)) == "malformed"


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("phase1b", {"first": 2, "end": 1}),
        ("phase2b", {"first": 2, "end": 1}),
        ("decision", {"first": 2, "end": 1}),
        ("fetch", {"first": 2, "end": 1}),
        ("fetched", {"first": 2, "end": 1}),
        ("fetched", {"pvalues": [{"first": 2, "end": 1}]}),
        ("pong", {"decided_first": 2, "decided_end": 1}),
        ("phase2a", {"first": 1, "decided_first": 2, "decided_end": 1, "commands": [{}]}),
    ],
)
def test_ranges_that_run_backwards(kind: str, fields: dict[str, Any]) -> None:
    assert fault_of(codec.encode(kind, **fields)) == "malformed"


def founding_with_a_changed_pointer(bits_cleared: int, bits_set: int, byte: int) -> bytes:
    """A founding with three numbers; one byte of their list's pointer is changed."""
    frame = bytearray(codec.encode("founding", incarnation=1, fresh=True, incarnations=[1, 2, 3]))
    at = list_at("founding") + byte
    frame[at] = frame[at] & ~bits_cleared | bits_set
    return bytes(frame)


@pytest.mark.parametrize(("kind", "fault"), [(2, "foreign"), (0, "malformed"), (3, "malformed")])
def test_a_pointer_of_another_kind_leads_to_no_numbers(kind: int, fault: str) -> None:
    """Far pointers lead to another segment; structs and capabilities are no lists."""
    assert fault_of(founding_with_a_changed_pointer(3, kind, byte=0)) == fault


@pytest.mark.parametrize(("element", "fault"), [(7, "foreign"), (2, "malformed"), (0, "malformed")])
def test_numbers_stand_in_lists_of_words(element: int, fault: str) -> None:
    """Structs may stand for numbers, and are rewritten; bytes and empty elements may not."""
    assert fault_of(founding_with_a_changed_pointer(7, element, byte=4)) == fault


# -- other layouts


def test_messages_without_a_body_hold_defaults() -> None:
    empty = 0xFFFFFFFC  # a struct of no words, which lies nowhere: its offset is -1
    for kind in ("ping", "request", "founding", "fetched", "phase1b"):
        for body in (0, empty):
            frame = word_frame([struct_pointer(1, 1), codec.KINDS.index(kind), body])
            assert codec.decode_message(frame) == codec.decode_message(codec.encode(kind)) == seen_by_pycapnp(frame)
    assert fault_of(word_frame([struct_pointer(1, 1), codec.KINDS.index("phase2a"), 0])) == "malformed"
    assert codec.decode_message(word_frame([0])) == {"kind": "hello"}
    assert fault_of(word_frame([])) == "malformed"


def test_data_that_was_never_set_reads_as_empty() -> None:
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=256)
    body = root.init("phase2a")
    body.first = 3
    body.init("commands", 2)
    frame = root.to_bytes()
    assert codec.decode_message(frame) == run_of(3, 2)
    assert codec.run_frame(frame) == frame, "null pointers are taken as they are"


def test_elements_in_another_order_are_foreign_and_gaps_are_not() -> None:
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=256)
    body = root.init("phase2a")
    body.first = 1
    elements = body.init("commands", 2)
    elements[1].payload = b"second"
    elements[0].payload = b"first"
    frame = root.to_bytes()
    assert fault_of(frame) == "foreign"
    expected = run_of(1, 2)
    expected["commands"] = [command(payload=b"first"), command(payload=b"second")]
    assert schema.flatten(frame) == encode(expected)

    root = schema.SCHEMA.Message.new_message(num_first_segment_words=256)
    body = root.init("phase2a")
    body.first = 1
    elements = body.init("commands", 2)
    elements[0].payload = b"first"
    elements[1].payload = b"given up"
    elements[1].payload = b"second"
    frame = root.to_bytes()
    assert codec.decode_message(frame) == expected
    assert codec.run_frame(frame) == encode(expected)


def test_a_list_of_numbers_in_place_of_structs() -> None:
    """Cap'n Proto lets a list of numbers stand for structs with one field: rare, so left to pycapnp."""
    words = [
        struct_pointer(1, 1),
        codec.KINDS.index("request"),
        struct_pointer(0, 1),
        1 | 5 << 32 | 2 << 35,
        11,
        12,
    ]
    assert fault_of(word_frame(words)) == "foreign"
    expected = [command(session=11), command(session=12)]
    assert schema.flatten(word_frame(words)) == codec.encode("request", commands=expected)


@pytest.mark.parametrize("element", [0, 1, 2, 3, 4])
def test_lists_of_elements_less_than_a_word_do_not_unfold(element: int) -> None:
    count = 4000
    bits = [0, 1, 8, 16, 32][element]
    words = [struct_pointer(1, 1), codec.KINDS.index("request"), struct_pointer(0, 1)]
    words += [1 | element << 32 | count << 35, *[0] * (count * bits // 64 + 1)]
    assert fault_of(word_frame(words)) == ("malformed" if element == 0 else "foreign")
    with pytest.raises(CodecError):
        schema.flatten(word_frame(words))
