"""The file of a trace."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from pathlib import Path
from typing import Any

log = logging.getLogger("multipaxos.trace")

VERSION = 1
HEADER: dict[str, Any] = {"format": "multipaxos-trace", "version": VERSION}
HEADER_LINE = (json.dumps(HEADER) + "\n").encode()
BLOCK_BYTES = 64 << 10


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
