"""The base of the compiled machines."""

import pytest

from multipaxos.machine.key_value import KeyValue
from multipaxos.machine.machine import Machine
from multipaxos.machine.python_machine import PythonMachine


def test_both_machines_have_it():
    assert issubclass(KeyValue, Machine)
    assert issubclass(PythonMachine, Machine)
    with pytest.raises(TypeError):
        KeyValue().apply_bytes(1, 0, 0, None)


def test_the_base_is_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Machine().apply_bytes(1, 0, 0, b"")


def test_a_machine_without_a_kind_does_nothing() -> None:
    """It is a base."""
    with pytest.raises(TypeError, match="abstract"):
        Machine().apply_bytes(1, 1, 1, b"x")
    with pytest.raises(TypeError, match="abstract"):
        Machine().state_hash_int()
