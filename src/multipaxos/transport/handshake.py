"""The handshake, without sockets: which hellos are sent, which are accepted, and why a link is refused.

Theory. A handshake is three hellos. The side that dialled sends its own with a nonce. The other side answers with a
nonce of its own and echoes the first one. The side that dialled echoes that nonce in turn. So each side knows that the
other was alive after the connection had been made. Where the cluster has a key, each hello of a peer or an admin proves
it (`proof`); so the side that was dialled tells a stranger nothing, and each side knows that a holder of the key is at
the other end now. Clients prove nothing. `meetings` says which life of a peer may come up.

A handshake takes the bytes that arrived and returns the bytes to be sent; `done` and `failure` say how it stands. The
connections of nodes (`transport.connection`) and of clients (`client.link`) only carry the bytes.

Rules.
- Nothing reaches the owner of a link before the handshake is done. Until then bytes and time are bounded.
- A node answers a hello that does not fit with a refusal that gives the reason. Before the proof the reason tells no
  more than a client may know.
- The kind of a link is that of its first hello: no later hello makes it one that needs no proof.
- A peer that is linked and speaks is not replaced by another life of the same node.
- Reasons that are counted come from this file only. What the other side said is a detail: it is logged, never counted.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from multipaxos.config.keys import Keys
from multipaxos.transport.identity import COMPARE, VERSIONS, Identity, Versions
from multipaxos.transport.meetings import COPIED, Life, Meetings
from multipaxos.transport.proof import proof_of, proved_key
from multipaxos.wire.codec import CodecError
from multipaxos.wire.codec import split as split_frames
from multipaxos.wire.schema import Hello, LinkKind

HANDSHAKE_S = 3.0
HANDSHAKE_BYTES = 64 << 10

NO_ECHO = "a hello without the echo of our nonce"

REFUSED = "refused"
REFUSED_BY_OTHER = "refused by the other side"
CROWDED = "a link beyond the limit"
NO_KEY = "no proof of the cluster's key"
NO_HANDSHAKE = "bytes that are no handshake"
TOO_MANY_BYTES = "too many bytes before the handshake"
TOO_LATE = "no handshake in time"

HOW_TO_PROVE: dict[LinkKind, str] = {
    "peer": "give every node the same key_file",
    "admin": "name the key file with --key-file or MULTIPAXOS_KEY_FILE",
}
HOW_NOT_TO: dict[LinkKind, str] = {
    "peer": "give every node the same key_file",
    "admin": "leave out --key-file and MULTIPAXOS_KEY_FILE",
}


class Failure(NamedTuple):
    """Why a handshake failed: `reason` is one of the constants above, `detail` may quote the other side."""

    reason: str
    detail: str = ""


class _Handshake(ABC):
    """What both sides share: hellos are cut from a bounded buffer, one by one, until the handshake is done.

    `kind`: of the link; None until the first hello of the side that dialled.
    """

    def __init__(self, nonce: int, kind: LinkKind | None, keys: Keys) -> None:
        self.nonce = nonce
        self.theirs: Hello | None = None  # what the other side said of itself
        self.done = False
        self.failure: Failure | None = None
        self._kind = kind
        self._keys = keys
        self._key = keys[0] if keys else None  # to be proved: our first, or the one that the other side has proved
        self._said: list[Hello] = []  # the hellos of both sides, in their order
        self._pending = b""

    def receive(self, data: bytes) -> bytes:
        """Takes a chunk and returns what is to be sent now. Then `failure` says whether the link must be closed."""
        self._pending += data
        answers = b""
        try:
            while not self.done and self.failure is None and (frame := self._next_frame()):
                answers += self._hear(Hello.decode(frame))
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

    def _hear(self, hello: Hello) -> bytes:
        if hello.refusal:
            self.failure = Failure(REFUSED_BY_OTHER, hello.refusal)
            return b""
        self._said.append(hello)
        return self._on_hello(hello)

    @abstractmethod
    def _on_hello(self, hello: Hello) -> bytes:
        """Judges one hello; returns what is to be sent now."""

    def _say(self, hello: Hello) -> bytes:
        """The frame of our next hello, with its proof."""
        self._said.append(hello)
        if self._key is not None and self._kind != "client":
            hello = replace(hello, proof=proof_of(self._key, self._said))
        return hello.encode()

    def _is_proved(self) -> bool:
        """Whether the hello that was just heard proves the key, if it must."""
        if self._kind == "client" or not (self._keys or self._said[-1].proof):
            return True
        self._key = proved_key(self._keys, self._said)
        return self._key is not None


class NodeHandshake(_Handshake):
    """A node's side, for connections that it dialled and for those that others dialled.

    `dialled`: the node that was dialled, -1 if the other side dialled. `speaking`: the life of a peer that is linked
    and speaks, None if there is none.
    """

    def __init__(
        self,
        identity: Identity,
        meetings: Meetings,
        speaking: Callable[[int], Life | None],
        nonce: int,
        dialled: int = -1,
        keys: Keys = (),
    ) -> None:
        super().__init__(nonce, "peer" if dialled >= 0 else None, keys)
        self.dialled = dialled
        self.crowded = ""  # why a client or an admin cannot have a link now
        self._identity = identity
        self._meetings = meetings
        self._speaking = speaking
        self._number = meetings.next_number()

    @property
    def told_slots(self) -> tuple[int, ...]:
        """The refused slots that our hellos tell."""
        return self._identity.refused_slots

    @property
    def kind(self) -> LinkKind:
        """The kind of link that the side that dialled asked for; peer until its first hello."""
        return self._kind or "peer"

    @property
    def peer_id(self) -> int:
        """The node at the other side, -1 while it is not known or if the other side is no node."""
        return self.theirs.node if self.theirs is not None else -1

    @property
    def life(self) -> Life:
        """The peer's, zeros while it is not known."""
        return _life_of(self.theirs) if self.theirs is not None else Life(0, 0)

    @property
    def link_name(self) -> str:
        """A name that both ends have for this link: it is made of their nonces."""
        assert self.theirs is not None, "a link has no name before its handshake"
        return f"{self.nonce ^ self.theirs.nonce:016x}"

    def open(self) -> bytes:
        """What is sent as soon as the connection is made: nothing if the other side dialled."""
        return self._say(self._identity.hello("peer", self.nonce, 0, self.dialled)) if self.dialled >= 0 else b""

    def _on_hello(self, hello: Hello) -> bytes:
        """The first hello of the other side, or the one that echoes ours."""
        if self.theirs is None:
            self.failure = self._judge(hello)
            if self.failure is not None:
                return self._refusal()
            # What someone says of himself who is no peer is not kept.
            peer = self.kind == "peer"
            self.theirs = hello if peer else Hello(cluster=hello.cluster, kind=hello.kind, nonce=hello.nonce)
            if self.dialled < 0:
                return self._answer()
        self.failure = self._judge_echo(hello)
        if self.failure is not None:
            return self._refusal()
        if self.peer_id >= 0:
            self._meetings.note(self.peer_id, self.life)
        self.done = True
        return self._answer() if self.dialled >= 0 else b""

    def _answer(self) -> bytes:
        assert self.theirs is not None
        return self._say(self._identity.hello(self.kind, self.nonce, self.theirs.nonce, self.peer_id))

    def _judge(self, hello: Hello) -> Failure | None:
        """Judges the first hello of the other side."""
        if self._kind is None:
            self._kind = hello.kind
        misfit = self._identity.stranger_misfit(hello)
        if hello.kind != self._kind:
            misfit = f"it answers as {hello.kind}, not as a node: {COMPARE}"
        if misfit:
            return Failure(REFUSED, misfit)
        if not self._is_proved():
            return self._unproved()
        if self._kind != "peer":
            return Failure(CROWDED, self.crowded) if self.crowded else None
        misfit = self._identity.peer_misfit(hello, self.dialled) or self._bar(hello)
        return Failure(REFUSED, misfit) if misfit else None

    def _judge_echo(self, hello: Hello) -> Failure | None:
        """Judges the hello that must echo our nonce. Others may have come up since the first one."""
        if hello.echo != self.nonce:
            return Failure(REFUSED, NO_ECHO)
        if not self._is_proved():
            return self._unproved()
        bar = self._bar(self.theirs) if self.theirs is not None and self.peer_id >= 0 else ""
        return Failure(REFUSED, bar) if bar else None

    def _bar(self, hello: Hello) -> str:
        """Why this life of the peer may not come up now; empty if it may."""
        life, node_id = _life_of(hello), hello.node
        other = self._speaking(node_id)
        if other is not None and other != life:
            if other.incarnation == life.incarnation:
                return f"a living process already is node {node_id} with the same incarnation: {COPIED}"
            return f"a living process already is node {node_id}, with another data directory: end one of them"
        return self._meetings.bar(node_id, life, self._number)

    def _unproved(self) -> Failure:
        assert self._kind is not None
        if self._keys:
            need = f"it does not prove the key of cluster {self._identity.cluster!r}: {HOW_TO_PROVE[self._kind]}"
        else:
            need = f"it proves a key, and this node has none: {HOW_NOT_TO[self._kind]}"
        return Failure(NO_KEY, need)

    def _refusal(self) -> bytes:
        assert self.failure is not None
        return self._identity.refusal(self.failure.detail).encode()


class ClientHandshake(_Handshake):
    """The side of a client or of an admin, which always dials. `keys`: of an admin."""

    def __init__(self, kind: LinkKind, nonce: int, versions: Versions = VERSIONS, keys: Keys = ()) -> None:
        super().__init__(nonce, kind, keys)
        self._versions = versions

    def open(self) -> bytes:
        """What is sent as soon as the connection is made."""
        return self._answer(0)

    def _answer(self, echo: int) -> bytes:
        assert self._kind is not None
        lowest, highest = self._versions
        return self._say(
            Hello(cluster="", version_min=lowest, version_max=highest, kind=self._kind, nonce=self.nonce, echo=echo)
        )

    def _on_hello(self, hello: Hello) -> bytes:
        """The node's answer: a hello that echoes ours."""
        if hello.echo != self.nonce or hello.node < 0:
            self.failure = Failure(REFUSED, "the node did not echo our nonce")
            return b""
        if not self._is_proved():
            self.failure = Failure(NO_KEY, "the node does not prove the key: it is no node of this key's cluster")
            return b""
        self.theirs = hello
        self.done = True
        return self._answer(hello.nonce)


def _life_of(hello: Hello) -> Life:
    return Life(hello.incarnation, hello.process)
