"""Estimates are compared with textbooks, scipy, their own definitions, and simulations."""

from fractions import Fraction

import pytest

# ruff: noqa: E402
np = pytest.importorskip("numpy", reason="numpy is of the extra `evaluation`")

from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import estimates
from evaluation.estimates import Estimate, Quantile

# Student (1908), The probable error of a mean: hours of sleep gained by ten patients under two drugs.
DEXTRO = [0.7, -1.6, -0.2, -1.2, -0.1, 3.4, 3.7, 0.8, 0.0, 2.0]
LAEVO = [1.9, 0.8, 1.1, 0.1, -0.1, 4.4, 5.5, 1.6, 4.6, 3.4]

durations = st.lists(st.floats(0.001, 1e6), min_size=1, max_size=60)
percents = st.sampled_from([0, 0.1, 1, 25, 50, 75, 90, 99, 99.9, 99.99, 100])


@pytest.fixture
def scipy_stats():
    return pytest.importorskip("scipy.stats", reason="scipy is of the extra `evaluation`")


@pytest.mark.parametrize(
    ("hours", "mean", "low", "high"), [(DEXTRO, 0.75, -0.5297804, 2.0297804), (LAEVO, 2.33, 0.8976775, 3.7623225)]
)
def test_students_own_data(hours, mean, low, high, scipy_stats):
    found = estimates.mean(hours)
    assert (found.n, found.value) == (10, pytest.approx(mean))
    assert (found.low, found.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    assert found.half_width == pytest.approx((high - low) / 2, abs=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=30), st.sampled_from([0.9, 0.95, 0.99]))
def test_mean_as_scipy(values, confidence):
    stats = pytest.importorskip("scipy.stats", reason="scipy is of the extra `evaluation`")
    found = estimates.mean(values, confidence)
    error = stats.sem(values)
    if error > 0:
        low, high = stats.t.interval(confidence, len(values) - 1, loc=np.mean(values), scale=error)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))
    else:
        assert found.half_width == pytest.approx(0, abs=1e-6)


def test_one_run_gives_no_interval():
    for estimate in (estimates.mean([7.0]), estimates.median([7.0]), estimates.ratio([14.0], [2.0, 2.0])):
        assert estimate.value == 7.0
        assert (estimate.low, estimate.high, estimate.half_width, estimate.arms) == (None, None, None, None)


@pytest.mark.parametrize("values", [[], [1.0, float("nan")], [1.0, float("inf")]])
@pytest.mark.parametrize("what", [estimates.mean, estimates.median, lambda v: estimates.ratio(v, [1.0])])
def test_what_is_no_number_is_refused(what, values):
    with pytest.raises(ValueError, match=r"no values|not a finite number"):
        what(values)


@pytest.mark.parametrize("n", [3, 10])
def test_mean_covers_as_often_as_it_says(n, scipy_stats):
    rng = np.random.default_rng(1)
    found = [estimates.mean(rng.normal(100, 15, n)) for _ in range(2000)]
    assert sum(one.low <= 100 <= one.high for one in found) / 2000 == pytest.approx(0.95, abs=0.015)


def test_ratio_covers_as_often_as_it_says(scipy_stats):
    """Two systems that scatter differently, ten runs each, one of them with a wide relative interval."""
    rng = np.random.default_rng(2)
    found = [estimates.ratio(rng.normal(300, 60, 10), rng.normal(100, 10, 10)) for _ in range(2000)]
    assert sum(one.low <= 3 <= one.high for one in found) / 2000 == pytest.approx(0.95, abs=0.015)


def test_median_covers_about_as_often_as_it_says():
    rng = np.random.default_rng(3)
    found = [estimates.median(rng.exponential(1, 30)) for _ in range(150)]
    assert sum(one.low <= np.log(2) <= one.high for one in found) / 150 == pytest.approx(0.95, abs=0.05)


def test_median_is_within_the_values():
    values = list(np.random.default_rng(4).exponential(1, 30))
    found = estimates.median(values)
    assert found.value == np.median(values)
    assert min(values) <= found.low < found.value < found.high <= max(values)


