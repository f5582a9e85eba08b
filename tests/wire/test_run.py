"""Runs: one phase2a frame in our own layout, from a frame in any layout and of any version of the schema."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.errors import TooLarge
from multipaxos.wire import codec, schema
from tests.wire.oracle import (
    U64,
    command,
    encode,
    fault_of,
    ordered,
    phase2a,
    run_of,
    seen_by_pycapnp,
    struct_pointer,
    u64,
    word_frame,
)


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
    once = sum(c["sequence"] + c["nonce"] + len(c["payload"]) + sum(c["payload"][:1]) for c in message["commands"])
    assert codec.decode_repeat(frame, 3) == 3 * once % 2**64
    assert codec.encode_repeat(frame, 3) == 3 * len(frame)


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
@pytest.mark.parametrize("body", [(6, 2), (6, 1), (8, 3), (3, 1), (2, 1)])
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


def test_a_run_of_an_older_schema_may_not_grow_over_the_limit() -> None:
    """Its struct has five words of data where ours has six, so the frame grows when it is written in our layout."""
    body = [1 << 24, 1, 5, 0, 0, 1 | 7 << 32 | 3 << 35, 1 << 2 | 3 << 32]
    words = [struct_pointer(1, 1), codec.KINDS.index("phase2a"), struct_pointer(5, 1), *body, 1, 1, 1]
    frame = word_frame(words + [0] * ((codec.RUN_BYTES_MAX - 200) // 8 - len(words)))
    assert codec.decode_phase2a(frame)[4] == [(1, 1, 1, 0, b"", 0)]
    assert fault_of(word_frame(words + [0] * ((codec.RUN_BYTES_MAX - 16) // 8 - len(words)))) == "oversized"


def test_a_run_whose_root_has_unknown_data_is_written_in_our_layout() -> None:
    """The word of the discriminant may hold fields of a newer schema."""
    frame = encode(run_of(1, 1))
    changed = bytearray(frame)
    changed[20] = 1
    assert codec.run_frame(bytes(changed)) == frame


# -- nonces


def nonces_of(frame: bytes) -> list[int]:
    """The list of nonces of a frame, as pycapnp reads it."""
    with schema.SCHEMA.Message.from_bytes(frame) as root:
        return list(getattr(root, root.which()).nonces)


def with_nonces(*nonces: int) -> dict[str, Any]:
    return run_of(1, 1) | {"commands": [command(nonce=nonce) for nonce in nonces]}


@pytest.mark.parametrize(
    ("nonces", "listed"),
    [
        ((0, 0, 0), []),
        ((5, 5, 5), [5]),
        ((5, 5, 0, 5, 6, 6, 5), [5, 6]),
        ((1, 2, 3, 4, 1, 2, 3, 4), [1, 2, 3, 4]),
        ((1, 2, 3, 4, 5, 1), [1, 2, 3, 4, 5, 1]),
    ],
    ids=["none", "one session", "two in turns", "four in turns", "more than are looked at"],
)
def test_a_nonce_costs_eight_bytes_for_each_change_of_session(nonces: tuple[int, ...], listed: list[int]) -> None:
    run = with_nonces(*nonces)
    frame = encode(run)
    assert nonces_of(frame) == listed
    assert len(frame) == len(encode(with_nonces(*[0] * len(nonces)))) + 8 * len(listed)
    assert codec.decode_message(frame) == run
    assert codec.run_frame(frame) == frame


def test_a_run_keeps_a_list_of_nonces_that_it_would_not_write() -> None:
    """Only the layout has to be ours."""
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=256)
    body = root.init("phase2a")
    body.first = 1
    for element, index in zip(body.init("commands", 3), (1, 0, 7), strict=True):
        element.nonce = index
    body.nonces = [8, 9, 8]
    frame = bytes(root.to_bytes())
    assert [one["nonce"] for one in codec.decode_message(frame)["commands"]] == [9, 8, 0]
    assert codec.run_frame(frame) == frame
    assert schema.flatten(frame) == encode(with_nonces(9, 8, 0))


def test_a_frame_has_no_more_nonces_than_commands() -> None:
    for kind in ("phase2a", "request"):
        root = schema.SCHEMA.Message.new_message(num_first_segment_words=256)
        body = root.init(kind)
        if kind == "phase2a":
            body.first = 1
        body.init("commands", 2)
        body.nonces = [8, 9, 8]
        assert fault_of(bytes(root.to_bytes())) == "malformed"


def test_a_frame_of_another_layout_may_not_grow_over_the_limit() -> None:
    """Its commands share one nonce in turns, which `run_from` has to write again and again."""
    root = schema.SCHEMA.Message.new_message(num_first_segment_words=1 << 19)
    body = root.init("phase2a")
    body.first = 1
    elements = body.init("commands", codec.RUN_SLOTS_MAX)
    for i, element in enumerate(elements):
        element.nonce = i % 5
    empty = len(encode(with_nonces(*[0] * codec.RUN_SLOTS_MAX)))
    elements[0].payload = bytes(codec.PAYLOAD_BYTES_MAX)
    elements[1].payload = bytes(codec.RUN_BYTES_MAX - empty - codec.PAYLOAD_BYTES_MAX - 8 * 5)
    body.nonces = [1, 2, 3, 4, 5]
    frame = bytes(root.to_bytes())
    assert len(frame) == codec.RUN_BYTES_MAX
    assert fault_of(frame) == "oversized"
    assert codec.run_frame(frame) is None


def test_a_request_of_too_many_sessions_is_not_written() -> None:
    commands = [(1, i, 1, 0, b"", i) for i in range(1, 0x10002)]
    assert codec.decode_request(codec.encode_request(commands[:0xFFFF])) == commands[:0xFFFF]
    with pytest.raises(TooLarge, match="make it two"):
        codec.encode_request(commands[:0x10000])
