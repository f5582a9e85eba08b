# The memory of Paxos: see acceptor.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.run cimport Run
from multipaxos.paxos.slots cimport Ring


@cython.final
cdef class Acceptor:
    cdef readonly uint64_t ballot_num
    cdef readonly uint64_t mark
    cdef readonly uint64_t end       # one above the highest slot held
    cdef readonly bint voting
    cdef bint news                   # did the last on_phase2a or learn change a row? then it needs a record
    cdef readonly Ring accepted

    cdef bint adopt(self, uint64_t ballot) noexcept
    cdef bint on_phase2a(self, Run* run, uint64_t* first, uint64_t* end) noexcept
    cdef bint learn(self, Run* run, uint64_t first, uint64_t end) noexcept
    cdef void hold(self, Run* run, uint64_t first, uint64_t end) noexcept
    cdef int answer_phase1a(self, Bytes* out, uint64_t first, uint64_t incarnation) except -1
