# What all organs of a node know: see context.pyx.
cimport cython

from libc.stdint cimport uint64_t


@cython.final
cdef class Context:
    cdef readonly str cluster        # its name
    cdef readonly int node_id
    cdef readonly int nodes
    cdef readonly object incarnation
    cdef readonly bint is_replica, is_leader, is_acceptor
    cdef readonly uint64_t window    # WINDOW
    cdef readonly uint64_t now_ns    # of a clock that counts suspension and never goes back; 0 before the first tick
    cdef readonly uint64_t utc_ns
    cdef list roles                  # by node id: bits, see paxos/roles.pxd
    cdef list events                 # [Event] since the last output

    cdef int note(self, str kind, uint64_t ballot, uint64_t slot, str text) except -1
    cdef list take_events(self)
