# One attempt to have a ballot adopted: see scout.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.paxos.limits cimport ACCEPTORS_MAX
from multipaxos.paxos.pmax cimport PMax
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.wire.messages cimport Message, Pvalues


@cython.final
cdef class Scout:
    cdef readonly uint64_t ballot
    cdef readonly uint64_t first     # PMMC-reduced: pvalues below are not asked for; fixed for the scout's life
    cdef readonly uint64_t mark      # the greatest of the answers, at least `first`
    cdef readonly uint64_t answered  # vote mask of complete answers
    cdef QuorumSystem quorums
    cdef PMax pvalues
    cdef uint64_t capacity
    cdef uint64_t[ACCEPTORS_MAX] covered   # by node id: its answer is complete up to this slot

    cdef int on_phase1b(self, int acceptor, const Message* message) except -1
    cdef bint merge(self, const Pvalues* entry, uint64_t limit) except -1
