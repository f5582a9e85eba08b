"""Time series, averages and gaps of made-up records with known results."""

import math
from itertools import pairwise

import pytest

# ruff: noqa: E402
np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")

from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import estimates, series
from evaluation.errors import BadRecords
from evaluation.records import REFUSED
from evaluation.series import SECOND, Gap
from tests.evaluation.rows import START_NS, answers, at, rows

times = st.lists(st.integers(-2000, 7000).map(lambda ms: ms / 1000), max_size=50)


def seconds(*completed, first=1.0):
    """A client's rows; its first second ends `first` after the measurement began."""
    return np.array([(at(first + place), count) for place, count in enumerate(completed)], dtype=SECOND)


def test_bins_are_aligned_to_the_measurement_and_by_the_answer():
    found = series.of_operations(
        rows([(-0.05, -0.05, 0.0), (0.05, 0.05, 0.099_999), (0.05, 0.06, 0.1), (0.35, 0.35, 0.4)]), at(0), at(0.4)
    )
    assert found.at_s.tolist() == pytest.approx([0.05, 0.15, 0.25, 0.35])
    assert found.throughput_per_s.tolist() == pytest.approx([20, 10, 0, 0])
    assert found.latency_us[:2].tolist() == pytest.approx([49_999.5, 50_000])  # from the planned time
    assert np.isnan(found.latency_us[2:]).all()
    assert found.mean_throughput_per_s == pytest.approx(3 / 0.4)
    assert found.mean_latency_us == pytest.approx((50_000 + 49_999 + 50_000) / 3)
    assert not found.derived


def test_a_part_of_a_bin_is_left_out_of_the_bins_and_not_of_the_mean():
    found = series.of_operations(answers([0.05, 0.24]), at(0), at(0.25))
    assert found.throughput_per_s.tolist() == pytest.approx([10, 0])
    assert found.mean_throughput_per_s == pytest.approx(2 / 0.25)
    with pytest.raises(ValueError, match="no whole bin"):
        series.of_operations(answers([0.05]), at(0), at(0.05))


def test_what_was_refused_was_not_served():
    found = series.of_operations(rows([(0, 0, 0.05, REFUSED), (0, 0, None)]), at(0), at(0.1))
    assert found.throughput_per_s.tolist() == [0]
    assert found.mean_latency_us is None


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(-500, 1500), st.integers(1, 400)), max_size=60))
def test_bins_as_by_hand(pairs):
    """Rows of (answered, latency) in milliseconds."""
    made = rows([((a - lag) / 1e3, (a - lag) / 1e3, a / 1e3) for a, lag in pairs])
    found = series.of_operations(made, at(0), at(1))
    for place in range(10):
        inside = [lag * 1e3 for a, lag in pairs if place * 100 <= a < (place + 1) * 100]
        assert found.throughput_per_s[place] == pytest.approx(len(inside) * 10)
        told = (found.latency_us[place], found.p50_us[place], found.p99_us[place])
        if inside:
            p50, p99 = estimates.percentiles(inside, [50, 99])
            assert told == (pytest.approx(np.mean(inside)), pytest.approx(p50.value), pytest.approx(p99.value))
        else:
            assert all(math.isnan(value) for value in told)


def test_ewma_of_a_step_is_an_exponential():
    found = series.ewma([0.0] + [1.0] * 50, 0.1, tau_s=1.0)
    assert found.tolist() == pytest.approx([1 - math.exp(-0.1 * place) for place in range(51)])
    assert found[10] == pytest.approx(1 - 1 / math.e)  # after one time constant


def test_ewma_does_not_depend_on_the_width_of_bins():
    coarse, fine = series.ewma([0.0, 1.0, 1.0], 0.5), series.ewma([0.0] + [1.0] * 10, 0.1)
    assert coarse[2] == pytest.approx(fine[10])


def test_ewma_never_bridges_what_is_missing():
    found = series.ewma([math.nan, 4.0, 2.0, math.nan, math.nan, 10.0, 10.0], 0.1)
    alpha = 1 - math.exp(-0.1)
    assert np.isnan(found[[0, 3, 4]]).all()
    assert found[[1, 2, 5, 6]].tolist() == pytest.approx([4, 4 - 2 * alpha, 10, 10])


