# Whether two processes run on copies of one data directory: see copies.pyx.
cimport cython

from libc.stdint cimport uint64_t

cdef struct Claim:                   # what a peer tells of a node again and again, while we know another process of it
    uint64_t theirs, ours            # processes
    uint64_t since_ns, their_since_ns    # of the first ping that told it: our clock, the peer's clock
    uint64_t pings

cdef struct Refusal:
    uint64_t process, until_ns       # it is told so long


@cython.final
cdef class Copies:
    cdef readonly int nodes
    cdef readonly uint64_t patience_ns
    cdef set refused                 # processes
    cdef Claim* claims               # of peer p about node k: number p * nodes + k
    cdef uint64_t* newest_ns         # by peer: its clock in its newest ping
    cdef Refusal* refusals           # by node: the newest

    cdef bint is_new(self, int peer, uint64_t their_ns) noexcept
    cdef bint hear(self, int peer, int node, uint64_t theirs, uint64_t ours, uint64_t now_ns,
                   uint64_t their_ns) except -1
    cdef uint64_t refused_lately(self, int node, uint64_t now_ns) noexcept
    cdef bint is_refused(self, object process)
    cdef void forget(self, int peer) noexcept
