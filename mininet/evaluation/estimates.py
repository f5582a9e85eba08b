"""Numbers from numbers: means and medians with their intervals, ratios, percentiles, distributions, Little's law.

Theory. The independent unit here is the *run*, because each run has a fresh network. So an interval is over runs, never
over the operations of one run, which queue behind one another. All intervals are two-sided, of 95 % by default.

Censoring. An operation or an outage that had not ended when the measurement ended has no duration, only a lower bound.
Such a value is never left out, because that would flatter the result: it takes its place at its bound. A quantile below
the smallest bound is then exact, because every censored value lies above it in any case. Any other quantile is itself a
lower bound, and says so (`at_least`). A distribution is exact below its smallest bound; above it the share that it
shows can only be too low. A Kaplan-Meier estimate would be sharper there, but it assumes that censored values would
have gone on like the others, and hanging operations do not.

Rules. Functions are pure; randomness comes from a stated seed. An interval that does not exist is None, never 0 wide.
Nothing is dropped: a value that is no number (NaN, infinite) is refused.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
import numpy.typing as npt

from evaluation.errors import Unsupported

Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

CONFIDENCE = 0.95
BOOTSTRAPS = 10_000
SEED = 20_251_125
_TAIL = 0.1
_TAIL_STEP = 0.95  # from one kept point of a tail to the next the share above falls by at most 5 %


@dataclass(frozen=True)
class Estimate:
    """A value from n independent runs, and the interval that holds the true value; without one both ends are None."""

    n: int
    value: float
    low: float | None = None
    high: float | None = None

    @property
    def half_width(self) -> float | None:
        """Half the interval's width; the longer arm if the interval is not symmetrical."""
        arms = self.arms
        return None if arms is None else max(arms)

    @property
    def arms(self) -> tuple[float, float] | None:
        """The distances from the value down to the low end and up to the high end, as an error bar shows them."""
        if self.low is None or self.high is None:
            return None
        return self.value - self.low, self.high - self.value

    def scaled(self, factor: float) -> Estimate:
        """The estimate in another unit; `factor` is above 0."""
        low, high = (None if end is None else end * factor for end in (self.low, self.high))
        return Estimate(self.n, self.value * factor, low, high)