def test_the_same_values_give_the_same_interval():
    """One set of values seldom shows the seed, because the ends are among few values; fifty sets do."""
    sets = [np.random.default_rng(seed).exponential(1, 20) for seed in range(50)]
    assert [estimates.median(one) for one in sets] == [estimates.median(one) for one in sets]


def test_five_values_do_not_hold_the_median_surely_enough():
    assert estimates.median([1, 2, 3, 4, 5.0]).low is None
    assert estimates.median([1, 2, 3, 4, 5, 6.0]).low is not None


def test_fieller_ends_are_the_ratios_that_the_t_test_just_does_not_reject(scipy_stats):
    above, below = np.array(LAEVO) + 20, np.array(DEXTRO) + 10
    found = estimates.ratio(above, below)
    variances = above.var(ddof=1) / 10, found.value**2 * below.var(ddof=1) / 10
    freedom = sum(variances) ** 2 / (variances[0] ** 2 / 9 + variances[1] ** 2 / 9)
    for end in (found.low, found.high):
        scatter = np.sqrt(above.var(ddof=1) / 10 + end**2 * below.var(ddof=1) / 10)
        statistic = (above.mean() - end * below.mean()) / scatter
        assert abs(statistic) == pytest.approx(scipy_stats.t.ppf(0.975, freedom))


def test_ratio_of_equal_runs_is_exact():
    assert estimates.ratio([6.0, 6.0], [2.0, 2.0]) == Estimate(2, 3.0, 3.0, 3.0)


def test_ratio_to_a_mean_that_may_be_zero_has_no_interval(scipy_stats):
    assert estimates.ratio(LAEVO, DEXTRO).low is None
    with pytest.raises(ValueError, match="mean of 0"):
        estimates.ratio([1.0, 1.0], [-1.0, 1.0])


def test_scaled():
    assert Estimate(3, 2000.0, 1000.0, 4000.0).scaled(1e-3) == Estimate(3, 2.0, 1.0, 4.0)
    assert Estimate(1, 2000.0).scaled(1e-3) == Estimate(1, 2.0)
    assert Estimate(3, 2.0, 1.0, 4.0).arms == (1.0, 2.0)
    assert Estimate(3, 2.0, 1.0, 4.0).half_width == 2.0


@pytest.mark.parametrize(("percent", "value"), [(0, 1), (50, 500), (99, 990), (99.9, 999), (99.99, 1000), (100, 1000)])
def test_percentiles_of_one_to_a_thousand(percent, value):
    shuffled = np.random.default_rng(5).permutation(np.arange(1.0, 1001))
    assert estimates.percentiles(shuffled, [percent]) == [Quantile(percent, value)]


@given(durations, percents)
def test_a_percentile_is_what_its_definition_says(values, percent):
    (found,) = estimates.percentiles(values, [percent])
    wanted = Fraction(str(percent)) * len(values) / 100
    assert sum(value <= found.value for value in values) >= wanted
    assert sum(value < found.value for value in values) < max(wanted, 1)
    assert found.value in values


@pytest.mark.parametrize("percent", [-1, 100.1])
def test_no_percentage(percent):
    with pytest.raises(ValueError, match="no percentage"):
        estimates.percentiles([1.0], [percent])


def test_unanswered_operations_do_not_flatter():
    """Of 100 operations 95 took 1 ms; 5 had waited for 2 s at the end. Without them p99 would be 1 ms."""
    values = np.array([1.0] * 95 + [2000.0] * 5)
    censored = values > 1
    assert estimates.percentiles(values, [50, 95, 99], censored) == [
        Quantile(50, 1.0),
        Quantile(95, 1.0),
        Quantile(99, 2000.0, at_least=True),
    ]


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=40), percents)
def test_censored_percentiles_are_exact_or_lower_bounds(pairs, percent):
    """With any true durations, each observed for some time, the statement about them is true."""
    true, looked = (np.array(column) for column in zip(*pairs, strict=True))
    censored = true > looked
    (exact,) = estimates.percentiles(true, [percent])
    (found,) = estimates.percentiles(np.minimum(true, looked), [percent], censored)
    assert exact.value >= found.value if found.at_least else exact.value == found.value


