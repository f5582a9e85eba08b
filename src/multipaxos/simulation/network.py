"""A pretend network: links between nodes and to clients, and what becomes of frames.

Rules. The node of the lower id dials, as in the transport. Both have to live for a handshake; it ends on the dialling
side first, and on the other with a hello that travels, and may arrive when its sender is dead. As in the transport it
does not count there if the connection is older than one with another incarnation of that node. Every frame travels on
its own: it may be lost, repeated, delayed, and so overtaken. A pair that is cut off loses all frames, one way or both,
and its links stay up: nobody is told. A pair that is stalled keeps them, as TCP does: they come late, all together and
in any order. A link that breaks is noticed by one side at once, by the other later.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from multipaxos.simulation import MS
from multipaxos.wire import codec

if TYPE_CHECKING:
    from multipaxos.node.node import Node
    from multipaxos.simulation.clients import SimulatedClient
    from multipaxos.simulation.host import Host
    from multipaxos.simulation.world import World

TRACE_FRAMES = 4000  # kept for the diagram of a failure
REDIAL_NS = 50 * MS


@dataclass(slots=True)
class Sent:
    """One frame on its way, for the diagram of a failure."""

    sent_ns: int
    source: str
    target: str
    frame: bytes
    kind: str
    arrived_ns: int | None = None


class Network:
    """All links of a world."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.next_link = 1
        self.peers: dict[tuple[int, int], tuple[int, int]] = {}  # (host, link) -> (host, link) of the other side
        self.clients: dict[tuple[int, int], SimulatedClient] = {}
        self.cut: set[tuple[int, int]] = set()  # (from, to): nothing arrives
        self.stalled: dict[tuple[int, int], list[tuple[Sent, Callable[[], None]]]] = {}  # (from, to): what waits
        self.opening: dict[tuple[int, int], list[bytes]] = {}  # (host, link) whose last hello travels: frames after it
        self.met: dict[tuple[int, int], tuple[int, int]] = {}  # (host, peer) -> its incarnation, the first later link
        self.newest: dict[tuple[int, int], int] = {}  # (host, link) -> number of the newest frame that has arrived
        self.dialling: set[tuple[int, int]] = set()
        self.trace: deque[Sent] = deque(maxlen=TRACE_FRAMES)
        self.messages = 0

    # -- links
    def dial(self, a: int, b: int, delay_ns: int = 0) -> None:
        """The lower of two nodes dials the other, again and again until there is a link."""
        pair = min(a, b), max(a, b)
        if pair not in self.dialling:
            self.dialling.add(pair)
            self.world.after(delay_ns, lambda: self.shake_hands(*pair))

    def shake_hands(self, a: int, b: int) -> None:
        """A handshake, if both live and hear each other."""
        self.dialling.discard((a, b))
        one, two = self.world.hosts[a], self.world.hosts[b]
        if any(host == a and peer[0] == b for (host, _), peer in self.peers.items()):
            return
        deaf = one.node is None or two.node is None or one.paused or two.paused
        if deaf or not {(a, b), (b, a)}.isdisjoint(self.cut | self.stalled.keys()):
            self.dial(a, b, REDIAL_NS)
            return
        link_a, link_b = self.next_link, self.next_link + 1
        self.next_link += 2
        self.peers[a, link_a] = b, link_b
        self.peers[b, link_b] = a, link_a
        self.opening[b, link_b] = []
        self.world.note(a, f"linked to node {b}")
        self.met[a, b] = two.disk.incarnation, self.next_link
        one.wake(lambda node: node.link_up(link_a, b, two.disk.incarnation))
        self.send_hello(b, link_b, one.disk.incarnation)

    def send_hello(self, id: int, link: int, incarnation: int) -> None:
        """The last hello of a handshake sets out; it waits where nothing arrives, as TCP sends it again."""
        delay_ns = self.world.adversary.delay_ns("hello")
        self.world.after(delay_ns, lambda: self.on_hello(id, link, incarnation))

    def on_hello(self, id: int, link: int, incarnation: int) -> None:
        """It is there, if the link still is."""
        if (id, link) not in self.opening:
            return
        if (self.peers[id, link][0], id) in self.cut:
            self.send_hello(id, link, incarnation)
        else:
            self.world.hosts[id].wake(lambda node: self.come_up(node, link, incarnation))

    def come_up(self, node: Node, link: int, incarnation: int) -> None:
        """The handshake is done on this side too."""
        frames = self.opening.pop((node.id, link), None)
        if frames is None:
            return
        peer = self.peers[node.id, link][0]
        if self.is_outlived(node.id, peer, link, incarnation):
            self.world.note(node.id, f"refuses a connection of an earlier life of node {peer}")
            self.close(node.id, link)
            return
        self.met[node.id, peer] = incarnation, self.next_link
        node.link_up(link, peer, incarnation)
        for frame in frames:
            node.receive(link, frame)

    def is_outlived(self, id: int, peer: int, link: int, incarnation: int) -> bool:
        """Was a handshake with another incarnation of the peer done since this connection was made?"""
        met, later = self.met.get((id, peer), (incarnation, 0))
        return met != incarnation and link < later

    def close(self, id: int, link: int) -> None:
        """One side ends a link and knows it; the other side will notice."""
        client = self.clients.pop((id, link), None)
        if client is not None:
            client.on_closed()
        peer = self.peers.pop((id, link), None)
        self.opening.pop((id, link), None)
        self.world.hosts[id].wake(lambda node: node.link_down(link))
        if peer is not None:
            world = self.world
            notice_ns = world.random.randint(MS // 10, world.adversary.faults.notice_ns)
            world.after(notice_ns, lambda: self.notice(*peer))
            self.dial(id, peer[0], world.random.randint(MS, REDIAL_NS))

    def notice(self, id: int, link: int) -> None:
        """The other side is told, if it lives to hear it."""
        peer = self.peers.pop((id, link), None)
        self.opening.pop((id, link), None)
        if peer is not None:
            self.world.hosts[id].wake(lambda node: node.link_down(link))
            self.dial(id, peer[0], REDIAL_NS)

    def host_died(self, id: int) -> None:
        """Its links end."""
        for key in [key for key in self.peers if key[0] == id]:
            self.close(*key)
        for key in [key for key in self.clients if key[0] == id]:
            self.clients.pop(key).on_closed()
        self.met = {key: value for key, value in self.met.items() if key[0] != id}

    def connect_client(self, client: SimulatedClient, id: int) -> int:
        """A client's link to a node; its number."""
        link = self.next_link
        self.next_link += 1
        self.clients[id, link] = client
        self.world.hosts[id].wake(lambda node: node.link_up(link, -1, 0))
        return link

    # -- frames
    def send(self, host: Host, link: int, frame: bytes) -> None:
        """A node's frame sets out."""
        client = self.clients.get((host.id, link))
        if client is not None:
            self.carry(f"node {host.id}", client.name, frame, "response", lambda: self.to_client(host.id, link, frame))
            return
        message = codec.decode_message(frame)
        self.world.oracle.on_send(host, message, frame)
        peer = self.peers.get((host.id, link))
        if peer is None:
            return
        self.messages += 1
        number = self.messages
        pair, kind = (host.id, peer[0]), str(message["kind"])
        deliver = None if pair in self.cut else lambda: self.to_node(*peer, frame, number)
        self.carry(f"node {host.id}", f"node {peer[0]}", frame, kind, deliver, self.stalled.get(pair))

    def send_request(self, client: SimulatedClient, id: int, link: int, frame: bytes) -> None:
        """A client's frame sets out."""
        self.carry(client.name, f"node {id}", frame, "request", lambda: self.to_node(id, link, frame, 0))

    def carry(
        self,
        source: str,
        target: str,
        frame: bytes,
        kind: str,
        deliver: Callable[[], None] | None,
        queue: list[tuple[Sent, Callable[[], None]]] | None = None,
    ) -> None:
        """What becomes of a frame is chance; `deliver` None: it goes nowhere; a `queue`: it waits there."""
        world = self.world
        sent = Sent(world.now_ns, source, target, frame, kind)
        self.trace.append(sent)
        if deliver is None:
            return
        reliable = world.scenario.patient and "client" in source + target
        for copy in range(1 if reliable else world.adversary.copies(kind)):
            if queue is None:
                self.travel(sent, deliver, late=copy > 0)
            else:
                queue.append((sent, deliver))

    def travel(self, sent: Sent, deliver: Callable[[], None], late: bool = False) -> None:
        """It arrives in a while; a copy may do so long after it is expected."""
        self.world.after(self.world.adversary.delay_ns(sent.kind, late), lambda: self.arrive(sent, deliver))

    def stall(self, pairs: set[tuple[int, int]]) -> None:
        """From now on frames wait."""
        for pair in pairs:
            self.stalled.setdefault(pair, [])

    def go_on(self, pairs: set[tuple[int, int]]) -> None:
        """All that waited sets out."""
        for pair in sorted(pairs):
            for sent, deliver in self.stalled.pop(pair, []):
                self.travel(sent, deliver)

    def arrive(self, sent: Sent, deliver: Callable[[], None]) -> None:
        """It is there."""
        sent.arrived_ns = self.world.now_ns
        deliver()

    def to_node(self, id: int, link: int, frame: bytes, number: int) -> None:
        """A frame arrives at a node, unless its link is gone."""
        if (id, link) in self.opening:
            self.opening[id, link].append(frame)
            return
        if (id, link) in self.peers:
            if number < self.newest.get((id, link), 0):
                self.world.adversary.counts["reordered"] += 1
            self.newest[id, link] = max(number, self.newest.get((id, link), 0))
        elif (id, link) not in self.clients:
            return
        self.world.hosts[id].wake(lambda node: node.receive(link, frame))

    def to_client(self, id: int, link: int, frame: bytes) -> None:
        """A frame arrives at a client, unless its link is gone."""
        client = self.clients.get((id, link))
        if client is not None:
            client.on_frame(frame)
