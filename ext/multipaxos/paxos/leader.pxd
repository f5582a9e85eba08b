# Leaders: see leader.pyx.
cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.paxos.commander cimport Commanders
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.scout cimport Scout
from multipaxos.wire.messages cimport Command, Message
from multipaxos.wire.run cimport Run

cdef enum State:
    PASSIVE, SCOUTING, ACTIVE


@cython.final
cdef class Leader:
    cdef readonly int node
    cdef readonly uint64_t ballot    # ballot_num of PMMC's leader: its own, of the present or last attempt
    cdef readonly State state
    cdef readonly Scout scout        # None unless SCOUTING
    cdef readonly Commanders commanders
    cdef bint adopted                # a verdict of the scout that is not yet acted upon
    cdef bint decided                # a verdict of the commanders that is not yet acted upon
    cdef QuorumSystem quorums

    cdef int on_phase1b(self, int acceptor, const Message* message) except -1
    cdef int on_phase2b(self, int acceptor, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1
    cdef int adopt_proposals(self, uint64_t utc_ns) except -1
    cdef void preempted(self) noexcept
    cdef Run* winner(self, uint64_t slot) noexcept
    cdef int place(self, uint64_t first, uint64_t time_ns, const Command* commands, uint32_t count) except -1
    cdef int repropose(self, uint64_t first, uint64_t end, uint64_t utc_ns) except -1
