"""Latency histograms in HdrHistogram's format, counted in C.

Theory. A value is counted in a bucket whose width is at most a thousandth of the value (3 significant digits), so any
percentile is known to that precision from 256 KiB of counters, no matter what was recorded. Buckets are exactly those
of the hdrhistogram package with lowest value 1: `nonzero` can be added to one of its histograms (multipaxos.load.hdr),
and percentiles are equal.

Rules.
- Recording never fails and allocates nothing.
- A value beyond the last bucket is not counted but adds to `lost`: a report of a histogram must show a `lost` that is
  not 0.
- Minimum, maximum and mean are of the values themselves.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

cimport cython

SIGNIFICANT_DIGITS = 3
HIGHEST_DEFAULT = 3_600_000_000_000     # an hour in nanoseconds
HIGHEST_MAX = 0x3fff_ffff_ffff_ffff


cdef inline uint64_t lowest_of(uint64_t index) noexcept nogil:
    """The lowest value that is counted at `index`."""
    cdef uint64_t bucket = index >> HALF_BITS
    if bucket == 0:
        return index
    return ((index & (HALF - 1)) + HALF) << (bucket - 1)


cdef inline uint64_t highest_of(uint64_t index) noexcept nogil:
    """The highest value that is counted at `index`."""
    return lowest_of(index + 1) - 1


@cython.final
cdef class Histogram:
    """Counts values of 0 to at least `highest` with 3 significant digits."""

    def __cinit__(self, highest=HIGHEST_DEFAULT):
        cdef uint64_t reach = 2 * HALF
        cdef uint64_t buckets = 1
        if not isinstance(highest, int) or not 2 <= highest <= HIGHEST_MAX:
            raise ValueError(f"highest {highest!r} must be a whole number, 2 to {HIGHEST_MAX}")
        self.highest = highest
        while reach <= self.highest:
            reach *= 2
            buckets += 1
        self.length = (buckets + 1) * HALF
        self.counts = <uint64_t*>calloc(self.length, sizeof(uint64_t))
        if self.counts == NULL:
            raise MemoryError(f"no memory for a histogram of {self.length} counters")
        self.lowest_seen = <uint64_t>-1

    def __dealloc__(self):
        free(self.counts)

    def record_value(self, uint64_t value):
        """Counts one value."""
        self.record(value)

    def record_all(self, values):
        """Counts every value of an iterable."""
        cdef uint64_t value
        for value in values:
            self.record(value)

    def merge(self, Histogram other not None):
        """Adds everything that `other` has counted. Raises ValueError if its `highest` differs."""
        cdef uint64_t i
        if self.highest != other.highest:
            raise ValueError(f"a histogram up to {other.highest} cannot go into one up to {self.highest}")
        for i in range(self.length):
            self.counts[i] += other.counts[i]
        self.total += other.total
        self.lost += other.lost
        self.sum_low += other.sum_low
        self.sum_high += other.sum_high + (self.sum_low < other.sum_low)
        self.lowest_seen = min(self.lowest_seen, other.lowest_seen)
        self.highest_seen = max(self.highest_seen, other.highest_seen)

    def nonzero(self):
        """(lowest value of the bucket, count) of every bucket that counted something, in order of value."""
        cdef uint64_t i
        return [(lowest_of(i), self.counts[i]) for i in range(self.length) if self.counts[i]]

    @property
    def min(self):
        """The least value that was counted; 0 if there is none."""
        return self.lowest_seen if self.total else 0

    @property
    def max(self):
        """The greatest value that was counted; 0 if there is none."""
        return self.highest_seen

    @property
    def mean(self):
        """The mean of the values themselves; 0.0 if there is none."""
        return ((int(self.sum_high) << 64) + self.sum_low) / self.total if self.total else 0.0

    def percentile(self, double percent):
        """The value at `percent` (0 to 100), as in HdrHistogram: the top of its bucket; at 0 the bottom."""
        cdef uint64_t i, wanted, passed = 0
        if not 0.0 <= percent <= 100.0:
            raise ValueError(f"percentile {percent} must be 0 to 100")
        wanted = max(<uint64_t>(percent * self.total / 100 + 0.5), <uint64_t>1)
        for i in range(self.length):
            passed += self.counts[i]
            if passed >= wanted:
                return highest_of(i) if percent > 0.0 else lowest_of(i)
        return 0
