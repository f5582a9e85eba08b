"""How much a client keeps in flight."""

from __future__ import annotations

import pytest

from multipaxos.client.window import FLOOR, STEP, Window


def narrowed(times: int) -> Window:
    """A window of 6,400 commands and 64,000 bytes that was refused so often."""
    window = Window(6400, 64_000)
    for _ in range(times):
        window.refused()
    return window


def test_a_refusal_halves_it_down_to_a_floor() -> None:
    assert [(w.commands, w.bytes) for w in map(narrowed, (0, 1, 2))] == [(6400, 64_000), (3200, 32_000), (1600, 16_000)]
    assert (narrowed(100).commands, narrowed(100).bytes) == (int(FLOOR * 6400), int(FLOOR * 64_000))


@pytest.mark.parametrize("size", [0, 1000])
def test_each_window_of_answers_widens_it_by_a_step(size: int) -> None:
    """Counted in commands or in bytes, whichever there are more windows of; never over the whole."""
    window, windows = narrowed(3), 0.0
    while window.commands < 6400:
        before = window.commands
        window.answered(1, size)
        windows += max(1 / before, size * 6400 / 64_000 / before)
        assert window.commands <= 6400
    assert windows == pytest.approx((1 - 1 / 8) / STEP, rel=0.05)
    assert (window.commands, window.bytes) == (6400, 64_000)


def test_one_command_always_has_room() -> None:
    window = narrowed(100)
    assert window.has_room(0, 0, 1 << 20)
    assert not window.has_room(1, 1, 1 << 20)
    assert window.has_room(window.commands - 1, 1, 1)
    assert not window.has_room(window.commands, 1, 1)
    small = Window(1, 10)
    small.refused()
    assert small.has_room(0, 0, 5)
