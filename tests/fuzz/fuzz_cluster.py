"""Hostile clients of an honest cluster: three whole cores, a network that fails, disks, clients that send anything.

The first byte of an input chooses how the cluster begins, the others are steps: commands of clients, well-formed or
not, raw bytes, pieces of what is on its way between the nodes, ticks, syncs, links that break, nodes that crash and
come back. It is a simulator whose schedule is an input, so that coverage guides it.

Properties. No client's bytes, on any schedule, make a node raise - InvariantViolation least of all - or refuse a frame
of its peers. What leaves is whole frames. At the end no two nodes know different commands for a slot, and nodes that
have applied as much have the same state.
"""

from __future__ import annotations

from typing import Any

from multipaxos import commands
from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import PythonMachine
from multipaxos.node.node import Node
from multipaxos.paxos.quorum import QuorumSystem
from multipaxos.storage.records import split
from multipaxos.wire import codec
from multipaxos.wire.schema import flatten
from tests.fuzz.harness import Program, chunk, main
from tests.support.journal import Journal
from tests.support.one_node import ALL, APPLY, MS, OPEN_SESSION

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


class Host:
    """One node with its disk; what it wrote waits in `sent` until the network delivers it."""

    def __init__(self, id: int, machine: int) -> None:
        self.id = id
        self.machine = machine
        self.meta = {b"voter": b"".join((1000 + i).to_bytes(8, "little") for i in range(NODES))}
        self.records: list[tuple[int, int, int, bytes]] = []
        self.start()

    def start(self) -> None:
        """From what the disk holds."""
        self.node = Node(
            node=self.id,
            roles=[ALL] * NODES,
            quorums=QuorumSystem.majority(range(NODES)),
            incarnation=1000 + self.id,
            seed=self.id,
            machine=KeyValue(self.id) if self.machine else PythonMachine(Journal()),
            meta=self.meta,
            records=sorted(self.records, key=lambda record: (record[1], record[0])),
            flatten=flatten,
            window=WINDOW,
        )
        self.batch: Any = None
        self.reads: list[Any] = []
        self.sent: dict[int, bytes] = {}
        self.closed: set[int] = set()

    def collect(self) -> None:
        """Takes one output and looks at it."""
        output = self.node.output()
        for link, data in output.writes:
            frames, rest = codec.split(data)
            assert rest == b""
            for frame in frames:
                codec.decode_message(frame)
            self.sent[link] = self.sent.get(link, b"") + data
        if output.batch is not None:
            assert self.batch is None, "a second batch while one is outstanding"
            self.batch = output.batch
        self.reads += output.reads
        self.closed.update(link for link, _ in output.closes)
        self.node.invariants()

    def sync(self, ok: bool) -> None:
        """The outstanding batch ends, and every read."""
        batch, self.batch = self.batch, None
        if batch is not None:
            if ok:
                self.commit(batch)
            self.node.done(batch.token, ok)
        reads, self.reads = self.reads, []
        for read in reads:
            held = sorted(self.records, key=lambda record: (record[1], record[0]))
            found = [record for record in held if record[1] < read.end and record[2] > read.first]
            self.node.done(read.token, True, (read.end, found))
        self.collect()

    def commit(self, batch: Any) -> None:
        """What a disk would keep."""
        self.meta.update(batch.meta)
        for first, end, frame in split(batch.records):
            self.records.append((len(self.records) + 1, first, end, frame))


