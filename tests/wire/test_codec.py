"""The wire, with pycapnp as its oracle.

Every message is written and read both ways and compared byte for byte; the C layout is rebuilt from the
schema's own reflection; and frames that an attacker, another schema version or another writer could send are
met with a typed error or with exactly the values that pycapnp reads.
"""

from __future__ import annotations

import struct
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.errors import TooLarge
from multipaxos.wire import codec, schema
from multipaxos.wire.codec import CodecError

U64 = 2**64 - 1
BODY = 32  # bytes before a message's own struct
STRUCTS = {"commands": "Command", "replies": "Reply", "pvalues": "Pvalues", "rejoins": "Rejoin"}

# -- messages

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, U64) | st.integers(0, 9) | st.just(U64)
payload = st.binary(max_size=40)
commands = st.fixed_dictionaries(
    {"session": u64, "sequence": u64, "kind": st.integers(0, 3), "unacknowledged": u32, "payload": payload}
)
replies = st.fixed_dictionaries({"sequence": u64, "slot": u64, "status": st.integers(0, 6), "data": payload})
rejoins = st.fixed_dictionaries({"node": u64, "slot": u64, "incarnation": u64})


@st.composite
def ordered(draw: st.DrawFn, low: str, high: str, others: dict[str, Any]) -> dict[str, Any]:
    """Fields with `low` not above `high`."""
    first, end = sorted((draw(u64), draw(u64)))
    return {low: first, high: end} | draw(st.fixed_dictionaries(others))


pvalues = ordered("first", "end", {"run": payload})
watermark = {"decided_ballot": u64}
phase2a = st.builds(
    lambda mark, body: mark | body,
    ordered("decided_first", "decided_end", watermark),
    st.fixed_dictionaries(
        {
            "ballot": u64,
            "first": st.integers(1, U64 - 1024),
            "time_ns": u64,
            "commands": st.lists(commands, min_size=1, max_size=8),
        }
    ),
)
BODIES = {
    "phase1a": st.fixed_dictionaries({"ballot": u64, "first": u64}),
    "phase1b": ordered(
        "first",
        "end",
        {
            "ballot": u64,
            "mark": u64,
            "incarnation": u64,
            "number": st.integers(-(2**63), 2**63 - 1),
            "rejoins": st.lists(rejoins, max_size=4),
            "pvalues": st.lists(pvalues, max_size=4),
        },
    ),
    "phase2a": phase2a,
    "phase2b": ordered("first", "end", {"ballot": u64, "mark": u64}),
    "decision": ordered("first", "end", {"ballot": u64}),
    "fetch": ordered("first", "end", {}),
    "fetched": ordered("first", "end", {"mark": u64, "pvalues": st.lists(pvalues, max_size=4)}),
    "ping": st.fixed_dictionaries({"ballot": u64, "nonce": u64, "slot_out": u64, "voting": st.booleans()}),
    "pong": ordered(
        "decided_first",
        "decided_end",
        watermark | {"ballot": u64, "nonce": u64, "slot_out": u64, "leading": st.booleans(), "quorum": st.booleans()},
    ),
    "founding": st.fixed_dictionaries(
        {"incarnation": u64, "fresh": st.booleans(), "incarnations": st.lists(u64, max_size=9)}
    ),
    "request": st.fixed_dictionaries({"commands": st.lists(commands, max_size=8)}),
    "response": st.fixed_dictionaries({"session": u64, "replies": st.lists(replies, max_size=8)}),
    "leading": st.fixed_dictionaries({"ballot": u64}),
}
messages = st.one_of(*[body.map(lambda b, kind=kind: {"kind": kind} | b) for kind, body in BODIES.items()])


def encode(message: dict[str, Any]) -> bytes:
    return codec.encode(message["kind"], **{name: value for name, value in message.items() if name != "kind"})


# -- the oracle


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def by_pycapnp(message: dict[str, Any], first_segment_words: int = 1 << 12) -> bytes:
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=first_segment_words)
    body = root.init(message["kind"])
    for name in codec.FIELDS[message["kind"]]:
        if name == "incarnations":
            numbers = body.init(name, len(message[name]))
            for i, number in enumerate(message[name]):
                numbers[i] = number
        elif name in STRUCTS:
            elements = body.init(name, len(message[name]))
            for element, values in zip(elements, message[name], strict=True):
                for part, value in values.items():
                    setattr(element, part, value)
        else:
            setattr(body, camel(name), message[name])
    return bytes(root.to_bytes())


