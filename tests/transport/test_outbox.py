"""The bulk of a link: in order, one cut at a time, and never more than one cut ahead of control."""

from __future__ import annotations

import random

import pytest

from multipaxos.transport.outbox import Outbox
from multipaxos.wire.codec import CUT_BYTES


class Pipe:
    """A transport that holds what its kernel does not take: (is it bulk, bytes) in order."""

    def __init__(self) -> None:
        self.held: list[tuple[bool, bytes]] = []
        self.outbox = Outbox()
        self.left: list[tuple[bool, bytes]] = []

    @property
    def buffered(self) -> int:
        return sum(len(data) for _, data in self.held)

    def write(self, data: bytes) -> int:
        """Control; returns how much bulk is ahead of it."""
        ahead = sum(len(held) for is_bulk, held in self.held if is_bulk)
        self.held.append((False, data))
        return ahead

    def pump(self) -> None:
        while (piece := self.outbox.next(self.buffered)) is not None:
            self.held.append((True, piece))

    def take(self, limit: int) -> None:
        """The kernel takes up to `limit` bytes."""
        while self.held and limit > 0:
            is_bulk, data = self.held.pop(0)
            self.left.append((is_bulk, data[:limit]))
            if len(data) > limit:
                self.held.insert(0, (is_bulk, data[limit:]))
            limit -= len(data)


def test_a_piece_is_handed_on_only_while_the_transport_holds_less_than_a_cut() -> None:
    outbox = Outbox()
    pieces = [bytes([i]) * CUT_BYTES for i in range(3)]
    assert outbox.put(pieces) == 3 * CUT_BYTES
    assert outbox.next(0) == pieces[0]
    assert outbox.next(CUT_BYTES) is None
    assert outbox.next(1) is None
    assert outbox.next(0) == pieces[1]
    assert outbox.waiting_bytes == CUT_BYTES
    assert outbox.next(0) == pieces[2]
    assert outbox.next(0) is None


def test_small_pieces_share_a_cut() -> None:
    outbox = Outbox()
    outbox.put([bytes(CUT_BYTES // 4)] * 6)
    buffered = 0
    while (piece := outbox.next(buffered)) is not None:
        buffered += len(piece)
    assert buffered == CUT_BYTES


def test_the_owner_is_told_of_falls_and_of_nothing_else() -> None:
    outbox = Outbox()
    assert outbox.fallen(0) is None
    outbox.put([b"a" * 100, b"b" * 50])
    assert outbox.fallen(0) is None
    assert outbox.next(0)
    assert outbox.fallen(100) is None, "the kernel has taken nothing of it"
    assert outbox.fallen(30) == 80
    assert outbox.fallen(30) is None
    assert outbox.next(30)
    assert outbox.fallen(80) is None
    assert outbox.backlog(80) == 80
    assert outbox.fallen(0) == 0
    assert outbox.fallen(0) is None
    outbox.put([b"c" * 10])
    assert outbox.next(0)
    assert outbox.fallen(0) == 0, "it was taken at once, and the owner had counted it"


def test_what_the_transport_holds_counts_whoever_gave_it() -> None:
    """Else the owner would go on giving runs to a link that carries nothing."""
    outbox = Outbox()
    assert outbox.fallen(5000) is None, "control is nothing that the owner counts: it is told when it asks"
    assert outbox.backlog(5000) == 5000
    assert outbox.fallen(5000) is None
    assert outbox.fallen(10) == 10
    outbox.put([b"a" * 100])
    assert outbox.backlog(10) == 110


@pytest.mark.parametrize("seed", range(20))
def test_order_and_bounds_hold_whatever_comes(seed: int) -> None:
    rng = random.Random(seed)
    pipe = Pipe()
    given = b""
    control = b""
    known = 0
    for step in range(600):
        what = rng.randrange(4)
        if what == 0:
            pieces = [bytes([rng.randrange(256)]) * rng.choice([1, 500, 20_000, CUT_BYTES])
                      for _ in range(rng.randrange(4))]  # fmt: skip
            given += b"".join(pieces)
            known += pipe.outbox.put(pieces)
        elif what == 1:
            data = step.to_bytes(2, "little") * 20
            control += data
            assert pipe.write(data) <= CUT_BYTES, "control waits for one cut of bulk"
        else:
            pipe.take(rng.choice([1, 4096, 100_000]))
        pipe.pump()
        fallen = pipe.outbox.fallen(pipe.buffered)
        assert fallen is None or fallen < known
        known = known if fallen is None else fallen
        assert known <= pipe.outbox.waiting_bytes + pipe.buffered
        assert known or not pipe.outbox.waiting_bytes, "0 is told only when nothing waits"
    while pipe.held:
        pipe.take(1 << 20)
        pipe.pump()
    assert b"".join(data for is_bulk, data in pipe.left if is_bulk) == given
    assert b"".join(data for is_bulk, data in pipe.left if not is_bulk) == control
    assert pipe.outbox.fallen(0) in (0, None)
    assert pipe.outbox.backlog(0) == 0
