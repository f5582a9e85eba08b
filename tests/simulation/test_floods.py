"""Floods by one who reaches a node's port and proves nothing: no election, and a good client does not notice.

Rules. A flood goes to the leader of a cluster whose links carry 1 Gbit/s, and does nothing but what its name says. In
virtual time the processor costs nothing: what frames, slots and bytes cost is judged here, what they cost a processor
is measured on real nodes (`tools/limits flood`).
"""

import pytest

from multipaxos import commands
from multipaxos.client.session import Session
from multipaxos.simulation.network import End
from multipaxos.wire import codec
from multipaxos.wire.codec import FRAME_BYTES_MAX, CommandKind
from tests.simulation.worlds import GIGABYTE, MIB, Slow, latencies_ms

RATE = GIGABYTE // 8
LIMIT_MS = 60_000
AT_ONCE = 1000  # commands in a frame
BIG = b"big"  # a key whose value has 1 MiB
KEPT_BYTES = 8 * MIB  # of answers, by all sessions
APPLY, CLOSE, OPEN = (int(kind) for kind in (CommandKind.APPLY, CommandKind.CLOSE_SESSION, CommandKind.OPEN_SESSION))


class Flooder:
    """One link to the leader; `nonce`: of his session, if he opens one."""

    name = "flooder"

    def __init__(self, world, nonce=7):
        self.world = world
        self.node_id = world.leader().id
        self.session = Session(nonce, 4096)
        self.link = world.network.connect_client(self, self.node_id)

    def send(self, frame):
        if frame:
            self.world.network.send_request(self, self.node_id, self.link, frame)

    def ask(self, *asked):
        """Asks in his session, and waits for the answers."""
        for command in asked:
            self.session.submit(command)
        self.session.connected()
        self.send(self.session.output())
        assert self.world.wait(lambda: not self.session.unanswered, LIMIT_MS) is not None
        return self

    def command(self, sequence, payload):
        return (self.session.id, sequence, APPLY, 0, payload, self.session.nonce)

    def read_nothing(self):
        """From now on nothing that is sent to him leaves the node."""
        self.world.network.streams[End(self.node_id, self.link)].pipe.rate = 1

    def on_frame(self, frame):
        if self.session.unanswered:
            self.session.receive(frame)
            self.send(self.session.output())

    def on_bytes(self):
        """He does not wait."""

    def on_closed(self):
        """What he sends on this link is lost."""


# -- the floods


def partial(world):
    """300 frames of the greatest size, of which the last word never comes."""
    words = FRAME_BYTES_MAX // 8 - 1
    for _ in range(300):
        Flooder(world).send(bytes(4) + words.to_bytes(4, "little") + bytes(8 * (words - 1)))


def readers(world):
    """40 links that ask for large values and read nothing."""
    Flooder(world).ask(commands.put(BIG, bytes(MIB)))
    for nonce in range(1, 41):
        reader = Flooder(world, nonce).ask(commands.get(BIG))
        reader.read_nothing()
        for _ in range(120):
            reader.session.submit(commands.get(BIG))
        reader.send(reader.session.output())


def kept(world):
    """Small commands whose answers are large, and kept until they are acknowledged."""
    flooder = Flooder(world).ask(commands.put(BIG, bytes(MIB)))
    flooder.send(codec.encode_request([flooder.command(2 + at, commands.cas(BIG, b"other", b"")) for at in range(100)]))


def openings(world):
    """70,000 sessions on one link."""
    flooder = Flooder(world)
    for first in range(1, 70_000, AT_ONCE):
        flooder.send(codec.encode_request([(0, first + at, OPEN, 0, b"") for at in range(AT_ONCE)]))


def status(world):
    """Questions for the status."""
    flooder = Flooder(world)
    for _ in range(20_000):
        flooder.send(codec.encode("status_request", nonce=1))


def foreign(world):
    """Messages in two segments, the second of them empty."""
    frame = codec.encode("status_request", nonce=7)
    Flooder(world).send(((1).to_bytes(4, "little") + frame[4:8] + bytes(8) + frame[8:]) * 20_000)


def void(world):
    """Commands that can do nothing: of a session that never was, to end it, and repeats of answered ones."""
    flooder = Flooder(world).ask(commands.put(b"opened", b""))
    again = flooder.command(1, commands.put(b"opened", b""))
    for _ in range(20):
        flooder.send(codec.encode_request([(1, at + 1, APPLY, 0, b"12345678") for at in range(AT_ONCE)]))
        flooder.send(codec.encode_request([(1, at + 1, CLOSE, 0, b"") for at in range(AT_ONCE)]))
        flooder.send(codec.encode_request([again] * AT_ONCE))


def ahead(world):
    """Commands before their turn, which only the log can judge."""
    flooder = Flooder(world).ask(commands.put(b"opened", b""))
    for _ in range(5):
        early = [flooder.command(100 + at, commands.get(b"opened")) for at in range(AT_ONCE)]
        flooder.send(codec.encode_request(early))


FLOODS = {  # -> the slots that it takes at most, and bounds of the status
    partial: (0, {"partial_bytes": 128 * MIB}),
    readers: (2 + 40 * 122, {}),
    kept: (102, {"kept_bytes": KEPT_BYTES}),
    openings: (128, {"sessions": 130}),
    status: (0, {}),
    foreign: (0, {"late_links": 1, "partial_bytes": 4 * MIB}),
    void: (2, {"sessions": 4}),
    ahead: (5002, {"sessions": 4}),
}
UNREAD_BYTES = (32 + 40) * MIB  # by all links


@pytest.mark.parametrize("flood", FLOODS, ids=lambda flood: flood.__name__)
def test_a_good_client_does_not_notice(flood):
    slots, bounds = FLOODS[flood]
    world = Slow(rate=RATE, client_rate=RATE, value_bytes=100, kept_bytes_max=KEPT_BYTES)
    alone = world.writer(20)
    assert world.wait_for([alone], LIMIT_MS) is not None
    before = world.slots
    flood(world)
    good = world.writer(20)
    assert world.wait_for([good], LIMIT_MS) is not None
    status = world.leader().core.status()
    unread = sum(world.network.streams[end].pipe.waiting_bytes for end in world.network.clients)
    assert world.elections == world.elections_before
    assert latencies_ms(good, 0)[-1] < 3 * latencies_ms(alone, 0)[-1]
    assert world.slots - before - len(good.history) - 1 <= slots
    assert all(status[name] <= bound for name, bound in bounds.items()), status
    assert unread <= UNREAD_BYTES