class Cluster:
    """One input, run."""

    def __init__(self, data: bytes) -> None:
        self.program = Program(data)
        start = self.program.byte()
        self.now_ns = 1000 * MS
        self.next_link = 1
        self.peers: dict[tuple[int, int], int] = {}  # (node, peer): the node's link to it
        self.clients: list[tuple[int, int]] = []  # (node, link)
        self.hosts = [Host(i, start & 1) for i in range(NODES)]
        for host in self.hosts:
            self.tick(host, 0)
        for a in range(NODES):
            for b in range(a):
                self.join(a, b)
            self.connect(a)
        if start & 2:
            self.settle(12)

    def run(self) -> None:
        """Its steps, then a while without faults."""
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
        """One more."""
        self.connect(self.program.below(NODES))

    def connect(self, at: int) -> None:
        """A client's link."""
        self.next_link += 1
        self.clients.append((at, self.next_link))
        self.hosts[at].node.link_up(self.next_link, -1, 0)
        self.hosts[at].collect()

    def request(self) -> None:
        """Commands; their sessions and sequences are right, or near, or not."""
        program = self.program
        wanted = []
        for _ in range(1 + program.below(6)):
            payload = PAYLOADS[program.below(len(PAYLOADS))] if program.below(4) else program.chunk()
            kind = (APPLY, APPLY, APPLY, OPEN_SESSION, 0, 3)[program.below(6)]
            sequence = program.byte() if program.below(16) else program.number()
            wanted.append((program.below(12), sequence, kind, program.below(5), payload))
        self.from_client(codec.encode_request(wanted))

    def raw(self) -> None:
        """Bytes."""
        self.from_client(self.program.chunk())

    def frames(self) -> None:
        """Every kind of frame, from a client."""
        ballot = self.hosts[0].node.leader.ballot
        kinds = ("phase1a", "phase2b", "decision", "ping", "pong", "founding", "leading", "fetch", "fetched")
        kind = kinds[self.program.below(len(kinds))]
        self.from_client(codec.encode(kind, **({"ballot": ballot} if "ballot" in codec.FIELDS[kind] else {})))

    def from_client(self, data: bytes) -> None:
        """Hands it to the node that the client is linked to."""
        if self.clients:
            at, link = self.clients[self.program.below(len(self.clients))]
            self.hosts[at].node.receive(link, data)
            self.hosts[at].collect()

    # -- the network
    def join(self, a: int, b: int) -> None:
        """A new link between two nodes; what was on its way on the old one is lost."""
        self.cut(a, b)
        for one, other in ((a, b), (b, a)):
            self.next_link += 1
            self.peers[one, other] = self.next_link
            self.hosts[one].node.link_up(self.next_link, other, 1000 + other)
            self.hosts[one].collect()

    def cut(self, a: int, b: int) -> None:
        """The link breaks."""
        for one, other in ((a, b), (b, a)):
            link = self.peers.pop((one, other), None)
            if link is not None:
                self.hosts[one].sent.pop(link, None)
                self.hosts[one].node.link_down(link)

    def break_link(self) -> None:
        """It comes back at once, or stays away until somebody joins the two again."""
        a = self.program.below(NODES)
        b = (a + 1 + self.program.below(NODES - 1)) % NODES
        if self.program.below(2):
            self.join(a, b)
        else:
            self.cut(a, b)

    def deliver(self) -> None:
        """A piece of what is on its way from one node to another."""
        a = self.program.below(NODES)
        b = (a + 1 + self.program.below(NODES - 1)) % NODES
        self.carry(a, b, self.program.byte())

    def carry(self, a: int, b: int, share: int) -> None:
        """`share` / 255 of what is on its way from a to b."""
        link = self.peers.get((a, b))
        data = self.hosts[a].sent.pop(link, b"") if link is not None else b""
        cut = (len(data) * share + 254) // 255
        if data[cut:]:
            self.hosts[a].sent[link] = data[cut:]
        if data:
            self.hosts[b].node.receive(self.peers[b, a], data[:cut])
            self.hosts[b].collect()
            assert self.peers[b, a] not in self.hosts[b].closed, "an honest peer was refused"

    # -- time and disks
    def tick(self, host: Host, ms: int) -> None:
        """Time passes for all, and one of them notices."""
        self.now_ns += ms * MS
        host.node.tick(self.now_ns, self.now_ns)
        host.collect()

    def pass_time(self) -> None:
        """Up to two seconds."""
        self.tick(self.hosts[self.program.below(NODES)], self.program.byte() * 8)

    def sync(self) -> None:
        """A disk has done its work, or has failed, and then its node starts again."""
        host = self.hosts[self.program.below(NODES)]
        ok = self.program.below(16) < 15
        host.sync(ok)
        if host.node.output().failed:
            self.restart(host)

    def crash(self) -> None:
        """What is not durable is lost."""
        self.restart(self.hosts[self.program.below(NODES)])

    def restart(self, host: Host) -> None:
        """A new process on the same disk."""
        for other in range(NODES):
            self.cut(host.id, other)
        self.clients = [(at, link) for at, link in self.clients if at != host.id]
        host.start()
        self.tick(host, 0)
        for other in range(NODES):
            if other != host.id:
                self.join(host.id, other)
        self.connect(host.id)

    def settle_a_while(self) -> None:
        """A few rounds in which everything works."""
        self.settle(1 + self.program.below(8))

    def settle(self, rounds: int) -> None:
        """Time passes, all is delivered, all is synced."""
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
        """Clients that were refused are gone."""
        self.clients = [(at, link) for at, link in self.clients if link not in self.hosts[at].closed]

    def agree(self) -> None:
        """One command for a slot, one state for a slot_out."""
        known: dict[int, object] = {}
        states: dict[object, object] = {}
        for host in self.hosts:
            for slot in range(1, host.node.slot_out):
                decided = host.node.command_at(slot)
                assert decided is None or known.setdefault(slot, decided) == decided, (slot, decided, known[slot])
            status = host.node.status()
            state = states.setdefault(status["slot_out"], status["state_hash"])
            assert state == status["state_hash"], (status, state)


def run_one(data: bytes) -> None:
    """One input."""
    Cluster(data).run()


def seeds() -> list[bytes]:
    """From each beginning: a session with commands; the same with a crash, with links that break; raw bytes."""
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
