"""What a message costs: the codec beside pycapnp, from and to Python values on both sides.

Groups name message and direction; within a group the two implementations handle the same values. ``core``
groups measure the C side alone: what a leader pays to make a run, and a node to check and read one.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from multipaxos.wire import codec, schema

NONCE = 0x1234_5678_9ABC_DEF0
COMMANDS = [(1 << 40, i, 1, 7, bytes([i]) * 64, NONCE) for i in range(1, 101)]
REPLIES = [(i, (1 << 41) + i, 0, bytes([i]) * 16) for i in range(1, 101)]
DECIDED = ((9 << 24) | 1, (1 << 41) - 200, 1 << 41)
RUN = ((9 << 24) | 1, 1 << 41, 1_700_000_000_000_000_000, DECIDED)
SMALL: dict[str, dict[str, Any]] = {
    "phase1a": {"ballot": 16777217, "first": 12},
    "phase2b": {"ballot": 16777217, "first": 1, "end": 101, "mark": 1},
    "decision": {"ballot": 16777217, "first": 1, "end": 101},
    "fetch": {"first": 1, "end": 101},
    "ping": {"ballot": 16777217, "nonce": 5, "slot_out": 9, "voting": True, "processes": [0, 5, 7]},
    "pong": {"ballot": 16777217, "nonce": 5, "slot_out": 9, "leading": True, "quorum": True, "decided_end": 101},
    "leading": {"ballot": 16777217},
}
FIRST_SEGMENT_WORDS = 2048
of_command = operator.attrgetter("session", "sequence", "kind.raw", "unacknowledged", "payload")
of_reply = operator.attrgetter("sequence", "slot", "status.raw", "data")


def new(kind: str) -> tuple[Any, Any]:
    message = schema.SCHEMA.Message.new_message(num_first_segment_words=FIRST_SEGMENT_WORDS)
    return message, message.init(kind)


def fill_commands(body: Any, rows: list[tuple[int, int, int, int, bytes, int]]) -> None:
    """All commands are of one session."""
    elements = body.init("commands", len(rows))
    for i, (session, sequence, kind, unacknowledged, payload, _) in enumerate(rows):
        element = elements[i]
        element.session = session
        element.sequence = sequence
        element.kind = kind
        element.unacknowledged = unacknowledged
        element.payload = payload
    body.nonces = [NONCE]


def commands_of(body: Any) -> list[tuple[Any, ...]]:
    nonces = list(body.nonces)
    return [(*of_command(each), nonces[each.nonce]) for each in body.commands]


def pycapnp_encode_phase2a(
    ballot: int, first: int, time_ns: int, decided: tuple[int, int, int], rows: list[Any]
) -> bytes:
    message, body = new("phase2a")
    body.ballot, body.first, body.timeNs = ballot, first, time_ns
    body.decidedBallot, body.decidedFirst, body.decidedEnd = decided
    fill_commands(body, rows)
    return bytes(message.to_bytes())


def pycapnp_decode_phase2a(frame: bytes) -> tuple[Any, ...]:
    with schema.SCHEMA.Message.from_bytes(frame) as message:
        body = message.phase2a
        decided = (body.decidedBallot, body.decidedFirst, body.decidedEnd)
        return body.ballot, body.first, body.timeNs, decided, commands_of(body)


def pycapnp_encode_request(rows: list[Any]) -> bytes:
    message, body = new("request")
    fill_commands(body, rows)
    return bytes(message.to_bytes())


def pycapnp_decode_request(frame: bytes) -> list[Any]:
    with schema.SCHEMA.Message.from_bytes(frame) as message:
        return commands_of(message.request)


def pycapnp_encode_response(session: int, rows: list[Any]) -> bytes:
    message, body = new("response")
    body.session = session
    elements = body.init("replies", len(rows))
    for i, (sequence, slot, status, data) in enumerate(rows):
        element = elements[i]
        element.sequence = sequence
        element.slot = slot
        element.status = status
        element.data = data
    return bytes(message.to_bytes())


def pycapnp_decode_response(frame: bytes) -> tuple[int, list[Any]]:
    with schema.SCHEMA.Message.from_bytes(frame) as message:
        body = message.response
        return body.session, [of_reply(each) for each in body.replies]


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(other.capitalize() for other in others)


def pycapnp_encode_small(kind: str, **fields: object) -> bytes:
    message, body = new(kind)
    for name, value in fields.items():
        setattr(body, camel(name), value)
    return bytes(message.to_bytes())


def pycapnp_decode_small(frame: bytes) -> dict[str, Any]:
    with schema.SCHEMA.Message.from_bytes(frame) as message:
        kind = str(message.which())
        body = getattr(message, kind)
        fields = {name: getattr(body, camel(name)) for name in codec.FIELDS[kind]}
        return {"kind": kind} | {
            name: value if isinstance(value, int) else list(value) for name, value in fields.items()
        }


Pair = tuple[Callable[..., Any], Callable[..., Any], tuple[Any, ...]]
LISTS: dict[str, dict[str, Pair]] = {
    "encode": {
        "phase2a": (codec.encode_phase2a, pycapnp_encode_phase2a, (*RUN, COMMANDS)),
        "request": (codec.encode_request, pycapnp_encode_request, (COMMANDS,)),
        "response": (codec.encode_response, pycapnp_encode_response, (1 << 40, REPLIES)),
    },
    "decode": {
        "phase2a": (codec.decode_phase2a, pycapnp_decode_phase2a, (codec.encode_phase2a(*RUN, COMMANDS),)),
        "request": (codec.decode_request, pycapnp_decode_request, (codec.encode_request(COMMANDS),)),
        "response": (
            codec.decode_response,
            pycapnp_decode_response,
            (codec.encode_response(1 << 40, REPLIES),),
        ),
    },
}
CASES = [
    pytest.param(pair, by, marks=pytest.mark.benchmark(group=f"{direction} {kind}, 100"), id=f"{direction}-{kind}-{by}")
    for direction, pairs in LISTS.items()
    for kind, pair in pairs.items()
    for by in ("codec", "pycapnp")
]


@pytest.mark.parametrize(("pair", "by"), CASES)
def test_lists(benchmark: BenchmarkFixture, pair: Pair, by: str) -> None:
    ours, theirs, arguments = pair
    assert ours(*arguments) == theirs(*arguments)
    benchmark(ours if by == "codec" else theirs, *arguments)


@pytest.mark.parametrize("by", ["codec", "pycapnp"])
@pytest.mark.parametrize("kind", list(SMALL))
def test_encode_small(benchmark: BenchmarkFixture, kind: str, by: str) -> None:
    benchmark.group = f"encode {kind}"
    assert codec.encode(kind, **SMALL[kind]) == pycapnp_encode_small(kind, **SMALL[kind])
    benchmark(codec.encode if by == "codec" else pycapnp_encode_small, kind, **SMALL[kind])


@pytest.mark.parametrize("by", ["codec", "pycapnp"])
@pytest.mark.parametrize("kind", list(SMALL))
def test_decode_small(benchmark: BenchmarkFixture, kind: str, by: str) -> None:
    benchmark.group = f"decode {kind}"
    frame = codec.encode(kind, **SMALL[kind])
    assert codec.decode_message(frame) == pycapnp_decode_small(frame)
    benchmark(codec.decode_message if by == "codec" else pycapnp_decode_small, frame)


@pytest.mark.parametrize("count", [1, 100])
@pytest.mark.parametrize("hook", [codec.decode_repeat, codec.encode_repeat])
def test_core(benchmark: BenchmarkFixture, hook: Callable[[bytes, int], int], count: int) -> None:
    """Without Python values: a call handles 100 runs."""
    benchmark.group = f"core {hook.__name__}, 100 runs of {count}"
    frame = codec.encode_phase2a(*RUN, COMMANDS[:count])
    assert benchmark(hook, frame, 100) > 0


@pytest.mark.parametrize("segments", ["one", "several"])
def test_flatten(benchmark: BenchmarkFixture, segments: str) -> None:
    benchmark.group = "flatten phase2a, 100"
    message, body = new("phase2a")
    if segments == "several":
        message = schema.SCHEMA.Message.new_message(num_first_segment_words=64)
        body = message.init("phase2a")
    body.first = 1
    fill_commands(body, COMMANDS)
    frame = bytes(message.to_bytes())
    assert (frame[0] == 0) == (segments == "one")
    assert len(codec.decode_phase2a(benchmark(schema.flatten, frame))[4]) == 100
