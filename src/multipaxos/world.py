"""A world of nodes on virtual time, with a pretend network and pretend disks.

Theory. The core is deterministic and does no IO, so a whole cluster runs in one process: a heap of events,
ordered by
virtual time, is the network, the disks and the clocks. Everything random - delays, losses, repetitions,
crashes - comes
from one seed, so a failing run is a number.

What is pretended. Every frame travels on its own: it may be lost, repeated, delayed and so overtaken. Links
break and come
back. A node may be crashed (it keeps what was synced, and nothing else), paused, or crashed with
the loss of its disk (it comes back with a
new incarnation). A batch takes time to become durable.

What is checked, after every step: each node's own invariants; that no two nodes hold different commands in a
slot; that
slot_out never falls while a node lives. At the end, once faults have stopped: every client is answered, all
replicas are
equal, and the history is that of one log: an operation acknowledged is in it once, at the place that its
answer named, and
real time is kept.
"""

from __future__ import annotations

import heapq
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from multipaxos import codec
from multipaxos.errors import MultipaxosError
from multipaxos.machine import PythonMachine
from multipaxos.node import Batch, Node
from multipaxos.quorum import QuorumSystem
from multipaxos.schema import flatten
from multipaxos.statemachine import Context, StateMachine

MS = 1_000_000
ALL_ROLES = 7
APPLY, OPEN_SESSION = 1, 2
REPLY_OK, REPLY_OPENED, REPLY_AHEAD, REPLY_EXPIRED, REPLY_OVERLOADED = 0, 2, 3, 4, 5


class Violation(MultipaxosError):
    """A run broke a promise; the message names the seed."""


