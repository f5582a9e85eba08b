"""Pretend clients: the shipped client session, on pretend links; and the history of what they were told.

Rules. A client keeps some operations outstanding, repeats what is not answered, goes to another node when nothing
comes, and keeps its session through all of it. Where its session expires, or it gives its session up, the outcome of
what was unanswered is unknown, and it opens a new session. Values are never repeated, so that a read says which write
it saw. In the end it reads every key: a lost write shows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from multipaxos import commands
from multipaxos.client.session import Session
from multipaxos.commands import Answer, Value
from multipaxos.judges.linearizability import Operation
from multipaxos.judges.oracle import Violation
from multipaxos.simulation import MS, REPLICA
from multipaxos.wire.codec import REPLY_STATUSES

if TYPE_CHECKING:
    from multipaxos.simulation.world import World

OK = REPLY_STATUSES["ok"]
NAMES = {status: name for name, status in REPLY_STATUSES.items()}
STEP_NS = 20 * MS
LARGE_BYTES = 3000
CAPACITY = 64  # of a session: more than outstanding operations and keys together


class SimulatedClient:
    """One client."""

    def __init__(self, world: World, id: int) -> None:
        self.world = world
        self.id = id
        self.name = f"client {id}"
        self.history: list[Operation] = []
        self.issued = 0
        self.total = world.scenario.operations
        self.session = self.new_session()
        self.unanswered: dict[int, tuple[bytes, bytes, int]] = {}  # sequence -> key, command, when it was called
        self.reading = False
        self.node = -1
        self.link = 0
        self.heard_ns = 0
        self.next_ns = 0
        world.after(world.random.randint(0, STEP_NS), self.step)

    def new_session(self) -> Session:
        """A session that is not open yet."""
        return Session(self.world.random.getrandbits(63) | 1, CAPACITY)

    @property
    def done(self) -> bool:
        """All operations have ended, the last reads too."""
        return self.reading and not self.unanswered

    # -- operations
    def step(self) -> None:
        """Every few milliseconds: new operations in their time, another node after silence."""
        world = self.world
        if self.done:
            return
        self.submit()
        silent_ns = world.now_ns - self.heard_ns
        if self.node < 0 or (self.unanswered and silent_ns > world.scenario.patience_ns):
            self.connect()
        elif self.session.rewind_wanted:
            self.session.rewind()
        self.flush()
        world.after(STEP_NS, self.step)

    def submit(self) -> None:
        """Operations up to the bounds; when all are done, one read of every key."""
        world, scenario = self.world, self.world.scenario
        while self.issued < self.total and self.has_room() and world.now_ns >= self.next_ns:
            self.issued += 1
            self.next_ns = max(self.next_ns, world.now_ns - STEP_NS) + int(
                world.random.expovariate(1 / (scenario.hostile_ns / self.total))
            )
            key = b"key%d" % world.random.randrange(scenario.keys)
            self.call(key, self.choose(key))
        if self.issued == self.total and not self.unanswered and not self.reading and not world.adversary.hostile:
            self.reading = True
            for i in range(scenario.keys):
                self.call(b"key%d" % i, commands.get(b"key%d" % i))

    def has_room(self) -> bool:
        """May another operation begin? Not far beyond one whose answer was lost, either."""
        session = self.session
        return len(self.unanswered) < self.world.scenario.outstanding and session.last - session.acknowledged < CAPACITY

    def choose(self, key: bytes) -> bytes:
        """A command, of all kinds; the guesses of a cas are sometimes right."""
        chance = self.world.random
        value = b"%d.%d" % (self.id, self.issued)
        if chance.random() < 0.05:
            value += b"." * LARGE_BYTES
        known = self.world.known.get(key)
        kind = chance.random()
        if kind < 0.3 or known is None:
            return commands.put(key, value)
        if kind < 0.6:
            return commands.get(key)
        if kind < 0.7:
            return commands.cas(key, known.value, value)
        if kind < 0.8:
            return commands.cas(key, known.version, value)
        if kind < 0.86:
            return commands.create(key, value)
        if kind < 0.92:
            return commands.update(key, value)
        return commands.remove(key)

    def call(self, key: bytes, command: bytes) -> None:
        """One operation begins."""
        sequence = self.session.submit(command)
        self.unanswered[sequence] = key, command, self.world.now_ns

    def end(self, sequence: int, answer: Answer | None) -> None:
        """One operation ends, or is given up."""
        key, command, invoked_ns = self.unanswered.pop(sequence)
        self.history.append(Operation(self.id, key, command, answer, invoked_ns, self.world.now_ns))
        if isinstance(answer, Value):
            self.world.known[key] = answer

    def give_up(self) -> None:
        """The session is gone: what was unanswered has no known outcome, and the last reads are read again."""
        for sequence in list(self.unanswered):
            self.end(sequence, None)
        self.reading = False
        self.session = self.new_session()
        self.session.connected()

    # -- the link
    def connect(self) -> None:
        """To any node that is up."""
        world = self.world
        if self.node >= 0:
            world.network.close(self.node, self.link)
        up = [host.id for host in world.hosts if host.node is not None and world.roles[host.id] & REPLICA]
        self.heard_ns = world.now_ns
        if up:
            self.node = world.random.choice(up)
            self.link = world.network.connect_client(self, self.node)
            self.session.connected()

    def on_closed(self) -> None:
        """The link is gone."""
        self.node = -1

    def flush(self) -> None:
        """Sends what the session has to say."""
        data = self.session.output()
        if data and self.node >= 0:
            for frame in self.world.split(data):
                self.world.network.send_request(self, self.node, self.link, frame)

    def on_frame(self, frame: bytes) -> None:
        """An answer."""
        self.heard_ns = self.world.now_ns
        for sequence, status, slot, data in self.session.receive(frame):
            if sequence not in self.unanswered:
                continue
            if status != OK:
                raise Violation(f"{self.name} is answered {NAMES[status]} to what it never heard an answer to")
            self.end(sequence, commands.read_answer(self.unanswered[sequence][1], data, slot))
        if self.session.expired:
            self.world.oracle.on_expired(self.session.id)
            self.world.adversary.counts["sessions_expired"] += 1
            self.world.note(-1, f"{self.name}: its session has expired")
            self.give_up()
        self.flush()