def seen_by_pycapnp(frame: bytes) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return value.raw if hasattr(value, "raw") else value

    with schema.SCHEMA.Message.from_bytes(bytes(frame)) as root:
        kind = root.which()
        body = getattr(root, kind)
        message: dict[str, Any] = {"kind": str(kind)}
        for name in codec.FIELDS.get(str(kind), ()):
            value = getattr(body, camel(name))
            if name == "incarnations":
                value = list(value)
            elif name in STRUCTS:
                parts = codec.ELEMENTS[name]
                value = [{part: plain(getattr(each, part)) for part in parts} for each in value]
            message[name] = value
        return message


def fault_of(frame: bytes) -> str:
    with pytest.raises(CodecError) as caught:
        codec.decode_message(frame)
    assert caught.value.fault in codec.FAULTS[1:]
    return caught.value.fault


@given(messages)
def test_writes_what_pycapnp_writes(message: dict[str, Any]) -> None:
    assert encode(message) == by_pycapnp(message)


@given(messages)
def test_reads_what_pycapnp_wrote_and_the_other_way_round(message: dict[str, Any]) -> None:
    assert codec.decode_message(by_pycapnp(message)) == message
    assert seen_by_pycapnp(encode(message)) == message


@given(messages, st.integers(0, 7))
def test_a_frame_may_lie_at_any_address(message: dict[str, Any], offset: int) -> None:
    frame = encode(message)
    assert codec.decode_message(memoryview(bytes(offset) + frame)[offset:]) == message


@given(messages)
def test_flatten_rewrites_several_segments(message: dict[str, Any]) -> None:
    frame = by_pycapnp(message, first_segment_words=1)
    if int.from_bytes(frame[:4], "little"):
        assert fault_of(frame) == "foreign"
        assert codec.split(frame) == ([frame], b"")
    assert schema.flatten(frame) == encode(message)
    assert schema.flatten(encode(message)) == encode(message)


def test_far_pointers_do_occur_in_what_flatten_is_tested_with() -> None:
    message = {"kind": "request", "commands": [command(payload=b"x" * 40)] * 8}
    frame = by_pycapnp(message, first_segment_words=1)
    assert int.from_bytes(frame[:4], "little") >= 1
    assert schema.flatten(frame) == encode(message)


def test_every_kind_is_tested() -> None:
    others = {"hello", "status_request", "status_reply"}
    assert set(BODIES) | others == set(codec.KINDS)
    assert set(BODIES) == set(codec.FIELDS)


@given(phase2a)
def test_the_fast_pair_of_runs_agrees_with_the_others(message: dict[str, Any]) -> None:
    rows = [tuple(each[part] for part in codec.ELEMENTS["commands"]) for each in message["commands"]]
    decided = (message["decided_ballot"], message["decided_first"], message["decided_end"])
    values = (message["ballot"], message["first"], message["time_ns"], decided, rows)
    frame = codec.encode("phase2a", **message)
    assert codec.encode_phase2a(*values) == frame
    assert codec.decode_phase2a(frame) == values
    assert codec.decode_request(codec.encode_request(rows)) == rows
    assert codec.encode_request(rows) == codec.encode("request", commands=message["commands"])


@given(BODIES["response"])
def test_the_fast_pair_of_responses_agrees_with_the_others(message: dict[str, Any]) -> None:
    rows = [tuple(each[part] for part in codec.ELEMENTS["replies"]) for each in message["replies"]]
    frame = codec.encode("response", **message)
    assert codec.encode_response(message["session"], rows) == frame
    assert codec.decode_response(frame) == (message["session"], rows)


# -- the schema's own reflection

WIDTHS = {"bool": 1, "uint16": 16, "enum": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}


def struct_node(name: str) -> Any:
    return getattr(schema.SCHEMA, name).schema.node.struct


def data_section(name: str, values: dict[str, int]) -> bytes:
    """The data section of a struct with these values, from the schema alone."""
    node = struct_node(name)
    bits = 0
    for field in node.fields:
        kind = str(field.slot.type.which())
        if kind in WIDTHS:
            width = WIDTHS[kind]
            bits |= (values.get(field.name, 0) & (2**width - 1)) << (field.slot.offset * width)
    return bits.to_bytes(8 * node.dataWordCount, "little")


