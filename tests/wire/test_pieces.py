"""Frames that came in pieces, put together for traces and tests."""

from __future__ import annotations

import pytest

from multipaxos.wire import codec
from multipaxos.wire.codec import CodecError


def piece(left: int, data: bytes) -> bytes:
    """One piece."""
    return codec.encode("piece", left=left, data=data)


def test_pieces_make_a_frame_and_what_is_no_frame_stays() -> None:
    whole, rest = codec.uncut([b"no frame", piece(3, b"ab"), piece(0, b"cde"), piece(9, b"f")])
    assert (whole, rest) == ([b"no frame", b"abcde"], [piece(9, b"f")])


def test_a_piece_out_of_its_turn_is_refused() -> None:
    with pytest.raises(CodecError, match="does not follow"):
        codec.uncut([piece(3, b"ab"), piece(7, b"c")])
