# Which node leads, and which are ahead: see pings.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.catch_up cimport CatchUp
from multipaxos.node.comparing cimport Comparing
from multipaxos.node.context cimport Context
from multipaxos.node.copies cimport Copies
from multipaxos.node.election cimport Election
from multipaxos.node.journal cimport Journal
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.leader cimport Leader
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Pings:
    cdef Context context
    cdef Links links
    cdef Journal journal
    cdef Leading leading
    cdef CatchUp catch_up
    cdef Election election
    cdef Comparing comparing
    cdef Acceptor acceptor
    cdef Leader leader
    cdef Replica replica
    cdef uint64_t interval_ns
    cdef readonly Copies copies
    cdef uint64_t ping_due_ns
    cdef uint64_t all_due_ns          # when the next ping goes to all peers
    cdef uint64_t led_ns             # when a node last reported that it leads, with its quorum, at known_ballot

    cdef int send_pings(self) except -1
    cdef int send_pong(self, Link link, uint64_t nonce) except -1
    cdef uint64_t process_of(self, int node)
    cdef Link copy_in(self, Link link, const Message* ping)
    cdef uint64_t take_missing(self, Link link) noexcept
    cdef int tell(self, Link link, uint64_t nonce, uint64_t missing) except -1
    cdef int on_ping(self, Link link, const Message* message) except -1
    cdef int on_pong(self, Link link, const Message* message) except -1
    cdef bint may_want(self, Link link) noexcept
    cdef void soon(self) noexcept
    cdef uint64_t due_ns(self) noexcept
