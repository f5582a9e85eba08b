"""The core's histograms as those of the hdrhistogram package, to be encoded, logged and plotted by its tools.

The core counts (`multipaxos.load.histogram`) in the same buckets, so nothing is lost or rounded on the way.
"""

from __future__ import annotations

from hdrh.histogram import HdrHistogram

from multipaxos.load.histogram import SIGNIFICANT_DIGITS, Histogram


def to_hdrh(histogram: Histogram) -> HdrHistogram:
    """A HdrHistogram that counts the same."""
    answer = HdrHistogram(1, histogram.highest, SIGNIFICANT_DIGITS)
    for value, count in histogram.nonzero():
        answer.record_value(value, count)
    return answer