def empty_lists(kind: str) -> dict[str, Any]:
    return {name: [] for name in codec.FIELDS[kind] if name in STRUCTS or name == "incarnations"}


def pointers_of(name: str) -> dict[str, int]:
    fields = struct_node(name).fields
    return {field.name: field.slot.offset for field in fields if str(field.slot.type.which()) not in WIDTHS}


@pytest.mark.parametrize("kind", list(BODIES))
def test_offsets_are_those_of_the_schema(kind: str) -> None:
    name = kind.capitalize()
    node = struct_node(name)
    scalars = [field for field in codec.FIELDS[kind] if field not in STRUCTS and field != "incarnations"]
    assert {camel(field) for field in codec.FIELDS[kind]} == {field.name for field in node.fields}
    values = {field: i for i, field in enumerate(scalars, start=1)}
    values |= {flag: True for flag in ("voting", "leading", "quorum", "fresh") if flag in values}
    fields: dict[str, Any] = dict(values)
    if kind == "phase2a":
        fields["commands"] = [command()]
    frame = codec.encode(kind, **fields)
    end = BODY + 8 * node.dataWordCount
    assert frame[BODY:end] == data_section(name, {camel(field): int(value) for field, value in values.items()})
    assert struct.unpack_from("<iHH", frame, BODY - 8) == (0, node.dataWordCount, node.pointerCount)
    assert codec.decode_message(frame) == {"kind": kind} | empty_lists(kind) | fields
    places = sorted((offset, field) for field, offset in pointers_of(name).items())
    assert [field for _, field in places] == [f for f in codec.FIELDS[kind] if f in STRUCTS or f == "incarnations"]


@pytest.mark.parametrize(
    ("kind", "field"),
    [("request", "commands"), ("response", "replies"), ("fetched", "pvalues"), ("phase1b", "rejoins")],
)
def test_offsets_in_elements_are_those_of_the_schema(kind: str, field: str) -> None:
    name = STRUCTS[field]
    node = struct_node(name)
    parts = [part for part in codec.ELEMENTS[field] if part not in ("payload", "data", "run")]
    values = {part: i for i, part in enumerate(parts, start=1)}
    frame = codec.encode(kind, **{field: [values]})
    owner = struct_node(kind.capitalize())
    tag = BODY + 8 * (owner.dataWordCount + owner.pointerCount)
    assert struct.unpack_from("<IHH", frame, tag) == (1 << 2, node.dataWordCount, node.pointerCount)
    expected = data_section(name, {camel(part): value for part, value in values.items()})
    assert frame[tag + 8 : tag + 8 + len(expected)] == expected
    assert {camel(part) for part in codec.ELEMENTS[field]} | {"reserved"} == {each.name for each in node.fields} | {
        "reserved"
    }


def test_enums_are_those_of_the_schema() -> None:
    fields = schema.SCHEMA.Message.schema.node.struct.fields
    assert {f.discriminantValue: f.name for f in fields} == dict(enumerate(map(camel, codec.KINDS)))
    assert schema.SCHEMA.Message.schema.node.struct.discriminantOffset == 0
    for ours in (codec.CommandKind, codec.ReplyStatus):
        enumerants = getattr(schema.SCHEMA, ours.__name__).schema.enumerants
        assert {camel(each.name.lower()): each.value for each in ours} == dict(enumerants)


# -- hostile bytes


def command(**fields: Any) -> dict[str, Any]:
    return {"session": 0, "sequence": 0, "kind": 0, "unacknowledged": 0, "payload": b""} | fields


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
    first = BODY + 16 + 24
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


def list_at(kind: str) -> int:
    """Where the first list pointer of a message is."""
    return BODY + 8 * struct_node(kind.capitalize()).dataWordCount


@pytest.mark.parametrize("count", [1, 2**20, 2**29 - 1])
def test_lists_of_empty_elements_are_refused(count: int) -> None:
    frame = bytearray(codec.encode("request"))
    at = list_at("request")
    frame[at + 8 : at + 16] = struct.pack("<IHH", count << 2 & 0xFFFFFFFF, 0, 0)
    assert fault_of(bytes(frame)) == "malformed"
    frame[at : at + 8] = struct.pack("<II", 1, count << 3)  # a list of Void
    assert fault_of(bytes(frame)) == "malformed"


