"""The handshake, without sockets: which hellos are sent, which are accepted, and why a link is refused.

Theory. A handshake is three hellos. The side that dialled sends its own with a nonce. The other side answers with a
nonce of its own and echoes the first one. The side that dialled echoes that nonce in turn. So each side knows that the
other was alive after the connection had been made. Bytes of a dead process may still arrive: a handshake does not count
if its connection was made before a handshake with another incarnation of the same node was done. So once a link with
an incarnation is up, no link with an earlier one comes up. Founding rests on this.

A handshake takes the bytes that arrived and returns the bytes to be sent; `done` and `failure` say how it stands. The
connections of nodes (`transport.connection`) and of clients (`client.link`) only carry the bytes.

Rules.
- Nothing reaches the owner of a link before the handshake is done. Until then bytes and time are bounded.
- A node answers a hello that does not fit with a refusal that gives the reason.
- Two processes with one incarnation are refused where they meet.
- Reasons that are counted come from this file only. What the other side said is a detail: it is logged, never counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

from multipaxos.config.cluster import Config
from multipaxos.wire.codec import CodecError
from multipaxos.wire.codec import split as split_frames
from multipaxos.wire.schema import Hello, LinkKind

HANDSHAKE_S = 3.0
HANDSHAKE_BYTES = 64 << 10

COMPARE = "compare the addresses in the configurations"
SAME = "nodes, roles, quorum and window must be the same everywhere"
COPIED = "a copied data directory is not a node"
NO_ECHO = "a hello without the echo of our nonce"

REFUSED = "refused"
REFUSED_BY_OTHER = "refused by the other side"
NO_HANDSHAKE = "bytes that are no handshake"
TOO_MANY_BYTES = "too many bytes before the handshake"
TOO_LATE = "no handshake in time"


class Versions(NamedTuple):
    """The versions of the protocol that one side speaks, both ends included."""

    lowest: int
    highest: int


VERSIONS = Versions(2, 2)


class Failure(NamedTuple):
    """Why a handshake failed: `reason` is one of the constants above, `detail` may quote the other side."""

    reason: str
    detail: str = ""


@dataclass(frozen=True)
class Identity:
    """What a node says of itself in its hellos. `nodes`: how many nodes the cluster has."""

    cluster: str
    digest: int
    nodes: int
    node_id: int
    incarnation: int
    versions: Versions = VERSIONS

    @classmethod
    def of(cls, config: Config, node_id: int, incarnation: int) -> Identity:
        """The identity of one of the configuration's nodes."""
        return cls(config.name, config.digest(), len(config.nodes), node_id, incarnation)

    def hello(self, nonce: int, echo: int, target: int, refusal: str = "") -> bytes:
        """The frame of a hello. `target`: the node that it is meant for, -1 if that is not known."""
        return Hello(
            cluster=self.cluster, configuration=self.digest, node=self.node_id, target=target,
            incarnation=self.incarnation, version_min=self.versions.lowest, version_max=self.versions.highest,
            kind="peer", nonce=nonce, echo=echo, refusal=refusal,
        ).encode()  # fmt: skip

    def misfit(self, hello: Hello, dialled: int) -> str:
        """Why no link with the sender of this hello can be; empty if it can. `dialled`: the node that was dialled, -1
        if the sender dialled."""
        lowest, highest = self.versions
        if hello.version_min > highest or hello.version_max < lowest:
            return (
                f"it speaks protocol versions {hello.version_min} to {hello.version_max}, "
                f"this node {lowest} to {highest}: upgrade the older one"
            )
        if (hello.cluster or hello.kind == "peer") and hello.cluster != self.cluster:
            return f"it belongs to cluster {hello.cluster!r}, this is {self.cluster!r}"
        if hello.target not in (-1, self.node_id):
            return f"it looks for node {hello.target}, this is node {self.node_id}: {COMPARE}"
        return self._misfit_of_peer(hello, dialled) if hello.kind == "peer" else ""

    def _misfit_of_peer(self, hello: Hello, dialled: int) -> str:
        if hello.configuration != self.digest:
            return f"its configuration differs from this node's: {SAME}"
        if not 0 <= hello.node < self.nodes or hello.node == self.node_id:
            return f"node {hello.node} is not one of this node's peers"
        if dialled >= 0 and hello.node != dialled:
            return f"node {hello.node} answers where node {dialled} should be: {COMPARE}"
        if hello.incarnation == self.incarnation:
            return f"it has this node's incarnation: {COPIED}"
        return ""


class Meetings:
    """Which incarnation of each peer was met last, and which connections had been made by then.

    Connections are numbered from 1 in the order in which they were made.
    """

    def __init__(self) -> None:
        self._connections = 0
        self._met: dict[int, tuple[int, int]] = {}  # node id -> its newest incarnation, connections made by then

    def next_number(self) -> int:
        """The number of a connection that has just been made."""
        self._connections += 1
        return self._connections

    def note(self, node_id: int, incarnation: int) -> None:
        """A handshake with this incarnation of the node is done."""
        self._met[node_id] = incarnation, self._connections

    def is_outlived(self, node_id: int, incarnation: int, number: int) -> bool:
        """Whether a handshake with another incarnation of the node was done after connection `number` was made."""
        newest, made = self._met.get(node_id, (incarnation, 0))
        return newest != incarnation and number <= made


