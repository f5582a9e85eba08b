"""Commands in a user's machine: what is an answer, what ends the node, and where a job ends."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator

import pytest

from multipaxos.errors import MachineStopped
from multipaxos.machine.state_machine import Context, StateMachine
from multipaxos.machine.user_machine import ANSWER_COST, Command, answer_of, run


class Scripted(StateMachine):
    """A machine that does what the test says, and keeps what it was given."""

    def __init__(self, outcome: object) -> None:
        self.outcome = outcome
        self.given: list[tuple[bytes, Context]] = []

    def apply(self, command: bytes, context: Context) -> bytes:
        self.given.append((command, context))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome  # type: ignore[return-value]

    def snapshot(self) -> Iterator[bytes]:
        return iter(())

    def restore(self, chunks: Iterable[bytes]) -> None:
        assert list(chunks) == []  # it has no state


class Unprintable(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")


class Bottomless(Exception):
    def __str__(self) -> str:
        raise RecursionError("a text that never ends")


class Exhausting(Exception):
    def __str__(self) -> str:
        raise MemoryError


def command(slot: int = 1, payload: bytes = b"command") -> Command:
    return slot, 2, 3, 1, payload


def applied(outcome: object, mixed_python: bool = False) -> tuple[bool, bytes]:
    return answer_of(Scripted(outcome), command(), mixed_python)


@pytest.mark.parametrize("payload", [b"", b"command", bytes(1 << 20)], ids=len)
def test_the_machine_is_given_the_command_and_its_context(payload: bytes) -> None:
    user = Scripted(b"answer")
    assert answer_of(user, (2**64 - 1, 2**63, 7, 2**32 - 1, payload)) == (False, b"answer")
    known = Context(slot=2**64 - 1, time_ns=2**63, session=7, machine_version=2**32 - 1)
    assert user.given == [(payload, known)]


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such account"), b"ValueError: no such account"),
        (KeyError("k"), b"KeyError: 'k'"),
        (ValueError("gr\u00fcn"), "ValueError: gr\u00fcn".encode()),
        (SystemExit(3), b"SystemExit: 3"),
        (GeneratorExit(), b"GeneratorExit: "),
        (StopIteration(), b"StopIteration: "),
        (RecursionError("too deep"), b"RecursionError: too deep"),
        (BaseException("any"), b"BaseException: any"),
        (Unprintable(), b"Unprintable: (its text cannot be made)"),
        (Bottomless(), b"Bottomless: (its text cannot be made)"),
    ],
    ids=lambda each: type(each).__name__,
)
def test_an_exception_of_any_type_is_a_refusal(error: BaseException, text: bytes) -> None:
    assert applied(error) == (True, text)


def test_lone_surrogates_are_a_refusal_too() -> None:
    refused, text = applied(ValueError("\ud800"))
    assert refused
    assert text.decode().startswith("ValueError: ")


@pytest.mark.parametrize("shift", range(4))
def test_the_text_is_cut_at_a_character(shift: int) -> None:
    refused, text = applied(ValueError("x" * shift + "\U0001f600" * 1000))
    assert refused
    assert 996 < len(text) <= 1000
    assert text.decode().startswith("ValueError: " + "x" * shift + "\U0001f600")


@pytest.mark.parametrize("answer", [None, "text", bytearray(b"bytes"), 7])
def test_an_answer_that_is_not_bytes_is_refused(answer: object) -> None:
    refused, text = applied(answer)
    assert refused
    assert text.startswith(b"TypeError: ")
    assert type(answer).__name__.encode() in text


def test_bytes_of_a_class_of_the_users_are_an_answer_whatever_they_do() -> None:
    class Odd(bytes):
        def __bytes__(self) -> bytes:
            raise ValueError("no bytes")

    assert applied(Odd(b"answer")) == (True, b"ValueError: no bytes")


@pytest.mark.parametrize(
    "error",
    [MemoryError(), KeyboardInterrupt(), asyncio.CancelledError(), Exhausting()],
    ids=lambda error: type(error).__name__,
)
def test_what_replicas_would_not_share_stops_the_node(error: BaseException) -> None:
    with pytest.raises(MachineStopped, match=r"slot 1 \(session 3, 7 bytes\)") as stopped:
        applied(error)
    assert (stopped.value.slot, stopped.value.session, stopped.value.size) == (1, 3, 7)
    assert type(stopped.value.__cause__) in (type(error), MemoryError)


def test_where_versions_of_python_are_mixed_a_deep_stack_stops_the_node() -> None:
    with pytest.raises(MachineStopped, match="RecursionError: deep"):
        applied(RecursionError("deep"), mixed_python=True)
    assert applied(ValueError("no"), mixed_python=True) == (True, b"ValueError: no")


def test_brackets_without_end_are_an_answer() -> None:
    class Json(Scripted):
        def apply(self, command: bytes, context: Context) -> bytes:
            return repr(json.loads(command)).encode()

    refused, text = answer_of(Json(b""), command(payload=b"[" * 100_000))
    assert refused
    assert text.startswith(b"RecursionError: ")
    assert answer_of(Json(b""), command(payload=b"[[]]")) == (False, b"[[]]")


# -- a job


def slots_run(user: StateMachine, count: int, answer_bytes_max: int, may_go_on: Iterable[bool] = ()) -> int:
    """How many of `count` commands are answered."""
    verdicts = iter(may_go_on)
    commands = [command(slot) for slot in range(1, count + 1)]
    return len(run(user, commands, answer_bytes_max, may_go_on=lambda: next(verdicts, True)))


def test_commands_are_applied_in_order() -> None:
    user = Scripted(b"answer")
    answers = run(user, [command(slot, b"%d" % slot) for slot in (4, 7, 8)], 1 << 20)
    assert answers == [(False, b"answer")] * 3
    assert [(payload, context.slot) for payload, context in user.given] == [(b"4", 4), (b"7", 7), (b"8", 8)]


def test_a_job_ends_when_a_bound_of_kept_answers_could_be_reached() -> None:
    each = 1000 + ANSWER_COST
    assert slots_run(Scripted(bytes(1000)), 9, 0) == 1
    assert slots_run(Scripted(bytes(1000)), 9, 3 * each - 1) == 3
    assert slots_run(Scripted(bytes(1000)), 9, 3 * each) == 4
    assert slots_run(Scripted(bytes(1000)), 9, 1 << 20) == 9


def test_a_job_ends_when_it_may_not_go_on() -> None:
    assert slots_run(Scripted(b""), 9, 1 << 20, [True, True, False]) == 3
