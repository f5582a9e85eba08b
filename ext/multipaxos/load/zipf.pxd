# How popular each key is: see zipf.pyx.
from libc.stdint cimport uint32_t, uint64_t

cimport cython


@cython.final
cdef class Zipf:
    cdef readonly uint64_t keys
    cdef readonly double exponent
    cdef uint64_t* below             # of 2**32: draws below it stay at their column
    cdef uint32_t* alias             # by column: the key of the other draws

    cdef int build(self) except -1
    cdef uint64_t draw(self, uint64_t random) noexcept
