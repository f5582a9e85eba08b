"""A node of a torture: `multipaxos serve`, which also appends each event of its core to a file.

Theory. Its table of sessions is small, so that sessions expire while they are in use.

Rules. The first argument is the file; all others are those of `multipaxos`. An event is a line "kind ballot", written
before the node goes on, so a killed node leaves every event that it reported. Events are read from the log's records as
the core made them: no text is parsed.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from multipaxos.machine import semantics
from multipaxos.node.output import Event

SESSIONS_MAX = 12


class EventFile(logging.Handler):
    """Appends the events among the log's records to the file at `path`."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def emit(self, record: logging.LogRecord) -> None:
        """Writes one event; a record without one is no event."""
        event = record.__dict__.get("event")
        if isinstance(event, Event):
            os.write(self._file, f"{event.kind} {event.ballot}\n".encode())

    def close(self) -> None:
        """Closes the file; nothing may be logged to it any more."""
        super().close()
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def adoptions(paths: Iterable[Path]) -> Counter[int]:
    """How often each ballot was adopted, by the events in the files; a file that is missing holds none."""
    lines = [line.split() for path in paths if path.exists() for line in path.read_text("ascii").splitlines()]
    return Counter(int(ballot) for kind, ballot in lines if kind == "adopted")


if __name__ == "__main__":
    semantics.VERSIONS = (semantics.Semantics(sessions_max=SESSIONS_MAX),)  # the core takes it when it is imported
    from multipaxos.cli.main import main

    logging.getLogger("multipaxos.server").addHandler(EventFile(sys.argv.pop(1)))
    main()
