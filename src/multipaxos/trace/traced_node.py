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

import fcntl
import hashlib
import json
import logging
import os
import re
import struct
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from multipaxos.diagram.picture import describe
from multipaxos.paxos import ballot
from multipaxos.storage.interface import Storage
from multipaxos.storage.records import split as split_records
from multipaxos.wire.codec import CodecError, decode_message, decode_phase2a, split
from multipaxos.wire.schema import flatten

if TYPE_CHECKING:
    from multipaxos.node.node import Batch, Node, Output

log = logging.getLogger("multipaxos.trace")

VERSION = 1
HEADER: dict[str, Any] = {"format": "multipaxos-trace", "version": VERSION}
HEADER_LINE = (json.dumps(HEADER) + "\n").encode()
BLOCK_BYTES = 64 << 10
READ_BYTES = 64 << 20

COMMAND = struct.Struct("<QQQ")  # kind, session, sequence; the payload follows
SAID = re.compile(
    r"(?P<event>scouting|adopted|preempted|stepped down|founded)\b"
    r"(?:.*?\bballot (?P<round>\d+)\.(?P<leader>\d+))?(?:.*?\b(?:slot|start) (?P<first>\d+))?"
)
MESSAGE_FIELDS = ("ballot", "first", "end", "slot_out", "decided_ballot", "decided_first", "decided_end")


def command_hash(kind: int, session: int, sequence: int, payload: bytes) -> str:
    """Sixteen hexadecimal digits of a command: blake2b of kind, session and sequence (uint64, little-endian) and
    payload. What a client has acknowledged is not part of it."""
    return hashlib.blake2b(COMMAND.pack(kind, session, sequence) + payload, digest_size=8).hexdigest()


# == the file


class Trace:
    """A file of lines that grows. Whatever goes wrong with it is logged, once, and ends it."""

    def __init__(self, path: Path, node: int, incarnation: int) -> None:
        self.path = path
        self._who = {"node": node, "incarnation": f"{incarnation:016x}"}
        self._lines: list[str] = []
        self._file = -1
        try:
            self._open()
        except OSError as error:
            self.give_up(str(error))

    @property
    def ended(self) -> bool:
        """Nothing is written any more."""
        return self._file < 0

    def _open(self) -> None:
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return self.give_up("another process writes to it: give each node a file of its own")
        head = os.pread(self._file, len(HEADER_LINE), 0)
        if not HEADER_LINE.startswith(head):
            return self.give_up(f"it is no trace of version {VERSION}: give another file")
        os.ftruncate(self._file, self._end_of_lines())
        if os.fstat(self._file).st_size == 0:
            self._put(HEADER_LINE)
        return None

    def _end_of_lines(self) -> int:
        """Where the last whole line ends."""
        end = os.fstat(self._file).st_size
        while end:
            begin = max(0, end - BLOCK_BYTES)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0

    def tell(self, at_ns: int, event: str, **fields: Any) -> None:
        """One event; it is in the file after the next `flush`."""
        line = {"at_ns": at_ns, **self._who, "event": event, **fields}
        self._lines.append(json.dumps(line, separators=(",", ":")))

    def flush(self) -> None:
        """Hands everything to the system: a kill of this process loses none of it."""
        if self._lines and not self.ended:
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            self._put(data)

    def _put(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]

    def give_up(self, reason: str) -> None:
        """Ends the trace where it is: what follows is not in it."""
        log.error("the trace %s ends here, the node goes on: %s", self.path, reason)
        self._lines.clear()
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def close(self) -> None:
        """Writes what there is and lets go of the file."""
        self.flush()
        self._close()


# == messages


def read(frame: bytes) -> Mapping[str, Any]:
    """A message in any layout that a node takes. Raises CodecError."""
    try:
        return decode_message(frame)
    except CodecError as error:
        if error.fault != "foreign":
            raise
    return decode_message(flatten(frame))


def hashes_of(commands: Sequence[Mapping[str, Any]]) -> list[str]:
    """Of a request's commands."""
    return [command_hash(one["kind"], one["session"], one["sequence"], one["payload"]) for one in commands]


def facts(message: Mapping[str, Any]) -> dict[str, Any]:
    """What a line says of a message beside its kind."""
    found = {name: message[name] for name in MESSAGE_FIELDS if name in message}
    kind = message["kind"]
    if kind == "decision":  # is nothing but a watermark
        found = {"ballot": found["ballot"], **{f"decided_{name}": value for name, value in found.items()}}
    elif kind == "phase2a":
        found["end"] = found["first"] + len(message["commands"])
    elif kind == "request":
        found["commands"] = hashes_of(message["commands"])
    elif kind == "response":
        slots = [reply["slot"] for reply in message["replies"] if reply["slot"]]
        if slots:
            found |= {"first": min(slots), "end": max(slots) + 1}
    return found


# == slots


