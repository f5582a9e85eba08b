# Do the replicas hold one state? See agreement.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.paxos.limits cimport ACCEPTORS_MAX

cdef enum:
    PAIRS_MAX = 64                   # that are kept of each replica, its newest ones

cdef struct Pair:                    # the hash of the state after `slot`; slot 0: none
    uint64_t slot
    uint64_t hash

cdef struct Told:                    # what one replica has told
    Pair[PAIRS_MAX] pairs
    uint64_t count                   # of all time; the newest is at count - 1, modulo PAIRS_MAX


@cython.final
cdef class Agreement:
    cdef readonly int node_id
    cdef readonly uint64_t slot, hash  # that this replica told last; slot 0: none
    cdef readonly bint differs       # a majority of the replicas has another state than this one: until the restart
    cdef readonly bint divided       # no majority of the replicas has one state
    cdef readonly uint64_t unlike    # mask of the replicas whose state was seen to differ from this one's
    cdef uint64_t replicas           # mask of all replicas of the cluster
    cdef int majority
    cdef uint64_t judged             # the newest slot at which a majority, or that there is none, was seen
    cdef Told* told                  # by node id

    cpdef bint tell(self, uint64_t slot, uint64_t hash) noexcept
    cpdef bint hear(self, int node_id, uint64_t slot, uint64_t hash) noexcept
    cpdef void forget(self, int node_id) noexcept
    cdef const Pair* find(self, int node_id, uint64_t slot) noexcept
    cdef bint put(self, int node_id, uint64_t slot, uint64_t hash) noexcept
    cdef bint judge(self, uint64_t slot) noexcept
    cdef void conclude(self, uint64_t slot, int most, int silent) noexcept
