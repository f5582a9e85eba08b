# Phases 2a of our leader, to every node once: see delivery.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.flight cimport Flight
from multipaxos.node.journal cimport Journal
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.commander cimport Commanders
from multipaxos.paxos.leader cimport Leader
from multipaxos.wire.run cimport Run


@cython.final
cdef class Delivery:
    cdef Context context
    cdef Links links
    cdef Journal journal
    cdef Acceptor acceptor
    cdef Leader leader
    cdef Commanders commanders       # the leader's
    cdef readonly Flight flight
    cdef uint64_t own_end            # the slots below were given to our own acceptor
    cdef uint64_t wait_ns            # from the last repetition to the next
    cdef uint64_t repeat_due_ns
    cdef readonly uint64_t repeated  # runs that the timer has sent to a node again
    cdef readonly uint64_t missed    # times that a node said what it misses, and was sent it

    cdef int begin_reign(self) except -1
    cdef int send(self, Run* run) except -1
    cdef int pump(self, Link link) except -1
    cdef int pump_own(self) except -1
    cdef int put(self, Link link, Run* run, bint short) except -1
    cdef int accept_own(self, Run* run) except -1
    cdef int greet(self, Link link) except -1
    cdef int on_missing(self, Link link, uint64_t slot) except -1
    cdef void on_progress(self) noexcept
    cdef uint64_t due_ns(self) noexcept
    cdef int repeat(self) except -1
    cdef int repeat_to(self, Link link, uint64_t end) except -1
    cdef int repeat_to_self(self) except -1
