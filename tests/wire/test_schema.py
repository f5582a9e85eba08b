"""What pycapnp reads and writes: hellos, the status pair, and frames in layouts that the codec does not read."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.wire import codec, schema
from multipaxos.wire.codec import CodecError
from tests.wire.oracle import (
    BODY,
    by_pycapnp,
    camel,
    command,
    encode,
    fault_of,
    messages,
    several_segments,
    struct_node,
    u16,
    u64,
)


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
    cluster_id=u64,
    process=u64,
    semantics_min=u16,
    semantics_max=u16,
    python=u16,
    mixed_python=st.booleans(),
    proof=st.binary(max_size=40),
    refused_slots=st.lists(u64, max_size=5).map(tuple),
    machine_version=st.integers(0, 2**32 - 1),
)


@given(hellos)
def test_hello(hello: schema.Hello) -> None:
    frame = hello.encode()
    assert int.from_bytes(frame[:4], "little") == 0
    assert codec.split(frame) == ([frame], b"")
    assert codec.decode_message(frame) == {"kind": "hello"}
    assert schema.Hello.decode(frame) == hello
    fields = {camel(name): getattr(hello, name) for name in hello.__dataclass_fields__}
    fields["refusedSlots"] = list(hello.refused_slots)
    assert schema.flatten(several_segments("hello", fields)) == frame


@given(u64, texts)
def test_status(nonce: int, json: str) -> None:
    request, reply = schema.encode_status_request(nonce), schema.encode_status_reply(nonce, json)
    assert schema.decode_status_request(request) == nonce
    assert schema.decode_status_reply(reply) == (nonce, json)
    assert codec.decode_message(request) == {"kind": "status_request", "nonce": nonce}
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


def test_no_other_module_uses_pycapnp() -> None:
    sources = Path(schema.__file__).parents[1].rglob("*.py")
    imports = re.compile(r"(?m)^\s*(import|from) capnp\b")
    assert [path.name for path in sources if imports.search(path.read_text(encoding="utf-8"))] == ["schema.py"]
