"""A link with a rate: bytes take time, bulk gives way, and only deafness ends the link."""

from multipaxos.simulation.pipe import CHUNK_BYTES, DEAF_NS, Pipe, Sent
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.transport.outbox import CUT_BYTES

RATE = 1 << 20  # bytes a second


class Watched:
    """A pipe, and when what left it."""

    def __init__(self):
        self.timeline = Timeline()
        self.held = False
        self.left = []
        self.ended = []
        self.fallen = []
        self.deaf_ns = None
        self.pipe = Pipe(self.timeline, RATE, self)

    def is_held(self):
        return self.held

    def on_chunk(self, chunk, ended):
        self.left.append(chunk)
        self.ended += [(one.kind, self.timeline.now_ns // MS) for one in ended]

    def on_fallen(self, backlog):
        self.fallen.append(backlog)

    def on_deaf(self):
        self.deaf_ns = self.timeline.now_ns

    def write(self, kind, size):
        self.pipe.write(Sent(0, "", "", kind.encode() * size, kind))

    def write_bulk(self, count):
        self.pipe.write_bulk([Sent(0, "", "", b"b" * CUT_BYTES, "b") for _ in range(count)])


def test_bytes_take_time_and_keep_their_order():
    watched = Watched()
    watched.write("x", RATE // 2)
    watched.write("y", 100)
    watched.timeline.run_for(2000 * MS)
    assert watched.ended == [("x", 500), ("y", 500)]
    assert b"".join(watched.left) == b"x" * (RATE // 2) + b"y" * 100
    assert max(map(len, watched.left)) == CHUNK_BYTES
    assert watched.pipe.carried == RATE // 2 + 100


def test_control_waits_for_one_cut_of_bulk():
    watched = Watched()
    watched.write_bulk(10)
    watched.write("x", 100)
    watched.timeline.run_for(2000 * MS)
    cut_ms = CUT_BYTES * 1000 // RATE
    (control_ms,) = (ms for kind, ms in watched.ended if kind == "x")
    assert control_ms <= cut_ms + 1
    assert len(watched.ended) == 11
    assert watched.ended[-1][1] <= 10 * cut_ms + 6


def test_the_owner_hears_how_much_waits_down_to_nothing():
    watched = Watched()
    watched.write_bulk(3)
    assert watched.pipe.waiting_bytes > 2 * CUT_BYTES
    watched.timeline.run_for(2000 * MS)
    assert watched.fallen == sorted(watched.fallen, reverse=True)
    assert watched.fallen[-1] == watched.pipe.waiting_bytes == 0
    assert len(watched.fallen) >= 3


def test_what_is_held_back_goes_on_later():
    watched = Watched()
    watched.held = True
    watched.write("x", 100)
    watched.timeline.run_for(300 * MS)
    assert not watched.left
    watched.held = False
    watched.timeline.run_for(10 * MS)
    assert watched.left == [b"x" * 100]
    assert watched.deaf_ns is None


def test_only_deafness_ends_a_link():
    """However much waits on a link that carries something, it stays."""
    watched = Watched()
    watched.write_bulk(100)
    watched.write("x", 100 << 20)
    watched.timeline.run_for(2 * DEAF_NS)
    assert watched.deaf_ns is None
    watched.held = True
    watched.timeline.run_for(2 * DEAF_NS)
    assert watched.deaf_ns is not None
    assert DEAF_NS <= watched.deaf_ns - 2 * DEAF_NS < DEAF_NS + 30 * MS


def test_a_link_that_is_gone_holds_nothing():
    watched = Watched()
    watched.write_bulk(5)
    watched.pipe.stop()
    watched.timeline.run_for(2000 * MS)
    assert watched.pipe.waiting_bytes == 0
    assert len(b"".join(watched.left)) <= CHUNK_BYTES
