"""The compiled histograms as those of the hdrhistogram package, whose tools encode, log and plot them.

Theory. `multipaxos.load.histogram` counts in the same buckets, so that nothing is lost or rounded on the way.
"""

from __future__ import annotations

from hdrh.histogram import HdrHistogram

from multipaxos.load.histogram import SIGNIFICANT_DIGITS, Histogram


def to_hdrh(histogram: Histogram) -> HdrHistogram:
    """A HdrHistogram with the same counts."""
    answer = HdrHistogram(1, histogram.highest, SIGNIFICANT_DIGITS)
    for value, count in histogram.nonzero():
        answer.record_value(value, count)
    return answer
