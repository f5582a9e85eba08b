"""Hostile clients of an honest cluster: three whole cores, a network that fails, disks, clients that send anything.

The first byte of an input chooses how the cluster begins, the others are steps: commands of clients, well-formed or
not, raw bytes, pieces of the streams between the nodes, time, syncs, links that break, nodes that crash and come back.
It is a simulator whose schedule is the input, so that coverage guides it.

Properties. No client's bytes, on any schedule, make a node raise - InvariantViolation least of all - or refuse a frame
of its peers. Nodes write whole frames. At the end no two nodes know different commands for a slot, and nodes that have
applied equally many slots have the same state.
"""

from __future__ import annotations

from collections.abc import Sequence

from multipaxos import commands
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.user_machine import run, runner_of
from multipaxos.node.node import Node
from multipaxos.node.output import ApplyJob, Batch, Event, Read
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.paxos.roles import ALL_ROLES
from multipaxos.simulation.disk import Disk
from multipaxos.simulation.shell import Act, nothing, wake
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.wire import codec
from multipaxos.wire.schema import flatten
from tests.fuzz.harness import Program, chunk, main
from tests.support.founders import founders_meta
from tests.support.journal import Journal
from tests.support.one_node import APPLY, OPEN_SESSION

NODES = 3
WINDOW = 8
STEPS_MAX = 80
PAYLOADS = (
    commands.put(b"k", b"value"),
    commands.get(b"k"),
    commands.cas(b"k", b"value", b"other"),
    commands.remove(b"k"),
    commands.scan(b""),
    b"",
    b"\xff" * 9,
)


def incarnation_of(id: int) -> int:
    """Of a node's disk."""
    return 1000 + id


class Host:
    """One node with its disk; what it wrote waits in `sent` until the network delivers it."""

    def __init__(self, id: int, key_value: bool, timeline: Timeline) -> None:
        self.id = id
        self.key_value = key_value
        self.timeline = timeline
        self.disk = Disk(incarnation_of(id))
        self.disk.commit(founders_meta([incarnation_of(i) for i in range(NODES)]), b"")
        self.start()

    def start(self) -> None:
        """A process begins, from what the disk holds."""
        self.journal = Journal()
        self.core = Node(
            node_id=self.id,
            roles=[ALL_ROLES] * NODES,
            quorums=QuorumSystem.majority(range(NODES)),
            incarnation=self.disk.incarnation,
            seed=self.id,
            machine=KeyValue(self.id) if self.key_value else PythonMachine(runner_of(self.journal)),
            meta=self.disk.meta(),
            records=self.disk.records(),
            flatten=flatten,
            window=WINDOW,
        )
        self.batch: Batch | None = None
        self.reads: list[Read] = []
        self.sent: dict[int, bytes] = {}
        self.closed: set[int] = set()
        self.failed = False
        self.wake(nothing)

    def wake(self, act: Act) -> None:
        """One wake-up of the process."""
        wake(self.core, act, self.timeline.now_ns, self.timeline.now_ns, self)
        self.core.invariants()

    # -- the effects of the core
    def on_events(self, events: Sequence[Event]) -> None:
        """Nothing listens."""

    def on_close(self, link: int, reason: str) -> None:
        """Clients on these links are gone; an honest peer must not be on one."""
        self.closed.add(link)

    def on_frames(self, link: int, frames: list[bytes]) -> None:
        """Every frame decodes; all wait for the network."""
        for frame in frames:
            codec.decode_message(frame)
        self.sent[link] = self.sent.get(link, b"") + b"".join(frames)

    def on_read(self, read: Read) -> None:
        """Waits for `sync`."""
        self.reads.append(read)

    def on_batch(self, batch: Batch) -> None:
        """Waits for `sync`."""
        assert self.batch is None, "a second batch while one is outstanding"
        self.batch = batch

    def on_job(self, job: ApplyJob) -> None:
        """The machine takes no time."""
        answers = run(self.journal, job.commands, job.answer_bytes_max)
        self.wake(lambda core: core.done(job.token, True, answers))

    def on_failed(self, why: str) -> None:
        """The process has to end."""
        self.failed = True

    # -- the disk
    def sync(self, ok: bool) -> None:
        """The outstanding batch ends, and every read."""
        batch, self.batch = self.batch, None
        if batch is not None:
            if ok:
                self.disk.commit(batch.meta, batch.records)
                assert not self.disk.take_hidden(), "a pvalue hides one of a higher ballot"
            self.wake(lambda core: core.done(batch.token, ok))
        reads, self.reads = self.reads, []
        for read in reads:
            answer = self.disk.read(read.first, read.end, read.max_bytes)
            self.wake(lambda core, token=read.token, answer=answer: core.done(token, True, answer))