def mean(values: npt.ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """The mean over runs, with Student's t interval on n - 1 degrees of freedom. One run gives no interval."""
    numbers = _numbers(values)
    n, value = len(numbers), float(numbers.mean())
    if n == 1:
        return Estimate(n, value)
    half = _t_quantile((1 + confidence) / 2, n - 1) * float(numbers.std(ddof=1)) / math.sqrt(n)
    return Estimate(n, value, value - half, value + half)


def median(values: npt.ArrayLike, confidence: float = CONFIDENCE, seed: int = SEED) -> Estimate:
    """The median, with a percentile bootstrap interval.

    The median of a resample never lies beyond the values seen, and all n of them enclose the true median with a chance
    of only 1 - 2 x 0.5^n. If that is less than was asked (five values, for 95 %) there is no interval.
    """
    numbers = _numbers(values)
    n, value = len(numbers), float(np.median(numbers))
    if 1 - 2 * 0.5**n < confidence:
        return Estimate(n, value)
    chosen = np.random.default_rng(seed).integers(0, n, size=(BOOTSTRAPS, n))
    low, high = np.quantile(np.median(numbers[chosen], axis=1), [(1 - confidence) / 2, (1 + confidence) / 2])
    return Estimate(n, value, float(low), float(high))


def ratio(above: npt.ArrayLike, below: npt.ArrayLike, confidence: float = CONFIDENCE) -> Estimate:
    """The mean of one system's runs over the mean of another's, with Fieller's interval.

    Why not a bootstrap: a resample of ten runs varies less than ten new runs would, by (n-1)/n in variance, and its
    quantiles know nothing of Student's wider tails; together its intervals are a fifth too narrow at n = 10, which is
    the case here. Fieller's interval has the ratios r that the t test does not reject, mean(above) - r x mean(below) =
    0, so it takes t into account; it needs no seed. The degrees of freedom are Welch's (at the estimated ratio),
    because two systems seldom scatter alike. If the lower mean cannot be told from 0 the interval has no end, and none
    is given. n is the smaller of both counts; one run on either side gives no interval. Raises ValueError if the lower
    mean is 0.
    """
    a, b = _numbers(above), _numbers(below)
    n, mean_a, mean_b = min(len(a), len(b)), float(a.mean()), float(b.mean())
    if mean_b == 0:
        raise ValueError("a ratio to a mean of 0")
    value = mean_a / mean_b
    if n == 1:
        return Estimate(n, value)
    error_a, error_b = float(a.var(ddof=1)) / len(a), float(b.var(ddof=1)) / len(b)
    scatter_b = value**2 * error_b
    if error_a + scatter_b == 0:
        return Estimate(n, value, value, value)
    freedom = (error_a + scatter_b) ** 2 / (error_a**2 / (len(a) - 1) + scatter_b**2 / (len(b) - 1))
    t2 = _t_quantile((1 + confidence) / 2, freedom) ** 2
    # (mean_a - r mean_b)^2 <= t2 (error_a + r^2 error_b), as a quadratic in r
    square, linear, constant = mean_b**2 - t2 * error_b, mean_a * mean_b, mean_a**2 - t2 * error_a
    if square <= 0:
        return Estimate(n, value)
    root = math.sqrt(max(0.0, linear**2 - square * constant))
    low, high = (linear - root) / square, (linear + root) / square
    return Estimate(n, value, low, high)


@dataclass(frozen=True)
class Quantile:
    """The value that `percent` of all values do not exceed. `at_least`: it is a lower bound, because of censoring."""

    percent: float
    value: float
    at_least: bool = False


def percentiles(values: npt.ArrayLike, percents: Sequence[float], censored: Flags | None = None) -> list[Quantile]:
    """Exact percentiles: the smallest value seen that so many percent do not exceed (the nearest rank, never a mean of
    two). `censored` says which values are lower bounds."""
    numbers = _numbers(values)
    bound = _smallest_bound(numbers, censored)
    ranks = [_rank(percent, len(numbers)) for percent in percents]
    order = np.partition(numbers, sorted({rank - 1 for rank in ranks}))
    found = [float(order[rank - 1]) for rank in ranks]
    return [Quantile(p, value, bound is not None and value >= bound) for p, value in zip(percents, found, strict=True)]


@dataclass(frozen=True)
class Distribution:
    """An empirical distribution function: `shares[i]` of all n values are at or below `values[i]`; steps to the right.

    `censored` of the n values never ended; they count in n, so the shares end below 1. The function is exact below
    `exact_below` (None: everywhere).
    """

    values: Floats
    shares: Floats
    n: int
    censored: int = 0
    exact_below: float | None = None


def distribution(values: npt.ArrayLike, censored: Flags | None = None, points: int = 1000) -> Distribution:
    """The distribution of latencies, or of outages (`censored`: the service was still away at the end).

    More than `points` different values are thinned without changing the shape. Every point that stays is a point of the
    whole function, so nothing is smoothed; the first and the last point stay. Between two points that stay, the
    function rises by less than 1/(points - 1) beside its own jumps. In the last tenth, where tails are read on a log
    axis, the share above falls by at most 5 % from one point to the next.
    """
    numbers = _numbers(values)
    flags = np.zeros(len(numbers), dtype=bool) if censored is None else censored
    seen, counts = np.unique(numbers[~flags], return_counts=True)
    shares = np.cumsum(counts) / len(numbers)
    if len(seen) > points:
        kept = _kept(shares, points, len(numbers))
        seen, shares = seen[kept], shares[kept]
    bound = _smallest_bound(numbers, censored)
    return Distribution(seen.astype(np.float64), shares, len(numbers), int(flags.sum()), bound)


def outstanding(throughput_per_s: float, mean_latency_us: float) -> float:
    """Little's law: how many operations are under way on average, from the throughput and the mean latency."""
    return throughput_per_s * mean_latency_us / 1e6


def mean_latency_by_little_us(outstanding_count: float, throughput_per_s: float) -> float | None:
    """Little's law for a closed loop: its mean latency in microseconds. None if nothing was done."""
    return outstanding_count / throughput_per_s * 1e6 if throughput_per_s > 0 else None


def little_holds(
    outstanding_count: float, throughput_per_s: float, mean_latency_us: float, tolerance: float = 0.05
) -> bool:
    """Do the three measured numbers fit together, within a share of the number outstanding? In a closed loop they must,
    except for the loop's own time between an answer and the next request: otherwise something was counted wrongly."""
    derived = outstanding(throughput_per_s, mean_latency_us)
    return abs(derived - outstanding_count) <= tolerance * outstanding_count


def _numbers(values: npt.ArrayLike) -> Floats:
    numbers = np.asarray(values, dtype=np.float64)
    if numbers.ndim != 1 or not len(numbers):
        raise ValueError("no values: there is nothing to estimate")
    if not np.isfinite(numbers).all():
        raise ValueError("a value is not a finite number: say what it stands for, do not average it")
    return numbers


def _smallest_bound(numbers: Floats, censored: Flags | None) -> float | None:
    return float(numbers[censored].min()) if censored is not None and censored.any() else None


def _rank(percent: float, n: int) -> int:
    """The rank from 1. Fractions are exact: 99.9 / 100 x 1000 is a little above 999 in floating point, which would give
    rank 1000."""
    if not 0 <= percent <= 100:
        raise ValueError(f"{percent} is no percentage")
    return max(1, math.ceil(Fraction(str(percent)) * n / 100))


def _kept(shares: Floats, points: int, n: int) -> npt.NDArray[np.intp]:
    """The places of the steps that stay; see `distribution`."""
    evenly = np.linspace(0, shares[-1], points)
    falls = math.ceil(math.log(n * _TAIL) / -math.log(_TAIL_STEP))
    tail = 1 - _TAIL * _TAIL_STEP ** np.arange(falls + 1)
    targets = np.concatenate([evenly, tail, shares[-1:]])
    return np.unique(np.searchsorted(shares, targets).clip(0, len(shares) - 1))


def _t_quantile(probability: float, freedom: float) -> float:
    try:
        from scipy.special import stdtrit
    except ImportError as error:
        raise Unsupported("scipy is missing: install the extra `evaluation` of multipaxos") from error
    return float(stdtrit(freedom, probability))
