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
from multipaxos.wire.record import ends_below

Record = tuple[int, int, bytes]  # the key (first, index), and the record's bytes


def by_key(record: Record) -> tuple[int, int]:
    """The sort key of records: (first, index)."""
    return record[0], record[1]


def lowest_first(slot: int) -> int:
    """A bound: no record over `slot` begins below it."""
    return max(0, slot + 1 - RUN_SLOTS_MAX)


def cut(records: Iterable[Record], first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
    """What `Storage.read` returns, from records that are sorted and begin at `lowest_first(first)` or below."""
    taken: list[Record] = []
    size = 0
    for record in records:
        if record[0] >= end:
            break
        if ends_below(record[2], first):
            continue
        if size >= max_bytes and record[0] > first:
            return record[0], taken
        taken.append(record)
        size += len(record[2])
    return end, taken