LISTS = [(kind, offset) for kind in BODIES for offset in pointers_of(kind.capitalize()).values()]
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
    element = list_at(kind) + 8 * struct_node(kind.capitalize()).pointerCount + 8
    at = element + 8 * struct_node(STRUCTS[field]).dataWordCount + 8 * pointers_of(STRUCTS[field])[bytes_field]
    (raw,) = struct.unpack_from("<Q", frame, at)
    assert (raw & 3, raw >> 32) == (1, 8 << 3 | 2), "that is where the bytes are"
    frame[at : at + 8] = struct.pack("<Q", pointer)
    assert fault_of(bytes(frame)) in ("malformed", "foreign")


def test_counts_that_do_not_hold() -> None:
    frame = bytearray(codec.encode("request", commands=[command()]))
    at = list_at("request")
    frame[at + 8 : at + 12] = struct.pack("<I", 2 << 2)
    assert fault_of(bytes(frame)) == "malformed"
    frame = bytearray(codec.encode("founding", incarnations=[1, 2]))
    at = list_at("founding")
    frame[at + 4 : at + 8] = struct.pack("<I", 3 << 3 | 5)
    assert fault_of(bytes(frame)) == "malformed"


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


def run_of(first: int, count: int, size: int = 0) -> dict[str, Any]:
    zeros = {"ballot": 0, "time_ns": 0, "decided_ballot": 0, "decided_first": 0, "decided_end": 0}
    return {"kind": "phase2a", "first": first, "commands": [command(payload=b"x" * size)] * count} | zeros


@pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 0), (U64, 1), (U64 - 1, 2)])
def test_runs_over_no_slots_are_neither_read_nor_written(first: int, count: int) -> None:
    message = run_of(first, count)
    assert fault_of(by_pycapnp(message)) == "malformed"
    with pytest.raises(ValueError, match="a run of"):
        encode(message)


