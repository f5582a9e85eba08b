# Slots of which an acceptor cannot tell what it accepted: see holes.pyx.
cimport cython

from libc.stdint cimport uint64_t

cdef struct Span:                    # slots [first, end)
    uint64_t first, end


@cython.final
cdef class Holes:
    cdef readonly uint64_t end       # of the last hole; 0: there is none
    cdef Span* spans                 # in order, apart from each other
    cdef uint64_t count, room

    cdef int add(self, uint64_t first, uint64_t end) except -1
    cdef int fill(self, uint64_t first, uint64_t end) except -1
    cdef Span clear_of(self, uint64_t first, uint64_t end) noexcept
    cdef uint64_t slots(self) noexcept
    cdef int put(self, uint64_t place, uint64_t first, uint64_t end) except -1
