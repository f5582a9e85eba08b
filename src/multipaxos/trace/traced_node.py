"""What a node did, and when, as a file: for timing diagrams, and to check a whole cluster on its traces alone.

Theory. A `TracedNode` stands between the shell and the core and has the core's verbs: what goes in and what comes out
passes through it whole, so it sees every frame without the core or the shell knowing. Without tracing it is not there,
and costs nothing. What was decided is not guessed from frames: after each step the core is asked for it.

Rules.
- A line is in the file before the bytes it tells of leave the node: a SIGKILL loses nothing that another node can know,
  and at most cuts off the last line.
- Tracing changes nothing. Whatever fails in it is logged and ends the trace, not the node; so does a file that another
  process is writing, or one that is no trace.
- A restart appends, after a line that was cut off is removed. One file is one node's.

The format: JSON, a line each, UTF-8. The first line is HEADER, with the version. Every other line has `at_ns` (of
CLOCK_MONOTONIC, which all hosts of a machine share), `node`, `incarnation` (16 hexadecimal digits) and `event`. Ballots
are integers, `ballot.describe` reads them; slots are [first, end). By event, the other fields:

- `started`: `pid`, `storage`, `nodes`, `voting`; `slot_out`: what is below was applied in former lives; `ballot`: the
  acceptor's.
- `linked`, `unlinked`: `peer`: a node, or -1 for a client; `link`: a name of the connection that both its ends have.
- `sent`, `received`: `peer`, `link`; `kind`: of the schema, or `malformed` for a chunk that holds what is no frame;
  `bytes`; `label`: for a diagram. Where the message has them `ballot`, `first`, `end`, `slot_out`; `decided_ballot`,
  `decided_first`, `decided_end`: its watermark; `commands`: the hashes of a request's. `first` and `end` of a response
  are the range of its slots.
- `scouting`: `ballot`, `first`, `text`.
- `adopted`: `ballot` and `role`: `leader`, whose scout has its quorum, with `first` (its start) and `text`; or
  `acceptor`, whose ballot_num rose.
- `preempted`, `stepped_down`, `founded`: `text`; `ballot`: of the first whose it is, of the second which was left.
- `said`: `text`: all else that the core has for the log.
- `decided`: `first`, `end`, `ballot` (at which it is held), and by slot `hashes` (see `command_hash`) and `times_ns`
  (UTC, what the machine is told; null: not known). Each slot once in a life, as soon as the node knows it.
- `applied`: `first`, `end`.
- `ended`: `reason`. A life without it was cut off.

Handshakes and status requests are not traced: they do not reach the core.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from multipaxos.diagram.picture import describe
from multipaxos.storage.interface import Storage
from multipaxos.trace.decided import DecidedSlots
from multipaxos.trace.file import Trace
from multipaxos.trace.messages import facts, read
from multipaxos.wire.codec import CodecError, split

if TYPE_CHECKING:
    from multipaxos.node.node import Node
    from multipaxos.node.output import Event, Output

log = logging.getLogger("multipaxos.trace")

TOLD = {"scouting", "adopted", "preempted", "stepped_down", "founded"}  # kinds of events with a line of their own


class TracedNode:
    """A core with a trace: its verbs are told, its queries passed on. `name_of`: of a link that is up."""

    def __init__(self, core: Node, trace: Trace, storage: Storage, name_of: Callable[[int], str]) -> None:
        self.core = core
        self.trace = trace
        self._name_of = name_of
        self._links: dict[int, tuple[int, str]] = {}  # link -> peer, its name
        self._rest: dict[int, bytes] = {}  # of frames that have not wholly come
        self._ballot = core.acceptor.ballot_num
        self._slots = DecidedSlots(core, trace)
        self._safely(self._begin, storage)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.core, name)

    def _safely(self, tell: Callable[..., None], *arguments: Any) -> None:
        if self.trace.ended:
            return
        try:
            tell(*arguments)
        except Exception as error:  # whatever it is: the node must not suffer from it
            log.debug("a trace ends", exc_info=True)
            self.trace.give_up(repr(error))

    # -- verbs

    def receive(self, link: int, data: bytes) -> None:
        """As the core's."""
        self._safely(self._received, link, data)
        self.core.receive(link, data)

    def tick(self, now_ns: int, utc_ns: int) -> None:
        """As the core's."""
        self.core.tick(now_ns, utc_ns)

    def output(self) -> Output:
        """As the core's: told before any of it is carried out."""
        output = self.core.output()
        self._safely(self._told, output)
        return output

    def done(self, token: int, ok: bool, data: object = None) -> None:
        """As the core's."""
        self.core.done(token, ok, data)

    def link_up(self, link: int, node: int, incarnation: int) -> None:
        """As the core's."""
        self._safely(self._linked, link, node)
        self.core.link_up(link, node, incarnation)

    def link_down(self, link: int) -> None:
        """As the core's."""
        self._safely(self._unlinked, link)
        self.core.link_down(link)

    def close(self, reason: str) -> None:
        """The process ends."""
        self._safely(self._end, reason)

    # -- what is told

    def _begin(self, storage: Storage) -> None:
        self._slots.load(storage)
        self.trace.tell(
            time.monotonic_ns(),
            "started",
            pid=os.getpid(),
            storage=storage.kind,
            nodes=self.core.nodes,
            slot_out=self.core.slot_out,
            ballot=self._ballot,
            voting=self.core.voting,
        )
        self.trace.flush()

    def _end(self, reason: str) -> None:
        self.trace.tell(time.monotonic_ns(), "ended", reason=reason)
        self.trace.close()

    def _linked(self, link: int, node: int) -> None:
        self._links[link] = node, self._name_of(link)
        self._tell_link(link, "linked")

    def _unlinked(self, link: int) -> None:
        self._tell_link(link, "unlinked")
        self._links.pop(link, None)
        self._rest.pop(link, None)

    def _tell_link(self, link: int, event: str) -> None:
        peer, name = self._links[link]
        self.trace.tell(time.monotonic_ns(), event, peer=peer, link=name)

    def _received(self, link: int, data: bytes) -> None:
        at_ns = time.monotonic_ns()
        try:
            frames, rest = split(self._rest.pop(link, b"") + data)
        except CodecError:
            frames, rest = [data], b""
        if rest:
            self._rest[link] = rest
        for frame in frames:
            self._tell_frame(at_ns, "received", link, frame, self._take(frame))

    def _told(self, output: Output) -> None:
        """What one step of the core has brought: first what it is now, then what it sends."""
        at_ns = time.monotonic_ns()
        for event in output.events:
            self._said(at_ns, event)
        if self.core.acceptor.ballot_num > self._ballot:
            self._ballot = self.core.acceptor.ballot_num
            self.trace.tell(at_ns, "adopted", ballot=self._ballot, role="acceptor")
        sent = [(link, frame, self._take(frame)) for link, data in output.writes for frame in split(data)[0]]
        if output.batch is not None:
            self._slots.note_batch(output.batch)
        self._slots.tell(at_ns)
        for link, frame, message in sent:
            self._tell_frame(at_ns, "sent", link, frame, message)
        self.trace.flush()

    def _take(self, frame: bytes) -> Mapping[str, Any] | None:
        """The message of a frame that came or goes; None if it is none."""
        try:
            message = read(frame)
            self._slots.note_message(message)
        except CodecError:
            return None
        return message

    def _said(self, at_ns: int, event: Event) -> None:
        """One of the core's events."""
        fields: dict[str, Any] = {}
        if event.kind not in TOLD:
            self.trace.tell(at_ns, "said", text=event.text)
            return
        if event.ballot:
            fields["ballot"] = event.ballot
        if event.kind == "adopted":
            fields["role"] = "leader"
        if event.slot:
            fields["first"] = event.slot
        self.trace.tell(at_ns, event.kind, **fields, text=event.text)

    def _tell_frame(self, at_ns: int, event: str, link: int, frame: bytes, message: Mapping[str, Any] | None) -> None:
        peer, name = self._links[link]
        if message is None:
            said = {"kind": "malformed", "bytes": len(frame), "label": f"{len(frame)} bytes that are no message"}
        else:
            said = {"kind": message["kind"], "bytes": len(frame), "label": describe(message), **facts(message)}
        self.trace.tell(at_ns, event, peer=peer, link=name, **said)
