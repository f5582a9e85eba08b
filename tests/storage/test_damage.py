"""A directory whose keys are not those that were put is refused, in one line that says what to do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lmdb
import pytest

from multipaxos.errors import CorruptLog, DamagedDirectory, DirectoryMismatch, StorageError
from multipaxos.storage.lmdb import LmdbStorage
from tests.support.records import pack

Change = Callable[[Any, Any], object]
ADVICE = "keep this directory, and start the node with an empty one"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """Of a node that has stored something."""
    made = LmdbStorage(tmp_path, "demo", 0)
    made.commit({b"ballot": b"7"}, pack([(1, 3, 1, b"frame")]))
    made.commit({b"decided": b"3", b"ballot": b"8"}, pack([(3, 4, 2, b"frame")]))
    made.close()
    return tmp_path


def change(directory: Path, database: bytes, act: Change) -> None:
    """Changes one database behind the storage's back."""
    environment = lmdb.open(str(directory), max_dbs=3)
    opened = environment.open_db(database, create=False)
    with environment.begin(write=True, db=opened) as transaction:
        act(transaction, opened)
    environment.close()


def refusal(directory: Path, kind: type[StorageError] = DamagedDirectory) -> str:
    """Why the directory is refused; its content stays as it is."""
    before = (directory / "data.mdb").read_bytes()
    with pytest.raises(kind) as caught:
        list(LmdbStorage(directory, "demo", 0).records())
    assert (directory / "data.mdb").read_bytes() == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    ("database", "act"),
    [
        (b"meta", lambda transaction, _: transaction.put(b"ballot", b"6")),
        (b"meta", lambda transaction, _: transaction.delete(b"ballot")),
        (b"meta", lambda transaction, _: transaction.put(b"another", b"")),
        (b"meta", lambda transaction, _: transaction.replace(b"ballo", transaction.pop(b"ballot"))),
        (b"storage", lambda transaction, _: transaction.put(b"node", b"1")),
        (b"storage", lambda transaction, _: transaction.put(b"incarnation", bytes(8))),
        (b"storage", lambda transaction, _: transaction.put(b"sum", bytes(4))),
        (b"storage", lambda transaction, _: transaction.delete(b"sum")),
    ],
)
def test_a_key_that_was_not_put(directory: Path, database: bytes, act: Change) -> None:
    change(directory, database, act)
    assert ADVICE in refusal(directory)


def test_a_log_without_a_format_is_no_new_directory(directory: Path) -> None:
    change(directory, b"storage", lambda transaction, own: transaction.drop(own, delete=False))
    assert ADVICE in refusal(directory)


@pytest.mark.parametrize("name", [b"meta", b"log", b"storage"])
def test_a_database_under_another_name(directory: Path, name: bytes) -> None:
    """A flipped bit in the name: LMDB would make an empty one."""
    data = (directory / "data.mdb").read_bytes()
    (directory / "data.mdb").write_bytes(data.replace(name, name[:-1] + bytes([name[-1] + 1])))
    assert ADVICE in refusal(directory)


def test_another_format_is_refused_by_name(directory: Path) -> None:
    change(directory, b"storage", lambda transaction, _: transaction.put(b"format", b"1"))
    assert "this version writes" in refusal(directory, DirectoryMismatch)
    change(directory, b"storage", lambda transaction, _: transaction.put(b"format", b"\xb2"))
    assert ADVICE in refusal(directory, DamagedDirectory)


def test_a_key_of_the_log_of_another_length(directory: Path) -> None:
    change(directory, b"log", lambda transaction, _: transaction.put(b"short", b"value"))
    assert ADVICE in refusal(directory, CorruptLog)


def test_a_key_that_rots_while_its_node_runs_ends_the_commits(directory: Path) -> None:
    """The next commit would give it a right sum."""
    made = LmdbStorage(directory, "demo", 0)
    with made._environment.begin(write=True, db=made._meta) as transaction:
        transaction.put(b"ballot", b"6")
    for meta in ({b"decided": b"4"}, {}):
        with pytest.raises(StorageError, match=ADVICE):
            made.commit(meta, pack([(4, 5, 3, b"frame")]))
    made.close()
    assert ADVICE in refusal(directory)


def test_a_directory_in_order_is_not_refused(directory: Path) -> None:
    for _ in range(2):
        again = LmdbStorage(directory, "demo", 0)
        assert again.meta() == {b"ballot": b"8", b"decided": b"3"}
        again.close()