def test_ewma_as_pandas():
    pandas = pytest.importorskip("pandas", reason="pandas is of the extra `evaluation`")
    values = np.random.default_rng(1).random(100)
    wanted = pandas.Series(values).ewm(alpha=1 - math.exp(-0.1), adjust=False).mean()
    assert series.ewma(values, 0.1).tolist() == pytest.approx(wanted.tolist())


def test_throughputs_average_takes_the_zeros_and_latencys_is_missing():
    found = series.of_operations(answers([0.05, 0.35], latency_s=0.01), at(0), at(0.4))
    decay = math.exp(-0.1)
    assert found.throughput_ewma_per_s[:3].tolist() == pytest.approx([10, 10 * decay, 10 * decay**2])
    assert np.isnan(found.latency_ewma_us).tolist() == [False, True, True, False]


def longest_by_hand(answered, began, ended):
    """The definition in other words: every stretch, also before the first answer and after the last one."""
    seen = sorted(answered)
    stretches = [(a, b) for a, b in pairwise(seen) if a < ended and b > began]
    if not seen or seen[0] > began:
        stretches.append((began, seen[0] if seen else ended))
    if seen and seen[-1] < ended:
        stretches.append((seen[-1], ended))
    return max((b - a for a, b in stretches), default=0.0)


@settings(deadline=None)
@given(times, st.integers(0, 4), st.integers(1, 3))
def test_longest_gap_as_by_hand(answered, began, length):
    found = series.longest_gap(answers(answered), at(began), at(began + length))
    assert found.seconds == pytest.approx(longest_by_hand(answered, began, began + length), abs=1e-6)


def test_a_gap_is_as_long_as_it_was_and_not_as_the_window():
    found = series.longest_gap(answers([0.5, 0.9, 2.5, 2.6]), at(1), at(2))
    assert found == Gap(at(0.9), at(2.5), pytest.approx(1.6))


def test_a_gap_that_does_not_end_is_at_least_so_long():
    assert series.longest_gap(answers([0.5, 0.9]), at(0), at(3)) == Gap(at(0.9), None, pytest.approx(2.1))
    assert series.longest_gap(answers([]), at(0), at(3)) == Gap(at(0), None, pytest.approx(3))


def test_an_outage_ends_with_the_first_answer_to_what_was_sent_after_the_fault():
    """At 1.0 the leader dies; an answer on its way still comes at 1.002. The next leader serves from 1.6 on: first
    the commands that had waited, then those that are sent now."""
    made = rows([(0.99, 0.99, 0.995), (0.996, 0.996, 1.002), (0.999, 0.999, 1.6), (1.3, 1.3, 1.61), (1.7, 1.7, 1.701)])
    found = series.outage(made, at(1), at(5))
    assert found.service == Gap(at(0.995), at(1.61), pytest.approx(0.615))
    assert found.plain == Gap(at(1.701), None, pytest.approx(3.299))
    assert series.outage(made, at(1), at(1.7)).plain == Gap(at(1.002), at(1.6), pytest.approx(0.598))


def test_an_outage_that_outlasts_what_was_looked_at():
    made = rows([(0.99, 0.99, 1.0), (1.0, 1.0, 2.5), (2.4, 2.4, 2.6), (2.4, 2.4, None)])
    assert series.outage(made, at(1), at(2.55)).service == Gap(at(1), None, pytest.approx(1.55))
    assert series.outage(answers([]), at(1), at(2)).service == Gap(at(1), None, pytest.approx(1))


def test_coordinated_omission():
    """A server that takes 0.2 ms stands still from 2 s to 4 s. A closed loop of one has one slow operation among
    thousands; of the operations planned at 100/s a fifth waited. If latency counted from the time when a window let
    an operation be sent, the stall would be hidden again."""

    def done(asked):
        return max(asked, 4.0 if asked >= 2.0 else asked) + 0.0002

    closed, now = [], 0.0
    while now < 10:
        closed.append((now, now, done(now)))
        now = done(now)
    opened = [(due / 100, due / 100 if not 200 < due <= 400 else 4.0, done(due / 100)) for due in range(1000)]

    def percentile_us(latencies, percent):
        return estimates.percentiles(latencies, [percent])[0].value

    closed_us, opened_us = ((made["answered_ns"] - made["planned_ns"]) / 1e3 for made in (rows(closed), rows(opened)))
    assert sum(closed_us > 1e6) == 1
    assert percentile_us(closed_us, 99.9) < 1_000
    assert percentile_us(opened_us, 80) < 1_000
    assert percentile_us(opened_us, 90) == pytest.approx(1e6, rel=0.02)
    assert percentile_us(opened_us, 99) == pytest.approx(1.9e6, rel=0.02)
    sent_us = (rows(opened)["answered_ns"] - rows(opened)["sent_ns"]) / 1e3
    assert percentile_us(sent_us, 99) < percentile_us(opened_us, 99) / 1_000


