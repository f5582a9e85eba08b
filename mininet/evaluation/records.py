"""Reading raw records: the files of `multipaxos.load.operation_log`, as numpy structured arrays.

Rules. A file that was cut off is read to its end: its size counts, not its header. Latency is from the *planned* time.
No row is dropped here: the analysis chooses its windows itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evaluation.errors import BadRecords
from multipaxos.load.operation_log import HEADER_BYTES, LAYOUT, OUTCOMES, header

OPERATION = np.dtype(LAYOUT)
UNANSWERED, OK, REFUSED = OUTCOMES["unanswered"], OUTCOMES["ok"], OUTCOMES["refused"]

Operations = npt.NDArray[Any]


def read(path: Path) -> Operations:
    """All rows of a file, complete or cut off. Raises BadRecords."""
    with path.open("rb") as file:
        head = file.read(HEADER_BYTES)
        if head[: head.find(b"'shape'")] != header(0)[: header(0).find(b"'shape'")]:
            raise BadRecords(f"{path} is no file of operations: remove its run's folder and repeat the run")
        body = file.read()
    return np.frombuffer(body[: len(body) // OPERATION.itemsize * OPERATION.itemsize], dtype=OPERATION)
