"""Tables: values have as many digits as their interval supports, and the CSV has everything."""

import csv
import io

import pytest

# ruff: noqa: E402
np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")

from hypothesis import given
from hypothesis import strategies as st

from evaluation.estimates import Estimate, Quantile
from evaluation.tables import LATENCY, THROUGHPUT, Column, Quantity, Table, estimate_text, value_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (41234, "41,200"),
        (999.6, "1,000"),
        (41.25, "41.2"),
        (5.0, "5.00"),
        (0.012345, "0.0123"),
        (-3, "-3.00"),
    ],
)
def test_three_digits(value, text):
    assert value_text(value) == text


@pytest.mark.parametrize(
    ("estimate", "text"),
    [
        (Estimate(10, 41234, 39934, 42534), "41.2 ± 1.3 k/s"),
        (Estimate(10, 41234, 41138, 41330), "41.234 ± 0.096 k/s"),
        (Estimate(10, 41234, 41134.2, 41333.8), "41.23 ± 0.10 k/s"),  # 0.0998 has two digits as 0.10
        (Estimate(10, 412_345, 400_000, 424_690), "412 ± 12 k/s"),
        (Estimate(10, 4_123_456, 4_000_000, 4_246_912), "4,120 ± 120 k/s"),
        (Estimate(10, 41234, 40111, 44000), "41.2 [40.1, 44.0] k/s"),
        (Estimate(1, 41234), "41.2 k/s"),
        (Estimate(2, 41234, 41234, 41234), "41.2 ± 0 k/s"),
    ],
)
def test_digits_follow_the_interval(estimate, text):
    assert estimate_text(estimate, THROUGHPUT) == text


def test_what_floating_point_makes_of_equal_values_is_no_interval() -> None:
    """Two runs counted the same, in tenths of a second."""
    assert estimate_text(Estimate(2, 1.37, 1.37 - 2e-16, 1.37 + 2e-16)) == "1.37 ± 0"


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_an_interval_is_told_to_two_digits_and_the_value_to_the_same_place(value, half):
    told, interval = estimate_text(Estimate(5, value, value - half, value + half)).replace(",", "").split(" ± ")
    assert float(interval) == pytest.approx(half, rel=0.051)
    assert len(told.partition(".")[2]) == len(interval.partition(".")[2])
    assert abs(float(told) - value) <= 0.06 * half + 1e-6


TABLE = Table(
    (Column("system"), Column("throughput", THROUGHPUT), Column("p99", LATENCY), Column("runs")),
    (
        ("multi|paxos", Estimate(10, 41234, 39934, 42534), Quantile(99, 1234.5, at_least=True), 10),
        ("LibPaxos3", Estimate(1, 17400), None, 1),
    ),
)


def test_markdown():
    assert TABLE.markdown() == (
        "| system       | throughput (k/s) | p99 (ms) | runs |\n"
        "| ------------ | ---------------: | -------: | ---: |\n"
        "| multi\\|paxos |       41.2 ± 1.3 |   ≥ 1.23 |   10 |\n"
        "| LibPaxos3    |             17.4 |        - |    1 |\n"
    )


def test_csv_rounds_nothing():
    first, second = csv.DictReader(io.StringIO(TABLE.csv()))
    assert first["system"] == "multi|paxos"
    assert [float(first[f"throughput (k/s){part}"]) for part in ("", " low", " high", " runs")] == pytest.approx(
        [41.234, 39.934, 42.534, 10]
    )
    assert (float(first["p99 (ms)"]), first["p99 (ms) at least"]) == (pytest.approx(1.2345), "1")
    assert (second["throughput (k/s) low"], second["p99 (ms)"], second["runs"]) == ("", "", "1")


def test_a_row_has_a_cell_for_each_column():
    with pytest.raises(ValueError, match="a row of 1 cells"):
        Table(TABLE.columns, (("multipaxos",),))


def test_a_quantity_has_a_unit():
    with pytest.raises(ValueError, match="has no unit"):
        Quantity("cluster size", "")
