"""Raw records of a load: what a client saw, an operation a row, in a file that grows while the load is under way.

Theory. The file is an ordinary .npy of a structured array, so numpy reads it without any code of ours, but for the
count of rows in its header, which is written last. Where the client was cut off that count is 0, and a reader goes by
the size of the file. numpy is not needed to write it.

Rules. All times are of the machine's monotonic clock, in nanoseconds. Rows stand in the order of the answers; what was
never answered comes at the end, with the outcome `unanswered`. The core's `load` writes rows of exactly this layout.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from multipaxos.commands import GET, PUT

LAYOUT = [
    ("planned_ns", "<u8"),  # of an open loop: when it was due; of a closed one: when it was sent
    ("sent_ns", "<u8"),
    ("answered_ns", "<u8"),  # 0: never
    ("slot", "<u8"),  # 0: not known
    ("sequence", "<u4"),  # in its session, from 1 on
    ("operation", "|u1"),  # see OPERATIONS
    ("outcome", "|u1"),  # see OUTCOMES
    ("client", "<u2"),
]
ROW_BYTES = 40
OPERATIONS = {"put": PUT, "get": GET}
OUTCOMES = {"unanswered": 0, "ok": 1, "refused": 2}
HEADER_BYTES = 256
_MAGIC = b"\x93NUMPY\x01\x00"


def header(rows: int) -> bytes:
    """The .npy header of so many rows, always HEADER_BYTES long."""
    text = repr({"descr": LAYOUT, "fortran_order": False, "shape": (rows,)}).encode()
    room = HEADER_BYTES - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n"


class OperationsFile:
    """A growing file of rows; raises FileExistsError rather than overwrite one."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._file.write(header(0))
        self._bytes = 0

    def write(self, rows: bytes) -> None:
        """Appends whole rows."""
        self._file.write(rows)
        self._bytes += len(rows)

    def close(self) -> None:
        """Says how many there are."""
        self._file.seek(0)
        self._file.write(header(self._bytes // ROW_BYTES))
        self._file.close()

    def __enter__(self) -> OperationsFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
