# Our own acceptor, joined to links and disk: see voting.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint64_t

from multipaxos.node.catch_up cimport CatchUp
from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.journal cimport Ack, Journal
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.leader cimport Leader
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Voting:
    cdef Context context
    cdef Links links
    cdef Journal journal
    cdef Leading leading
    cdef CatchUp catch_up
    cdef Election election
    cdef Acceptor acceptor
    cdef Leader leader
    cdef uint64_t pulled_ballot      # of the scout that asked last for parts of our answer,
    cdef uint64_t pulled_part        # and the furthest part that it asked for

    cdef int on_phase1a(self, Link link, const Message* message) except -1
    cdef void note_pulled(self, Link link, const Message* message) noexcept
    cdef bint is_on_its_way(self, Link link, const Message* message) noexcept
    cdef bint is_too_far_behind(self, const Message* message) noexcept
    cdef int on_phase2a(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1
    cdef int release(self) except -1
    cdef int put_ack(self, const Ack* ack) except -1
    cdef int put_promise(self, int node_id, bytes data) except -1
    cdef int own_promise(self, bytes data) except -1
