"""Settings, applied one by one."""

from __future__ import annotations

import pytest

from multipaxos.errors import LogTooNew, MachineTooOld
from multipaxos.paxos.settings import MACHINE_VERSION, SEMANTICS, Settings, encode_setting


def applied(settings: Settings, name: int, value: int, slot: int = 9) -> int:
    """The number that a setting answers with."""
    refused, answer = settings.apply_bytes(slot, 0, 5, encode_setting(name, value))
    assert not refused
    assert len(answer) == 8
    return int.from_bytes(answer, "little")


def numbers(settings: Settings) -> tuple[int, int]:
    """What is in force."""
    return settings.semantics, settings.machine_version


def test_a_setting_raises_its_number_and_no_other() -> None:
    settings = Settings(5, 7)
    assert numbers(settings) == (1, 1)
    assert applied(settings, MACHINE_VERSION, 4) == 4
    assert numbers(settings) == (1, 4)
    assert applied(settings, SEMANTICS, 5) == 5
    assert numbers(settings) == (5, 4)


@pytest.mark.parametrize("name", [SEMANTICS, MACHINE_VERSION])
@pytest.mark.parametrize("value", [0, 1, 2, 3])
def test_a_setting_that_raises_nothing_changes_nothing(name: int, value: int) -> None:
    settings = Settings(5, 7)
    applied(settings, name, 3)
    hash_before = settings.state_hash_int()
    assert applied(settings, name, value) == 3
    assert settings.state_hash_int() == hash_before


def test_the_hash_tells_settings_apart() -> None:
    one, other, none = Settings(5, 7), Settings(5, 7), Settings(9, 9)
    applied(one, SEMANTICS, 2)
    applied(other, MACHINE_VERSION, 2)
    assert len({settings.state_hash_int() for settings in (one, other, none)}) == 3
    assert none.state_hash_int() == Settings().state_hash_int()


def test_a_machine_that_is_too_old_stops() -> None:
    settings = Settings(5, 7)
    with pytest.raises(MachineTooOld, match=r"slot 9 raises .* to 8, this node's machine is version 7: start"):
        applied(settings, MACHINE_VERSION, 8)
    assert numbers(settings) == (1, 1)


def test_a_program_that_is_too_old_stops() -> None:
    settings = Settings(5, 7)
    with pytest.raises(LogTooNew, match=r"slot 9 raises the semantics of the log to 6, this program knows 5 at most"):
        applied(settings, SEMANTICS, 6)
    with pytest.raises(LogTooNew, match="setting 3, which this program does not know"):
        applied(settings, 3, 1)


@pytest.mark.parametrize("payload", [b"", b"x", bytes(9), bytes(11), bytes(1000)], ids=len)
def test_what_is_no_setting_is_refused(payload: bytes) -> None:
    settings = Settings(5, 7)
    assert settings.apply_bytes(9, 0, 5, payload) == (True, b"this is no setting")
    assert numbers(settings) == (1, 1)
