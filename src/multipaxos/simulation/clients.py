"""Simulated clients: the shipped client session, on simulated links; and the history of the answers they received.

Rules. A client keeps some operations outstanding, repeats those without an answer, goes to another node when nothing
arrives, and keeps its session through all of it, or opens a new one after some operations. If its session expires, if
it gives its session up, or if its process dies, the outcome of its unanswered operations is unknown, and it opens a new
session. In the end a client reads every key: a lost write shows.
"""

from __future__ import annotations

from collections.abc import Callable

from multipaxos import commands
from multipaxos.client.session import Session
from multipaxos.commands import Answer
from multipaxos.judges.history import Operation
from multipaxos.judges.violation import Violation
from multipaxos.machine.machine import REFUSED_SLOT
from multipaxos.paxos.roles import REPLICA
from multipaxos.simulation.chance import Chance
from multipaxos.simulation.network import End, Network
from multipaxos.simulation.operations import Chooser
from multipaxos.simulation.scenario import Scenario
from multipaxos.simulation.shell import whole_frames
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.simulation.tried_machine import is_right, is_trial
from multipaxos.wire.codec import ReplyStatus

OK, REFUSED = ReplyStatus.OK, ReplyStatus.REFUSED
NAMES: dict[int, str] = {status: status.name.lower() for status in ReplyStatus}
STEP_NS = 20 * MS
CAPACITY = 64  # of a session: more than outstanding operations and keys together
NO_NODE = -1
PATIENCE_MAX_NS = 3000 * MS

Name = tuple[int, int, int]  # of a command: session, nonce, sequence