def test_distribution_of_few_is_whole():
    found = estimates.distribution([3.0, 1.0, 3.0, 2.0])
    assert found.values.tolist() == [1, 2, 3]
    assert found.shares.tolist() == [0.25, 0.5, 1]
    assert (found.n, found.censored, found.exact_below) == (4, 0, None)


def _share_at(found, x):
    """The share that the steps show at x."""
    place = np.searchsorted(found.values, x, side="right")
    return np.concatenate([[0.0], found.shares])[place]


@settings(deadline=None)
@given(st.integers(0, 1000), st.sampled_from([50, 3000]), st.integers(5, 40))
def test_thinning_keeps_the_shape(seed, n, points):
    values = np.random.default_rng(seed).lognormal(0, 1, n).round(3)
    whole, thin = estimates.distribution(values, points=n), estimates.distribution(values, points=points)
    assert set(zip(thin.values, thin.shares, strict=True)) <= set(zip(whole.values, whole.shares, strict=True))
    assert (thin.values[0], thin.values[-1]) == (whole.values[0], whole.values[-1])
    # the share is too low by less than 1/(points - 1), just before each of the function's own jumps
    before = whole.shares[np.searchsorted(whole.values, thin.values[1:]) - 1]
    assert (before - thin.shares[:-1] < 1 / (points - 1)).all()
    above, after = 1 - thin.shares[:-1], 1 - before
    tail = (thin.shares[:-1] >= 0.9) & (before < 1)
    assert (after[tail] >= above[tail] * 0.95 - 1e-12).all()


def test_thinning_does_thin():
    found = estimates.distribution(np.random.default_rng(6).random(100_000))
    assert 1000 <= len(found.values) <= 1250


def test_outages_that_never_ended_stay_in_the_distribution():
    found = estimates.distribution([0.5, 30.0, 0.7, 0.6], np.array([False, True, False, False]))
    assert found.values.tolist() == [0.5, 0.6, 0.7]
    assert found.shares.tolist() == [0.25, 0.5, 0.75]
    assert (found.n, found.censored, found.exact_below) == (4, 1, 30.0)
    assert estimates.distribution([30.0], np.array([True])).shares.tolist() == []


@given(st.lists(st.tuples(st.floats(0.1, 100), st.floats(0.1, 100)), min_size=1, max_size=40), st.floats(0, 120))
def test_a_censored_distribution_is_exact_below_its_bound_and_never_too_high(pairs, x):
    true, looked = (np.array(column) for column in zip(*pairs, strict=True))
    found = estimates.distribution(np.minimum(true, looked), true > looked)
    share = (true <= x).mean()
    if found.exact_below is None or x < found.exact_below:
        assert _share_at(found, x) == pytest.approx(share)
    assert _share_at(found, x) <= share + 1e-12


def test_littles_law():
    """LibPaxos3 at 10 outstanding, unshaped: 40,706/s at a mean of 246 us, which its own client measured in another
    way."""
    assert estimates.mean_latency_by_little_us(10, 40_706) == pytest.approx(245.7, abs=0.1)
    assert estimates.outstanding(40_706, 246) == pytest.approx(10.01, abs=0.01)
    assert estimates.little_holds(10, 40_706, 246)
    assert not estimates.little_holds(10, 40_706, 226)
    assert estimates.little_holds(10, 40_706, 226, tolerance=0.1)
    assert estimates.mean_latency_by_little_us(10, 0) is None


def test_littles_law_of_a_simulated_closed_loop():
    """Ten clients, each with one request at a time, at a server that serves them in turn."""
    rng = np.random.default_rng(7)
    ready, free, spent = [0.0] * 10, 0.0, 0.0
    for _ in range(20_000):
        sent = ready.pop(0)
        free = max(free, sent) + rng.exponential(1e-4)
        ready.append(free)
        spent += free - sent
    assert estimates.little_holds(10, 20_000 / free, spent / 20_000 * 1e6, tolerance=0.01)
