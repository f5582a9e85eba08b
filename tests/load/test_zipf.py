"""The popularity of keys follows Zipf's law."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from multipaxos.load.zipf import Zipf

COLUMN = 1 << 16  # draws of each column, evenly over its width


def shares(keys: int, exponent: float) -> list[float]:
    """The share of all 64-bit numbers that stands for each key: every column, evenly sampled."""
    popularity = Zipf(keys, exponent)
    counts = [0] * keys
    step = (1 << 32) // COLUMN
    for column in range(keys):
        upper = -(-(column << 32) // keys)
        for i in range(COLUMN):
            counts[popularity.draw_key(upper << 32 | i * step)] += 1
    return [count / (keys * COLUMN) for count in counts]


@pytest.mark.parametrize("exponent", [0.0, 0.5, 0.99, 1.0, 2.0])
def test_shares_are_those_of_zipfs_law(exponent: float) -> None:
    weights = [(rank + 1) ** -exponent for rank in range(7)]
    expected = [weight / sum(weights) for weight in weights]
    assert shares(7, exponent) == pytest.approx(expected, abs=2 / COLUMN)


@given(st.integers(1, 5000), st.floats(0, 3), st.integers(0, 2**64 - 1))
def test_every_draw_is_a_key(keys: int, exponent: float, drawn: int) -> None:
    assert 0 <= Zipf(keys, exponent).draw_key(drawn) < keys


def test_the_first_key_of_many_is_drawn_as_often_as_it_should() -> None:
    chance, popularity = random.Random(1), Zipf(100_000, 1.0)
    first = sum(popularity.draw_key(chance.getrandbits(64)) == 0 for _ in range(100_000)) / 100_000
    assert first == pytest.approx(1 / 12.09, rel=0.05)  # 1 / H(100,000)


@pytest.mark.parametrize(("keys", "exponent"), [(0, 0.0), (2**31 + 1, 0.0), (5, -0.1), (5, 10.5), (5, float("nan"))])
def test_bad_numbers(keys: int, exponent: float) -> None:
    with pytest.raises(ValueError, match=r"keys|exponent"):
        Zipf(keys, exponent)


def test_it_is_made_once() -> None:
    popularity = Zipf(5, 1.0)
    with pytest.raises(RuntimeError, match="initialized once"):
        popularity.__init__(6, 1.0)  # type: ignore[misc]
