"""Time series of one run: how much was served in each bin, how fast, and for how long nothing was served.

Theory. An operation counts in the bin of its *answer*, because its client was served then. Its latency is from the
planned time, so a stall shows in the bins after it, in all operations that had to wait. Bins have one width, and the
first begins with the measurement. The average that follows the bins is exponentially weighted, with a time constant
tau: a bin of width dt moves it by the share alpha = 1 - exp(-dt / tau) of the way to that bin.

Two kinds of rows. Of single operations (`records.OPERATION`) everything is known to the nanosecond. Of whole seconds
(`SECOND`), which a client prints once a second, the throughput of each second is known, no latency is, and the length
of a gap is known to within the seconds on either side: such a gap has a `resolution_s`. The operations of a second are
taken to be spread evenly over it.

Rules. An average never bridges missing values: a bin without answers has throughput 0, which counts, and no latency
(NaN); the average of the latency is missing there too, and starts again after it. If the window's last bin is not
whole, it is left out of the bins, but not of the sample means. Only answers `ok` count as served.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from evaluation.errors import BadRecords
from evaluation.estimates import Floats, mean_latency_by_little_us
from evaluation.records import OK, Operations

BIN_S = 0.1
TAU_S = 1.0
SECOND = np.dtype([("at_ns", "<u8"), ("completed", "<u8")])  # at_ns: the end of the second
UNTOLD_MAX_S = 2.0  # the part of a window that may lie before the first or after the last row of seconds

Seconds = npt.NDArray[np.void]
Times = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Series:
    """Bins of one run. `at_s`: the middle of each bin, in seconds since the measurement began. NaN: no answer in that
    bin.

    `derived`: the latencies come from the throughput by Little's law and are not measured; then there are no
    percentiles (NaN). `mean_...`: over the whole window, not over bins; None if nothing is known of a latency.
    """

    bin_s: float
    tau_s: float
    at_s: Floats
    throughput_per_s: Floats
    latency_us: Floats  # mean of the bin
    p50_us: Floats
    p99_us: Floats
    throughput_ewma_per_s: Floats
    latency_ewma_us: Floats
    mean_throughput_per_s: float
    mean_latency_us: float | None
    derived: bool = False


@dataclass(frozen=True)
class Gap:
    """A time without service. `ended_ns` is None if it had not ended when the window did: its length is a lower bound.

    Its true length lies between `seconds` and `seconds + resolution_s`.
    """

    began_ns: int
    ended_ns: int | None
    seconds: float
    resolution_s: float = 0.0


@dataclass(frozen=True)
class Outage:
    """The cost of one fault. `service`: from the last answer at or before the fault to the first answer to an operation
    that was *sent* after it, because an operation that was on its way already is no sign of life. `plain`: the longest
    stretch without any answer that overlaps the time from the fault on."""

    service: Gap
    plain: Gap


def of_operations(
    operations: Operations, began_ns: int, ended_ns: int, bin_s: float = BIN_S, tau_s: float = TAU_S
) -> Series:
    """The bins of a window, from rows of single operations. Raises ValueError for a window without a whole bin."""
    bin_ns = round(bin_s * 1e9)
    bins = (ended_ns - began_ns) // bin_ns
    if bins < 1:
        raise ValueError(f"a window of {(ended_ns - began_ns) / 1e9} s has no whole bin of {bin_s} s")
    rows = _served(operations)
    rows = rows[(rows["answered_ns"] >= began_ns) & (rows["answered_ns"] < ended_ns)]
    latency_us = (rows["answered_ns"].astype(np.int64) - rows["planned_ns"].astype(np.int64)) / 1e3
    place = (rows["answered_ns"].astype(np.int64) - began_ns) // bin_ns
    whole = place < bins
    counts, means, p50, p99 = _per_bin(place[whole], latency_us[whole], bins)
    throughput = counts / bin_s
    return Series(
        bin_s=bin_s,
        tau_s=tau_s,
        at_s=np.arange(0.5, bins, dtype=np.float64) * bin_s,
        throughput_per_s=throughput,
        latency_us=means,
        p50_us=p50,
        p99_us=p99,
        throughput_ewma_per_s=ewma(throughput, bin_s, tau_s),
        latency_ewma_us=ewma(means, bin_s, tau_s),
        mean_throughput_per_s=len(rows) / ((ended_ns - began_ns) / 1e9),
        mean_latency_us=float(latency_us.mean()) if len(rows) else None,
    )


def of_seconds(
    clients: Sequence[Seconds], began_ns: int, ended_ns: int, outstanding: int | None = None, tau_s: float = TAU_S
) -> Series:
    """The bins of a window of one second each, from the rows of seconds of each client. `outstanding`: of all clients
    together in a closed loop; the latencies then come from Little's law, which holds for a second that is much longer
    than one latency. None: no latencies. A bin that a client's rows do not cover is missing (NaN)."""
    bins = (ended_ns - began_ns) // 1_000_000_000
    if bins < 1:
        raise ValueError(f"a window of {(ended_ns - began_ns) / 1e9} s has no whole second")
    edges = began_ns + np.arange(bins + 1) * 1_000_000_000
    throughput = np.sum([np.diff(_completed_until(rows, edges)) for rows in clients], axis=0)
    for rows in clients:
        told = _edges(rows)
        throughput[(edges[:-1] < told[0]) | (edges[1:] > told[-1])] = np.nan
    served = throughput > 0
    latency = np.full(bins, np.nan)
    if outstanding is not None:
        latency[served] = outstanding / throughput[served] * 1e6
    mean_per_s = sum(throughput_of_seconds(rows, began_ns, ended_ns) for rows in clients)
    missing = np.full(bins, np.nan)
    return Series(
        bin_s=1.0,
        tau_s=tau_s,
        at_s=np.arange(0.5, bins, dtype=np.float64),
        throughput_per_s=throughput,
        latency_us=latency,
        p50_us=missing,
        p99_us=missing,
        throughput_ewma_per_s=ewma(throughput, 1.0, tau_s),
        latency_ewma_us=ewma(latency, 1.0, tau_s),
        mean_throughput_per_s=mean_per_s,
        mean_latency_us=None if outstanding is None else mean_latency_by_little_us(outstanding, mean_per_s),
        derived=True,
    )