@pytest.mark.parametrize(
    "message",
    [
        run_of(1, codec.RUN_SLOTS_MAX + 1),
        run_of(1, 1, codec.PAYLOAD_BYTES_MAX + 1),
        run_of(1, 2, codec.RUN_BYTES_MAX // 2),
        {"kind": "request", "commands": [command(payload=bytes(codec.PAYLOAD_BYTES_MAX + 1))]},
    ],
    ids=["slots", "payload", "run", "request"],
)
def test_limits(message: dict[str, Any]) -> None:
    assert fault_of(by_pycapnp(message, first_segment_words=codec.FRAME_BYTES_MAX // 8)) == "oversized"
    with pytest.raises(TooLarge):
        encode(message)


def test_what_is_just_within_the_limits() -> None:
    for message in (
        run_of(1, codec.RUN_SLOTS_MAX),
        run_of(U64 - 1, 1),
        run_of(1, 1, codec.PAYLOAD_BYTES_MAX),
    ):
        assert codec.decode_message(encode(message)) == message
    room = codec.RUN_BYTES_MAX - len(encode(run_of(1, 2)))
    frame = encode(run_of(1, 2, room // 2))
    assert len(frame) == codec.RUN_BYTES_MAX
    assert codec.run_frame(frame) == frame


def test_a_frame_over_the_limit_is_not_written() -> None:
    rows = [(1, 0, 0, bytes(codec.FRAME_BYTES_MAX // 2))] * 2
    with pytest.raises(TooLarge, match="over the limit"):
        codec.encode_response(1, rows)
    with pytest.raises(TooLarge):
        codec.encode("founding", incarnations=range(codec.FRAME_BYTES_MAX // 8))
    with pytest.raises(TooLarge):
        schema.encode_status_reply(1, "x" * codec.FRAME_BYTES_MAX)


def test_numbers_without_a_name_are_kept() -> None:
    message = {"kind": "request", "commands": [command(kind=77)]}
    frame = encode(message)
    assert codec.decode_message(frame) == message == seen_by_pycapnp(frame)
    assert schema.flatten(frame) == frame
    unknown = bytearray(codec.encode("ping"))
    unknown[16] = len(codec.KINDS)
    assert fault_of(bytes(unknown)) == "malformed"
    with pytest.raises(CodecError):
        schema.flatten(bytes(unknown))


def test_a_kind_that_is_not_expected() -> None:
    for reader in (codec.decode_phase2a, codec.decode_request, codec.decode_response):
        with pytest.raises(CodecError, match="holds ping"):
            reader(codec.encode("ping"))
    assert codec.run_frame(codec.encode("ping")) is None


# -- other layouts and other versions of the schema


def word_frame(words: list[int]) -> bytes:
    return struct.pack(f"<II{len(words)}Q", 0, len(words), *words)


def struct_pointer(data: int, pointers: int, offset: int = 0) -> int:
    return offset << 2 | data << 32 | pointers << 48


def versioned(numbers: tuple[int, int, int], data: int, pointers: int, body: tuple[int, int]) -> bytes:
    """A phase2a of two commands by a schema whose structs have these sizes; what ours lack is ones."""
    body_data, body_pointers = body
    content = b"payload."
    scalars = [5, 7, 9, 0, 0, 0, U64, U64][:body_data]
    lists = [0x1 | 7 << 32 | 2 * (data + pointers) << 35 | (body_pointers - 1) << 2, 0, 0][:body_pointers]
    words = [struct_pointer(1, 1), codec.KINDS.index("phase2a"), struct_pointer(*body), *scalars, *lists]
    words.append(struct_pointer(data, pointers, offset=2))
    for i in range(2):
        words += [*numbers, U64, U64][:data]
        left = (1 - i) * (data + pointers) + pointers - 1 + 2 * i
        words += [left << 2 | 1 | 2 << 32 | len(content) << 35, 0, 0][:pointers]
    if pointers:
        for _ in range(2):
            words += [int.from_bytes(content, "little"), 0]  # a word that nothing points to
    return word_frame(words)


@pytest.mark.parametrize("data", range(6))
@pytest.mark.parametrize("pointers", [0, 1, 2])
@pytest.mark.parametrize("body", [(6, 1), (8, 3), (3, 1), (2, 1)])
def test_other_versions_of_the_schema(data: int, pointers: int, body: tuple[int, int]) -> None:
    if data + pointers == 0:
        frame = versioned((1, 2, 3 << 32 | 1), data, pointers, body)
        assert fault_of(frame) == "malformed"
        return
    frame = versioned((1, 2, 3 << 32 | 1), data, pointers, body)
    message = codec.decode_message(frame)
    assert message == seen_by_pycapnp(frame)
    one = {"session": 1, "sequence": 2, "kind": 1, "unacknowledged": 3}
    known = dict(list(one.items())[: data if data < 3 else 4])
    expected = command(**known, payload=b"payload." if pointers else b"")
    assert message["commands"] == [expected, expected]
    assert (message["ballot"], message["first"], message["time_ns"]) == (5, 7, 9 if body[0] > 2 else 0)
    canonical = encode(message)
    assert codec.run_frame(frame) == canonical
    assert schema.flatten(frame) == canonical


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


# -- runs


@given(phase2a, ordered("first", "end", {"ballot": u64}), st.integers(0, 7))
def test_a_run_holds_the_frame_that_brought_it(message: dict[str, Any], mark: dict[str, int], offset: int) -> None:
    frame = codec.encode("phase2a", **message)
    assert codec.run_frame(memoryview(bytes(offset) + frame)[offset:]) == frame
    marked = {"decided_" + name: value for name, value in mark.items()}
    decided = (mark["ballot"], mark["first"], mark["end"])
    assert codec.run_frame(frame, decided) == codec.encode("phase2a", **message | marked)


@given(phase2a)
def test_the_hooks_of_the_bench_do_the_work(message: dict[str, Any]) -> None:
    frame = codec.encode("phase2a", **message)
    once = sum(c["sequence"] + len(c["payload"]) + sum(c["payload"][:1]) for c in message["commands"])
    assert codec.decode_repeat(frame, 3) == 3 * once % 2**64
    assert codec.encode_repeat(frame, 3) == 3 * len(frame)


# -- streams


@given(st.lists(messages, max_size=5), st.integers(0, 40), st.integers(0, 7))
def test_split(stream: list[dict[str, Any]], extra: int, offset: int) -> None:
    frames = [encode(message) for message in stream]
    rest = encode({"kind": "ping", "ballot": 1, "nonce": 2, "slot_out": 3, "voting": True})[:extra]
    data = memoryview(bytes(offset) + b"".join(frames) + rest)[offset:]
    assert codec.split(data) == (frames, rest)


# -- what pycapnp reads and writes

texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=60)
hellos = st.builds(
    schema.Hello,
    cluster=texts,
    configuration=u64,
    node=st.integers(-(2**31), 2**31 - 1),
    target=st.integers(-(2**31), 2**31 - 1),
    incarnation=u64,
    version_min=u16,
    version_max=u16,
    kind=st.sampled_from(["peer", "client", "admin"]),
    nonce=u64,
    echo=u64,
    refusal=texts,
)


def several_segments(kind: str, fields: dict[str, Any]) -> bytes:
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=1)
    body = root.init(kind)
    for name, value in fields.items():
        setattr(body, name, value)
    return bytes(root.to_bytes())


@given(hellos)
def test_hello(hello: schema.Hello) -> None:
    frame = hello.encode()
    assert int.from_bytes(frame[:4], "little") == 0
    assert codec.split(frame) == ([frame], b"")
    assert codec.decode_message(frame) == {"kind": "hello"}
    assert schema.Hello.decode(frame) == hello
    fields = {camel(name): getattr(hello, name) for name in hello.__dataclass_fields__}
    assert schema.flatten(several_segments("hello", fields)) == frame


@given(u64, texts)
def test_status(nonce: int, json: str) -> None:
    request, reply = schema.encode_status_request(nonce), schema.encode_status_reply(nonce, json)
    assert schema.decode_status_request(request) == nonce
    assert schema.decode_status_reply(reply) == (nonce, json)
    assert codec.decode_message(request) == {"kind": "status_request"}
    assert codec.decode_message(reply) == {"kind": "status_reply"}
    assert schema.flatten(several_segments("statusReply", {"nonce": nonce, "json": json})) == reply
    assert schema.flatten(request) == request


@given(hellos, st.data())
def test_mutated_hellos(hello: schema.Hello, data: st.DataObject) -> None:
    frame = bytearray(hello.encode())
    for _ in range(data.draw(st.integers(1, 3))):
        frame[data.draw(st.integers(0, len(frame) - 1))] ^= data.draw(st.integers(1, 255))
    try:
        read = schema.Hello.decode(bytes(frame))
    except CodecError:
        return
    assert len(read.cluster.encode()) + len(read.refusal.encode()) <= len(frame) + 8 * schema.TRAVERSAL_SLACK_WORDS


def test_a_hello_that_is_none() -> None:
    with pytest.raises(CodecError, match="holds ping"):
        schema.Hello.decode(codec.encode("ping"))
    frame = bytearray(schema.Hello(cluster="café").encode())
    frame[frame.index("é".encode())] = 0xFF
    with pytest.raises(CodecError):
        schema.Hello.decode(bytes(frame))
    frame = bytearray(schema.Hello(cluster="", kind="admin").encode())
    offset = next(f.slot.offset for f in struct_node("Hello").fields if f.name == "kind")
    assert frame[BODY + 2 * offset] == 2
    frame[BODY + 2 * offset] = 9
    with pytest.raises(CodecError, match="unknown kind of link"):
        schema.Hello.decode(bytes(frame))
    for noise in (b"", b"\0" * 4, b"\xff" * 64, bytes(8)):
        with pytest.raises(CodecError):
            schema.Hello.decode(noise)


# -- wrong use


def test_wrong_use_is_said() -> None:
    with pytest.raises(ValueError, match=r"does not write 'hello'.*multipaxos\.wire\.schema"):
        codec.encode("hello")
    with pytest.raises(TypeError, match="ping has no field slot: there are"):
        codec.encode("ping", slot=1)
    with pytest.raises(TypeError, match="no such field: value"):
        codec.encode("request", commands=[{"value": 1}])
    with pytest.raises(OverflowError):
        codec.encode("ping", ballot=2**64)
    with pytest.raises(OverflowError):
        codec.encode("phase1b", number=2**63)
    with pytest.raises(OverflowError, match="65535"):
        codec.encode_request([(0, 0, 2**16, 0, b"")])
    with pytest.raises(OverflowError):
        codec.encode_request([(0, -1, 0, 0, b"")])
    with pytest.raises(TypeError, match="tuple of 5"):
        codec.encode_request([(1, 2)])  # type: ignore[list-item]
    with pytest.raises(TypeError, match="has to be bytes, not str"):
        codec.encode_response(1, [(1, 2, 3, "text")])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        codec.encode_request([(0, 0.5, 0, 0, b"")])  # type: ignore[list-item]
