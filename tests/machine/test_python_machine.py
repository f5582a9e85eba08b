"""The core's side of a user's machine: answers that were prepared, their bound, and the hash over them."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from multipaxos.errors import InvariantViolation
from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.semantics import VERSIONS

ANSWER_MAX = VERSIONS[0].machine_answer_bytes_max
Answer = tuple[bool, bytes]


def applied(*answers: Answer) -> Answer:
    return PythonMachine(lambda commands, _: list(answers), inside=True).apply_bytes(1, 2, 3, b"command")


def hashes(*steps: tuple[int, bytes, Answer]) -> int:
    """The state hash after steps of (slot, command, answer)."""
    answers = iter([answer for _, _, answer in steps])
    machine = PythonMachine(lambda commands, _: [next(answers)], inside=True)
    for slot, command, _ in steps:
        machine.apply_bytes(slot, 0, 0, command)
    return machine.state_hash_int()


def ok(data: bytes) -> Answer:
    return False, data


def no(text: bytes) -> Answer:
    return True, text


def test_the_machine_is_given_the_command_and_what_it_may_know() -> None:
    given: list[object] = []

    def run(commands: Sequence[object], answer_bytes_max: int) -> list[Answer]:
        given.extend(commands)
        return [ok(b"answer")]

    machine = PythonMachine(run, inside=True)
    assert machine.apply_bytes(2**64 - 1, 2**63, 7, b"command") == (False, b"answer")
    assert machine.apply_bytes(1, 2, 3, b"", 2**32 - 1) == (False, b"answer")
    assert given == [(2**64 - 1, 2**63, 7, 1, b"command"), (1, 2, 3, 2**32 - 1, b"")]


def test_the_newest_version_that_a_machine_can_be() -> None:
    assert PythonMachine(lambda commands, _: []).version == 1
    assert PythonMachine(lambda commands, _: [], 3).version == 3


def test_the_greatest_answer() -> None:
    assert applied(ok(bytes(ANSWER_MAX))) == (False, bytes(ANSWER_MAX))
    refused, text = applied(ok(bytes(ANSWER_MAX + 1)))
    assert refused
    assert text == b"ValueError: the machine answered with %d bytes, more than %d" % (ANSWER_MAX + 1, ANSWER_MAX)


def test_equal_histories_have_equal_hashes() -> None:
    history = [(1, b"a", ok(b"1")), (2, b"b", no(b"no")), (5, b"", ok(b""))]
    assert hashes(*history) == hashes(*history)


@pytest.mark.parametrize(
    "other",
    [
        [(2, b"a", ok(b"1"))],
        [(1, b"b", ok(b"1"))],
        [(1, b"a", ok(b"2"))],
        [(1, b"a1", ok(b""))],
        [(1, b"a", ok(b"1\0"))],
        [(1, b"a", no(b"1"))],
        [(1, b"a", ok(b"1")), (2, b"a", ok(b"1"))],
        [],
    ],
)
def test_other_histories_have_other_hashes(other: list[tuple[int, bytes, Answer]]) -> None:
    assert hashes((1, b"a", ok(b"1"))) != hashes(*other)


def test_the_text_of_a_refusal_is_not_hashed() -> None:
    """A text may have an address, which differs between processes; only the refusal counts."""
    assert hashes((1, b"a", no(b"<object at 0x1>"))) == hashes((1, b"a", no(b"<object at 0x2>")))
    assert hashes((1, b"a", no(b"x"))) != hashes((1, b"a", ok(b"x")))


def test_an_answer_that_was_not_prepared_is_a_fault() -> None:
    with pytest.raises(InvariantViolation, match="no answer for the command of slot 1"):
        PythonMachine(lambda commands, _: [], inside=False).apply_bytes(1, 2, 3, b"command")
