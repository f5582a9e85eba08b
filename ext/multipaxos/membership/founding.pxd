# Founding: see founding.pyx.
cimport cython

from libc.stdint cimport uint64_t


@cython.final
cdef class Founding:
    cdef readonly int node
    cdef readonly int nodes
    cdef readonly uint64_t incarnation
    cdef readonly tuple founders     # by node id, their incarnations; None while there is no voter record
    cdef readonly bint fresh         # it has no voter record: it has promised nothing
    cdef readonly uint64_t cluster_id    # of the cluster that it belongs to; 0: none yet
    cdef readonly tuple known        # the founders of that cluster, also where it is none; None: not known yet
    cdef str name                    # of the cluster
    cdef list view                   # by node id: the incarnation on the live link or last seen; 0 unknown
    cdef dict reports                # node id -> (fresh, incarnations), of live links

    cdef tuple found_with(self, tuple founders)
    cdef int meet(self, tuple founders) except -1
    cdef bint is_other(self, tuple founders) except -1
