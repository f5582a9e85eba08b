"""How popular each key of a load is: uniform, or by Zipf's law.

Theory. By Zipf's law with exponent s the key of rank r (from 0) is drawn with a probability proportional to
1 / (r + 1)**s; s = 0 makes all keys equal. A draw takes constant time by the alias method (Walker 1977; built in
linear time, as Vose 1991 does): every key is a column of one width; one part of the column stands for the key itself,
the rest for one other key.

Rules. A draw is a pure function of 64 random bits: the upper 32 choose the column, the lower 32 the part of it.
"""

cimport cython

from libc.math cimport pow
from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

cdef struct Work:
    double share                     # of the key with this number, in columns
    uint32_t todo                    # an unrelated list: from the front keys with too little, from the back the others


@cython.final
cdef class Zipf:
    """`keys`: how many, 1 to 2**31. `exponent`: Zipf's, 0 for uniform. Raises ValueError."""

    def __init__(self, uint64_t keys, double exponent=0.0):
        if self.below != NULL:
            raise RuntimeError("a Zipf is initialized once")
        if not 1 <= keys <= 1 << 31:
            raise ValueError(f"there may be 1 to 2**31 keys, not {keys}")
        if not 0 <= exponent <= 10:
            raise ValueError(f"Zipf's exponent may be 0 to 10, not {exponent}")
        self.keys = keys
        self.exponent = exponent
        if exponent > 0:
            self.build()

    def __dealloc__(self):
        free(self.below)
        free(self.alias)

    cdef int build(self) except -1:
        """Fills every column: the rest of a column with too little comes from one with too much."""
        cdef uint64_t i, small = 0, large = self.keys, one, other
        cdef double total = 0
        cdef Work* work = <Work*>malloc(self.keys * sizeof(Work))
        self.below = <uint64_t*>malloc(self.keys * sizeof(uint64_t))
        self.alias = <uint32_t*>malloc(self.keys * sizeof(uint32_t))
        if work == NULL or self.below == NULL or self.alias == NULL:
            free(work)
            raise MemoryError("no memory for so many keys")
        for i in range(self.keys):
            work[i].share = pow(<double>(i + 1), -self.exponent)
            total += work[i].share
        for i in range(self.keys):
            work[i].share *= self.keys / total
            self.alias[i] = <uint32_t>i
            self.below[i] = <uint64_t>1 << 32
            if work[i].share < 1:
                work[small].todo = <uint32_t>i
                small += 1
            else:
                large -= 1
                work[large].todo = <uint32_t>i
        while small and large < self.keys:
            small -= 1
            one, other = work[small].todo, work[large].todo
            self.below[one] = <uint64_t>(work[one].share * 4294967296.0)
            self.alias[one] = <uint32_t>other
            work[other].share -= 1 - work[one].share
            if work[other].share < 1:
                large += 1
                work[small].todo = <uint32_t>other
                small += 1
        free(work)
        return 0

    cdef uint64_t draw(self, uint64_t random) noexcept:
        cdef uint64_t column = (random >> 32) * self.keys >> 32
        if self.below == NULL or (random & 0xFFFFFFFF) < self.below[column]:
            return column
        return self.alias[column]

    def draw_key(self, uint64_t random):
        """The rank of the key that 64 random bits stand for."""
        return self.draw(random)
