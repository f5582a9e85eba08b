"""Messages of every kind, and pycapnp as the oracle of what their frames mean."""

from __future__ import annotations

import re
import struct
from typing import Any

import pytest
from hypothesis import strategies as st

from multipaxos.wire import codec, schema
from multipaxos.wire.codec import CodecError

U64 = 2**64 - 1
BODY = 32  # bytes before a message's own struct
STRUCTS = {"commands": "Command", "replies": "Reply", "pvalues": "Pvalues"}
NUMBERS = ("incarnations", "processes")  # fields that are lists of numbers
NO_NONCE = 0xFFFF  # an index that no list of nonces has
WIDTHS = {"bool": 1, "uint16": 16, "enum": 16, "int32": 32, "uint32": 32, "int64": 64, "uint64": 64}

# -- messages

u16 = st.integers(0, 2**16 - 1)
u32 = st.integers(0, 2**32 - 1)
u64 = st.integers(0, U64) | st.integers(0, 9) | st.just(U64)
payload = st.binary(max_size=40)
commands = st.fixed_dictionaries(
    {
        "session": u64,
        "sequence": u64,
        "kind": st.integers(0, 5),
        "unacknowledged": u32,
        "payload": payload,
        "nonce": st.integers(0, 6) | u64,
    }
)
replies = st.fixed_dictionaries({"sequence": u64, "slot": u64, "status": st.integers(0, 6), "data": payload})


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
    "phase1a": st.fixed_dictionaries({"ballot": u64, "first": u64, "part": u64}),
    "phase1b": ordered(
        "first",
        "end",
        {"ballot": u64, "mark": u64, "pvalues": st.lists(pvalues, max_size=4)},
    ),
    "phase2a": phase2a,
    "phase2b": ordered("first", "end", {"ballot": u64, "mark": u64}),
    "decision": ordered("first", "end", {"ballot": u64}),
    "fetch": ordered("first", "end", {}),
    "fetched": ordered("first", "end", {"mark": u64, "pvalues": st.lists(pvalues, max_size=4)}),
    "ping": st.fixed_dictionaries(
        {
            "ballot": u64,
            "nonce": u64,
            "slot_out": u64,
            "voting": st.booleans(),
            "state_slot": u64,
            "state_hash": u64,
            "processes": st.lists(u64, max_size=5),
        }
    ),
    "pong": ordered(
        "decided_first",
        "decided_end",
        watermark
        | {
            "ballot": u64,
            "nonce": u64,
            "slot_out": u64,
            "leading": st.booleans(),
            "quorum": st.booleans(),
            "missing": u64,
        },
    ),
    "founding": st.fixed_dictionaries(
        {"incarnation": u64, "fresh": st.booleans(), "incarnations": st.lists(u64, max_size=9)}
    ),
    "request": st.fixed_dictionaries({"commands": st.lists(commands, max_size=8)}),
    "response": st.fixed_dictionaries({"session": u64, "replies": st.lists(replies, max_size=8)}),
    "leading": st.fixed_dictionaries({"ballot": u64}),
    "status_request": st.fixed_dictionaries({"nonce": u64}),
    "piece": st.fixed_dictionaries({"left": u32, "data": payload}),
}
messages = st.one_of(*[body.map(lambda b, kind=kind: {"kind": kind} | b) for kind, body in BODIES.items()])


def encode(message: dict[str, Any]) -> bytes:
    return codec.encode(message["kind"], **{name: value for name, value in message.items() if name != "kind"})


def command(**fields: Any) -> dict[str, Any]:
    return {"session": 0, "sequence": 0, "kind": 0, "unacknowledged": 0, "payload": b"", "nonce": 0} | fields


def run_of(first: int, count: int, size: int = 0) -> dict[str, Any]:
    zeros = {"ballot": 0, "time_ns": 0, "decided_ballot": 0, "decided_first": 0, "decided_end": 0}
    return {"kind": "phase2a", "first": first, "commands": [command(payload=b"x" * size)] * count} | zeros


