"""The file of raw records: numpy reads it, also if it was cut off."""

from __future__ import annotations

from pathlib import Path

import pytest

from multipaxos.load import operation_log
from multipaxos.load.operation_log import HEADER_BYTES, LAYOUT, ROW_BYTES, OperationLog

np = pytest.importorskip("numpy", reason="numpy is of the extras bench and evaluation")


def rows(count: int) -> bytes:
    """Made-up rows."""
    made = np.zeros(count, np.dtype(LAYOUT))
    made["sequence"] = range(1, count + 1)
    made["planned_ns"] = 2**63 + 5
    return bytes(made.tobytes())


def test_numpy_reads_it(tmp_path: Path) -> None:
    path = tmp_path / "operations.npy"
    with OperationLog(path) as file:
        file.write(rows(3))
        file.write(b"")
        file.write(rows(2))
    read = np.load(path)
    assert read.dtype == np.dtype(LAYOUT)
    assert read["sequence"].tolist() == [1, 2, 3, 1, 2]
    assert set(read["planned_ns"]) == {2**63 + 5}
    assert path.stat().st_size == HEADER_BYTES + 5 * ROW_BYTES == HEADER_BYTES + 5 * read.dtype.itemsize


def test_what_was_cut_off_is_there(tmp_path: Path) -> None:
    path = tmp_path / "operations.npy"
    file = OperationLog(path)
    file.write(rows(1000))
    file._file.flush()  # the process is killed here
    assert np.load(path).shape == (0,)
    assert path.stat().st_size == HEADER_BYTES + 1000 * ROW_BYTES
    file.close()


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    path = tmp_path / "operations.npy"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        OperationLog(path)
    assert path.read_text() == "mine"


@pytest.mark.parametrize("count", [0, 1, 2**63])
def test_the_header_has_one_length(count: int) -> None:
    assert len(operation_log.header(count)) == HEADER_BYTES
