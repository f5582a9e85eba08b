"""Frames that are laid out in another way than ours: as many are rewritten as there is time for."""

from __future__ import annotations

from multipaxos.wire import codec
from tests.support.one_node import OneNode


def foreign(kind: str, **fields: object) -> bytes:
    """A message in two segments, the second of them empty."""
    frame = codec.encode(kind, **fields)
    return (1).to_bytes(4, "little") + frame[4:8] + bytes(8) + frame[8:]


def asked(one: OneNode) -> list[tuple[int, int]]:
    """What is asked for the status until nothing waits."""
    found = list(one.core.output().status_requests)
    while one.core.status()["late_links"]:
        one.now_ns = one.core.next_tick_ns()
        one.core.tick(one.now_ns, one.now_ns)
        found += one.core.output().status_requests
    return found


def test_a_chunk_of_them_does_not_hold_up_the_others() -> None:
    one = OneNode()
    one.client(1)
    one.client(2)
    one.core.receive(1, b"".join(foreign("status_request", nonce=n) for n in range(1000)))
    assert one.core.status()["foreign_frames"] < 200
    assert one.core.status()["late_links"] == 1
    one.core.receive(2, codec.encode("status_request", nonce=5))
    assert (2, 5) in one.core.output().status_requests
    one.core.receive(1, foreign("status_request", nonce=1000))
    assert asked(one)[-1] == (1, 1000)
    assert one.core.status()["foreign_frames"] == 1001
    assert not one.closed


def test_who_sends_more_of_them_than_is_read_is_refused() -> None:
    one = OneNode()
    one.client(1)
    one.core.receive(1, foreign("status_request", nonce=7) * 200_000)
    one.collect()
    one.tick(51)
    assert "another layout" in one.closed[1]


def test_a_piece_of_a_client_is_refused_in_any_layout() -> None:
    """Pieces are for links between nodes: their memory is not counted on those of clients."""
    piece = {"left": 50_000, "data": bytes(60_000)}
    for frame in (codec.encode("piece", **piece), foreign("piece", **piece)):
        one = OneNode()
        one.client(1)
        one.receive(1, frame)
        assert one.closed[1] == "a peer's message from a client"
