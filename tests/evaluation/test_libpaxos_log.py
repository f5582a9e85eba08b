"""The disks of LibPaxos's acceptors, made up with known answers."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from pathlib import Path

import lmdb
import pytest

from evaluation import libpaxos_log
from evaluation.libpaxos_log import ACCEPTED, check, read_held

Rows = Mapping[int, tuple[int, int, bytes]]  # by instance: ballot promised, ballot of the value, value


def disk(directory: Path, rows: Rows, trimmed: int | None = None) -> Path:
    """A disk as an acceptor leaves it, except for its keys, which are not read; key 0 says how far it was trimmed."""
    directory.mkdir(parents=True)
    with (
        lmdb.open(str(directory), map_size=1 << 20) as environment,
        environment.begin(write=True) as transaction,
    ):
        for instance, (promised, ballot, value) in rows.items():
            row = ACCEPTED.pack(0, instance, promised, ballot, len(value), 0x7FFF_0000) + value
            transaction.put(struct.pack("=I", instance), row)
        if trimmed is not None:
            transaction.put(struct.pack("=I", 0), struct.pack("=I", trimmed))
    return directory


def disks(tmp_path: Path, *rows: Rows) -> dict[int, Path]:
    return {node: disk(tmp_path / f"acceptor_{node}", each) for node, each in enumerate(rows)}


ALL = {1: (100, 100, b"a"), 2: (100, 100, b"b"), 3: (100, 100, b"c")}


def test_a_row_is_as_long_as_its_struct() -> None:
    assert ACCEPTED.size == 32  # four numbers, a size, a gap, a pointer


def test_what_has_no_value_was_only_promised(tmp_path: Path) -> None:
    rows = {1: (100, 100, b"a"), 2: (200, 0, b"")}
    held = read_held(disk(tmp_path / "acceptor_0", rows, trimmed=7))
    assert list(held) == [1]
    assert held[1][0] == 100


def test_an_acceptor_that_was_dead_lacks_some_and_nothing_is_lost(tmp_path: Path) -> None:
    found = check(disks(tmp_path, ALL, {1: ALL[1]}, ALL), quorum=2, learnt=3)
    assert found == {"failures": [], "log_slots": {0: 3, 1: 1, 2: 3}, "lost_writes": 0, "proposed_again": 0}


def test_what_no_quorum_holds_is_lost(tmp_path: Path) -> None:
    found = check(disks(tmp_path, ALL, {1: ALL[1]}, {}), quorum=2, learnt=3)
    assert found["lost_writes"] == 2
    assert found["failures"] == ["2 of 3 values that were learnt are held by no phase-2 quorum"]


@pytest.mark.parametrize(("ballot", "broken"), [(99, 0), (301, 1)])
def test_another_value_counts_where_it_is_above_the_chosen_one(tmp_path: Path, ballot: int, broken: int) -> None:
    """Below the chosen ballot a value was only proposed; above it, it was accepted after the choice."""
    other = {**ALL, 2: (301, ballot, b"x")}
    found = check(disks(tmp_path, ALL, ALL, other), quorum=2, learnt=3)
    assert len(found["failures"]) == broken
    assert found["lost_writes"] == 0


def test_a_value_in_two_instances_is_one(tmp_path: Path) -> None:
    twice = {**ALL, 4: (100, 100, b"a")}
    assert check(disks(tmp_path, twice, twice, twice), quorum=2, learnt=3)["proposed_again"] == 1
    assert check(disks(tmp_path / "more", twice, twice, twice), quorum=2, learnt=4)["lost_writes"] == 1


def test_with_quorums_of_one_the_lowest_ballot_chose() -> None:
    assert libpaxos_log.chosen({0: {1: (100, b"v")}, 1: {1: (200, b"v")}}, quorum=1) == {1: (200, b"v")}
    held = {0: {1: (100, b"v")}, 1: {1: (200, b"w")}}
    assert libpaxos_log.chosen(held, quorum=1) == {1: (100, b"v")}
    assert len(libpaxos_log.overwritten(held, libpaxos_log.chosen(held, quorum=1))) == 1