# -- pycapnp


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def snake(name: str) -> str:
    return re.sub("[A-Z]", lambda upper: "_" + upper[0].lower(), name)


def struct_name(kind: str) -> str:
    """Of a message of this kind."""
    return camel(kind)[0].upper() + camel(kind)[1:]


def by_pycapnp(message: dict[str, Any], first_segment_words: int = 1 << 12) -> bytes:
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=first_segment_words)
    body = root.init(camel(message["kind"]))
    for name in codec.FIELDS[message["kind"]]:
        if name in NUMBERS:
            set_numbers(body, name, message[name])
        elif name in STRUCTS:
            nonces, items = indexed(message[name]) if name == "commands" else ([], message[name])
            elements = body.init(name, len(items))
            for element, values in zip(elements, items, strict=True):
                for part, value in values.items():
                    setattr(element, part, value)
            if name == "commands":
                set_numbers(body, "nonces", nonces)
        else:
            setattr(body, camel(name), message[name])
    return bytes(root.to_bytes())


def set_numbers(body: Any, name: str, numbers: list[int]) -> None:
    items = body.init(name, len(numbers))
    for i, number in enumerate(numbers):
        items[i] = number


def indexed(items: list[dict[str, Any]]) -> tuple[list[int], list[dict[str, Any]]]:
    """The nonces of commands, and the commands with indexes in place of nonces: a nonce is looked for among the newest
    four."""
    nonces: list[int] = []
    found = []
    for item in items:
        nonce, index = item["nonce"], NO_NONCE
        if nonce:
            newest = nonces[-4:]
            if nonce not in newest:
                nonces.append(nonce)
            index = max(i for i, one in enumerate(nonces) if one == nonce)
        found.append(item | {"nonce": index})
    return nonces, found


def resolved(items: list[dict[str, Any]], nonces: list[int]) -> list[dict[str, Any]]:
    """The opposite."""
    return [item | {"nonce": nonces[item["nonce"]] if item["nonce"] < len(nonces) else 0} for item in items]


def several_segments(kind: str, fields: dict[str, Any]) -> bytes:
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=1)
    body = root.init(kind)
    for name, value in fields.items():
        setattr(body, name, value)
    return bytes(root.to_bytes())


def seen_by_pycapnp(frame: bytes) -> dict[str, Any]:
    def plain(value: Any) -> Any:
        return value.raw if hasattr(value, "raw") else value

    with schema.SCHEMA.Message.from_bytes(bytes(frame)) as root:
        kind = root.which()
        body = getattr(root, kind)
        kind = snake(str(kind))
        message: dict[str, Any] = {"kind": kind}
        for name in codec.FIELDS.get(kind, ()):
            value = getattr(body, camel(name))
            if name in NUMBERS:
                value = list(value)
            elif name in STRUCTS:
                parts = codec.ELEMENTS[name]
                value = [{part: plain(getattr(each, part)) for part in parts} for each in value]
            if name == "commands":
                value = resolved(value, list(body.nonces))
            message[name] = value
        return message


def fault_of(frame: bytes) -> str:
    with pytest.raises(CodecError) as caught:
        codec.decode_message(frame)
    assert caught.value.fault in codec.FAULTS[1:]
    return caught.value.fault


# -- the schema's own reflection


def struct_node(name: str) -> Any:
    return getattr(schema.SCHEMA, name).schema.node.struct


def pointers_of(name: str) -> dict[str, int]:
    fields = struct_node(name).fields
    return {field.name: field.slot.offset for field in fields if str(field.slot.type.which()) not in WIDTHS}


def list_at(kind: str) -> int:
    """Where the first list pointer of a message is."""
    return BODY + 8 * struct_node(struct_name(kind)).dataWordCount


# -- frames word by word


def word_frame(words: list[int]) -> bytes:
    return struct.pack(f"<II{len(words)}Q", 0, len(words), *words)


def struct_pointer(data: int, pointers: int, offset: int = 0) -> int:
    return offset << 2 | data << 32 | pointers << 48
