"""The judge of a torture's history finds made-up failures."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

from multipaxos import commands
from multipaxos.commands import Answer, Exists, Mismatch, NotFound, Value, Written
from multipaxos.judges.history import Operation
from tests.torture import judge

TORTURE = [sys.executable, "-m", "tests.torture"]
ROOT = Path(__file__).resolve().parents[2]

_instants = itertools.count(1)


def operation(command: bytes, answer: Answer | None) -> Operation:
    """An operation that is called after all those made before were answered."""
    return Operation(1, command, answer, next(_instants) * 1000, next(_instants) * 1000)


def put(value: bytes, version: int, key: bytes = b"k") -> Operation:
    """A write that was done."""
    return operation(commands.put(key, value), Written(version))


def got(value: bytes, version: int) -> Operation:
    """A read that found a value."""
    return operation(commands.get(b"k"), Value(value, version))


def test_a_good_history_passes() -> None:
    assert not judge.judge([put(b"a", 1), got(b"a", 1), put(b"b", 2), got(b"b", 2), got(b"b", 2)])


def test_a_lost_write_is_found() -> None:
    """A read after an acknowledged write sees the value before it. The failure shows the smallest part."""
    history = [put(b"0", 1), put(b"a", 2), put(b"b", 3), got(b"a", 2)]
    (failure,) = judge.judge(history)
    assert "not linearizable, key b'k'" in failure
    assert "put b'b'" in failure
    assert "put b'0'" not in failure
    (failure,) = judge.judge([put(b"a", 2), operation(commands.get(b"k"), NotFound())])
    assert "not linearizable" in failure


def test_a_stale_read_is_found() -> None:
    """A read sees the new value, and a later one the old value."""
    first = put(b"a", 1)
    unanswered = operation(commands.put(b"k", b"b"), None)
    assert not judge.judge([first, unanswered, got(b"a", 1), got(b"b", 2)])
    (failure,) = judge.judge([first, unanswered, got(b"b", 2), got(b"a", 1)])
    assert "not linearizable" in failure


def test_a_second_effect_is_found() -> None:
    history = [put(b"a", 1), put(b"b", 2), got(b"a", 3)]
    assert "not linearizable" in judge.judge(history)[0]


def test_a_log_that_forked_is_found() -> None:
    """Two writes have one slot, though they are on two keys."""
    (failure,) = judge.judge([put(b"a", 7), put(b"b", 7, b"l")])
    assert failure.startswith("two writes were done in one slot")


def test_a_log_that_forgot_is_found() -> None:
    """A later write has a lower slot, though it is on another key."""
    assert not judge.judge([put(b"a", 7), put(b"b", 8, b"l")])
    (failure,) = judge.judge([put(b"a", 7), put(b"b", 6, b"l")])
    assert failure.startswith("a write has a higher slot than one that was called after its answer")


def test_a_key_that_is_not_read_in_the_end_is_found() -> None:
    history = [put(b"a", 1), put(b"b", 2, b"l"), got(b"a", 1)]
    (failure,) = judge.never_read(history, history[2].invoked_ns)
    assert failure == "1 keys could not be read in the end, b'l' among them"
    assert not judge.never_read(history[::2], history[2].invoked_ns)
    assert judge.never_read(history[::2], history[2].invoked_ns + 1)


def test_a_history_is_kept_as_it_is(tmp_path: Path) -> None:
    odd = bytes(range(256))
    answers = [None, Written(3), Value(odd, 4), Mismatch(odd, 5), Exists(), NotFound()]
    history = [operation(commands.cas(odd, odd, odd), answer) for answer in answers]
    judge.save(history, tmp_path / "history")
    assert judge.load(tmp_path / "history") == history


def test_a_kept_history_is_judged_again(tmp_path: Path) -> None:
    judge.save([put(b"a", 1), operation(commands.get(b"k"), NotFound())], tmp_path / "history")
    command = [*TORTURE, "--check", str(tmp_path / "history")]
    result = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert result.returncode == 1
    assert "not linearizable" in result.stdout


def test_the_longest_gap() -> None:
    one, other = put(b"a", 1), put(b"b", 2)
    assert judge.longest_gap_s([one, other]) == (other.answered_ns - one.answered_ns) / 1e9
    assert judge.longest_gap_s([one]) == 0
