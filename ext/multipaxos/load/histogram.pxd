# Counting latencies in C: see histogram.pyx.
from libc.stdint cimport uint64_t

cimport cython

cdef extern from *:
    int leading_zeros "__builtin_clzll"(unsigned long long) noexcept nogil

cdef enum:
    HALF_BITS = 10                   # HdrHistogram's with 3 significant digits: 2048 buckets of width 1
    HALF = 1 << HALF_BITS
    SUB_BUCKET_MASK = 2 * HALF - 1

# Where HdrHistogram counts `value`.
cdef inline uint64_t bucket_index_of(uint64_t value) noexcept nogil:
    cdef int bucket = 64 - leading_zeros(value | SUB_BUCKET_MASK) - (HALF_BITS + 1)
    return (<uint64_t>bucket << HALF_BITS) + (value >> bucket)


@cython.final
cdef class Histogram:
    cdef readonly uint64_t highest   # the greatest value that is certain to be counted
    cdef readonly uint64_t total     # values counted
    cdef readonly uint64_t lost      # values too great to be counted
    cdef uint64_t* counts
    cdef uint64_t length
    cdef uint64_t lowest_seen, highest_seen
    cdef uint64_t sum_low, sum_high  # the sum of all values: sum_high * 2**64 + sum_low

    cdef inline void record(self, uint64_t value) noexcept:
        cdef uint64_t index = bucket_index_of(value)
        if index >= self.length:
            self.lost += 1
            return
        self.counts[index] += 1
        self.total += 1
        self.sum_low += value
        self.sum_high += self.sum_low < value
        if value < self.lowest_seen:
            self.lowest_seen = value
        if value > self.highest_seen:
            self.highest_seen = value