class _Handshake(ABC):
    """What both sides share: hellos are cut from a bounded buffer, one by one, until the handshake is done."""

    def __init__(self, nonce: int) -> None:
        self.nonce = nonce
        self.theirs: Hello | None = None  # the first hello of the other side that fits
        self.done = False
        self.failure: Failure | None = None
        self._pending = b""

    def receive(self, data: bytes) -> bytes:
        """Takes a chunk and returns what is to be sent now. Then `failure` says whether the link must be closed."""
        self._pending += data
        answers = b""
        try:
            while not self.done and self.failure is None and (frame := self._next_frame()):
                answers += self._on_hello(Hello.decode(frame))
        except CodecError as error:
            self.failure = Failure(NO_HANDSHAKE, str(error))
        return answers

    def take_rest(self) -> bytes:
        """The bytes that arrived behind the last hello, once."""
        rest, self._pending = self._pending, b""
        return rest

    def _next_frame(self) -> bytes:
        frames, rest = split_frames(self._pending[:HANDSHAKE_BYTES])
        if frames:
            self._pending = self._pending[len(frames[0]) :]
            return frames[0]
        if len(rest) >= HANDSHAKE_BYTES:
            self.failure = Failure(TOO_MANY_BYTES)
        return b""

    @abstractmethod
    def _on_hello(self, hello: Hello) -> bytes:
        """Judges one hello; returns what is to be sent now."""


class NodeHandshake(_Handshake):
    """A node's side, for connections that it dialled and for those that others dialled.

    `dialled`: the node that was dialled, -1 if the other side dialled. `is_copy`: whether a hello comes from a second
    process with the incarnation of a peer that is linked and speaks.
    """

    def __init__(
        self, identity: Identity, meetings: Meetings, is_copy: Callable[[Hello], bool], nonce: int, dialled: int = -1
    ) -> None:
        super().__init__(nonce)
        self.dialled = dialled
        self._identity = identity
        self._meetings = meetings
        self._is_copy = is_copy
        self._number = meetings.next_number()

    @property
    def kind(self) -> LinkKind:
        """The kind of link that the other side asked for; peer until its first hello."""
        return self.theirs.kind if self.theirs is not None else "peer"

    @property
    def peer_id(self) -> int:
        """The node at the other side, -1 while it is not known or if the other side is no node."""
        return self.theirs.node if self.theirs is not None and self.theirs.kind == "peer" else -1

    @property
    def incarnation(self) -> int:
        """The other side's, 0 while it is not known."""
        return self.theirs.incarnation if self.theirs is not None else 0

    @property
    def link_name(self) -> str:
        """A name that both ends have for this link: it is made of their nonces."""
        assert self.theirs is not None, "a link has no name before its handshake"
        return f"{self.nonce ^ self.theirs.nonce:016x}"

    def open(self) -> bytes:
        """What is sent as soon as the connection is made: nothing if the other side dialled."""
        return self._identity.hello(self.nonce, 0, self.dialled) if self.dialled >= 0 else b""

    def _on_hello(self, hello: Hello) -> bytes:
        """The first hello of the other side, or the one that echoes ours."""
        if hello.refusal:
            self.failure = Failure(REFUSED_BY_OTHER, hello.refusal)
            return b""
        if self.theirs is None:
            misfit = self._identity.misfit(hello, self.dialled) or self._copied(hello)
            if misfit:
                return self._refuse(misfit)
            self.theirs = hello
            if self.dialled < 0:
                return self._identity.hello(self.nonce, hello.nonce, hello.node)
        if hello.echo != self.nonce:
            return self._refuse(NO_ECHO)
        if self.peer_id >= 0:
            if self._meetings.is_outlived(self.peer_id, self.incarnation, self._number):
                return self._refuse(
                    f"node {self.peer_id} came up in another incarnation since this connection was made: dial again"
                )
            self._meetings.note(self.peer_id, self.incarnation)
        self.done = True
        return self._identity.hello(self.nonce, hello.nonce, hello.node) if self.dialled >= 0 else b""

    def _copied(self, hello: Hello) -> str:
        if hello.kind != "peer" or self.dialled >= 0 or not self._is_copy(hello):
            return ""
        return f"a living process already is node {hello.node} with the same incarnation: {COPIED}"

    def _refuse(self, reason: str) -> bytes:
        self.failure = Failure(REFUSED, reason)
        return self._identity.hello(0, 0, -1, refusal=reason)


class ClientHandshake(_Handshake):
    """The side of a client or of an admin, which always dials."""

    def __init__(self, kind: LinkKind, nonce: int, versions: Versions = VERSIONS) -> None:
        super().__init__(nonce)
        self._kind: LinkKind = kind
        self._versions = versions

    def open(self) -> bytes:
        """What is sent as soon as the connection is made."""
        return self._hello(0)

    def _hello(self, echo: int) -> bytes:
        lowest, highest = self._versions
        return Hello(
            cluster="", version_min=lowest, version_max=highest, kind=self._kind, nonce=self.nonce, echo=echo
        ).encode()

    def _on_hello(self, hello: Hello) -> bytes:
        """The node's answer: a refusal, or a hello that echoes ours."""
        if hello.refusal:
            self.failure = Failure(REFUSED_BY_OTHER, hello.refusal)
            return b""
        if hello.echo != self.nonce or hello.node < 0:
            self.failure = Failure(REFUSED, "the node did not echo our nonce")
            return b""
        self.theirs = hello
        self.done = True
        return self._hello(hello.nonce)
