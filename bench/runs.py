"""Fixed runs of the core: the same calls with the same bytes each time, so that their instructions can be counted.

Theory. A run is a generator. It prepares what it needs and sends as many commands as it is going to count through the
core, so that rings and free lists have their sizes. Then it yields once: the caller starts to count. It sends another
`COMMANDS` commands and yields again: the caller stops. What follows checks that the core did the work.

Rules. Frames are made before the count starts. A run uses what docs/design.md promises of the core and nothing of the
tests. No clock, no randomness, no garbage collection, one thread.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable, Iterator
from functools import partial

from multipaxos import commands
from multipaxos.client.session import Session
from multipaxos.machine.key_value import KeyValue
from multipaxos.membership.founding import cluster_id_of
from multipaxos.node.node import Node
from multipaxos.node.output import META_CLUSTER, META_VOTER, words
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.wire import codec
from multipaxos.wire.schema import flatten

COMMANDS = 1000
INCARNATIONS = (1000, 1001, 1002)
SEED = 7
NONCE = 99  # of the session
START_NS, STEP_NS = 1_000_000_000, 10_000
CLIENT = 1  # its link
PEERS = (101, 102)  # links of node 0 to nodes 1 and 2
KEYS = [b"key %04d" % i for i in range(100)]
PAYLOADS = [commands.put(key, b"v" * 64) for key in KEYS]
FOUNDED = {META_VOTER: words(INCARNATIONS), META_CLUSTER: words([cluster_id_of("", INCARNATIONS)])}

Run = Callable[[], Iterator[None]]


class Process:
    """A core of a founded cluster of three; every batch is durable at once, and time passes with every wake-up."""

    def __init__(self, node_id: int) -> None:
        self.now_ns = START_NS
        self.sent: dict[int, bytes] = {}
        self.core = Node(
            node_id=node_id,
            roles=[ALL_ROLES] * 3,
            quorums=QuorumSystem.majority(range(3)),
            incarnation=INCARNATIONS[node_id],
            seed=SEED,
            machine=KeyValue(seed=SEED),
            meta=FOUNDED,
            records=(),
            flatten=flatten,
        )
        self.wake_up(0)

    def wake_up(self, step_ns: int) -> None:
        """Time passes; carries out the output."""
        self.now_ns += step_ns
        self.core.tick(self.now_ns, self.now_ns)
        self.carry_out()

    def link_up(self, link: int, peer_id: int) -> None:
        """A link; peer_id -1: a client's."""
        self.core.link_up(link, peer_id, INCARNATIONS[peer_id] if peer_id >= 0 else 0)
        self.carry_out()

    def receive(self, link: int, frame: bytes) -> None:
        """One wake-up of a server, with a frame."""
        self.now_ns += STEP_NS
        self.core.tick(self.now_ns, self.now_ns)
        self.core.receive(link, frame)
        self.carry_out()

    def carry_out(self) -> None:
        """Keeps what was sent last on each link; the disk takes no time."""
        while True:
            output = self.core.output()
            for link, data in output.writes:
                self.sent[link] = data
            assert not output.closes, output.closes
            if output.batch is None:
                return
            self.core.done(output.batch.token, True)


def request_frames(session: int, first: int, count: int, per_frame: int) -> list[bytes]:
    """Requests of `count` commands from sequence `first`; the client has all answers before its next request."""
    frames = []
    for begin in range(first, first + count, per_frame):
        rows = [(session, begin + i, 1, i, PAYLOADS[(begin + i) % len(PAYLOADS)], NONCE) for i in range(per_frame)]
        frames.append(codec.encode_request(rows))
    return frames


def elected() -> tuple[Process, int]:
    """Node 0, which leads; its ballot."""
    process = Process(0)
    for peer_id, link in enumerate(PEERS, 1):
        process.link_up(link, peer_id)
    while not (ballot := process.core.leader.ballot) or not process.sent:
        process.wake_up(50_000_000)
    for link in PEERS:
        promise = {"ballot": ballot, "first": 1, "end": codec.SLOTS_END, "mark": 1}
        process.receive(link, codec.encode("phase1b", **promise, pvalues=()))
    assert process.core.status()["leading"]
    return process, ballot


def accepted(ballot: int, first: int, end: int) -> bytes:
    """A follower's phase 2b."""
    return codec.encode("phase2b", ballot=ballot, first=first, end=end, mark=1)


def opened() -> tuple[Process, int, int]:
    """(the leader, its ballot, a client's session): the session was opened in slot 1."""
    process, ballot = elected()
    process.link_up(CLIENT, -1)
    process.receive(CLIENT, codec.encode_request([(0, NONCE, 2, 0, b"")]))
    for link in PEERS:
        process.receive(link, accepted(ballot, 1, 2))
    session, _ = codec.decode_response(process.sent[CLIENT])
    return process, ballot, session


def leader(per_frame: int) -> Iterator[None]:
    """A leader of three: a client's request, two followers' answers to it, the client's response."""
    process, ballot, session = opened()
    steps = [
        (frame, accepted(ballot, slot, slot + per_frame))
        for slot, frame in zip(
            range(2, 2 + 2 * COMMANDS, per_frame), request_frames(session, 1, 2 * COMMANDS, per_frame), strict=True
        )
    ]
    half = len(steps) // 2
    for part in (steps[:half], steps[half:]):
        for request, answer in part:
            process.receive(CLIENT, request)
            process.receive(PEERS[0], answer)
            process.receive(PEERS[1], answer)
        yield
    assert process.core.slot_out == 2 + 2 * COMMANDS
    _, replies = codec.decode_response(process.sent[CLIENT])
    assert replies[-1][:3] == (2 * COMMANDS, 1 + 2 * COMMANDS, 0)


