"""An intruder: somebody who reaches the nodes as clients do, and sends what clients must not send.

Theory. Clients prove nothing, so whoever reaches the port of a node can send any frame. What holds all the same: a
command of a session counts only with the session's own nonce, and what only peers send is refused on a client's link.

Rules. He replays frames of clients, sends frames of nodes, names sessions that he guesses, sends kinds of commands that
clients do not send, and bytes that are no frame. Nothing that he guesses is ever answered with `ok`, but the end of a
session that does not live, which does nothing.
"""

from __future__ import annotations

from multipaxos.judges.violation import Violation
from multipaxos.simulation.cluster import Cluster
from multipaxos.simulation.timeline import MS
from multipaxos.wire import codec
from multipaxos.wire.codec import CommandKind, ReplyStatus

FRAMES_MAX = 4  # of one connection
STAY_NS = 200 * MS
GUESSED = 1 << 40  # added to the sequences of guesses: no client gets so far
DONE = (ReplyStatus.OK, ReplyStatus.REFUSED, ReplyStatus.ACKNOWLEDGED)


class Intruder:
    """The intruder of a run."""

    def __init__(self, cluster: Cluster) -> None:
        self.cluster = cluster
        self.network = cluster.network
        self.random = cluster.chance.random
        self.name = "intruder"

    def intrude(self) -> bool:
        """One connection to a node that is up; whether there is one."""
        up = [host.id for host in self.cluster.hosts if host.alive]
        if not up:
            return False
        node_id = self.random.choice(up)
        link = self.network.connect_client(self, node_id)
        for _ in range(self.random.randint(1, FRAMES_MAX)):
            self.network.send_request(self, node_id, link, self.frame())
        self.cluster.timeline.after(STAY_NS, lambda: self.network.close(node_id, link))
        return True

    def frame(self) -> bytes:
        """What is sent next."""
        past = self.network.requests
        kind = self.random.random()
        if kind < 0.4 and past:
            return self.random.choice(past)
        if kind < 0.5 and self.network.trace:
            return self.random.choice(self.network.trace).frame
        if kind < 0.55:
            return self.random.randbytes(self.random.randint(1, 60))
        return codec.encode_request([self.guess() for _ in range(self.random.randint(1, 3))])

    def guess(self) -> tuple[int, int, int, int, bytes, int]:
        """A command of a session that is not his; ids can be guessed, nonces cannot."""
        kind = self.random.choice([CommandKind.APPLY] * 4 + list(CommandKind))
        top = max((host.core.slot_out for host in self.cluster.hosts if host.core is not None), default=1)
        sequence = GUESSED + (kind == CommandKind.CLOSE_SESSION) if self.random.random() < 0.5 else self.next_sequence()
        living = [client.session.id for client in self.cluster.clients]
        session = self.random.choice([*living, *living, self.random.randint(1, top + 1000)])
        return session, sequence, kind, 0, b"guessed", self.random.getrandbits(64)

    def next_sequence(self) -> int:
        """About where some client is: were it believed, the client's own command would get the answer to the guess."""
        client = self.random.choice(self.cluster.clients)
        return client.session.last + self.random.randint(0, 2)

    def on_frame(self, frame: bytes) -> None:
        """An answer arrives: what was guessed must not have been done."""
        if codec.decode_message(frame)["kind"] != "response":
            return
        for sequence, _, status, _ in codec.decode_response(frame)[1]:
            if sequence == GUESSED and status in DONE:
                raise Violation(f"a guessed command was answered with {ReplyStatus(status).name.lower()}")

    def on_bytes(self) -> None:
        """He does not wait."""

    def on_closed(self) -> None:
        """His link is gone; he comes back on another one."""
