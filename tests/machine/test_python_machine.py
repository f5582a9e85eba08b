"""A user's machine inside a replica: what it is given, what becomes of its errors, what stops the node."""

import pytest

from multipaxos.machine.python_machine import PythonMachine
from multipaxos.machine.state_machine import Context, StateMachine

ANSWER_MAX = (1 << 20) + (64 << 10)


class Scripted(StateMachine):
    """A machine that does what the test says, and keeps what it was given."""

    def __init__(self, outcome):
        self.outcome, self.given = outcome, []

    def apply(self, command, context):
        self.given.append((command, context))
        if isinstance(self.outcome, BaseException):
            raise self.outcome
        return self.outcome

    def snapshot(self):
        return iter(())

    def restore(self, chunks):
        self.given = list(chunks)


class Unprintable(Exception):
    def __str__(self):
        raise ValueError("no text")


class Bottomless(Exception):
    def __str__(self):
        raise RecursionError("a text that never ends")


def applied(outcome):
    return PythonMachine(Scripted(outcome)).apply_bytes(1, 2, 3, b"command")


def hashes(*steps):
    """The state hash after steps of (slot, command, outcome)."""
    user = Scripted(b"")
    machine = PythonMachine(user)
    for slot, command, outcome in steps:
        user.outcome = outcome
        machine.apply_bytes(slot, 0, 0, command)
    return machine.state_hash_int()


@pytest.mark.parametrize("command", [b"", b"command", bytes(1 << 20)], ids=len)
def test_the_machine_is_given_the_command_and_its_context(command):
    user = Scripted(b"answer")
    assert PythonMachine(user).apply_bytes(2**64 - 1, 2**63, 7, command) == (False, b"answer")
    assert user.given == [(command, Context(slot=2**64 - 1, time_ns=2**63, session=7))]


def test_the_machine_is_given_the_version_in_force():
    user = Scripted(b"answer")
    machine = PythonMachine(user)
    machine.apply_bytes(1, 2, 3, b"x")
    machine.apply_bytes(1, 2, 3, b"x", 2**32 - 1)
    assert [context.machine_version for _, context in user.given] == [1, 2**32 - 1]


def test_the_newest_version_that_a_machine_can_be():
    class Third(Scripted):
        version = 3

    assert PythonMachine(Scripted(b"")).version == 1
    assert PythonMachine(Third(b"")).version == 3


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ValueError("no such account"), b"ValueError: no such account"),
        (KeyError("k"), b"KeyError: 'k'"),
        (ValueError("gr\u00fcn"), "ValueError: gr\u00fcn".encode()),
    ],
)
def test_an_exception_is_a_refusal(error, text):
    assert applied(error) == (True, text)


def test_a_text_that_cannot_be_made_is_a_refusal_too():
    refused, text = applied(Unprintable())
    assert refused
    assert text.startswith(b"Unprintable")


def test_lone_surrogates_are_a_refusal_too():
    refused, text = applied(ValueError("\ud800"))
    assert refused
    assert text.decode().startswith("ValueError: ")


@pytest.mark.parametrize("shift", range(4))
def test_the_text_is_cut_at_a_character(shift):
    refused, text = applied(ValueError("x" * shift + "\U0001f600" * 1000))
    assert refused
    assert 996 < len(text) <= 1000
    assert text.decode().startswith("ValueError: " + "x" * shift + "\U0001f600")


@pytest.mark.parametrize("answer", [None, "text", bytearray(b"bytes"), 7])
def test_an_answer_that_is_not_bytes_is_refused(answer):
    refused, text = applied(answer)
    assert refused
    assert text.startswith(b"TypeError: ")
    assert type(answer).__name__.encode() in text


def test_the_greatest_answer():
    assert applied(bytes(ANSWER_MAX)) == (False, bytes(ANSWER_MAX))
    refused, text = applied(bytes(ANSWER_MAX + 1))
    assert refused
    assert str(ANSWER_MAX).encode() in text


@pytest.mark.parametrize("error", [MemoryError, RecursionError, KeyboardInterrupt, SystemExit])
def test_what_replicas_would_not_share_stops_the_node(error):
    with pytest.raises(error):
        applied(error())


def test_a_stack_that_ends_in_an_errors_text_stops_the_node():
    with pytest.raises(RecursionError):
        applied(Bottomless())


def test_equal_histories_have_equal_hashes():
    history = [(1, b"a", b"1"), (2, b"b", ValueError("no")), (5, b"", b"")]
    assert hashes(*history) == hashes(*history)


@pytest.mark.parametrize(
    "other",
    [
        [(2, b"a", b"1")],
        [(1, b"b", b"1")],
        [(1, b"a", b"2")],
        [(1, b"a1", b"")],
        [(1, b"a", b"1\0")],
        [(1, b"a", ValueError("1"))],
        [(1, b"a", b"1"), (2, b"a", b"1")],
        [],
    ],
)
def test_other_histories_have_other_hashes(other):
    assert hashes((1, b"a", b"1")) != hashes(*other)


def test_the_text_of_a_refusal_is_not_hashed():
    """A text may have an address, which differs between processes; only the refusal counts."""
    assert hashes((1, b"a", ValueError("<object at 0x1>"))) == hashes((1, b"a", ValueError("<object at 0x2>")))
    assert hashes((1, b"a", ValueError("x"))) != hashes((1, b"a", b"ValueError: x"))
