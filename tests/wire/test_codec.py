"""The codec for Python: both forms of every message agree; wrong values are refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from multipaxos.wire import codec, schema
from multipaxos.wire.codec import CodecError
from tests.wire.oracle import (
    BODIES,
    U64,
    camel,
    command,
    encode,
    fault_of,
    phase2a,
    seen_by_pycapnp,
)


def test_every_kind_is_tested() -> None:
    others = {"hello", "status_reply"}
    assert set(BODIES) | others == set(codec.KINDS)
    assert set(BODIES) == set(codec.FIELDS)


@given(phase2a)
def test_runs_and_requests_as_tuples_are_the_same_messages(message: dict[str, Any]) -> None:
    rows = [tuple(each[part] for part in codec.ELEMENTS["commands"]) for each in message["commands"]]
    decided = (message["decided_ballot"], message["decided_first"], message["decided_end"])
    values = (message["ballot"], message["first"], message["time_ns"], decided, rows)
    frame = codec.encode("phase2a", **message)
    assert codec.encode_phase2a(*values) == frame
    assert codec.decode_phase2a(frame) == values
    assert codec.decode_request(codec.encode_request(rows)) == rows
    assert codec.encode_request(rows) == codec.encode("request", commands=message["commands"])


@given(BODIES["response"])
def test_responses_as_tuples_are_the_same_messages(message: dict[str, Any]) -> None:
    rows = [tuple(each[part] for part in codec.ELEMENTS["replies"]) for each in message["replies"]]
    frame = codec.encode("response", **message)
    assert codec.encode_response(message["session"], rows) == frame
    assert codec.decode_response(frame) == (message["session"], rows)


def test_names_and_numbers_are_those_of_the_schema() -> None:
    fields = schema.SCHEMA.Message.schema.node.struct.fields
    assert {f.discriminantValue: f.name for f in fields} == dict(enumerate(map(camel, codec.KINDS)))
    assert schema.SCHEMA.Message.schema.node.struct.discriminantOffset == 0
    for ours in (codec.CommandKind, codec.ReplyStatus):
        enumerants = getattr(schema.SCHEMA, ours.__name__).schema.enumerants
        assert {camel(each.name.lower()): each.value for each in ours} == dict(enumerants)


def test_slots_end_is_the_greatest_number() -> None:
    assert codec.SLOTS_END == U64


def test_a_number_without_a_name_is_kept() -> None:
    message = {"kind": "request", "commands": [command(kind=77)]}
    frame = encode(message)
    assert codec.decode_message(frame) == message == seen_by_pycapnp(frame)
    assert schema.flatten(frame) == frame
    unknown = bytearray(codec.encode("ping"))
    unknown[16] = len(codec.KINDS)
    assert fault_of(bytes(unknown)) == "malformed"
    with pytest.raises(CodecError):
        schema.flatten(bytes(unknown))


def test_a_frame_of_another_kind_is_refused() -> None:
    for reader in (codec.decode_phase2a, codec.decode_request, codec.decode_response):
        with pytest.raises(CodecError, match="holds ping"):
            reader(codec.encode("ping"))
    assert codec.run_frame(codec.encode("ping")) is None


def test_wrong_use_is_refused() -> None:
    with pytest.raises(ValueError, match=r"does not write 'hello'.*multipaxos\.wire\.schema"):
        codec.encode("hello")
    with pytest.raises(TypeError, match="ping has no field slot: there are"):
        codec.encode("ping", slot=1)
