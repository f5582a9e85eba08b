"""The file of a trace: what one node did, and when, as JSON lines.

The format: UTF-8, one JSON object a line. The first line is HEADER, with the version. Every other line has `at_ns` (of
CLOCK_MONOTONIC, which all hosts of a machine share), `node`, `incarnation` (16 hexadecimal digits) and `event`. Ballots
are integers, which `ballot.describe` turns into text; slots are [first, end). The other fields, by event:

- `started`: `pid`, `storage`, `nodes`, `voting`; `slot_out`: all slots below it were applied in former lives; `ballot`:
  the acceptor's.
- `linked`, `unlinked`: `peer`: a node id, or -1 for a client; `link`: a name of the connection that is the same at both
  of its ends.
- `sent`, `received`: `peer`, `link`; `kind`: of the schema, or `malformed` for a chunk that is no frame; `bytes`;
  `label`: for a diagram. If the message has them: `ballot`, `first`, `end`, `slot_out`; `decided_ballot`,
  `decided_first`, `decided_end`: its watermark; `commands`: the hashes of a request's commands. `first` and `end` of a
  response are the range of its slots.
- `scouting`: `ballot`, `first`, `text`.
- `adopted`: `ballot` and `role`. `leader`: the leader's scout has its quorum; also `first` (the leader's start) and
  `text`. `acceptor`: the acceptor's ballot_num rose.
- `preempted`, `stepped_down`, `founded`: `text`; `ballot`: the one that preempted, or the one that was left.
- `said`: `text` of every other event of the core.
- `decided`: `first`, `end`, `ballot` (the one at which the slots are held), and for each slot `hashes` (see
  `messages.command_hash`) and `times_ns` (UTC, as the machine gets it; null: not known). Each slot is written once in a
  life, as soon as the node knows that it is decided.
- `applied`: `first`, `end`.
- `ended`: `reason`. A life without this line was cut off.

Rules.
- One file belongs to one node. A restart removes a last line that was cut off, then appends.
- A trace never harms its node: if the file cannot be written, is no trace, or is written by another process,
  this is logged once, and the trace ends where it is.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
from pathlib import Path
from typing import Any

log = logging.getLogger("multipaxos.trace")

VERSION = 2
HEADER: dict[str, Any] = {"format": "multipaxos-trace", "version": VERSION}
HEADER_LINE = (json.dumps(HEADER) + "\n").encode()
BLOCK_BYTES = 64 << 10


class Trace:
    """A file of lines that grows. If it cannot be opened, that is logged and the trace has ended from the start."""

    def __init__(self, path: Path, node_id: int, incarnation: int) -> None:
        self.path = path
        self._author = {"node": node_id, "incarnation": f"{incarnation:016x}"}
        self._lines: list[str] = []
        self._file = -1
        try:
            self._open()
        except OSError as error:
            self.give_up(str(error))

    @property
    def ended(self) -> bool:
        """Is nothing written any more?"""
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
            self._write(HEADER_LINE)
        return None

    def _end_of_lines(self) -> int:
        """The size of the file up to the end of its last whole line, in bytes."""
        end = os.fstat(self._file).st_size
        while end:
            begin = max(0, end - BLOCK_BYTES)
            found = os.pread(self._file, end - begin, begin).rfind(b"\n")
            if found >= 0:
                return begin + found + 1
            end = begin
        return 0

    def add(self, at_ns: int, event: str, **fields: Any) -> None:
        """Adds a line for one event; `flush` puts it into the file."""
        line = {"at_ns": at_ns, **self._author, "event": event, **fields}
        self._lines.append(json.dumps(line, separators=(",", ":")))

    def flush(self) -> None:
        """Hands all lines to the kernel, so that a kill of this process loses none of them. Raises OSError."""
        if self._lines and not self.ended:
            data = ("\n".join(self._lines) + "\n").encode()
            self._lines.clear()
            self._write(data)

    def _write(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._file, data) :]

    def give_up(self, reason: str) -> None:
        """Ends the trace where it is; `reason` is logged."""
        log.error("the trace %s ends here, the node goes on: %s", self.path, reason)
        self._lines.clear()
        self._close()

    def _close(self) -> None:
        if self._file >= 0:
            file, self._file = self._file, -1
            os.close(file)

    def close(self) -> None:
        """Writes all lines and closes the file. Raises OSError."""
        self.flush()
        self._close()
