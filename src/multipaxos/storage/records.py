"""Records: the runs of slots that a storage keeps, how they are laid out, and how they are found again.

Theory. A record is a run's frame and the slots [first, end) of it that are meant. Records never replace one another:
the core numbers them in the order in which it makes them (the index), and for a slot the record with the greatest index
holds. Records are found by their first slot: since a record spans at most RUN_SLOTS_MAX slots, all records over a slot
begin in a short range below it.

A record is a header (HEADER: first, end, index, the frame's size in bytes, the frame's CRC32C, the CRC32C of the header
up to here, zero; little-endian) and the frame. The core makes both sums when it makes the record, and a storage keeps
the record as it came, under the key (first, index). Two sums, because a frame that is damaged is then still known by
the slots that it covered.

Rules. A storage believes a record no more than it has to: what it hands out is the key and the bytes, and the core
judges both. Only a header whose sum is right can say that a record ends below a slot.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator

from multipaxos.wire.codec import RUN_SLOTS_MAX, SLOTS_END
from multipaxos.wire.crc import sum_of

Record = tuple[int, int, bytes]  # the key (first, index), and the record's bytes
Parts = tuple[int, int, int, bytes]  # first, end, index, frame

HEADER = struct.Struct("<QQQIIII")
SUMMED = 32  # bytes of the header that its own sum covers


def make(first: int, end: int, index: int, frame: bytes) -> bytes:
    """The bytes of a record, as the core makes them."""
    header = HEADER.pack(first, end, index, len(frame), sum_of(frame), 0, 0)
    return header[:SUMMED] + struct.pack("<II", sum_of(header[:SUMMED]), 0) + frame


def pack(records: Iterable[Parts]) -> bytes:
    """The batch of some (first, end, index, frame)."""
    return b"".join(make(*record) for record in records)


def split(batch: bytes) -> Iterator[Record]:
    """The records of a batch, which comes from the core and is trusted."""
    at, length = 0, len(batch)
    while at < length:
        first, _, index, size, _, _, _ = HEADER.unpack_from(batch, at)
        after = at + HEADER.size + size
        yield first, index, batch[at:after]
        at = after


def parts_of(value: bytes) -> Parts | None:
    """What a record says, if both of its sums are right; else None."""
    if not is_header_whole(value):
        return None
    first, end, index, _, frame_sum, _, _ = HEADER.unpack_from(value)
    frame = value[HEADER.size :]
    return (first, end, index, frame) if sum_of(frame) == frame_sum else None


def parts_of_batch(batch: bytes) -> Iterator[Parts]:
    """What the records of a batch say."""
    for _, _, value in split(batch):
        parts = parts_of(value)
        assert parts is not None, "the core made a record whose sums are wrong"
        yield parts


def is_header_whole(value: bytes) -> bool:
    """Is the sum of a record's header right, and does the header fit the record?"""
    if len(value) < HEADER.size:
        return False
    _, _, _, size, _, header_sum, zero = HEADER.unpack_from(value)
    return (sum_of(value[:SUMMED]), 0, len(value) - HEADER.size) == (header_sum, zero, size)


def by_key(record: Record) -> tuple[int, int]:
    """The sort key of records: (first, index)."""
    return record[0], record[1]


def lowest_first(slot: int) -> int:
    """A bound: no record over `slot` begins below it."""
    return max(0, slot + 1 - RUN_SLOTS_MAX)


def ends_below(record: Record, slot: int) -> bool:
    """Is it certain that a record covers only slots below `slot`?"""
    end: int = HEADER.unpack_from(record[2])[1] if is_header_whole(record[2]) else SLOTS_END
    return end <= slot


def cut(records: Iterable[Record], first: int, end: int, max_bytes: int) -> tuple[int, list[Record]]:
    """What `Storage.read` returns, from records that are sorted and begin at `lowest_first(first)` or below."""
    taken: list[Record] = []
    size = 0
    for record in records:
        if record[0] >= end:
            break
        if ends_below(record, first):
            continue
        if size >= max_bytes and record[0] > first:
            return record[0], taken
        taken.append(record)
        size += len(record[2])
    return end, taken
