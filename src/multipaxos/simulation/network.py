"""A simulated network: links between nodes and to clients, and what becomes of frames.

Rules. The node of the lower id dials, as in the transport. Both nodes have to live for a handshake. It ends on the
dialling side first, and on the other side with a hello that travels, and may arrive when its sender is dead. Which life
of a peer may come up is judged by the transport's own `Meetings`: each process has its own, and forgets with its end.
Every frame travels on its own: it may be lost, repeated, delayed, and so overtaken. A pair of nodes that is cut loses
all frames, one way or both, and its links stay up: no node notices. A pair that is stalled keeps its frames, as TCP
does: they arrive late, all together and in any order. A link that breaks is noticed by one side at once, by the other
later. A frame may arrive once more on a later link of the two same disks (a replay).
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import NamedTuple, Protocol

from multipaxos.node.node import Node
from multipaxos.simulation.chance import Chance
from multipaxos.simulation.shell import Act
from multipaxos.simulation.timeline import MS, Timeline
from multipaxos.transport.meetings import Life, Meetings

TRACE_FRAMES = 4000  # kept for the diagram of a failure
PAST_FRAMES = 200  # kept of each pair of nodes, and of clients, to be replayed
SAMPLE = 5  # one of so many frames between nodes is kept for that
REDIAL_NS = 50 * MS

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
        """What it names in a handshake."""

    @property
    def process(self) -> int:
        """What it names in a handshake, another number in each life."""

    def wake(self, act: Act) -> None:
        """Something happens on one of its links."""


class Caller(Protocol):
    """A client, as the network sees it."""

    name: str

    def on_frame(self, frame: bytes) -> None:
        """A frame arrives."""

    def on_closed(self) -> None:
        """Its link is gone."""


class End(NamedTuple):
    """One end of a link: the node, and the number that the link has there."""

    node_id: int
    link: int


@dataclass(slots=True)
class Sent:
    """One frame on its way, for the diagram of a failure."""

    sent_ns: int
    source: str
    target: str
    frame: bytes
    kind: str
    arrived_ns: int | None = None


class Past(NamedTuple):
    """A frame that a node has sent to another one, and the incarnations of the two."""

    sender: int
    receiver: int
    kind: str
    frame: bytes


@dataclass(slots=True)
class Opening:
    """A connection whose last hello travels: its number at the receiver, its sender's life then, and the frames that
    came before the hello."""

    number: int
    life: Life
    frames: list[bytes] = field(default_factory=list)


def link_up(end: End, peer_id: int, life: Life, core: Node) -> None:
    """A handshake with this life of the peer is done."""
    core.link_up(end.link, peer_id, life.incarnation, process=life.process)


class Network:
    """All links of a run. `reliable_clients`: frames of clients, and to them, are neither lost nor repeated. Tests that
    let in whom they must not use a subclass with other meetings."""

    meetings_type: type[Meetings] = Meetings

    def __init__(self, timeline: Timeline, chance: Chance, reliable_clients: bool = False) -> None:
        self.timeline = timeline
        self.chance = chance
        self.reliable_clients = reliable_clients
        self.endpoints: list[Endpoint] = []  # the place of a node is its id
        self.next_link = 1
        self.peers: dict[End, End] = {}  # each end of a link between nodes -> its other end
        self.clients: dict[End, Caller] = {}
        self.cut: set[Pair] = set()  # (from, to): nothing arrives
        self.stalled: dict[Pair, list[tuple[Sent, Callable[[], None]]]] = {}  # (from, to): what waits
        self.opening: dict[End, Opening] = {}  # ends whose last hello travels
        self.meetings: defaultdict[int, Meetings] = defaultdict(self.meetings_type)  # by node, of its present process
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
        """A handshake, if both nodes live, can reach each other and have no link."""
        self.dialling.discard((a, b))
        one, two = self.endpoints[a], self.endpoints[b]
        if any(end.node_id == a and other.node_id == b for end, other in self.peers.items()):
            return
        apart = not {(a, b), (b, a)}.isdisjoint(self.cut | self.stalled.keys())
        if apart or not one.awake or not two.awake:
            self.dial(a, b, REDIAL_NS)
            return
        end_a, end_b = End(a, self.next_link), End(b, self.next_link + 1)
        self.next_link += 2
        number = self.meetings[b].next_number()
        life = Life(two.incarnation, two.process)
        if not self.meet(a, b, life, self.meetings[a].next_number()):
            self.dial(a, b, REDIAL_NS)
            return
        self.peers[end_a] = end_b
        self.peers[end_b] = end_a
        self.opening[end_b] = Opening(number, Life(one.incarnation, one.process))
        self.timeline.note(a, f"linked to node {b}")
        one.wake(partial(link_up, end_a, b, life))
        self.send_hello(end_b)

    def meet(self, node_id: int, peer_id: int, life: Life, number: int) -> bool:
        """Whether a node lets this life of a peer come up on its connection of that number; takes note of it if so."""
        meetings = self.meetings[node_id]
        refusal = meetings.bar(peer_id, life, number)
        if refusal:
            self.timeline.note(node_id, f"refuses a connection: {refusal}")
            return False
        meetings.note(peer_id, life)
        return True

    def send_hello(self, end: End) -> None:
        """Sends the last hello of a handshake; where nothing arrives it waits, because TCP sends it again."""
        self.timeline.after(self.chance.delay_ns("hello"), lambda: self.on_hello(end))

    def on_hello(self, end: End) -> None:
        """The last hello arrives, if its link still exists."""
        if end not in self.opening:
            return
        if (self.peers[end].node_id, end.node_id) in self.cut:
            self.send_hello(end)
        else:
            self.endpoints[end.node_id].wake(lambda core: self.come_up(core, end))

    def come_up(self, core: Node, end: End) -> None:
        """The handshake is done on this side too."""
        opening = self.opening.pop(end, None)
        if opening is None:
            return
        peer_id = self.peers[end].node_id
        if not self.meet(end.node_id, peer_id, opening.life, opening.number):
            self.close(*end)
            return
        link_up(end, peer_id, opening.life, core)
        for frame in opening.frames:
            core.receive(end.link, frame)

    def close(self, node_id: int, link: int) -> None:
        """One side ends a link and knows it; the other side will notice."""
        end = End(node_id, link)
        client = self.clients.pop(end, None)
        if client is not None:
            client.on_closed()
        other = self.peers.pop(end, None)
        self.opening.pop(end, None)
        self.endpoints[node_id].wake(lambda core: core.link_down(link))
        if other is not None:
            self.timeline.after(self.chance.notice_ns(), lambda: self.notice(other))
            self.dial(node_id, other.node_id, self.chance.random.randint(MS, REDIAL_NS))

    def notice(self, end: End) -> None:
        """The other side notices that its link is gone, if it lives."""
        other = self.peers.pop(end, None)
        self.opening.pop(end, None)
        if other is not None:
            self.endpoints[end.node_id].wake(lambda core: core.link_down(end.link))
            self.dial(end.node_id, other.node_id, REDIAL_NS)

    def host_died(self, node_id: int) -> None:
        """All links of a node end."""
        for end in [end for end in self.peers if end.node_id == node_id]:
            self.close(*end)
        for end in [end for end in self.clients if end.node_id == node_id]:
            self.clients.pop(end).on_closed()
        self.meetings.pop(node_id, None)

    def connect_client(self, client: Caller, node_id: int) -> int:
        """Links a client to a node; returns the link's number."""
        link = self.next_link
        self.next_link += 1
        self.clients[End(node_id, link)] = client
        self.endpoints[node_id].wake(lambda core: core.link_up(link, -1, 0))
        return link

    # -- frames
    def send(self, node_id: int, link: int, kind: str, frame: bytes) -> None:
        """A node sends a frame, to a client or to a peer."""
        end = End(node_id, link)
        client = self.clients.get(end)
        if client is not None:
            self.carry(f"node {node_id}", client.name, frame, "response", lambda: self.to_client(end, frame))
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
        self.carry(f"node {node_id}", f"node {other.node_id}", frame, kind, deliver, self.stalled.get(pair))

    def send_request(self, client: Caller, node_id: int, link: int, frame: bytes) -> None:
        """A client sends a frame."""
        self.requests.append(frame)
        self.carry(client.name, f"node {node_id}", frame, "request", lambda: self.to_node(End(node_id, link), frame, 0))

    def keep(self, pair: Pair, kind: str, frame: bytes) -> None:
        """Keeps a frame between two nodes, to replay it."""
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
            sent = Sent(self.timeline.now_ns, f"node {other.node_id}", f"node {end.node_id}", one.frame, one.kind)
            self.trace.append(sent)
            self.travel(sent, partial(self.to_node, end, one.frame, 0))
        return len(chosen)

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
        sent = Sent(self.timeline.now_ns, source, target, frame, kind)
        self.trace.append(sent)
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
            self.opening[end].frames.append(frame)
            return
        if end in self.peers:
            newest = self.newest.get(end, 0)
            self.chance.counts["reordered"] += number < newest
            self.newest[end] = max(number, newest)
        elif end not in self.clients:
            return
        self.endpoints[end.node_id].wake(lambda core: core.receive(end.link, frame))

    def to_client(self, end: End, frame: bytes) -> None:
        """A frame arrives at a client, unless its link is gone."""
        client = self.clients.get(end)
        if client is not None:
            client.on_frame(frame)