class _Slots:
    """What the core has decided and this trace has not told yet.

    Frames only say where to look: whether a slot is decided, at which ballot and with which command, the core says. The
    time of a command is of its run: it is remembered from whatever brought it, by slot and ballot.
    """

    def __init__(self, core: Node, trace: Trace) -> None:
        self.core = core
        self.trace = trace
        self.next = core.slot_out
        self.early: set[int] = set()  # decided above a gap, and told
        self.times: dict[int, dict[int, int]] = {}
        self.places: list[tuple[int, int]] = []  # where something may be decided
        self.looked = (0, 1)  # a watermark's ballot, and up to where it was looked at

    def load(self, storage: Storage) -> None:
        """The times of what the disk holds above what is applied."""
        first, end = self.next, self.core.acceptor.end
        while first < end:
            first, records = storage.read(first, end, READ_BYTES)
            for _, begins, ends, frame in records:
                self.note_run(frame, begins, ends)

    def note_run(self, frame: bytes, first: int, end: int) -> None:
        """A run that brings commands for [first, end)."""
        if end > self.next:
            at, _, time_ns, _, _ = decode_phase2a(frame)
            self.note_times(at, first, end, time_ns)

    def note_times(self, at: int, first: int, end: int, time_ns: int) -> None:
        for slot in range(max(first, self.next), end):
            self.times.setdefault(slot, {})[at] = time_ns

    def note_batch(self, batch: Batch) -> None:
        """What the core has written down: a leader that is alone sends its runs to nobody."""
        for first, end, frame in split_records(batch.records):
            self.note_run(frame, first, end)

    def note_message(self, message: Mapping[str, Any]) -> None:
        """A message that came or went."""
        kind = message["kind"]
        if kind == "phase2a":
            first = message["first"]
            self.note_times(message["ballot"], first, first + len(message["commands"]), message["time_ns"])
        elif kind == "fetched":
            for pvalues in message["pvalues"]:
                self.places.append((pvalues["first"], pvalues["end"]))
                self.note_run(pvalues["run"], pvalues["first"], pvalues["end"])
        if kind == "decision":
            self.note_watermark(message["ballot"], message["first"], message["end"])
        elif "decided_end" in message:
            self.note_watermark(message["decided_ballot"], message["decided_first"], message["decided_end"])

    def note_watermark(self, at: int, first: int, end: int) -> None:
        """It says what is decided, not whether the core could know the command: that is looked at once."""
        ring = self.core.replica.decisions
        ballot_before, before = self.looked
        self.places.append((max(first, before) if at == ballot_before else first, end))
        self.looked = (at, min(end, ring.base + ring.capacity))

    def tell(self, at_ns: int) -> None:
        """What is decided and applied since the last call."""
        end, leader, ring = self.core.slot_out, self.core.leader, self.core.replica.decisions
        fresh = [slot for slot in range(self.next, end) if slot not in self.early]
        if leader.decided_end > end:
            self.places.append((leader.start, leader.decided_end))
        if self.places:
            limit = ring.base + ring.capacity
            above = {
                slot
                for begins, ends in self.places
                for slot in range(max(begins, end), min(ends, limit))
                if slot not in self.early and (ring.row(slot) or (0, 0, False))[2]
            }
            self.places.clear()
            self.early |= above
            fresh += sorted(above)
        self.tell_decided(at_ns, fresh)
        if end > self.next:
            self.trace.tell(at_ns, "applied", first=self.next, end=end)
            for slot in range(self.next, end):
                self.times.pop(slot, None)
                self.early.discard(slot)
            self.next = end

    def tell_decided(self, at_ns: int, slots: Iterable[int]) -> None:
        """A line for each stretch of one ballot."""
        stretch: list[int] = []
        held = 0
        for slot in slots:
            row = self.core.replica.decisions.row(slot)
            assert row is not None, f"slot {slot} was decided and is not in memory"
            if stretch and (slot != stretch[-1] + 1 or row[0] != held):
                self.tell_stretch(at_ns, stretch, held)
                stretch = []
            held = row[0]
            stretch.append(slot)
        if stretch:
            self.tell_stretch(at_ns, stretch, held)

    def tell_stretch(self, at_ns: int, slots: list[int], at: int) -> None:
        hashes = []
        for slot in slots:
            command = self.core.command_at(slot)
            assert command is not None, f"slot {slot} was decided and its command is not in memory"
            hashes.append(command_hash(*command))
        times_ns = [self.times.get(slot, {}).get(at) for slot in slots]
        self.trace.tell(
            at_ns, "decided", first=slots[0], end=slots[-1] + 1, ballot=at, hashes=hashes, times_ns=times_ns
        )


# == the node


class TracedNode:
    """A core with a trace: its verbs are told, its queries passed on. `name_of`: of a link that is up."""

    def __init__(self, core: Node, trace: Trace, storage: Storage, name_of: Callable[[int], str]) -> None:
        self.core = core
        self.trace = trace
        self._name_of = name_of
        self._links: dict[int, tuple[int, str]] = {}  # link -> peer, its name
        self._rest: dict[int, bytes] = {}  # of frames that have not wholly come
        self._ballot = core.acceptor.ballot_num
        self._slots = _Slots(core, trace)
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
        for text in output.events:
            self._said(at_ns, text)
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

    def _said(self, at_ns: int, text: str) -> None:
        """One of the core's lines for the log."""
        match = SAID.match(text)
        fields: dict[str, Any] = {}
        if match is None:
            self.trace.tell(at_ns, "said", text=text)
            return
        if match["round"]:
            fields["ballot"] = ballot.make(int(match["round"]), int(match["leader"]))
        if match["event"] == "adopted":
            fields["role"] = "leader"
        if match["first"]:
            fields["first"] = int(match["first"])
        self.trace.tell(at_ns, match["event"].replace(" ", "_"), **fields, text=text)

    def _tell_frame(self, at_ns: int, event: str, link: int, frame: bytes, message: Mapping[str, Any] | None) -> None:
        peer, name = self._links[link]
        if message is None:
            said = {"kind": "malformed", "bytes": len(frame), "label": f"{len(frame)} bytes that are no message"}
        else:
            said = {"kind": message["kind"], "bytes": len(frame), "label": describe(message), **facts(message)}
        self.trace.tell(at_ns, event, peer=peer, link=name, **said)