class Cluster:
    """The run of one input."""

    def __init__(self, data: bytes) -> None:
        self.program = Program(data)
        start = self.program.byte()
        self.timeline = Timeline(1000 * MS)
        self.next_link = 1
        self.peers: dict[tuple[int, int], int] = {}  # (node, peer): the node's link to it
        self.clients: list[tuple[int, int]] = []  # (node, link)
        self.hosts = [Host(i, bool(start & 1), self.timeline) for i in range(NODES)]
        for a in range(NODES):
            for b in range(a):
                self.join(a, b)
            self.connect(a)
        if start & 2:
            self.settle(12)

    def run(self) -> None:
        """Does its steps, then lets the cluster settle without faults."""
        steps = (self.request, self.request, self.raw, self.frames, self.deliver, self.deliver, self.pass_time,
                 self.sync, self.settle_a_while, self.break_link, self.crash, self.come)  # fmt: skip
        for _ in range(STEPS_MAX):
            if not self.program.more():
                break
            steps[self.program.below(len(steps))]()
            self.drop_closed()
        self.settle(3)
        self.agree()

    # -- clients
    def come(self) -> None:
        """One more client."""
        self.connect(self.program.below(NODES))

    def connect(self, at: int) -> None:
        """A client's link."""
        self.next_link += 1
        self.clients.append((at, self.next_link))
        self.hosts[at].wake(lambda core: core.link_up(self.next_link, -1, 0))

    def request(self) -> None:
        """A client sends commands; their sessions and sequences are right, or nearly, or wrong."""
        program = self.program
        wanted = []
        for _ in range(1 + program.below(6)):
            payload = PAYLOADS[program.below(len(PAYLOADS))] if program.below(4) else program.chunk()
            kind = (APPLY, APPLY, APPLY, OPEN_SESSION, 0, 3)[program.below(6)]
            sequence = program.byte() if program.below(16) else program.number()
            wanted.append((program.below(12), sequence, kind, program.below(5), payload))
        self.from_client(codec.encode_request(wanted))

    def raw(self) -> None:
        """A client sends raw bytes."""
        self.from_client(self.program.chunk())

    def frames(self) -> None:
        """A client sends a frame of any kind."""
        ballot = self.hosts[0].core.leader.ballot
        kinds = ("phase1a", "phase2b", "decision", "ping", "pong", "founding", "leading", "fetch", "fetched")
        kind = kinds[self.program.below(len(kinds))]
        self.from_client(codec.encode(kind, **({"ballot": ballot} if "ballot" in codec.FIELDS[kind] else {})))

    def from_client(self, data: bytes) -> None:
        """The node that one of the clients is linked to receives bytes."""
        if self.clients:
            at, link = self.clients[self.program.below(len(self.clients))]
            self.hosts[at].wake(lambda core: core.receive(link, data))

    # -- the network
    def join(self, a: int, b: int) -> None:
        """A new link between two nodes; what was on its way on the old one is lost."""
        self.cut(a, b)
        for one, other in ((a, b), (b, a)):
            self.next_link += 1
            self.peers[one, other] = self.next_link
            self.hosts[one].wake(lambda core, peer=other: core.link_up(self.next_link, peer, incarnation_of(peer)))

    def cut(self, a: int, b: int) -> None:
        """The link breaks."""
        for one, other in ((a, b), (b, a)):
            link = self.peers.pop((one, other), None)
            if link is not None:
                self.hosts[one].sent.pop(link, None)
                self.hosts[one].core.link_down(link)

    def break_link(self) -> None:
        """A link breaks; there is a new one at once, or none until a node of the two is restarted."""
        a = self.program.below(NODES)
        b = (a + 1 + self.program.below(NODES - 1)) % NODES
        if self.program.below(2):
            self.join(a, b)
        else:
            self.cut(a, b)

    def deliver(self) -> None:
        """A piece of the stream from one node to another arrives."""
        a = self.program.below(NODES)
        b = (a + 1 + self.program.below(NODES - 1)) % NODES
        self.carry(a, b, self.program.byte())

    def carry(self, a: int, b: int, share: int) -> None:
        """`share` / 255 of the bytes that are on their way from a to b arrive."""
        link = self.peers.get((a, b))
        data = self.hosts[a].sent.pop(link, b"") if link is not None else b""
        cut = (len(data) * share + 254) // 255
        if data[cut:]:
            self.hosts[a].sent[link] = data[cut:]
        if data:
            self.hosts[b].wake(lambda core: core.receive(self.peers[b, a], data[:cut]))
            assert self.peers[b, a] not in self.hosts[b].closed, "an honest peer was refused"

    # -- time and disks
    def tick(self, host: Host, ms: int) -> None:
        """Time passes for all nodes, and one of them notices."""
        self.timeline.run_for(ms * MS)
        host.wake(nothing)

    def pass_time(self) -> None:
        """Up to two seconds pass."""
        self.tick(self.hosts[self.program.below(NODES)], self.program.byte() * 8)

    def sync(self) -> None:
        """A disk has done its work, or has failed; then its node starts again."""
        host = self.hosts[self.program.below(NODES)]
        ok = self.program.below(16) < 15
        host.sync(ok)
        if host.failed:
            self.restart(host)

    def crash(self) -> None:
        """A node crashes: what is not durable is lost."""
        self.restart(self.hosts[self.program.below(NODES)])

    def restart(self, host: Host) -> None:
        """A new process on the same disk."""
        for other in range(NODES):
            self.cut(host.id, other)
        self.clients = [(at, link) for at, link in self.clients if at != host.id]
        host.start()
        for other in range(NODES):
            if other != host.id:
                self.join(host.id, other)
        self.connect(host.id)

    def settle_a_while(self) -> None:
        """A few rounds in which everything works."""
        self.settle(1 + self.program.below(8))

    def settle(self, rounds: int) -> None:
        """Time passes, every frame is delivered, every batch is synced."""
        for _ in range(rounds):
            for host in self.hosts:
                self.tick(host, 40)
            for _ in range(2):
                for host in self.hosts:
                    host.sync(True)
                for a, b in list(self.peers):
                    self.carry(a, b, 255)

    # -- properties
    def drop_closed(self) -> None:
        """Clients whose links the nodes closed are gone."""
        self.clients = [(at, link) for at, link in self.clients if link not in self.hosts[at].closed]

    def agree(self) -> None:
        """There is one command for a slot, one state for a slot_out."""
        known: dict[int, object] = {}
        states: dict[object, object] = {}
        for host in self.hosts:
            for slot in range(1, host.core.slot_out):
                decided = host.core.command_at(slot)
                assert decided is None or known.setdefault(slot, decided) == decided, (slot, decided, known[slot])
            status = host.core.status()
            state = states.setdefault(status["slot_out"], status["state_hash"])
            assert state == status["state_hash"], (status, state)


