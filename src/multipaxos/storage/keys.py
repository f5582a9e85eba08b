"""The sum over the keys of a data directory: what its node is, what it has promised, and what it knows.

Theory. Nothing else can say what these keys should be: a wrong voter record, ballot or mark would be believed. So one
sum covers all of them, and is put in the same transaction as any of them. A directory whose sum is wrong is a lost
disk: nothing that it holds can be believed, because any of its keys may be the wrong one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from multipaxos.errors import DamagedDirectory
from multipaxos.wire.crc import sum_of


def sum_of_keys(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """The sum of some keys and their values."""
    parts = [struct.pack("<II", len(key), len(value)) + key + value for key, value in pairs]
    return sum_of(b"".join(parts)).to_bytes(4, "little")


def check_keys(place: object, pairs: Iterable[tuple[bytes, bytes]], known: bytes | None) -> None:
    """Raises DamagedDirectory if `known` is not the sum of the keys of the directory `place`."""
    if sum_of_keys(pairs) != known:
        raise DamagedDirectory(f"{place}: the sum of its keys is wrong")
