"""Runs and pvalues as a test hands them to a core."""

from __future__ import annotations

from typing import Any

from multipaxos.storage.records import Record
from multipaxos.wire import codec
from multipaxos.wire.record import make_record
from tests.support.one_node import OneNode, ballot, command


def run(at: int, first: int, *payloads: bytes, time_ns: int = 5) -> bytes:
    """A phase 2a frame with a command for each payload."""
    return codec.encode_phase2a(at, first, time_ns, (0, 1, 1), [command(9, i, p) for i, p in enumerate(payloads, 1)])


def run_of(at: int, first: int, *commands: tuple[Any, ...]) -> bytes:
    """A run of these commands, as records and pvalues hold it."""
    frame = codec.run_frame(codec.encode_phase2a(at, first, 5, (0, 1, 1), list(commands)))
    assert frame is not None
    return frame


def records_of(*records: tuple[int, int, bytes]) -> list[Record]:
    """Records of (first, end, frame), numbered in this order."""
    return [
        (first, index, make_record(first, end, index, frame)) for index, (first, end, frame) in enumerate(records, 1)
    ]


def entry(frame: bytes, first: int, end: int) -> dict[str, Any]:
    """An element of a list of pvalues."""
    return {"first": first, "end": end, "run": frame}


def decided_node(slots: int = 40, window: int = 64) -> OneNode:
    """Has received decisions for all slots below `slots`, in runs of ten."""
    one = OneNode(window=window)
    at = ballot(1, 1)
    for first in range(1, slots, 10):
        one.phase2a(1, at, first, [command(9, i, b"%d" % (first + i)) for i in range(10)], decided=(at, 1, first))
        one.sync()
    one.sent.clear()
    return one


def with_a_log(payload: bytes, count: int, window: int = 64) -> OneNode:
    """Follows node 1, and has applied `count` commands."""
    one = OneNode(window=window)
    for slot in range(1, count + 1):
        one.phase2a(1, ballot(1, 1), slot, [command(7, slot, payload)])
        one.send(1, "decision", ballot=ballot(1, 1), first=slot, end=slot + 1)
        one.sync()
    assert one.core.slot_out == count + 1
    one.sent.clear()
    return one
