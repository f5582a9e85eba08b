# Frames that are laid out in another way than ours: see foreign.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.links cimport Link, Links


@cython.final
cdef class Foreign:
    cdef Context context
    cdef Links links
    cdef object flatten
    cdef list late                   # links whose frames wait
    cdef uint64_t left               # bytes that may be rewritten until `next_ns`
    cdef uint64_t next_ns
    cdef uint64_t due_ns             # late links are read
    cdef uint64_t frames             # that were rewritten since the start

    cdef bytes rewrite(self, Link link, const uint8_t* frame, size_t size)
    cdef list take_late(self)
