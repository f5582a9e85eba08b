# When a passive leader scouts: see election.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.paxos.limits cimport ACCEPTORS_MAX
from multipaxos.paxos.quorum cimport QuorumSystem


@cython.final
cdef class Election:
    cdef readonly uint64_t timeout_ns
    cdef readonly uint64_t wait_ns   # the present wait, between timeout_ns and WAIT_MAX times that
    cdef readonly uint64_t due_ns    # when a passive leader scouts
    cdef uint64_t state              # of the random numbers
    cdef QuorumSystem quorums
    cdef uint64_t reign              # the ballot at which this node leads; 0: it does not
    cdef uint64_t[ACCEPTORS_MAX] contact_ns  # by node id: its last sign of life at that ballot; 0: none
    cdef uint64_t[ACCEPTORS_MAX] arrived_ns  # when bytes of a frame came from it that was not whole then

    cpdef uint64_t random(self, uint64_t below) noexcept
    cpdef void heard(self, uint64_t now_ns) noexcept
    cpdef bint put_off(self, uint64_t bytes_ns, uint64_t sign_ns, uint64_t now_ns) noexcept
    cpdef void suspect(self, uint64_t now_ns) noexcept
    cpdef void passive(self, uint64_t now_ns) noexcept
    cpdef void preempted(self, uint64_t now_ns, bint scouting) noexcept
    cpdef void soon(self, uint64_t now_ns) noexcept
    cpdef void begin_reign(self, uint64_t ballot, uint64_t votes, uint64_t now_ns) noexcept
    cpdef void note_contact(self, int acceptor, uint64_t ballot, uint64_t now_ns) noexcept
    cpdef bint has_quorum(self, uint64_t now_ns, uint64_t timeout_ns) noexcept
