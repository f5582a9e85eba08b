"""The check of promises, on logs and answers that are known to keep or break them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

# ruff: noqa: E402
np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")

from evaluation.log_check import Command, brief, lost_writes, one_log, proposed_again, read_log, same_prefix
from evaluation.records import OPERATION, Operations
from multipaxos.load.operation_log import OPERATIONS, OUTCOMES
from multipaxos.storage.lmdb import LmdbStorage
from multipaxos.wire import codec
from tests.support.records import pack

PUT, GET = OPERATIONS["put"], OPERATIONS["get"]
NOOP = (0, 0, b"n")
Wire = tuple[int, int, int, int, bytes]


def command(sequence: int, session: int = 7) -> Command:
    """A command as a log has it."""
    return session, sequence, b"%d" % sequence


def log(*sequences: int, first: int = 1) -> dict[int, Command]:
    """The log of one session, in successive slots."""
    return {first + place: command(sequence) for place, sequence in enumerate(sequences)}


def told(rows: Iterable[tuple[int, int, int, int]], operation: int = PUT, outcome: str = "ok") -> Operations:
    """Rows of (sent, answered, slot, sequence)."""
    made = [(sent, sent, answered, slot, seq, operation, OUTCOMES[outcome], 0) for sent, answered, slot, seq in rows]
    return np.array(made, dtype=OPERATION)


# -- logs against one another


def test_logs_of_which_one_is_shorter_agree() -> None:
    assert same_prefix({0: log(1, 2, 3), 1: log(1, 2), 2: {}}) == []
    assert same_prefix({}) == []


def test_a_hole_is_reported() -> None:
    (failure,) = same_prefix({0: log(1, 2, 3), 1: {1: command(1), 3: command(3)}})
    assert failure == "the log of node 1 has holes: 2 slots of 1 to 3"


def test_a_disagreement_is_reported_with_its_slot_and_nodes() -> None:
    (failure,) = same_prefix({0: log(1, 2, 3), 1: log(1, 9, 3), 2: log(1, 2, 3)})
    assert failure.startswith("slot 2: node 0 has (7, 2, ")
    assert "node 1 has (7, 9, " in failure


@pytest.mark.parametrize("other", [(8, 2, b"2"), (7, 2, b"other")], ids=["session", "payload"])
def test_it_is_the_whole_command_that_must_agree(other: Command) -> None:
    assert len(same_prefix({0: log(1, 2), 1: {**log(1, 2), 2: other}})) == 1


def test_nodes_whose_logs_do_not_meet_cannot_disagree() -> None:
    assert same_prefix({0: log(1, 2), 1: log(3, 4, first=3)}) == []


# -- answers against a log


def test_no_write_is_lost_where_each_is_in_its_slot() -> None:
    assert lost_writes(told([(1, 2, 1, 1), (3, 4, 3, 2)]), 7, {1: command(1), 2: NOOP, 3: command(2)}) == 0


@pytest.mark.parametrize(
    "found",
    [
        {1: command(1)},
        {1: command(1), 2: NOOP},
        {1: command(1), 2: command(3)},
        {1: command(1), 2: command(2, session=8)},
        {1: command(1), 2: command(1), 3: command(2)},
    ],
    ids=["beyond the end", "a no-op instead", "another one", "of another session", "in another slot"],
)
def test_a_lost_write_is_counted(found: dict[int, Command]) -> None:
    assert lost_writes(told([(1, 2, 1, 1), (3, 4, 2, 2)]), 7, found) == 1


def test_only_what_was_acknowledged_and_is_a_write_can_be_lost() -> None:
    assert lost_writes(told([(1, 0, 0, 1)], outcome="unanswered"), 7, {}) == 0
    assert lost_writes(told([(1, 2, 0, 1)], outcome="refused"), 7, {}) == 0
    assert lost_writes(told([(1, 2, 5, 1)], operation=GET), 7, {}) == 0
    assert lost_writes(told([(1, 2, 5, 1)]), 7, {}) == 1


# -- what was proposed again


def test_commands_in_more_than_one_slot_are_counted_in_the_longest_log() -> None:
    assert proposed_again([log(1, 2, 3), log(1, 2)]) == 0
    assert proposed_again([log(1, 1), log(1, 1, 2, 2, 2)]) == 3
    assert proposed_again([]) == 0


def test_no_ops_are_no_commands() -> None:
    assert proposed_again([{1: NOOP, 2: NOOP, 3: command(1)}]) == 0


# -- answers against one another


def test_answers_that_one_log_explains() -> None:
    """Two commands that were on their way at one time may stand in either order."""
    assert one_log(told([(0, 10, 2, 1), (5, 12, 1, 2), (13, 14, 3, 3)])) == []
    assert one_log(told([])) == []
    assert one_log(told([(0, 1, 1, 1)])) == []


def test_a_slot_that_was_reported_twice() -> None:
    (failure,) = one_log(told([(0, 10, 5, 1), (1, 11, 5, 2), (2, 12, 6, 3)]))
    assert failure == "two writes were answered with slot 5, and 0 more such pairs"


def test_the_order_of_time_broken() -> None:
    """Slot 4 was sent at 20, when slot 9 had been answered: no log has both in that order."""
    (failure,) = one_log(told([(0, 10, 9, 1), (20, 30, 4, 2)]))
    assert failure == "slot 4 was sent after a higher one was answered, and 0 more such"


def test_the_order_of_time_broken_by_a_slot_far_above() -> None:
    rows = [(100, 110, 1, 1), (90, 120, 2, 2), (100, 115, 3, 3), (0, 10, 9, 4), (200, 210, 10, 5)]
    (failure,) = one_log(told(rows))
    assert failure == "slot 1 was sent after a higher one was answered, and 2 more such"


def test_an_answer_at_the_instant_of_a_sending_breaks_nothing() -> None:
    assert one_log(told([(0, 20, 9, 1), (20, 30, 4, 2)])) == []


def test_reads_and_refusals_have_no_slot_of_their_own() -> None:
    rows = np.concatenate([told([(0, 1, 5, 1)]), told([(2, 3, 5, 2)], operation=GET)])
    assert one_log(np.concatenate([rows, told([(4, 5, 5, 3)], outcome="refused")])) == []


# -- a directory of a node


def wire(sequence: int, payload: bytes = b"kv") -> Wire:
    """A client's command as frames have it."""
    return 7, sequence, codec.CommandKind.APPLY, 0, payload


