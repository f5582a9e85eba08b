"""Records: the runs of slots that a storage keeps, and how they are found again.

Theory. A record is a run's frame and the slots [first, end) of it that are meant; `wire.record` lays it out. Records
never replace one another: the core numbers them in the order in which it makes them (the index), and for a slot the
record with the greatest index holds. Records are found by their first slot: since a record spans at most RUN_SLOTS_MAX
slots, all records over a slot begin in a short range below it.

Rules. A storage keeps a record as it came, under the key (first, index), and believes it no more than it has to: what
it hands out is the key and the bytes, and the core judges both.
"""

from __future__ import annotations

from collections.abc import Iterable

from multipaxos.wire.codec import RUN_SLOTS_MAX
from multipaxos.wire.record import HEADER_BYTES, ends_below

Record = tuple[int, int, bytes]  # the key (first, index), and the record's bytes


def by_key(record: Record) -> tuple[int, int]:
    """The sort key of records: (first, index)."""
    return record[0], record[1]


def lowest_first(slot: int) -> int:
    """A bound: no record over `slot` begins below it."""
    return max(0, slot + 1 - RUN_SLOTS_MAX)


def cut(
    records: Iterable[tuple[int, int, bytes]] | Iterable[tuple[int, int, memoryview]],
    first: int,
    end: int,
    max_bytes: int,
) -> tuple[int, list[Record]]:
    """What `Storage.read` returns, from records that are sorted and begin at `lowest_first(first)` or below. Of one
    that is not wanted no more than the header is read: those below `first` may be a thousand large ones."""
    taken: list[Record] = []
    size = 0
    for at, index, value in records:
        if at >= end:
            break
        if at < first and ends_below(bytes(value[:HEADER_BYTES]), len(value), first):
            continue
        if size >= max_bytes and at > first:
            return at, taken
        taken.append((at, index, bytes(value)))
        size += len(value)
    return end, taken
