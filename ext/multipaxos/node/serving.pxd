# Requests of clients and peers, and answers to clients: see serving.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.changing cimport Changing
from multipaxos.node.context cimport Context
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.leader cimport Leader
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.requests cimport Allowance
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Serving:
    cdef Context context
    cdef Links links
    cdef Leading leading
    cdef Agreement agreement
    cdef Changing changing
    cdef Leader leader
    cdef Replica replica
    cdef uint64_t forward_due_ns     # requests that were forwarded are forwarded again,
    cdef uint64_t forward_wait_ns    # and then after so long
    cdef uint64_t forwarded_head     # the queue began there when `forward_wait_ns` was set; NEVER: it was empty
    cdef uint64_t forwarded_ballot   # requests were forwarded to its leader
    cdef uint64_t forwarded_ns       # nothing waits for the link since then; 0: something did

    cdef int on_link_up(self, Link link) except -1
    cdef int on_differs(self) except -1
    cdef int on_request(self, Link link, const Message* message) except -1
    cdef Allowance* allowance(self, Link link) noexcept
    cdef int settle(self) except -1
    cdef int forward(self) except -1
    cdef int forward_again(self, Link link) except -1
    cdef int put_answers(self) except -1
