"""A core with a trace: what goes in and what comes out passes through it, and is written into a file.

Theory. A `TracedNode` stands between the shell and the core and has the core's verbs, so it sees every frame without
the core or the shell knowing. Without tracing it does not exist, and costs nothing. The file serves for timing
diagrams, and to check a whole cluster on the traces of its nodes alone; `file` has its format.

Rules.
- A line is in the file before the bytes that it is about leave the node. So a SIGKILL loses nothing that another node
  can know, and cuts off the last line at most.
- Tracing changes nothing: if anything in it fails, that is logged and ends the trace, not the node.
- Handshakes and status requests are not traced, because they do not reach the core.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from multipaxos.storage.interface import Storage
from multipaxos.trace.decided import DecidedSlots
from multipaxos.trace.file import Trace
from multipaxos.trace.messages import facts, read
from multipaxos.wire.codec import CodecError, split, uncut
from multipaxos.wire.labels import label_of_message

if TYPE_CHECKING:
    from multipaxos.node.node import Node
    from multipaxos.node.output import Event, Output

log = logging.getLogger("multipaxos.trace")

KINDS = {"scouting", "adopted", "preempted", "stepped_down", "founded"}  # of the core's events; the others are `said`


class TracedNode:
    """A core with a trace. It has the core's verbs, and the queries that a shell asks.

    `storage`: the node's, which is read once. `name_of`: the name of a link that is up, the same at both of its ends.
    """

    def __init__(self, core: Node, trace: Trace, storage: Storage, name_of: Callable[[int], str]) -> None:
        self.core = core
        self.trace = trace
        self._name_of = name_of
        self._links: dict[int, tuple[int, str]] = {}  # by link: its peer and its name
        self._rest: dict[int, bytes] = {}  # by link: the part of a frame whose end has not been received
        self._pieces: dict[int, list[bytes]] = {}  # by link: the pieces of a frame that is not whole
        self._ballot = core.acceptor.ballot_num
        self._slots = DecidedSlots(core, trace)
        self._safely(self._begin, storage)

    def _safely(self, act: Callable[..., None], *arguments: Any) -> None:
        if self.trace.ended:
            return
        try:
            act(*arguments)
        except Exception as error:  # any error at all: a trace must not harm its node
            log.debug("a trace ends", exc_info=True)
            self.trace.give_up(repr(error))

    # -- verbs

    def receive(self, link: int, data: bytes) -> None:
        """The core's verb."""
        self._safely(self._add_received, link, data)
        self.core.receive(link, data)

    def tick(self, now_ns: int, utc_ns: int) -> None:
        """The core's verb."""
        self.core.tick(now_ns, utc_ns)

    def output(self) -> Output:
        """The core's verb; its output is in the trace before the shell can carry it out."""
        output = self.core.output()
        self._safely(self._add_output, output)
        return output

    def done(self, token: int, ok: bool, data: object = None) -> None:
        """The core's verb."""
        self.core.done(token, ok, data)

    def link_up(self, link: int, node_id: int, incarnation: int, **said: Any) -> None:
        """The core's verb."""
        self._safely(self._add_linked, link, node_id)
        self.core.link_up(link, node_id, incarnation, **said)

    def link_backlog(self, link: int, backlog: int) -> None:
        """The core's verb."""
        self.core.link_backlog(link, backlog)

    def link_down(self, link: int) -> None:
        """The core's verb."""
        self._safely(self._add_unlinked, link)
        self.core.link_down(link)

    # -- queries

    @property
    def cluster_id(self) -> int:
        """The core's answer."""
        return self.core.cluster_id

    @property
    def refused_slots(self) -> tuple[int, ...]:
        """The core's answer."""
        return self.core.refused_slots

    @property
    def slot_out(self) -> int:
        """The core's answer."""
        return self.core.slot_out

    def next_tick_ns(self) -> int:
        """The core's answer."""
        return self.core.next_tick_ns()

    def status(self) -> dict[str, object]:
        """The core's answer."""
        return self.core.status()

    # -- what goes into the trace

    def close(self, reason: str) -> None:
        """Ends the trace because the node ends; `reason` is its last line."""
        self._safely(self._end, reason)

    def _begin(self, storage: Storage) -> None:
        self._slots.load(storage)
        self.trace.add(
            time.monotonic_ns(),
            "started",
            pid=os.getpid(),
            storage=storage.kind,
            nodes=self.core.context.nodes,
            slot_out=self.core.slot_out,
            ballot=self._ballot,
            voting=self.core.voting,
        )
        self.trace.flush()

    def _end(self, reason: str) -> None:
        self.trace.add(time.monotonic_ns(), "ended", reason=reason)
        self.trace.close()

    def _add_linked(self, link: int, node: int) -> None:
        self._links[link] = node, self._name_of(link)
        self._add_link(link, "linked")

    def _add_unlinked(self, link: int) -> None:
        self._add_link(link, "unlinked")
        self._links.pop(link, None)
        self._rest.pop(link, None)
        self._pieces.pop(link, None)

    def _add_link(self, link: int, event: str) -> None:
        peer, name = self._links[link]
        self.trace.add(time.monotonic_ns(), event, peer=peer, link=name)

    def _add_received(self, link: int, data: bytes) -> None:
        """Adds the frames that a chunk completes; a chunk that is no frames is added as one."""
        at_ns = time.monotonic_ns()
        try:
            frames, rest = split(self._rest.pop(link, b"") + data)
            frames, pieces = uncut(self._pieces.pop(link, []) + frames)
        except CodecError:
            frames, rest, pieces = [data], b"", []
        if rest:
            self._rest[link] = rest
        if pieces:
            self._pieces[link] = pieces
        for frame in frames:
            self._add_frame(at_ns, "received", link, frame, self._noted(frame))

    def _add_output(self, output: Output) -> None:
        """Adds what one step of the core has brought: first what the node knows now, then what it sends."""
        at_ns = time.monotonic_ns()
        for event in output.events:
            self._add_event(at_ns, event)
        if self.core.acceptor.ballot_num > self._ballot:
            self._ballot = self.core.acceptor.ballot_num
            self.trace.add(at_ns, "adopted", ballot=self._ballot, role="acceptor")
        frames = [(link, frame) for link, data in output.writes for frame in split(data)[0]]
        frames += [(link, frame) for link, bulk in output.bulk for frame in uncut(bulk)[0]]
        sent = [(link, frame, self._noted(frame)) for link, frame in frames]
        if output.batch is not None:
            self._slots.note_batch(output.batch)
        self._slots.add(at_ns)
        for link, frame, message in sent:
            self._add_frame(at_ns, "sent", link, frame, message)
        self.trace.flush()

    def _noted(self, frame: bytes) -> Mapping[str, Any] | None:
        """The message of a frame, after what it says of slots was noted; None if the frame is no message."""
        try:
            message = read(frame)
            self._slots.note_message(message)
        except CodecError:
            return None
        return message

    def _add_event(self, at_ns: int, event: Event) -> None:
        """Adds an event of the core."""
        if event.kind not in KINDS:
            self.trace.add(at_ns, "said", text=event.text)
            return
        fields: dict[str, Any] = {}
        if event.ballot:
            fields["ballot"] = event.ballot
        if event.kind == "adopted":
            fields["role"] = "leader"
        if event.slot:
            fields["first"] = event.slot
        self.trace.add(at_ns, event.kind, **fields, text=event.text)

    def _add_frame(self, at_ns: int, event: str, link: int, frame: bytes, message: Mapping[str, Any] | None) -> None:
        peer, name = self._links[link]
        if message is None:
            said = {"kind": "malformed", "bytes": len(frame), "label": f"{len(frame)} bytes that are no message"}
        else:
            said = {"kind": message["kind"], "bytes": len(frame), "label": label_of_message(message), **facts(message)}
        self.trace.add(at_ns, event, peer=peer, link=name, **said)
