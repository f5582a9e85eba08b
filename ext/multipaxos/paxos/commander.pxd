# The commanders of one leader: see commander.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.slots cimport Ring
from multipaxos.wire.messages cimport Watermark
from multipaxos.wire.run cimport Run


@cython.final
cdef class Commanders:
    cdef readonly uint64_t ballot    # of the reign; 0: no reign, no commander is at work
    cdef readonly uint64_t start     # of the reign: every slot below is decided, and never proposed in this reign
    cdef readonly uint64_t decided_end   # every slot below is decided
    cdef readonly uint64_t slot_end  # the first slot that is not proposed
    cdef readonly Ring proposals     # one row per commander: what it proposes, and its votes
    cdef QuorumSystem quorums

    cdef int begin_reign(self, uint64_t ballot, uint64_t start, uint64_t slot_end) except -1
    cdef void end_reign(self) noexcept
    cdef int set_rows(self, Run* run) except -1
    cdef int propose(self, Run* run) except -1
    cdef int on_phase2b(self, int acceptor, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1
    cdef void advance(self) noexcept
    cdef void restart_at(self, uint64_t mark) noexcept
    cdef Watermark watermark(self) noexcept