def batch(*records: tuple[int, int, int, list[Wire]], index: int = 1) -> bytes:
    """Records as the core makes them, from (first, end, the frame's first slot, the frame's commands); numbered from
    `index` on."""
    return pack(
        (first, end, number, codec.encode_phase2a(1, frame_first, 5, (0, 1, 1), commands))
        for number, (first, end, frame_first, commands) in enumerate(records, index)
    )


def written(directory: Path, *batches: bytes) -> Path:
    """A data directory of node 2 with these records."""
    storage = LmdbStorage(directory, "some", 2)
    try:
        for each in batches:
            storage.commit({}, each)
    finally:
        storage.close()
    return directory


def sequences(directory: Path, slot_out: int) -> dict[int, int]:
    """The sequences that are read from a log."""
    return {slot: command[1] for slot, command in read_log(directory, "some", 2, slot_out).items()}


def test_a_log_is_read_from_disk_up_to_where_the_node_was(tmp_path: Path) -> None:
    directory = written(
        tmp_path / "data", batch((1, 4, 1, [wire(1), wire(2), wire(3)])), batch((4, 5, 4, [wire(4)]), index=2)
    )
    assert sequences(directory, 5) == {1: 1, 2: 2, 3: 3, 4: 4}
    assert sequences(directory, 3) == {1: 1, 2: 2}
    assert sequences(directory, 1) == {}


def test_the_newest_record_holds_only_where_it_covers(tmp_path: Path) -> None:
    """The second record lies inside the first; the third reaches over its end, and is older than the fourth."""
    directory = written(
        tmp_path / "data",
        batch((1, 7, 1, [wire(sequence) for sequence in range(1, 7)])),
        batch((3, 5, 3, [wire(33), wire(34)]), index=2),
        batch((5, 9, 5, [wire(sequence) for sequence in range(55, 59)]), (1, 2, 1, [wire(11)]), index=3),
    )
    assert sequences(directory, 9) == {1: 11, 2: 2, 3: 33, 4: 34, 5: 55, 6: 56, 7: 57, 8: 58}


def test_a_record_may_hold_less_than_its_frame(tmp_path: Path) -> None:
    """A frame came whole, but only its slots 12 and 13 were accepted."""
    commands = [wire(sequence) for sequence in range(10, 16)]
    directory = written(tmp_path / "data", batch((12, 14, 10, commands)))
    assert sequences(directory, 100) == {12: 12, 13: 13}


def test_a_damaged_record_is_a_hole(tmp_path: Path) -> None:
    damaged = bytearray(batch((1, 3, 1, [wire(1), wire(2)])))
    damaged[-1] ^= 1
    directory = written(tmp_path / "data", bytes(damaged), batch((3, 4, 3, [wire(3)]), index=2))
    assert sequences(directory, 9) == {3: 3}


def test_two_directories_are_held_against_each_other(tmp_path: Path) -> None:
    one = written(tmp_path / "one", batch((1, 3, 1, [wire(1), wire(2)])))
    same = written(tmp_path / "same", batch((1, 2, 1, [wire(1)])), batch((2, 3, 2, [wire(2)]), index=2))
    other = written(tmp_path / "other", batch((1, 3, 1, [wire(1), wire(2, b"another value")])))
    logs = [read_log(directory, "some", 2, 3) for directory in (one, same, other)]
    assert same_prefix(dict(enumerate(logs[:2]))) == []
    (failure,) = same_prefix(dict(enumerate(logs)))
    assert failure.startswith("slot 2: node 0 has")
    assert lost_writes(told([(1, 2, 1, 1), (3, 4, 2, 2)]), 7, logs[1]) == 0


def test_a_brief_command_tells_kinds_and_payloads_apart() -> None:
    apply, other = codec.CommandKind.APPLY, codec.CommandKind.OPEN_SESSION
    found = {brief((7, 1, kind, 0, payload)) for kind in (apply, other) for payload in (b"", b"a", b"b")}
    assert len(found) == 6
    assert brief((7, 1, apply, 5, b"a")) == brief((7, 1, apply, 0, b"a"))
