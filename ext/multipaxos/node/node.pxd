# A node's core: see node.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint64_t

from multipaxos.machine.machine cimport Machine
from multipaxos.node.catch_up cimport CatchUp
from multipaxos.node.comparing cimport Comparing
from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.foreign cimport Foreign
from multipaxos.node.joining cimport Joining
from multipaxos.node.journal cimport Journal
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link, Links
from multipaxos.node.output cimport ApplyJob
from multipaxos.node.pings cimport Pings
from multipaxos.node.receiving cimport Receiving
from multipaxos.node.report cimport Report
from multipaxos.node.serving cimport Serving
from multipaxos.node.voting cimport Voting
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.leader cimport Leader
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Node:
    # the cast
    cdef readonly Acceptor acceptor
    cdef readonly Leader leader
    cdef readonly Replica replica
    cdef readonly Election election
    cdef Machine machine
    # the organs
    cdef readonly Context context
    cdef readonly Links links
    cdef readonly Foreign foreign
    cdef Receiving receiving
    cdef readonly Journal journal
    cdef readonly Joining joining
    cdef readonly Leading leading
    cdef readonly CatchUp catch_up
    cdef readonly Pings pings
    cdef readonly Voting voter
    cdef readonly Serving serving
    cdef readonly Comparing comparing
    cdef Report report
    # its own
    cdef readonly str failed
    cdef uint64_t job_token          # of the job that the machine runs; 0: none

    cdef int consume(self, Link link, const uint8_t* data, size_t size, size_t* used) except -1
    cdef int read_pending(self, Link link) except -1
    cdef int on_frame(self, Link link, const uint8_t* frame, size_t size) except -1
    cdef int dispatch(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1
    cdef int on_stranger(self, Link link, const Message* message) except -1
    cdef int on_question(self, Link link, const Message* message) except -1
    cdef int on_founders_ping(self, Link link, const Message* message) except -1
    cdef int on_peer_gone(self, Link link) except -1
    cdef ApplyJob next_job(self)
    cdef int release(self) except -1
    cdef uint64_t due_ns(self) noexcept
    cdef int start_timers(self) except -1
    cdef int on_timers(self) except -1
    cdef int settle_wakeup(self) except -1
