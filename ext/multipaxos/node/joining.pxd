# How this node becomes a founder: see joining.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.membership.founding cimport Founding
from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.journal cimport Journal
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Joining:
    cdef Context context
    cdef Links links
    cdef Journal journal
    cdef Acceptor acceptor
    cdef Election election
    cdef readonly Founding founding
    cdef readonly bint is_founded    # the voter record is durable
    cdef readonly uint64_t cluster_id    # durable here; 0: none, and nothing is learnt
    cdef readonly tuple refused_slots    # in which no command is applied, in order
    cdef uint64_t interval_ns        # between two reports while not founded
    cdef uint64_t due_ns             # the next report
    cdef uint64_t ticket             # of the id, and the voter record, while they are not durable; 0: none

    cdef int start(self) except -1
    cdef int on_link_up(self, Link link) except -1
    cdef int on_link_down(self, Link link) except -1
    cdef int on_founding(self, Link link, const Message* message) except -1
    cdef int take_refused_slots(self, Link source) except -1
    cdef int on_ping_due(self) except -1
    cdef bint on_durable(self) except -1
    cdef int send_founding(self, Link link) except -1
    cdef int send_to_all(self) except -1
    cdef int record(self) except -1
    cdef int tell_founders(self) except -1
    cdef int on_founders_durable(self) except -1