class SimulatedClient:
    """One client. `chooser`: of the commands, for all clients of a run. `on_expired`: called with the id and nonce
    of a session that the cluster says has expired. `on_opinion`: called with the node that has answered a trial, and
    whether it was right."""

    def __init__(
        self,
        id: int,
        *,
        scenario: Scenario,
        timeline: Timeline,
        chance: Chance,
        network: Network,
        chooser: Chooser,
        on_expired: Callable[[int, int], None],
        on_opinion: Callable[[int, bool], None],
    ) -> None:
        self.id = id
        self.name = f"client {id}"
        self.scenario = scenario
        self.timeline = timeline
        self.chance = chance
        self.network = network
        self.chooser = chooser
        self.on_expired = on_expired
        self.on_opinion = on_opinion
        self.history: list[Operation] = []  # those with an answer
        self.given_up: list[tuple[Name, Operation]] = []  # those without
        self.issued = 0
        self.total = scenario.operations
        self.session = self.new_session()
        self.in_session = 0  # operations that were called in this session
        self.unanswered: dict[int, tuple[bytes, int]] = {}  # sequence -> command, when it was called
        self.reading = False  # the last reads have begun
        self.node_id = NO_NODE
        self.cluster_id = 0  # of the node that it was linked to last
        self.link = 0
        self.heard_ns = 0
        self.patience_ns = scenario.patience_ns  # grows while nodes are silent, as that of the shipped client
        self.next_ns = 0
        timeline.after(chance.random.randint(0, STEP_NS), self.step)

    def new_session(self) -> Session:
        """A session that is not open yet."""
        return Session(self.chance.number() | 1, CAPACITY)

    @property
    def done(self) -> bool:
        """Have all operations ended, the last reads too?"""
        return self.reading and not self.unanswered

    # -- operations
    def step(self) -> None:
        """Every few milliseconds: new operations that are due, another node after silence."""
        if self.done:
            return
        self.submit()
        silent_ns = self.timeline.now_ns - self.heard_ns
        if self.node_id == NO_NODE:
            self.connect()
        elif self.unanswered and silent_ns > self.patience_ns:
            self.patience_ns = max(self.patience_ns, min(self.patience_ns * 3 // 2, PATIENCE_MAX_NS))
            self.connect()
        elif self.session.rewind_wanted and not self.is_uploading():
            self.session.rewind()  # never a copy behind its own copy
        self.flush()
        self.timeline.after(STEP_NS, self.step)

    def submit(self) -> None:
        """New operations, up to the bounds; when all have ended, the last reads."""
        scenario, random, now_ns = self.scenario, self.chance.random, self.timeline.now_ns
        if self.is_used_up and not self.unanswered:
            self.chance.counts["short_sessions"] += 1
            self.session.close()
            self.flush()
            self.begin_session()
        while self.issued < self.total and self.has_room() and now_ns >= self.next_ns:
            self.issued += 1
            wait_ns = int(random.expovariate(1 / ((scenario.load_ns or scenario.hostile_ns) / self.total)))
            self.next_ns = max(self.next_ns, now_ns - STEP_NS) + wait_ns
            self.call(self.chooser.choose(b"%d.%d" % (self.id, self.issued)))
        if self.issued == self.total and not self.unanswered and not self.reading and not self.chance.hostile:
            self.reading = True
            for command in self.last_reads():
                self.call(command)

    def last_reads(self) -> list[bytes]:
        """Every key is read, and where there are scans all of them at once."""
        reads = [commands.get(key) for key in self.chooser.keys]
        return [*reads, commands.scan(b"key")] if self.scenario.several else reads

    def has_room(self) -> bool:
        """May another operation begin? Not far beyond one whose answer was lost, either."""
        session = self.session
        if self.is_used_up:
            return False
        return len(self.unanswered) < self.scenario.outstanding and session.last - session.acknowledged < CAPACITY

    def call(self, command: bytes) -> None:
        """One operation begins."""
        self.in_session += 1
        sequence = self.session.submit(command)
        self.unanswered[sequence] = command, self.timeline.now_ns

    def end(self, sequence: int, answer: Answer | None) -> None:
        """One operation ends, or is given up (`answer` None)."""
        command, invoked_ns = self.unanswered.pop(sequence)
        if is_trial(command):
            return
        operation = Operation(self.id, command, answer, invoked_ns, self.timeline.now_ns)
        if answer is None:
            self.given_up.append((self.name_of(sequence), operation))
        else:
            self.history.append(operation)
        self.chooser.learn(command, answer)

    def name_of(self, sequence: int) -> Name:
        """What the log calls a command of the present session."""
        return self.session.id, self.session.nonce, sequence

    def without_answer(self) -> list[tuple[Name, Operation]]:
        """All operations that were not answered: those that were given up, and those that still wait."""
        return self.given_up + [
            (self.name_of(sequence), Operation(self.id, command, None, invoked_ns, invoked_ns))
            for sequence, (command, invoked_ns) in self.unanswered.items()
            if not is_trial(command)
        ]

    def outlive(self) -> None:
        """The cluster is gone: what was asked of it is judged, and the client goes on with its session."""
        self.history.clear()
        self.given_up.clear()

    @property
    def is_used_up(self) -> bool:
        """Is it time for another session?"""
        return 0 < self.scenario.session_operations <= self.in_session

    def begin_session(self) -> None:
        """Another session, in which nothing was called."""
        self.session = self.new_session()
        self.session.met(self.cluster_id)
        self.session.connected()
        self.in_session = 0

    def give_up(self) -> None:
        """The session is gone: unanswered operations have no known outcome, and the last reads begin again."""
        for sequence in list(self.unanswered):
            self.end(sequence, None)
        self.reading = False
        self.begin_session()

    def die(self) -> None:
        """The process of the client dies, and its link with it; another one goes on."""
        self.give_up()
        if self.node_id != NO_NODE:
            self.network.close(self.node_id, self.link)

    # -- the link
    def connect(self) -> None:
        """A link to any replica that is up, in place of the present one."""
        if self.node_id != NO_NODE:
            self.network.close(self.node_id, self.link)
        roles = self.scenario.roles
        up = [node for node in self.network.endpoints if node.alive and roles[node.id] & REPLICA]
        self.heard_ns = self.timeline.now_ns
        node = self.chance.random.choice(up) if up else None
        if node is not None and self.session.met(node.cluster_id):
            self.cluster_id = node.cluster_id
            self.node_id = node.id
            self.link = self.network.connect_client(self, self.node_id)
            self.session.connected()
        self.look_for_end()

    def on_bytes(self) -> None:
        """While bytes pass the node is not silent, however long a value is on its way."""
        self.heard_ns = self.timeline.now_ns

    def on_closed(self) -> None:
        """The link is gone."""
        self.node_id = NO_NODE

    def is_uploading(self) -> bool:
        """Has something that it sent not left its link yet?"""
        stream = self.network.uploads.get(End(self.node_id, self.link))
        return stream is not None and stream.pipe.waiting_bytes > 0

    def flush(self) -> None:
        """Sends what the session wants to send."""
        data = self.session.output()
        if data and self.node_id != NO_NODE:
            for frame in whole_frames(data):
                self.network.send_request(self, self.node_id, self.link, frame)

    def on_frame(self, frame: bytes) -> None:
        """Answers arrive."""
        self.heard_ns = self.timeline.now_ns
        for sequence, status, slot, data in self.session.receive(frame):
            self.patience_ns = self.scenario.patience_ns
            if sequence not in self.unanswered:
                continue
            command = self.unanswered[sequence][0]
            if status == REFUSED and data == REFUSED_SLOT:  # without an effect, so it is no operation
                del self.unanswered[sequence]
                continue
            if is_trial(command) and status in (OK, REFUSED):
                del self.unanswered[sequence]
                self.on_opinion(self.node_id, is_right(command, status == REFUSED, data))
                continue
            if status != OK:
                raise Violation(
                    f"{self.name} receives the status {NAMES[status]} for a command that it has no answer to yet"
                )
            self.end(sequence, self.read_answer(command, data, slot))
        self.look_for_end()
        if self.scenario.session_operations:
            self.submit()
        self.flush()

    def read_answer(self, command: bytes, data: bytes, slot: int) -> Answer:
        """An answer that is none to its command is another one's."""
        try:
            return commands.read_answer(command, data, slot)
        except ValueError as error:
            raise Violation(f"{self.name} receives the answer to another command: {error}") from error

    def look_for_end(self) -> None:
        """If the session has expired, its operations have no known outcome."""
        if self.session.expired:
            self.on_expired(self.session.id, self.session.nonce)
            self.chance.counts["sessions_expired"] += 1
            self.timeline.note(-1, f"{self.name}: its session has expired")
            self.give_up()
