# When a passive leader scouts: see election.pyx.
from libc.stdint cimport uint64_t

cdef class Election:
    cdef readonly uint64_t timeout_ns
    cdef readonly uint64_t wait_ns   # the present wait, between timeout_ns and WAIT_MAX times that
    cdef readonly uint64_t due_ns    # a passive leader scouts from here on
    cdef uint64_t state

    cdef uint64_t random(self, uint64_t below) noexcept
    cdef void heard(self, uint64_t now_ns) noexcept
    cdef void suspect(self, uint64_t now_ns) noexcept
    cdef void preempted(self, uint64_t now_ns, bint scouting) noexcept
    cdef void soon(self, uint64_t now_ns) noexcept
