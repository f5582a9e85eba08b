"""Records as the core hands them to a storage, and as a disk that damages them hands them back."""

from __future__ import annotations

from collections.abc import Iterable

from multipaxos.wire.record import make_record


def pack(records: Iterable[tuple[int, int, int, bytes]]) -> bytes:
    """The batch of some (first, end, index, frame)."""
    return b"".join(make_record(*record) for record in records)


def flipped(data: bytes, at: int, bits: int = 1) -> bytes:
    """The bytes with some bits of one of them flipped."""
    at %= len(data)
    return data[:at] + bytes([data[at] ^ bits]) + data[at + 1 :]
