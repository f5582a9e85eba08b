"""The builders of commands: what they refuse, and that their codes are those of the compiled machine."""

import re
from pathlib import Path

import pytest

from multipaxos import commands
from multipaxos.errors import TooLarge

EXT = Path(__file__).resolve().parents[2] / "ext" / "multipaxos"
KEY_MAX, VALUE_MAX = 480, 1 << 20

OPERATIONS = ["CREATE", "UPDATE", "PUT", "GET", "REMOVE", "CAS_VALUE", "CAS_VERSION", "SCAN", "TRANSACT"]
ANSWERS = {"OK": "OK", "EXISTS": "EXISTS", "NOT_FOUND": "NOT_FOUND", "MISMATCH": "MISMATCH", "ELSE": "ELSE_TAKEN"}
COMPARES = ["IS_THERE", "IS_MISSING", "VALUE_EQUALS", "VERSION_EQUALS"]


def compiled(name):
    """Every number that the compiled side gives a constant."""
    text = "".join(path.read_text(encoding="utf-8") for path in sorted(EXT.rglob("*.p[yx][xd]")))
    return {int(number) for number in re.findall(rf"(?m)^ +{name} = (\d+)\b", text)}


@pytest.mark.parametrize("name", OPERATIONS + COMPARES)
def test_the_machine_has_the_same_codes_of_commands(name):
    assert compiled(name) == {getattr(commands, name)}


@pytest.mark.parametrize("name", ANSWERS)
def test_the_machine_has_the_same_codes_of_answers(name):
    assert compiled(f"ANSWER_{name}") == {getattr(commands, ANSWERS[name])}


@pytest.mark.parametrize("key", [b"", b"k" * (KEY_MAX + 1)])
@pytest.mark.parametrize("build", [commands.get, commands.remove, commands.exists, commands.missing])
def test_builders_refuse_a_key(build, key):
    with pytest.raises(TooLarge, match=r"1 to 480"):
        build(key)


@pytest.mark.parametrize("build", [commands.put, commands.create, commands.update, commands.value_equals])
def test_builders_refuse_a_value(build):
    with pytest.raises(TooLarge, match=r"at most 1048576"):
        build(b"k", b"v" * (VALUE_MAX + 1))


def test_builders_refuse_a_transaction():
    with pytest.raises(TooLarge, match=r"split it"):
        commands.transact([], [commands.put(b"k", b"v" * VALUE_MAX)] * 2)
    with pytest.raises(TooLarge, match=r"65535"):
        commands.transact([], [commands.get(b"k")] * 65536)