def ewma(values: npt.ArrayLike, step_s: float, tau_s: float = TAU_S) -> Floats:
    """The exponentially weighted average after each value; the first value starts it. A missing value (NaN) stays
    missing, and the next value starts the average again."""
    alpha = -np.expm1(-step_s / tau_s)
    numbers = np.asarray(values, dtype=np.float64)
    averages = np.empty_like(numbers)
    average = np.nan
    for place, value in enumerate(numbers.tolist()):
        average = average + alpha * (value - average) if average == average else value
        averages[place] = average
    return averages


def longest_gap(operations: Operations, began_ns: int, ended_ns: int) -> Gap:
    """The longest stretch between successive answers that overlaps the window. Its ends may lie outside: a stretch that
    began before the window has its full length. Before the first answer of all the stretch counts from the window's
    start, after the last one to the window's end."""
    return _longest(np.sort(_served(operations)["answered_ns"].astype(np.int64)), began_ns, ended_ns)


def outage(operations: Operations, fault_ns: int, until_ns: int) -> Outage:
    """The cost of a fault that took effect at `fault_ns`. `until_ns`: the time of the next fault, or the window's end;
    a longer outage is only known to have lasted until then."""
    rows = _served(operations)
    answers = np.sort(rows["answered_ns"].astype(np.int64))
    before = answers[answers <= fault_ns]
    began = int(before[-1]) if len(before) else fault_ns
    later = rows["answered_ns"][rows["sent_ns"] > fault_ns].astype(np.int64)
    first = int(later.min()) if len(later) and later.min() < until_ns else None
    return Outage(_gap(began, first, until_ns), _longest(answers, fault_ns, until_ns))


