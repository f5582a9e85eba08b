# When a passive leader scouts: see election.pyx.
cimport cython

from libc.stdint cimport uint64_t


@cython.final
cdef class Election:
    cdef readonly uint64_t timeout_ns
    cdef readonly uint64_t wait_ns   # the present wait, between timeout_ns and WAIT_MAX times that
    cdef readonly uint64_t due_ns    # a passive leader scouts from here on
    cdef uint64_t state

    cpdef uint64_t random(self, uint64_t below) noexcept
    cpdef void heard(self, uint64_t now_ns) noexcept
    cpdef void suspect(self, uint64_t now_ns) noexcept
    cpdef void passive(self, uint64_t now_ns) noexcept
    cpdef void preempted(self, uint64_t now_ns, bint scouting) noexcept
    cpdef void soon(self, uint64_t now_ns) noexcept
