"""Records: the runs of slots that a storage keeps, how a batch lays them out, and how they are found again.

Theory. A record is a run's frame and the slots [first, end) of it that are meant. Records never replace one another: a
storage numbers them in the order in which they are appended (the index), and for a slot the record with the greatest
index holds. Records are found by their first slot: since a record spans at most RUN_SLOTS_MAX slots, all records over a
slot begin in a short range below it.

In a batch a record is a header (first, end and the frame's size in bytes, each uint64, little-endian), then the frame.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from multipaxos.wire.codec import RUN_SLOTS_MAX

Record = tuple[int, int, int, bytes]  # index, first, end, frame

HEADER = struct.Struct("<QQQ")


def pack(records: Iterable[tuple[int, int, bytes]]) -> bytes:
    """The batch of some (first, end, frame)."""
    return b"".join(HEADER.pack(first, end, len(frame)) + frame for first, end, frame in records)


def split(batch: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(first, end, frame) of each record of a batch."""
    at, length = 0, len(batch)
    while at < length:
        first, end, size = HEADER.unpack_from(batch, at)
        at += HEADER.size
        yield first, end, batch[at : at + size]
        at += size


def by_slot(record: Record) -> tuple[int, int]:
    """The sort key of records: (first, index)."""
    return record[1], record[0]


def lowest_first(slot: int) -> int:
    """A bound: no record over `slot` begins below it."""
    return max(0, slot + 1 - RUN_SLOTS_MAX)


def cut(records: Iterable[Record], first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
    """What `Storage.read` returns, from records that are sorted and begin at `lowest_first(first)` or below."""
    taken: list[Record] = []
    size = 0
    for record in records:
        if record[1] >= end:
            break
        if record[2] <= first:
            continue
        if size >= max_bytes and record[1] > first:
            return record[1], taken
        taken.append(record)
        size += len(record[3])
    return end, taken
