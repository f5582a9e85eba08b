"""A simulated network: links between nodes and to clients, and what becomes of frames.

Rules. The node of the lower id dials, as in the transport. Both nodes have to live for a handshake, which is the
transport's. It ends on the dialling side first, and on the other side with a hello that travels, and may arrive when
its sender is dead.
Every frame travels on its own: it may be lost, repeated, delayed, and so overtaken. A pair of nodes that is cut loses
all frames, one way or both, and its links stay up: no node notices. A pair that is stalled keeps its frames, as TCP
does: they arrive late, all together and in any order. A link that breaks is noticed by one side at once, by the other
later. A frame may arrive once more on a later link of the two same disks (a replay).
A link with a rate is another matter: it is a stream of bytes, as TCP is (`pipe`). Nothing is lost, repeated or
overtaken on it; a pair that is cut or stalled keeps its bytes, and loses the link if that lasts. Each process learns
from such a link what still waits on it; links without a rate hold nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple, Protocol

from multipaxos.config.members import NODES_MAX
from multipaxos.node.node import Node
from multipaxos.simulation.chance import Chance
from multipaxos.simulation.pipe import Sent
from multipaxos.simulation.shell import Act
from multipaxos.simulation.stream import Stream
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.transport.handshake import Failure, NodeHandshake

TRACE_FRAMES = 4000  # kept for the diagram of a failure
KEPT_BYTES = 16 << 10  # longer frames are neither kept nor replayed
CLIENT = -1  # in a pair that names a rate: any client
PAST_FRAMES = 200  # kept of each pair of nodes, and of clients, to be replayed
SAMPLE = 5  # one of so many frames between nodes is kept for that
REDIAL_NS = 50 * MS
NAMES = [f"node {id}" for id in range(NODES_MAX)]
REFUSED_NS = 300 * MS  # until a node dials again that has refused it, or was refused

Pair = tuple[int, int]  # two node ids; where a direction is meant: from, to


class Endpoint(Protocol):
    """A node, as the network sees it."""

    @property
    def id(self) -> int:
        """Its node id."""

    @property
    def alive(self) -> bool:
        """Does its process run?"""

    @property
    def awake(self) -> bool:
        """Does its process run, and is it not paused?"""

    @property
    def incarnation(self) -> int:
        """Of its disk."""

    @property
    def cluster_id(self) -> int:
        """What it tells clients; 0: it knows no cluster yet."""

    def handshake(self, dialled: int) -> NodeHandshake:
        """Its side of a handshake with the node that it dials; -1: the other node dials."""

    def wake(self, act: Act) -> None:
        """Something happens on one of its links."""


class Caller(Protocol):
    """A client, as the network sees it."""

    name: str

    def on_frame(self, frame: bytes) -> None:
        """A frame arrives."""

    def on_bytes(self) -> None:
        """Bytes of its link have left, or have arrived; only on a link with a rate."""

    def on_closed(self) -> None:
        """Its link is gone."""


class End(NamedTuple):
    """One end of a link: the node, and the number that the link has there."""

    node_id: int
    link: int


class Past(NamedTuple):
    """A frame that a node has sent to another one, and the incarnations of the two."""

    sender: int
    receiver: int
    kind: str
    frame: bytes


def link_up(core: Node, link: int, handshake: NodeHandshake) -> None:
    """A handshake is done on this side: the core learns what the peer has said of itself."""
    other = handshake.theirs
    assert other is not None
    core.link_up(
        link,
        other.node,
        other.incarnation,
        process=other.process,
        cluster_id=other.cluster_id,
        refused_slots=other.refused_slots,
        semantics_max=other.semantics_max,
        machine_version=other.machine_version,
    )


class Network:
    """All links of a run. `reliable_clients`: frames of clients, and to them, are neither lost nor repeated. `rates`:
    (from, to) -> bytes a second, of the pairs whose links have a rate; both directions of a link have one, or none."""

    def __init__(
        self,
        timeline: Timeline,
        chance: Chance,
        reliable_clients: bool = False,
        rates: Mapping[Pair, int] | None = None,
    ) -> None:
        self.timeline = timeline
        self.chance = chance
        self.reliable_clients = reliable_clients
        self.rates = dict(rates or {})
        self.streams: dict[End, Stream] = {}  # ends at nodes of links with a rate
        self.uploads: dict[End, Stream] = {}  # ends at nodes of links with a rate -> what a client sends there
        self.endpoints: list[Endpoint] = []  # the place of a node is its id
        self.next_link = 1
        self.peers: dict[End, End] = {}  # each end of a link between nodes -> its other end
        self.clients: dict[End, Caller] = {}
        self.cut: set[Pair] = set()  # (from, to): nothing arrives
        self.stalled: dict[Pair, list[tuple[Sent, Callable[[], None]]]] = {}  # (from, to): what waits
        self.opening: dict[End, list[bytes]] = {}  # ends whose last hello travels -> frames that came before it
        self.newest: dict[End, int] = {}  # number of the newest frame that has arrived
        self.dialling: set[Pair] = set()  # (lower id, higher id)
        self.trace: deque[Sent] = deque(maxlen=TRACE_FRAMES)
        self.messages = 0  # frames that nodes have sent to nodes
        self.past: dict[Pair, deque[Past]] = {}  # (from, to): some of the frames that were sent
        self.requests: deque[bytes] = deque(maxlen=PAST_FRAMES)  # frames of clients

    # -- links
    def dial(self, a: int, b: int, delay_ns: int = 0) -> None:
        """The lower of two nodes dials the other, again and again until there is a link."""
        pair = min(a, b), max(a, b)
        if pair not in self.dialling:
            self.dialling.add(pair)
            self.timeline.after(delay_ns, lambda: self.shake_hands(*pair))

    def shake_hands(self, a: int, b: int) -> None:
        """A handshake, if both nodes live, can reach each other and have no link: two hellos at once, a third later."""
        self.dialling.discard((a, b))
        one, two = self.endpoints[a], self.endpoints[b]
        if any(end.node_id == a and other.node_id == b for end, other in self.peers.items()):
            return
        apart = not {(a, b), (b, a)}.isdisjoint(self.cut | self.stalled.keys())
        if apart or not one.awake or not two.awake:
            self.dial(a, b, REDIAL_NS)
            return
        dialler, acceptor = one.handshake(b), two.handshake(-1)
        last_hello = dialler.receive(acceptor.receive(dialler.open()))
        if not dialler.done:
            self.refuse(one, two, acceptor.failure or dialler.failure)
            self.dial(a, b, REFUSED_NS)
            return
        end_a, end_b = End(a, self.next_link), End(b, self.next_link + 1)
        self.next_link += 2
        self.peers[end_a] = end_b
        self.peers[end_b] = end_a
        self.opening[end_b] = []
        for end, other in ((end_a, end_b), (end_b, end_a)):
            if (end.node_id, other.node_id) in self.rates:
                self.streams[end] = self.stream_from(end, other.node_id, partial(self.to_peer, other))
        self.timeline.note(a, f"linked to node {b}")
        one.wake(lambda core: link_up(core, end_a.link, dialler))
        self.send_hello(end_b, acceptor, last_hello)

    def refuse(self, one: Endpoint, two: Endpoint, failure: Failure | None) -> None:
        """A handshake has failed."""
        assert failure is not None, "a handshake neither succeeded nor failed"
        self.chance.counts["links_refused"] += 1
        self.timeline.note(one.id, f"no link with node {two.id}: {failure.detail or failure.reason}")

    def send_hello(self, end: End, acceptor: NodeHandshake, hello: bytes) -> None:
        """Sends the last hello of a handshake; where nothing arrives it waits, because TCP sends it again."""
        self.timeline.after(self.chance.delay_ns("hello"), lambda: self.on_hello(end, acceptor, hello))

    def on_hello(self, end: End, acceptor: NodeHandshake, hello: bytes) -> None:
        """The last hello arrives, if its link still exists."""
        if end not in self.opening:
            return
        if (self.peers[end].node_id, end.node_id) in self.cut:
            self.send_hello(end, acceptor, hello)
        else:
            self.endpoints[end.node_id].wake(lambda core: self.come_up(core, end, acceptor, hello))

    def come_up(self, core: Node, end: End, acceptor: NodeHandshake, hello: bytes) -> None:
        """The handshake is done on this side too, unless another life of the peer has come up meanwhile."""
        frames = self.opening.pop(end, None)
        if frames is None:
            return
        acceptor.receive(hello)
        if not acceptor.done:
            self.refuse(self.endpoints[end.node_id], self.endpoints[self.peers[end].node_id], acceptor.failure)
            self.close(end.node_id, end.link)
            return
        link_up(core, end.link, acceptor)
        for frame in frames:
            core.receive(end.link, frame)

    def close(self, node_id: int, link: int) -> None:
        """One side ends a link and knows it; the other side will notice."""
        end = End(node_id, link)
        client = self.clients.pop(end, None)
        if client is not None:
            client.on_closed()
        other = self.forget(end)
        self.endpoints[node_id].wake(lambda core: core.link_down(link))
        if other is not None:
            self.timeline.after(self.chance.notice_ns(), lambda: self.notice(other))
            self.dial(node_id, other.node_id, self.chance.random.randint(MS, REDIAL_NS))

    def forget(self, end: End) -> End | None:
        """This end is gone, with all that waits there; returns the other end, if it was one between nodes."""
        self.opening.pop(end, None)
        for streams in (self.streams, self.uploads):
            stream = streams.pop(end, None)
            if stream is not None:
                stream.pipe.stop()
        return self.peers.pop(end, None)

    def notice(self, end: End) -> None:
        """The other side notices that its link is gone, if it lives."""
        other = self.forget(end)
        if other is not None:
            self.endpoints[end.node_id].wake(lambda core: core.link_down(end.link))
            self.dial(end.node_id, other.node_id, REDIAL_NS)

    def host_died(self, node_id: int) -> None:
        """All links of a node end."""
        for end in [end for end in self.peers if end.node_id == node_id]:
            self.close(*end)
        for end in [end for end in self.clients if end.node_id == node_id]:
            self.forget(end)
            self.clients.pop(end).on_closed()

    def connect_client(self, client: Caller, node_id: int) -> int:
        """Links a client to a node; returns the link's number."""
        link = self.next_link
        self.next_link += 1
        end = End(node_id, link)
        self.clients[end] = client
        if (node_id, CLIENT) in self.rates:
            self.streams[end] = self.stream_from(end, CLIENT, lambda _, ended: self.to_caller(end, ended))
            rate = self.rates[CLIENT, node_id]
            self.uploads[end] = Stream(self.timeline, self.chance, rate, lambda chunk, _: self.upload(end, chunk))
        self.endpoints[node_id].wake(lambda core: core.link_up(link, -1, 0))
        return link

    def stream_from(self, end: End, to: int, deliver: Callable[[bytes, list[Sent]], None]) -> Stream:
        """What a node sends on one of its links. The core hears how much waits in a wake-up of its own."""
        pair, node = (end.node_id, to), self.endpoints[end.node_id]

        def on_fallen(backlog: int) -> None:
            self.timeline.after(0, lambda: node.wake(lambda core: core.link_backlog(end.link, backlog)))

        def on_deaf() -> None:
            if end in self.streams:
                self.timeline.note(end.node_id, f"link {end.link} is closed: nothing was acknowledged")
                self.close(*end)

        return Stream(
            self.timeline,
            self.chance,
            self.rates[pair],
            deliver,
            held=lambda: pair in self.cut or pair in self.stalled,
            on_fallen=on_fallen,
            on_deaf=on_deaf,
        )

    def is_to_node(self, node_id: int, link: int) -> bool:
        """Does this link lead to another node?"""
        return End(node_id, link) in self.peers

    def waiting_bytes(self, end: End) -> int:
        """What a node's process holds for one of its links."""
        stream = self.streams.get(end)
        return 0 if stream is None else stream.pipe.waiting_bytes

    # -- frames
    def send(self, node_id: int, link: int, kind: str, frame: bytes) -> None:
        """A node sends a frame, to a client or to a peer."""
        end = End(node_id, link)
        client = self.clients.get(end)
        stream = self.streams.get(end)
        if stream is not None:
            target = client.name if client is not None else NAMES[self.peers[end].node_id]
            self.messages += client is None
            stream.pipe.write(self.trace_of(NAMES[node_id], target, frame, kind))
            return
        if client is not None:
            self.carry(NAMES[node_id], client.name, frame, "response", lambda: self.to_client(end, frame))
            return
        other = self.peers.get(end)
        if other is None:
            return
        self.messages += 1
        number = self.messages
        pair = node_id, other.node_id
        if number % SAMPLE == 0:
            self.keep(pair, kind, frame)
        deliver = None if pair in self.cut else lambda: self.to_node(other, frame, number)
        self.carry(NAMES[node_id], NAMES[other.node_id], frame, kind, deliver, self.stalled.get(pair))

    def send_bulk(self, node_id: int, link: int, pieces: list[bytes]) -> bool:
        """A node sends bulk to a peer; False where the link has no rate, and whole frames are sent."""
        end = End(node_id, link)
        stream = self.streams.get(end)
        if stream is None:
            return False
        target = NAMES[self.peers[end].node_id]
        self.messages += len(pieces)
        stream.pipe.write_bulk([self.trace_of(NAMES[node_id], target, piece, "piece") for piece in pieces])
        return True

    def send_request(self, client: Caller, node_id: int, link: int, frame: bytes) -> None:
        """A client sends a frame."""
        if len(frame) <= KEPT_BYTES:
            self.requests.append(frame)
        stream = self.uploads.get(End(node_id, link))
        if stream is not None:
            stream.pipe.write(self.trace_of(client.name, NAMES[node_id], frame, "request"))
            return
        self.carry(client.name, NAMES[node_id], frame, "request", lambda: self.to_node(End(node_id, link), frame, 0))

    def keep(self, pair: Pair, kind: str, frame: bytes) -> None:
        """Keeps a frame between two nodes, to replay it, if it is not long."""
        if len(frame) > KEPT_BYTES:
            return
        past = self.past.setdefault(pair, deque(maxlen=PAST_FRAMES))
        past.append(Past(self.endpoints[pair[0]].incarnation, self.endpoints[pair[1]].incarnation, kind, frame))

    def replay(self, end: End, count: int) -> int:
        """Up to so many frames of the past arrive on the link that ends at `end`; returns how many. Both disks must be
        those of then: a link proves the incarnations, so no frame of another disk can come over it."""
        other = self.peers[end]
        disks = self.endpoints[other.node_id].incarnation, self.endpoints[end.node_id].incarnation
        past = [one for one in self.past.get((other.node_id, end.node_id), ()) if one[:2] == disks]
        chosen = self.chance.random.sample(past, min(count, len(past)))
        for one in chosen:
            sent = Sent(self.timeline.now_ns, NAMES[other.node_id], NAMES[end.node_id], one.frame, one.kind)
            self.trace.append(sent)
            self.travel(sent, partial(self.to_node, end, one.frame, 0))
        return len(chosen)

    def trace_of(self, source: str, target: str, frame: bytes, kind: str) -> Sent:
        """A frame that leaves now; of long ones the bytes are not kept for a diagram."""
        sent = Sent(self.timeline.now_ns, source, target, frame, kind)
        if len(frame) <= KEPT_BYTES:
            self.trace.append(sent)
        return sent

    def carry(
        self,
        source: str,
        target: str,
        frame: bytes,
        kind: str,
        deliver: Callable[[], None] | None,
        queue: list[tuple[Sent, Callable[[], None]]] | None = None,
    ) -> None:
        """Chance decides what becomes of a frame. `deliver` None: it is lost; with a `queue` it waits there."""
        sent = self.trace_of(source, target, frame, kind)
        if deliver is None:
            return
        reliable = self.reliable_clients and "client" in source + target
        for copy in range(1 if reliable else self.chance.copies(kind)):
            if queue is None:
                self.travel(sent, deliver, late=copy > 0)
            else:
                queue.append((sent, deliver))

    def travel(self, sent: Sent, deliver: Callable[[], None], late: bool = False) -> None:
        """A frame arrives after its delay; a second copy may arrive long after the first."""
        self.timeline.after(self.chance.delay_ns(sent.kind, late), lambda: self.arrive(sent, deliver))

    def stall(self, pairs: set[Pair]) -> None:
        """From now on frames between these wait."""
        for pair in pairs:
            self.stalled.setdefault(pair, [])

    def go_on(self, pairs: set[Pair]) -> None:
        """All frames that waited travel on."""
        for pair in sorted(pairs):
            for sent, deliver in self.stalled.pop(pair, []):
                self.travel(sent, deliver)

    def arrive(self, sent: Sent, deliver: Callable[[], None]) -> None:
        """A frame arrives."""
        sent.arrived_ns = self.timeline.now_ns
        deliver()

    def to_node(self, end: End, frame: bytes, number: int) -> None:
        """A frame arrives at a node, unless its link is gone."""
        if end in self.opening:
            self.opening[end].append(frame)
            return
        if end in self.peers:
            newest = self.newest.get(end, 0)
            self.chance.counts["reordered"] += number < newest
            self.newest[end] = max(number, newest)
        elif end not in self.clients:
            return
        self.endpoints[end.node_id].wake(lambda core: core.receive(end.link, frame))

    def to_peer(self, end: End, chunk: bytes, _: list[Sent]) -> None:
        """Bytes arrive at a node from a node."""
        self.to_node(end, chunk, 0)

    def upload(self, end: End, chunk: bytes) -> None:
        """Bytes of a client arrive at a node, so they have left the client."""
        client = self.clients.get(end)
        if client is not None:
            client.on_bytes()
            self.to_node(end, chunk, 0)

    def to_caller(self, end: End, ended: list[Sent]) -> None:
        """Bytes arrive at a client."""
        client = self.clients.get(end)
        if client is not None:
            client.on_bytes()
            for sent in ended:
                self.to_client(end, sent.frame)

    def to_client(self, end: End, frame: bytes) -> None:
        """A frame arrives at a client, unless its link is gone."""
        client = self.clients.get(end)
        if client is not None:
            client.on_frame(frame)