@dataclass(frozen=True)
class Faults:
    """How hostile the world is. Shares are of frames; means: virtual time between faults, 0 for never."""

    loss: float = 0.0
    repeat: float = 0.0
    delay_ns: tuple[int, int] = (MS // 10, MS)
    sync_ns: tuple[int, int] = (MS // 10, 2 * MS)
    link_break_mean_ns: int = 0
    crash_mean_ns: int = 0
    pause_mean_ns: int = 0
    partition_mean_ns: int = 0
    down_ns: tuple[int, int] = (20 * MS, 2000 * MS)


HOSTILE = Faults(
    loss=0.05,
    repeat=0.05,
    delay_ns=(MS // 10, 20 * MS),
    sync_ns=(MS // 10, 20 * MS),
    link_break_mean_ns=700 * MS,
    crash_mean_ns=1500 * MS,
    pause_mean_ns=2500 * MS,
    partition_mean_ns=3000 * MS,
)


class Journal(StateMachine):
    """Appends every command to a list and answers with its place: its state is its history."""

    def __init__(self) -> None:
        self.entries: list[bytes] = []

    def apply(self, command: bytes, context: Context) -> bytes:
        """Appends; the answer is the index as eight bytes."""
        if command.startswith(b"raise"):
            raise ValueError(f"asked to raise at length {len(self.entries)}")
        self.entries.append(command)
        return (len(self.entries) - 1).to_bytes(8, "little")

    def snapshot(self) -> Iterator[bytes]:
        """Its entries."""
        return iter(list(self.entries))

    def restore(self, chunks: Iterable[bytes]) -> None:
        """Takes entries as `snapshot` gave them."""
        self.entries = list(chunks)


@dataclass
class Disk:
    """What survives a crash."""

    incarnation: int
    meta: dict[bytes, bytes] = field(default_factory=dict)
    records: list[tuple[int, int, int, bytes]] = field(default_factory=list)

    def commit(self, batch: Batch) -> None:
        """Everything of the batch, at once."""
        self.meta.update(batch.meta)
        at, data = 0, batch.records
        while at < len(data):
            first, end, size = (int.from_bytes(data[at + i : at + i + 8], "little") for i in (0, 8, 16))
            self.records.append((len(self.records) + 1, first, end, data[at + 24 : at + 24 + size]))
            at += 24 + size

    def sorted_records(self) -> list[tuple[int, int, int, bytes]]:
        """As the core wants them: by first slot, then index."""
        return sorted(self.records, key=lambda record: (record[1], record[0]))

    def read(self, first: int, end: int) -> tuple[int, list[tuple[int, int, int, bytes]]]:
        """Every record that overlaps [first, end)."""
        return end, [record for record in self.sorted_records() if record[1] < end and record[2] > first]


class Host:
    """One machine: a disk, and while it runs a node. Tests that break a promise on purpose put their own disk
    in.
    """

    disk_type: type[Disk] = Disk

    def __init__(self, world: World, id: int) -> None:
        self.world = world
        self.id = id
        self.disk = self.disk_type(world.random.getrandbits(63) | 1)
        self.node: Node | None = None
        self.journal = Journal()
        self.life = 0
        self.paused = False
        self.backlog: list[Callable[[], None]] = []
        self.links: dict[int, tuple[int, int]] = {}
        self.checked_to = 1

    @property
    def quorums(self) -> QuorumSystem:
        """The quorum system this machine was configured with."""
        return self.world.quorums

    def start(self) -> None:
        """The process starts from its disk."""
        world = self.world
        self.life += 1
        self.paused = False
        self.backlog = []
        self.journal = Journal()
        self.checked_to = 1
        self.node = Node(
            node=self.id,
            roles=world.roles,
            quorums=self.quorums,
            incarnation=self.disk.incarnation,
            seed=world.random.getrandbits(63),
            machine=PythonMachine(self.journal),
            meta=self.disk.meta,
            records=self.disk.sorted_records(),
            flatten=flatten,
            window=world.window,
            ring_bytes=world.ring_bytes,
        )
        self.wake(lambda node: None)
        self.schedule_tick()

    def crash(self, wipe: bool = False) -> None:
        """The process dies; what was not synced is gone, and with `wipe` all else too."""
        self.life += 1
        self.node = None
        self.paused = False
        for link in list(self.links):
            self.world.close(self.id, link)
        if wipe:
            self.disk = self.disk_type(self.world.random.getrandbits(63) | 1)

    def wake(self, act: Callable[[Node], None]) -> None:
        """One wake-up of the shell: tick, the verb, then all that comes out."""
        if self.node is None:
            return
        if self.paused:
            self.backlog.append(lambda: self.wake(act))
            return
        node = self.node
        node.tick(self.world.now_ns, self.world.now_ns)
        act(node)
        self.flush(node)
        self.world.check(self)

    def resume(self) -> None:
        """Continues after a pause; what came meanwhile is handled now."""
        self.paused = False
        backlog, self.backlog = self.backlog, []
        for act in backlog:
            act()
        self.wake(lambda node: None)

    def flush(self, node: Node) -> None:
        """Carries out one output of the core."""
        world, life = self.world, self.life
        output = node.output()
        for event in output.events:
            world.note(self.id, event)
        if output.failed:
            raise Violation(f"seed {world.seed}: node {self.id} failed: {output.failed}")
        for link, reason in output.closes:
            world.note(self.id, f"closed link {link}: {reason}")
            world.close(self.id, link)
        for link, data in output.writes:
            frames, rest = codec.split(data)
            assert not rest
            for frame in frames:
                world.send(self.id, link, frame)
        for read in output.reads:
            answer = self.disk.read(read.first, read.end)
            world.after(MS, lambda read=read, answer=answer: self.finish(life, read.token, answer))  # type: ignore[misc]
        if output.batch is not None:
            batch = output.batch
            world.after(world.random.randint(*world.faults.sync_ns), lambda: self.synced(life, batch))

    def finish(self, life: int, token: int, answer: object) -> None:
        """A read ended."""
        if life == self.life:
            self.wake(lambda node: node.done(token, True, answer))

    def synced(self, life: int, batch: Batch) -> None:
        """A batch is durable, unless the process that wrote it is dead."""
        if life == self.life:
            self.disk.commit(batch)
            self.wake(lambda node: node.done(batch.token, True))

    def schedule_tick(self) -> None:
        """Calls tick when the core wants it."""
        if self.node is None:
            return
        life = self.life
        wait = max(MS // 10, self.node.next_tick_ns() - self.world.now_ns)
        self.world.after(min(wait, 50 * MS), lambda: self.on_tick(life))

    def on_tick(self, life: int) -> None:
        """The timer."""
        if life == self.life:
            self.wake(lambda node: None)
            self.schedule_tick()


@dataclass
class Operation:
    """One operation of a client, as its history sees it."""

    command: bytes
    invoked_ns: int
    answered_ns: int = 0
    place: int = -1


class SimulatedClient:
    """A client with one session: pipelines, repeats what is not answered, goes to another node when nothing
    comes.
    """

    def __init__(self, world: World, id: int, operations: int, outstanding: int) -> None:
        self.world = world
        self.id = id
        self.operations: list[Operation] = []
        self.total = operations
        self.outstanding = outstanding
        self.session = 0
        self.nonce = world.random.getrandbits(63) | 1
        self.answered: dict[int, Operation] = {}
        self.acknowledged = 0
        self.node = -1
        self.link = 0
        self.heard_ns = 0
        world.after(world.random.randint(0, 50 * MS), self.step)

    @property
    def done(self) -> bool:
        """All operations were answered."""
        return len(self.answered) == self.total

    def step(self) -> None:
        """Every few milliseconds: connects, goes elsewhere after silence, keeps operations outstanding."""
        world = self.world
        if self.done:
            return
        if self.node < 0 or world.now_ns - self.heard_ns > 600 * MS:
            self.connect()
        else:
            self.submit()
        world.after(20 * MS, self.step)

    def connect(self) -> None:
        """A link to any node that is up."""
        world = self.world
        if self.node >= 0:
            world.client_close(self)
        up = [host.id for host in world.hosts if host.node is not None and world.roles[host.id] & 1]
        self.heard_ns = world.now_ns
        if up:
            self.node = world.random.choice(up)
            world.client_connect(self)
            self.resend()

    def on_closed(self) -> None:
        """The node closed or died."""
        self.node = -1

    def resend(self) -> None:
        """Everything unanswered, in order, from the opening on."""
        if not self.session:
            self.send([(0, self.nonce, OPEN_SESSION, 0, b"")])
        else:
            self.send_from(self.acknowledged + 1)

    def submit(self) -> None:
        """New operations up to the bound."""
        if not self.session:
            self.resend()
            return
        first = len(self.operations) + 1
        while len(self.operations) < self.total and len(self.operations) - len(self.answered) < self.outstanding:
            number = len(self.operations) + 1
            self.operations.append(Operation(b"%d.%d" % (self.id, number), self.world.now_ns))
        self.send_from(first)

    def send_from(self, first: int) -> None:
        """The unanswered operations from sequence `first` on."""
        commands = [
            (
                self.session,
                sequence,
                APPLY,
                sequence - 1 - self.acknowledged,
                self.operations[sequence - 1].command,
            )
            for sequence in range(first, len(self.operations) + 1)
            if sequence not in self.answered
        ]
        if commands:
            self.send(commands)

    def send(self, commands: list[tuple[int, int, int, int, bytes]]) -> None:
        """One request frame."""
        self.world.client_send(self, codec.encode_request(commands))

    def on_frame(self, frame: bytes) -> None:
        """A response."""
        if codec.decode_message(frame)["kind"] != "response":
            return
        session, replies = codec.decode_response(frame)
        self.heard_ns = self.world.now_ns
        for sequence, _, status, data in replies:
            self.on_reply(session, sequence, status, data)

    def on_reply(self, session: int, sequence: int, status: int, data: bytes) -> None:
        """One answer; repetitions are expected."""
        if status == REPLY_OPENED:
            if not self.session and sequence == self.nonce:
                self.session = session
                self.submit()
        elif session != self.session or sequence in self.answered:
            return
        elif status == REPLY_OK:
            operation = self.operations[sequence - 1]
            operation.answered_ns = self.world.now_ns
            operation.place = int.from_bytes(data, "little")
            self.answered[sequence] = operation
            while self.acknowledged + 1 in self.answered:
                self.acknowledged += 1
        elif status in (REPLY_AHEAD, REPLY_OVERLOADED):
            self.send_from(self.acknowledged + 1)
        elif status == REPLY_EXPIRED:
            raise Violation(
                f"seed {self.world.seed}: session {session} of client {self.id} expired, and none was evicted"
            )


class World:
    """A cluster in one process. `run` drives it; a `Violation` names the seed."""

    host_type: type[Host] = Host

    def __init__(
        self,
        seed: int,
        nodes: int = 3,
        roles: Sequence[int] | None = None,
        quorums: QuorumSystem | None = None,
        faults: Faults = HOSTILE,
        window: int = 64,
        ring_bytes: int = 1 << 20,
    ) -> None:
        self.seed = seed
        self.random = random.Random(seed)
        self.roles = list(roles) if roles is not None else [ALL_ROLES] * nodes
        self.quorums = quorums or QuorumSystem.majority([i for i, role in enumerate(self.roles) if role & 4])
        self.faults = faults
        self.window = window
        self.ring_bytes = ring_bytes
        self.now_ns = MS
        self.events: list[tuple[int, int, Callable[[], None]]] = []
        self.order = 0
        self.next_link = 1
        self.log: dict[int, tuple[int, int, int, bytes]] = {}
        self.notes: list[str] = []
        self.faulty = False
        self.cut: set[tuple[int, int]] = set()
        self.counts = dict.fromkeys(
            (
                "messages",
                "losses",
                "repeats",
                "breaks",
                "crashes",
                "pauses",
                "partitions",
                "elections",
                "steps",
            ),
            0,
        )
        self.clients: list[SimulatedClient] = []
        self.client_links: dict[tuple[int, int], SimulatedClient] = {}
        self.hosts = [self.host_type(self, id) for id in range(len(self.roles))]
        for host in self.hosts:
            host.start()
        for a in range(len(self.hosts)):
            for b in range(a):
                self.after(self.random.randint(0, MS), lambda a=a, b=b: self.connect(a, b))  # type: ignore[misc]

    # -- time
    def after(self, delay_ns: int, act: Callable[[], None]) -> None:
        """Does `act` in `delay_ns`."""
        self.order += 1
        heapq.heappush(self.events, (self.now_ns + delay_ns, self.order, act))

    def step(self) -> None:
        """The next event."""
        self.now_ns, _, act = heapq.heappop(self.events)
        self.counts["steps"] += 1
        act()

    def run_until(self, done: Callable[[], bool], limit_ns: int) -> bool:
        """Steps until `done` or for `limit_ns` of virtual time; was it done?"""
        end = self.now_ns + limit_ns
        while self.now_ns < end:
            if done():
                return True
            self.step()
        return done()

    def note(self, node: int, text: str) -> None:
        """One line of what happened."""
        if "adopted" in text:
            self.counts["elections"] += 1
        self.notes.append(f"{self.now_ns / MS:10.3f} ms node {node}: {text}")

    # -- network
    def connect(self, a: int, b: int) -> None:
        """A handshake between two nodes, if both live and nothing cuts them off; tried again otherwise."""
        one, two = self.hosts[a], self.hosts[b]
        if any(peer == b for peer, _ in one.links.values()):
            return
        if one.node is None or two.node is None or one.paused or two.paused or (a, b) in self.cut or (b, a) in self.cut:
            self.after(50 * MS, lambda: self.connect(a, b))
            return
        link_a, link_b = self.next_link, self.next_link + 1
        self.next_link += 2
        one.links[link_a] = (b, link_b)
        two.links[link_b] = (a, link_a)
        one.wake(lambda node: node.link_up(link_a, b, two.disk.incarnation))
        two.wake(lambda node: node.link_up(link_b, a, one.disk.incarnation))

    def close(self, id: int, link: int) -> None:
        """Ends a link on both sides and, between nodes, tries again soon."""
        peer = self.hosts[id].links.pop(link, None)
        client = self.client_links.pop((id, link), None)
        if client is not None:
            client.on_closed()
        if peer is None:
            return
        other, other_link = peer
        self.hosts[other].links.pop(other_link, None)
        for host, gone in ((self.hosts[id], link), (self.hosts[other], other_link)):
            host.wake(lambda node, gone=gone: node.link_down(gone))  # type: ignore[misc]
        self.after(self.random.randint(5 * MS, 50 * MS), lambda: self.connect(id, other))

    def send(self, id: int, link: int, frame: bytes) -> None:
        """One frame sets out; what becomes of it is chance."""
        client = self.client_links.get((id, link))
        peer = self.hosts[id].links.get(link)
        self.counts["messages"] += 1
        for _ in range(self.copies()):
            delay = self.random.randint(*self.faults.delay_ns)
            if client is not None:
                self.after(delay, lambda: self.to_client(id, link, frame))
            elif peer is not None and (id, peer[0]) not in self.cut:
                self.after(delay, lambda: self.to_node(peer[0], peer[1], frame))

    def copies(self) -> int:
        """How often a frame arrives."""
        if self.faulty and self.random.random() < self.faults.loss:
            self.counts["losses"] += 1
            return 0
        if self.faulty and self.random.random() < self.faults.repeat:
            self.counts["repeats"] += 1
            return 2
        return 1

    def to_node(self, id: int, link: int, frame: bytes) -> None:
        """A frame arrives, unless its link is gone."""
        if link in self.hosts[id].links or (id, link) in self.client_links:
            self.hosts[id].wake(lambda node: node.receive(link, frame))

    def to_client(self, id: int, link: int, frame: bytes) -> None:
        """An answer arrives."""
        client = self.client_links.get((id, link))
        if client is not None:
            client.on_frame(frame)

    def client_connect(self, client: SimulatedClient) -> None:
        """A client's link."""
        client.link = self.next_link
        self.next_link += 1
        self.client_links[client.node, client.link] = client
        self.hosts[client.node].wake(lambda node: node.link_up(client.link, -1, 0))

    def client_close(self, client: SimulatedClient) -> None:
        """The client goes."""
        if self.client_links.pop((client.node, client.link), None) is not None:
            link = client.link
            self.hosts[client.node].wake(lambda node: node.link_down(link))

    def client_send(self, client: SimulatedClient, frame: bytes) -> None:
        """A request sets out."""
        id, link = client.node, client.link
        for _ in range(self.copies()):
            self.after(self.random.randint(*self.faults.delay_ns), lambda: self.to_node(id, link, frame))

    # -- faults
    def begin_faults(self) -> None:
        """From now on the world is hostile."""
        self.faulty = True
        faults = self.faults
        for mean, act in (
            (faults.link_break_mean_ns, self.break_link),
            (faults.crash_mean_ns, self.crash_one),
            (faults.pause_mean_ns, self.pause_one),
            (faults.partition_mean_ns, self.partition),
        ):
            if mean:
                self.plan(mean, act)

    def plan(self, mean_ns: int, act: Callable[[], None]) -> None:
        """`act` again and again at random moments, while the world is hostile."""

        def happen() -> None:
            if self.faulty:
                act()
                self.plan(mean_ns, act)

        self.after(int(self.random.expovariate(1 / mean_ns)) + 1, happen)

    def end_faults(self) -> None:
        """Everything is well again: all nodes run, all links may come up."""
        self.faulty = False
        self.cut.clear()
        for host in self.hosts:
            if host.node is None:
                host.start()
            elif host.paused:
                host.resume()
        for a in range(len(self.hosts)):
            for b in range(a):
                self.connect(a, b)

    def break_link(self) -> None:
        """One link breaks."""
        host = self.random.choice(self.hosts)
        if host.links:
            self.counts["breaks"] += 1
            self.close(host.id, self.random.choice(list(host.links)))

    def crash_one(self) -> None:
        """One node dies, and comes back after a while."""
        host = self.random.choice(self.hosts)
        if host.node is None:
            return
        self.counts["crashes"] += 1
        host.crash()
        for key in [key for key in self.client_links if key[0] == host.id]:
            self.client_links.pop(key).on_closed()
        self.after(self.random.randint(*self.faults.down_ns), lambda: self.restart(host))

    def restart(self, host: Host) -> None:
        """A crashed node starts again."""
        if host.node is None:
            host.start()
            for other in self.hosts:
                if other is not host:
                    self.connect(host.id, other.id)

    def pause_one(self) -> None:
        """One node stops for a while, as by SIGSTOP."""
        host = self.random.choice(self.hosts)
        if host.node is not None and not host.paused:
            self.counts["pauses"] += 1
            host.paused = True
            life = host.life
            self.after(self.random.randint(*self.faults.down_ns), lambda: self.resume(host, life))

    def resume(self, host: Host, life: int) -> None:
        """A paused node goes on."""
        if host.life == life and host.paused:
            host.resume()

    def partition(self) -> None:
        """Some pairs no longer hear each other, one way or both."""
        self.counts["partitions"] += 1
        for a in range(len(self.hosts)):
            for b in range(len(self.hosts)):
                if a != b and self.random.random() < 0.3:
                    self.cut.add((a, b))
        self.after(self.random.randint(*self.faults.down_ns), self.cut.clear)

    # -- checks
    def check(self, host: Host) -> None:
        """After every step of a node."""
        node = host.node
        if node is None:
            return
        node.invariants()
        slot_out = node.slot_out
        if slot_out < host.checked_to:
            raise Violation(f"seed {self.seed}: slot_out of node {host.id} fell from {host.checked_to} to {slot_out}")
        for slot in range(host.checked_to, slot_out):
            command = node.command_at(slot)
            if command is not None and self.log.setdefault(slot, command) != command:
                raise Violation(
                    f"seed {self.seed}: node {host.id} has {command} in slot {slot}, another {self.log[slot]}"
                )
        host.checked_to = slot_out

    def check_history(self) -> None:
        """All replicas equal; each acknowledged operation in the journal once, where its answer said; real
        time kept.
        """
        replicas = [host for host in self.hosts if self.roles[host.id] & 1]
        journal = replicas[0].journal.entries
        for host in replicas:
            if host.journal.entries != journal:
                raise Violation(f"seed {self.seed}: the journals of nodes {replicas[0].id} and {host.id} differ")
        if len(set(journal)) != len(journal):
            raise Violation(f"seed {self.seed}: an operation was applied twice")
        operations = [operation for client in self.clients for operation in client.operations]
        for operation in operations:
            if not 0 <= operation.place < len(journal) or journal[operation.place] != operation.command:
                raise Violation(f"seed {self.seed}: {operation.command!r} is not at place {operation.place}")
        latest = -1
        ends = sorted(operations, key=lambda operation: operation.answered_ns)
        at = 0
        for operation in sorted(operations, key=lambda operation: operation.invoked_ns):
            while ends[at].answered_ns < operation.invoked_ns:
                latest = max(latest, ends[at].place)
                at += 1
            if operation.place < latest:
                raise Violation(f"seed {self.seed}: {operation.command!r} took effect before one that had ended")

    def run(self, clients: int = 3, operations: int = 100, outstanding: int = 4, hostile_ns: int = 5000 * MS) -> None:
        """A whole run: found, load under faults, heal, finish, check."""
        voters = [host for host in self.hosts if self.roles[host.id] & 4]
        founded = self.run_until(lambda: all(host.node is not None and host.node.voting for host in voters), 5000 * MS)
        if not founded:
            raise Violation(f"seed {self.seed}: the cluster was not founded")
        self.clients = [SimulatedClient(self, id, operations, outstanding) for id in range(clients)]
        self.begin_faults()
        self.run_until(lambda: False, hostile_ns)
        self.end_faults()
        if not self.run_until(self.is_finished, 60_000 * MS):
            raise Violation(f"seed {self.seed}: not live 60 s after the last fault: {self.describe()}")
        self.check_history()

    def is_finished(self) -> bool:
        """Every client answered, and every node level with all that was ever seen decided."""
        if not all(client.done for client in self.clients):
            return False
        slots = {host.node.slot_out for host in self.hosts if host.node is not None}
        return slots == {max(self.log, default=0) + 1}

    def describe(self) -> str:
        """Where everybody stands."""
        nodes = [host.node.status() if host.node is not None else None for host in self.hosts]
        clients = [(client.node, client.session, len(client.answered), client.total) for client in self.clients]
        return f"nodes {nodes}; clients {clients}"
