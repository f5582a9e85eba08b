"""Writing frames: the bytes that pycapnp writes, within the limits, at the schema's offsets."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given

from multipaxos.errors import TooLarge
from multipaxos.wire import codec, schema
from tests.wire.oracle import (
    BODIES,
    BODY,
    NUMBERS,
    STRUCTS,
    U64,
    WIDTHS,
    by_pycapnp,
    camel,
    command,
    encode,
    fault_of,
    messages,
    pointers_of,
    run_of,
    struct_name,
    struct_node,
)


@given(messages)
def test_writes_what_pycapnp_writes(message: dict[str, Any]) -> None:
    assert encode(message) == by_pycapnp(message)


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
    lists: dict[str, Any] = {name: [] for name in codec.FIELDS[kind] if name in STRUCTS or name in NUMBERS}
    return lists | ({"data": b""} if kind == "piece" else {})


@pytest.mark.parametrize("kind", list(BODIES))
def test_offsets_are_those_of_the_schema(kind: str) -> None:
    name = struct_name(kind)
    node = struct_node(name)
    scalars = [field for field in codec.FIELDS[kind] if field not in (*STRUCTS, *NUMBERS, "data")]
    nonces = {"nonces"} if "commands" in codec.FIELDS[kind] else set()
    assert {camel(field) for field in codec.FIELDS[kind]} | nonces == {field.name for field in node.fields}
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
    lists = list(empty_lists(kind))
    assert [field for _, field in places] == [*lists, *nonces]


@pytest.mark.parametrize(
    ("kind", "field"),
    [("request", "commands"), ("response", "replies"), ("fetched", "pvalues"), ("phase2a", "commands")],
)
def test_offsets_in_elements_are_those_of_the_schema(kind: str, field: str) -> None:
    name = STRUCTS[field]
    node = struct_node(name)
    parts = [part for part in codec.ELEMENTS[field] if part not in ("payload", "data", "run")]
    values = {part: i for i, part in enumerate(parts, start=1)}
    frame = codec.encode(kind, **{field: [values]}, **({"first": 1} if kind == "phase2a" else {}))
    if "nonce" in values:
        values["nonce"] = 0  # its index
    owner = struct_node(struct_name(kind))
    tag = BODY + 8 * (owner.dataWordCount + owner.pointerCount)
    assert struct.unpack_from("<IHH", frame, tag) == (1 << 2, node.dataWordCount, node.pointerCount)
    expected = data_section(name, {camel(part): value for part, value in values.items()})
    assert frame[tag + 8 : tag + 8 + len(expected)] == expected
    assert {camel(part) for part in codec.ELEMENTS[field]} == {each.name for each in node.fields}


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
    run = run_of(1, 2)
    room = codec.RUN_BYTES_MAX - len(encode(run)) - 16  # a run counts a nonce for each command
    sizes = (1 << 20, room - (1 << 20))
    for nonces in ((0, 0), (5, 5), (5, 6)):
        run["commands"] = [command(payload=b"x" * size, nonce=nonce) for size, nonce in zip(sizes, nonces, strict=True)]
        frame = encode(run)
        assert len(frame) == codec.RUN_BYTES_MAX - 16 + 8 * len({*nonces} - {0})
        assert codec.run_frame(frame) == frame


def test_a_frame_over_the_limit_is_not_written() -> None:
    rows = [(1, 0, 0, bytes(codec.FRAME_BYTES_MAX // 2))] * 2
    with pytest.raises(TooLarge, match="over the limit"):
        codec.encode_response(1, rows)
    with pytest.raises(TooLarge):
        codec.encode("founding", incarnations=range(codec.FRAME_BYTES_MAX // 8))
    with pytest.raises(TooLarge):
        schema.encode_status_reply(1, "x" * codec.FRAME_BYTES_MAX)


@pytest.mark.parametrize(("first", "count"), [(0, 1), (1, 0), (U64, 1), (U64 - 1, 2)])
def test_runs_over_no_slots_are_neither_read_nor_written(first: int, count: int) -> None:
    message = run_of(first, count)
    assert fault_of(by_pycapnp(message)) == "malformed"
    with pytest.raises(ValueError, match="a run of"):
        encode(message)
