"""CRC32C: the known sums, and the table beside the processor's instruction."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.wire.crc import sum_of
from tests.support.records import flipped

# RFC 3720, appendix B.4, and the check value of the catalogues of CRCs.
KNOWN = {
    b"": 0,
    b"123456789": 0xE3069283,
    bytes(32): 0x8A9136AA,
    b"\xff" * 32: 0x62A8AB43,
    bytes(range(32)): 0x46DD794E,
    bytes(reversed(range(32))): 0x113FDB5C,
}


@pytest.mark.parametrize("table", [False, True], ids=["as the processor can", "by the table"])
@pytest.mark.parametrize("data", KNOWN, ids=lambda data: data[:4].hex() or "nothing")
def test_known_sums(data: bytes, table: bool) -> None:
    assert sum_of(data, table) == KNOWN[data]


@given(st.binary(max_size=200), st.integers(0, 9))
def test_the_table_gives_what_the_instruction_gives(data: bytes, offset: int) -> None:
    assert sum_of(data, True) == sum_of(data) == sum_of(memoryview(bytes(offset) + data)[offset:])


@pytest.mark.parametrize("size", [1535, 1536, 1537, 3072, 3 * 1536 + 511, 100_000])
def test_long_stretches_that_are_summed_side_by_side(size: int) -> None:
    data = random.Random(size).randbytes(size)
    assert sum_of(data, True) == sum_of(data)
    assert sum_of(flipped(data, size // 2, 1)) != sum_of(data)


@given(st.binary(min_size=1, max_size=100), st.data())
def test_a_flipped_byte_is_seen(data: bytes, draw: st.DataObject) -> None:
    at, other = draw.draw(st.integers(0, len(data) - 1)), draw.draw(st.integers(1, 255))
    assert sum_of(flipped(data, at, other)) != sum_of(data)