def longest_gap_of_seconds(rows: Seconds, began_ns: int, ended_ns: int) -> Gap:
    """The longest gap from one client's rows of seconds: the longest succession of seconds without operations that
    overlaps the window. The last answer before it and the first after it lie somewhere in the seconds on either side.
    If every second had answers, the gap is 0 s long, to within two seconds."""
    edges, widths_s = _edges(rows), np.diff(_edges(rows)) / 1e9
    best = Gap(began_ns, began_ns, 0.0, 2.0)
    empty = np.concatenate([[False], rows["completed"] == 0, [False]])
    changes = np.flatnonzero(empty[1:] != empty[:-1])
    for first, end in zip(changes[::2], changes[1::2], strict=True):
        start, stop, last = int(edges[first]), int(edges[end]), end == len(rows)
        if start < ended_ns and stop > began_ns and (stop - start) / 1e9 > best.seconds:
            around_s = (widths_s[first - 1] if first else 0.0) + (0.0 if last else widths_s[end])
            best = Gap(start, None if last else stop, (stop - start) / 1e9, float(around_s))
    return best


def throughput_of_seconds(rows: Seconds, began_ns: int, ended_ns: int) -> float:
    """The throughput of one client over a window. A short part of the window that no row covers is left out of the time
    too. Raises BadRecords if that part is long: a client that fell silent was not idle, it was not seen."""
    edges = _edges(rows)
    start, stop = max(began_ns, int(edges[0])), min(ended_ns, int(edges[-1]))
    untold_s = max(start - began_ns, ended_ns - stop) / 1e9
    if untold_s > UNTOLD_MAX_S or stop <= start:
        raise BadRecords(f"{untold_s:.1f} s of the measurement are in no row of seconds")
    completed = np.diff(_completed_until(rows, np.array([start, stop])))
    return float(completed[0]) / ((stop - start) / 1e9)


def _served(operations: Operations) -> Operations:
    served: Operations = operations[operations["outcome"] == OK]
    return served


def _per_bin(place: Times, latency_us: Floats, bins: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Count, mean, p50 and p99 of each bin; NaN for an empty bin."""
    counts = np.bincount(place, minlength=bins)
    ordered = latency_us[np.lexsort((latency_us, place))]
    starts = np.cumsum(counts) - counts
    served = counts > 0
    means, p50, p99 = (np.full(bins, np.nan) for _ in range(3))
    means[served] = np.bincount(place, weights=latency_us, minlength=bins)[served] / counts[served]
    for percent, found in ((50, p50), (99, p99)):
        ranks = -(-percent * counts[served] // 100)  # the nearest rank, as in `estimates.percentiles`
        found[served] = ordered[starts[served] + ranks - 1]
    return counts.astype(np.float64), means, p50, p99


def _longest(answers: Times, began_ns: int, ended_ns: int) -> Gap:
    """The longest gap between sorted times."""
    first = max(int(np.searchsorted(answers, began_ns, side="right")) - 1, 0)
    end = int(np.searchsorted(answers, ended_ns, side="left")) + 1
    near = answers[first:end]  # from the last answer at or before the window to the first at or after its end
    if not len(near):
        return _gap(began_ns, None, ended_ns)
    starts, stops = near[:-1], near[1:]
    gaps = [_gap(int(starts[i]), int(stops[i]), ended_ns) for i in _largest(stops - starts)]
    if near[0] > began_ns:
        gaps.append(_gap(began_ns, int(near[0]), ended_ns))
    if near[-1] < ended_ns:
        gaps.append(_gap(int(near[-1]), None, ended_ns))
    return max(gaps, key=lambda gap: gap.seconds)


def _largest(lengths: Times) -> list[int]:
    return [int(lengths.argmax())] if len(lengths) else []


def _gap(began_ns: int, ended_ns: int | None, seen_until_ns: int) -> Gap:
    until = seen_until_ns if ended_ns is None else ended_ns
    return Gap(began_ns, ended_ns, (until - began_ns) / 1e9)


def _edges(rows: Seconds) -> Times:
    """The edges of each row's second: it begins at the end of the row before; the first one lasts one second."""
    if not len(rows):
        raise BadRecords("a client reported no second at all")
    ends = rows["at_ns"].astype(np.int64)
    return np.concatenate([[ends[0] - 1_000_000_000], ends])


def _completed_until(rows: Seconds, times: Times) -> Floats:
    """How many operations were completed until each of these times."""
    total = np.concatenate([[0.0], np.cumsum(rows["completed"].astype(np.float64))])
    # relative to the first edge: nanoseconds since the machine's start do not fit a float's 53 bits for ever
    edges = _edges(rows)
    until: Floats = np.interp((times - edges[0]).astype(np.float64), (edges - edges[0]).astype(np.float64), total)
    return until
