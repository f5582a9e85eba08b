# Whether this replica's state is that of the others: see comparing.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.context cimport Context
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link
from multipaxos.node.serving cimport Serving
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Comparing:
    cdef Context context
    cdef Leading leading
    cdef Serving serving
    cdef Replica replica
    cdef readonly Agreement agreement
    cdef bint differs, divided       # the verdict that was last acted upon
    cdef uint64_t unlike

    cdef int on_link_up(self, Link link) except -1
    cdef int tell(self) except -1
    cdef int on_ping(self, Link link, const Message* message) except -1
    cdef int on_verdict(self) except -1
