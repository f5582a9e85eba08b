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
    cdef public bint learnt          # it holds something of a log
    cdef list view                   # by node id: the incarnation on the live link or last seen; 0 unknown
    cdef dict reports                # node id -> (fresh, incarnations), of live links

    cdef tuple found_with(self, tuple founders)