def test_seconds_as_they_are_reported():
    found = series.of_seconds([seconds(100, 200, 0, 50)], at(0), at(4), outstanding=10)
    assert found.throughput_per_s.tolist() == pytest.approx([100, 200, 0, 50])
    assert found.latency_us[[0, 1, 3]].tolist() == pytest.approx([1e5, 5e4, 2e5])  # Little's law
    assert math.isnan(found.latency_us[2])
    assert np.isnan(found.p99_us).all()
    assert found.mean_throughput_per_s == pytest.approx(350 / 4)
    assert found.mean_latency_us == pytest.approx(10 / 87.5 * 1e6)
    assert (found.derived, found.bin_s) == (True, 1.0)
    alpha = 1 - math.exp(-1)
    assert found.throughput_ewma_per_s[1] == pytest.approx(100 + alpha * 100)
    assert series.of_seconds([seconds(100, 200)], at(0), at(2)).mean_latency_us is None


def test_seconds_that_do_not_begin_with_the_measurement_are_cut_evenly():
    found = series.of_seconds([seconds(100, 200, 300, first=0.5)], at(0), at(2))
    assert found.throughput_per_s.tolist() == pytest.approx([50 + 100, 100 + 150])


def test_clients_are_added_up_and_what_is_not_reported_is_missing():
    found = series.of_seconds([seconds(100, 100, 100), seconds(10, 10)], at(0), at(3))
    assert found.throughput_per_s[:2].tolist() == pytest.approx([110, 110])
    assert math.isnan(found.throughput_per_s[2])
    assert math.isnan(found.throughput_ewma_per_s[2])


def test_throughput_of_seconds_refuses_a_client_that_fell_silent():
    assert series.throughput_of_seconds(seconds(100, 100, 100), at(0), at(3.9)) == pytest.approx(100)
    for told, window in ((seconds(100, 100), (0, 5)), (seconds(100, 100, first=6), (0, 7)), (seconds(), (0, 1))):
        with pytest.raises(BadRecords):
            series.throughput_of_seconds(told, at(window[0]), at(window[1]))


def test_longest_gap_of_seconds_is_known_to_the_seconds_around_it():
    told = seconds(5, 5, 0, 5, 0, 0, 0, 5)
    assert series.longest_gap_of_seconds(told, at(0), at(8)) == Gap(at(4), at(7), 3.0, 2.0)
    assert series.longest_gap_of_seconds(told, at(0), at(4)) == Gap(at(2), at(3), 1.0, 2.0)
    assert series.longest_gap_of_seconds(told, at(0), at(2)) == Gap(at(0), at(0), 0.0, 2.0)
    assert series.longest_gap_of_seconds(seconds(5, 0, 0), at(0), at(3)) == Gap(at(1), None, 2.0, 1.0)
    assert series.longest_gap_of_seconds(seconds(0, 0), at(0), at(2)) == Gap(at(0), None, 2.0, 0.0)


@settings(deadline=None)
@given(st.lists(st.integers(100, 6900).map(lambda ms: ms / 1000), min_size=1, max_size=12))
def test_a_gap_of_seconds_holds_the_true_one(answered):
    """The rows of a client that prints each second are compared with the answers themselves."""
    counts = np.bincount([int(time) for time in answered], minlength=7)
    inner = [0.0, *answered, 7.0]  # the window's ends are answers too, so that all gaps end
    counts[0], counts[6] = counts[0] + 1, counts[6] + 1
    told = series.longest_gap_of_seconds(seconds(*counts), START_NS, at(7))
    true = series.longest_gap(answers(inner), START_NS, at(7))
    assert told.seconds - 1e-6 <= true.seconds <= told.seconds + told.resolution_s + 1e-6
