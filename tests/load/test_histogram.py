"""The compiled histogram gives what the hdrhistogram package gives."""

import pytest
from hdrh.histogram import HdrHistogram
from hypothesis import given, settings
from hypothesis import strategies as st

from multipaxos.load.hdr import to_hdrh
from multipaxos.load.histogram import HIGHEST_DEFAULT, HIGHEST_MAX, SIGNIFICANT_DIGITS, Histogram

PERCENTS = (0, 0.1, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100)
HIGHEST = 3_600_000

# Small values, values at the edges of buckets, and values at the edge of what is counted.
edges = st.builds(lambda power, off: max(0, (1 << power) + off), st.integers(0, 23), st.integers(-2, 2))
values = st.integers(0, 4096) | edges | st.integers(0, 2 * HIGHEST)


def both(recorded, highest=HIGHEST):
    ours, theirs = Histogram(highest), HdrHistogram(1, highest, SIGNIFICANT_DIGITS)
    ours.record_all(recorded)
    for value in recorded:
        theirs.record_value(value)
    return ours, theirs


def buckets(hdr):
    """(lowest value, count) of every bucket of a HdrHistogram that counted something."""
    counted = ((index, hdr.get_count_at_index(index)) for index in range(hdr.counts_len))
    return [(hdr.get_value_from_index(index), count) for index, count in counted if count]


@settings(max_examples=30, deadline=None)
@given(st.lists(values, max_size=60))
def test_same_as_hdrhistogram(recorded):
    ours, theirs = both(recorded)
    assert ours.nonzero() == buckets(theirs)
    assert ours.total == theirs.get_total_count()
    assert ours.lost == len(recorded) - theirs.get_total_count()
    for percent in PERCENTS:
        assert ours.percentile(percent) == theirs.get_value_at_percentile(percent)


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, HIGHEST), max_size=60))
def test_to_hdrh(recorded):
    ours, theirs = both(recorded)
    poured = to_hdrh(ours)
    assert buckets(poured) == buckets(theirs)
    assert poured.get_total_count() == theirs.get_total_count()
    assert poured.get_max_value() == theirs.get_max_value()
    assert poured.get_min_value() == theirs.get_min_value()
    assert HdrHistogram.decode(poured.encode()).get_value_at_percentile(99) == ours.percentile(99)


@given(st.lists(st.integers(0, HIGHEST), min_size=1))
def test_min_max_and_mean_are_exact(recorded):
    ours = Histogram(HIGHEST)
    ours.record_all(recorded)
    assert (ours.min, ours.max) == (min(recorded), max(recorded))
    assert ours.mean == sum(recorded) / len(recorded)


@settings(deadline=None)
@given(st.lists(values), st.lists(values))
def test_merge_counts_all(left, right):
    ours, other, whole = Histogram(HIGHEST), Histogram(HIGHEST), Histogram(HIGHEST)
    ours.record_all(left)
    other.record_all(right)
    whole.record_all(left + right)
    ours.merge(other)
    assert ours.nonzero() == whole.nonzero()
    for name in ("total", "lost", "min", "max", "mean"):
        assert getattr(ours, name) == getattr(whole, name)


def test_the_sum_does_not_overflow():
    ours, other = Histogram(HIGHEST_MAX), Histogram(HIGHEST_MAX)
    ours.record_all([HIGHEST_MAX] * 9)
    other.record_all([HIGHEST_MAX] * 7)
    ours.merge(other)
    assert ours.mean == float(HIGHEST_MAX)
    assert ours.total == 16


def test_an_hour_by_default():
    ours, theirs = both([1, 999, 123_456_789, HIGHEST_DEFAULT], HIGHEST_DEFAULT)
    assert ours.highest == HIGHEST_DEFAULT
    assert Histogram().highest == HIGHEST_DEFAULT
    assert ours.nonzero() == buckets(theirs)
    assert ours.lost == 0


def test_what_does_not_fit_is_lost_and_counted():
    ours = Histogram(1000)
    ours.record_value(2047)
    ours.record_value(1 << 63)
    ours.record_value((1 << 64) - 1)
    assert (ours.total, ours.lost, ours.max) == (1, 2, 2047)


def test_empty():
    ours = Histogram()
    assert (ours.total, ours.min, ours.max, ours.mean, ours.percentile(50), ours.nonzero()) == (
        0,
        0,
        0,
        0.0,
        0,
        [],
    )
    assert to_hdrh(ours).get_total_count() == 0


@pytest.mark.parametrize("highest", [1, 0, -1, HIGHEST_MAX + 1, 2.0, "2"])
def test_highest_is_checked(highest):
    with pytest.raises(ValueError, match="must be a whole number, 2 to"):
        Histogram(highest)


def test_only_equals_are_merged():
    with pytest.raises(ValueError, match="up to 1000 cannot go into one up to 2000"):
        Histogram(2000).merge(Histogram(1000))


@pytest.mark.parametrize("percent", [-0.1, 100.1, float("nan")])
def test_percentiles_are_checked(percent):
    with pytest.raises(ValueError, match="must be 0 to 100"):
        Histogram().percentile(percent)
