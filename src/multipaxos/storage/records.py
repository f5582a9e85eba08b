"""The layout of records."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from multipaxos.wire.codec import RUN_SLOTS_MAX

Record = tuple[int, int, int, bytes]  # index, first, end, frame

HEADER = struct.Struct("<QQQ")  # of a record in a batch: first, end, size of the frame


def split(batch: bytes) -> Iterator[tuple[int, int, bytes]]:
    """(first, end, frame) of each record in a batch."""
    at, length = 0, len(batch)
    while at < length:
        first, end, size = HEADER.unpack_from(batch, at)
        at += HEADER.size
        yield first, end, batch[at : at + size]
        at += size


def by_slot(record: Record) -> tuple[int, int]:
    """Records are sorted by (first, index)."""
    return record[1], record[0]


def lowest_first(slot: int) -> int:
    """No record over `slot` begins below this."""
    return max(0, slot + 1 - RUN_SLOTS_MAX)


def cut(records: Iterable[Record], first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
    """Of records sorted by (first, index): those over [first, end), up to about max_bytes."""
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
