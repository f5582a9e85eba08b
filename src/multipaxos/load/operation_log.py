"""The raw records of a load: a row for each operation of a client, in a file that grows while the load runs.

Theory. The file is an ordinary .npy file of a structured array, which numpy reads without any code of ours. Only the
number of rows in its header is written last. If the client was killed that number is 0, and a reader takes the number
from the size of the file. Writing the file does not need numpy.

Rules. All times are nanoseconds of the machine's monotonic clock. Rows stand in the order of the answers; operations
that were never answered come at the end, with the outcome `unanswered`. The compiled `load` writes rows of exactly this
layout.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

from multipaxos.commands import GET, PUT

LAYOUT = [
    ("planned_ns", "<u8"),  # in an open loop the time when it was due, in a closed loop the time when it was sent
    ("sent_ns", "<u8"),
    ("answered_ns", "<u8"),  # 0: it was not answered
    ("slot", "<u8"),  # 0: not known
    ("sequence", "<u4"),  # in its session, from 1
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
    """The .npy header for a number of rows; always HEADER_BYTES long."""
    text = repr({"descr": LAYOUT, "fortran_order": False, "shape": (rows,)}).encode()
    room = HEADER_BYTES - len(_MAGIC) - 2
    return _MAGIC + room.to_bytes(2, "little") + text.ljust(room - 1) + b"\n"


class OperationLog:
    """A file of rows that grows. Raises FileExistsError rather than overwrite a file, and OSError."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._file.write(header(0))
        self._bytes = 0

    def write(self, rows: bytes) -> None:
        """Appends whole rows, each of ROW_BYTES. Raises OSError."""
        self._file.write(rows)
        self._bytes += len(rows)

    def close(self) -> None:
        """Writes the number of rows and closes the file."""
        self._file.seek(0)
        self._file.write(header(self._bytes // ROW_BYTES))
        self._file.close()

    def __enter__(self) -> OperationLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
