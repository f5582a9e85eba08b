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