def led_by(per_frame: int) -> Iterator[bytes]:
    """What a leader sends to node 1: the phase 2a of the session's opening, then of each request."""
    process, ballot, session = opened()
    yield process.sent[PEERS[0]]
    slot = 2
    for frame in request_frames(session, 1, 2 * COMMANDS, per_frame):
        process.receive(CLIENT, frame)
        yield process.sent[PEERS[0]]
        for link in PEERS:
            process.receive(link, accepted(ballot, slot, slot + per_frame))
        slot += per_frame


def follower(per_frame: int) -> Iterator[None]:
    """A follower of three: a phase 2a comes, its batch becomes durable, a phase 2b leaves."""
    process = Process(1)
    process.link_up(100, 0)
    opening, *frames = led_by(per_frame)
    process.receive(100, opening)
    half = len(frames) // 2
    for part in (frames[:half], frames[half:]):
        for frame in part:
            process.receive(100, frame)
        yield
    assert process.core.slot_out == 2 + 2 * COMMANDS - per_frame  # the last decision was not sent yet


def session(per_frame: int) -> Iterator[None]:
    """A client's session: submits, output, the response."""
    client = Session(NONCE)
    client.connected()
    client.output()
    client.receive(codec.encode_response(1, [(NONCE, 1, 0, b"")]))
    client.receive(codec.encode_response(1, [(NONCE, 1, 2, b"")]))
    responses = [
        codec.encode_response(1, [(first + i, 1 + first + i, 0, b"\0") for i in range(per_frame)])
        for first in range(1, 1 + 2 * COMMANDS, per_frame)
    ]
    half = len(responses) // 2
    for part in (responses[:half], responses[half:]):
        for response in part:
            for payload in PAYLOADS[:per_frame]:
                client.submit(payload)
            client.output()
            client.receive(response)
        yield
    assert client.acknowledged == 2 * COMMANDS


def store(payload: Callable[[bytes], bytes]) -> Iterator[None]:
    """The key-value machine alone."""
    machine = KeyValue(seed=SEED)
    machine.apply_repeat(1, PAYLOADS, 1)
    payloads = [payload(key) for key in KEYS]
    for slot in (2, 3):
        machine.apply_repeat(slot, payloads, COMMANDS // len(KEYS))
        yield
    assert len(machine) == len(KEYS)


COMMAND_ROWS = [(1 << 40, i, 1, 7, payload, NONCE) for i, payload in enumerate(PAYLOADS, 1)]
REPLY_ROWS = [(i, (1 << 41) + i, 0, bytes(16)) for i in range(1, 1 + len(KEYS))]
HEAD = ((9 << 24) | 1, 1 << 41, 1_700_000_000_000_000_000, ((9 << 24) | 1, (1 << 41) - 200, 1 << 41))
SMALL = {
    "phase2b": {"ballot": 16777217, "first": 1, "end": 101, "mark": 1},
    "decision": {"ballot": 16777217, "first": 1, "end": 101},
    "fetch": {"first": 1, "end": 101},
    "leading": {"ballot": 16777217},
}


def encode() -> Iterator[None]:
    """From Python values: runs, requests and responses of 100, small messages."""
    for _ in range(2):
        for _ in range(COMMANDS // len(KEYS)):
            codec.encode_phase2a(*HEAD, COMMAND_ROWS)
            codec.encode_request(COMMAND_ROWS)
            codec.encode_response(1 << 40, REPLY_ROWS)
            for kind, fields in SMALL.items():
                codec.encode(kind, **fields)
        yield


def decode() -> Iterator[None]:
    """To Python values: the same messages."""
    run = codec.encode_phase2a(*HEAD, COMMAND_ROWS)
    request, response = codec.encode_request(COMMAND_ROWS), codec.encode_response(1 << 40, REPLY_ROWS)
    small = [codec.encode(kind, **fields) for kind, fields in SMALL.items()]
    for _ in range(2):
        for _ in range(COMMANDS // len(KEYS)):
            codec.decode_phase2a(run)
            codec.decode_request(request)
            codec.decode_response(response)
            for frame in small:
                codec.decode_message(frame)
        yield


RUNS: dict[str, Run] = {
    "leader, 10 commands a frame": partial(leader, 10),
    "leader, 1 command a frame": partial(leader, 1),
    "follower, 10 commands a frame": partial(follower, 10),
    "follower, 1 command a frame": partial(follower, 1),
    "session, 10 commands a frame": partial(session, 10),
    "session, 1 command a frame": partial(session, 1),
    "key-value store, put": partial(store, lambda key: commands.put(key, b"w" * 64)),
    "key-value store, get": partial(store, commands.get),
    "codec, encode": encode,
    "codec, decode": decode,
}


def main() -> None:
    """Runs all, each between the marks of a library that tells callgrind to begin and to end; see
    tools/instructions.py."""
    marks = ctypes.CDLL(sys.argv[1])
    gc.disable()
    for name, run in RUNS.items():
        steps = run()
        next(steps)
        marks.begin()
        next(steps)
        marks.end(name.encode())
        for _ in steps:
            raise AssertionError(f"{name}: a run yields twice")


if __name__ == "__main__":
    main()