def run_one(data: bytes) -> None:
    """Runs one input."""
    Cluster(data).run()


def seeds() -> list[bytes]:
    """From each beginning: a session with commands; the same with a crash and with links that break; raw bytes."""
    opening = bytes([0, 0, 1, 0, 3, 1, 77, 0, 0, 0])
    apply = b"".join(bytes([0, 0, 1, 0, 0, 1, n, 1, 0, 0]) for n in range(1, 5))
    frame = codec.encode_request([(1, 1, APPLY, 0, commands.put(b"k", b"value"))])
    ways = (
        opening + bytes([8, 5]) + apply + bytes([8, 7]),
        opening + bytes([8, 5]) + apply + bytes([10, 0, 8, 7, 8, 7, 8, 7]) + apply + bytes([8, 7]),
        opening + bytes([9, 0, 0, 1, 8, 7, 9, 1, 1, 0, 6, 0, 255, 8, 7]) + apply + bytes([4, 0, 1, 100, 5, 1, 0, 255]),
        bytes([2]) + chunk(frame) + bytes([0, 8, 3, 2]) + chunk(frame[:40]) + bytes([0, 3, 1, 0, 11, 1]),
    )
    return [bytes([start]) + way for start in range(4) for way in ways]


if __name__ == "__main__":
    main(run_one, seeds())
