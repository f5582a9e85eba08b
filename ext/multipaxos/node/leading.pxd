# Our own leader, joined to links and disk: see leading.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.context cimport Context
from multipaxos.node.delivery cimport Delivery
from multipaxos.node.election cimport Election
from multipaxos.node.joining cimport Joining
from multipaxos.node.journal cimport Journal
from multipaxos.node.links cimport Link, Links
from multipaxos.node.patience cimport Patience
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.commander cimport Commanders
from multipaxos.paxos.leader cimport Leader
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Leading:
    cdef Context context
    cdef Links links
    cdef Journal journal
    cdef Joining joining
    cdef Election election
    cdef Agreement agreement
    cdef Acceptor acceptor
    cdef Leader leader
    cdef Commanders commanders       # the leader's
    cdef Replica replica
    cdef readonly Delivery delivery
    cdef readonly Patience patience
    cdef readonly uint64_t known_ballot      # the highest ballot seen anywhere
    cdef readonly uint64_t leading_ballot    # the highest ballot at which a node was seen to lead
    cdef uint64_t preempted_ns       # when our leader was preempted; 0: `pings` has asked since which node leads
    cdef uint64_t adopted_ns         # when our scout's ballot was adopted
    cdef uint64_t scout_ticket       # of the scout's ballot while it is not durable; 0: the acceptors were asked
    cdef uint64_t scout_due_ns       # phase 1a again
    cdef uint64_t scout_wait_ns      # and then after so long
    cdef uint64_t got_on_ns          # when our scout got a part of an answer last, or began
    cdef bint is_refused             # an acceptor said that our scout is too far behind
    cdef uint64_t decision_due_ns    # the watermark by itself; NEVER: nothing is decided that was not reported

    # ballots
    cdef bint may_be(self, uint64_t ballot) noexcept
    cdef int see_ballot(self, uint64_t ballot) except -1
    cdef int see_leading(self, uint64_t ballot) except -1
    cdef int step_down(self, uint64_t preemptor, str reason) except -1
    cdef int on_differs(self) except -1
    # phase 1
    cdef Link scout(self)
    cdef int send_scout(self) except -1
    cdef int ask(self, Link link) except -1
    cdef int promise_own(self) except -1
    cdef int on_own_promise(self, const Message* message) except -1
    cdef int on_refused(self, Link link, uint64_t slot_out) except -1
    cdef int on_durable(self) except -1
    cdef int on_phase1b(self, Link link, const Message* message) except -1
    cdef int on_adopted(self) except -1
    # phase 2
    cdef int on_phase2b(self, Link link, const Message* message) except -1
    cdef int on_own_ack(self, uint64_t ballot, uint64_t first, uint64_t end) except -1
    cdef int advance(self) except -1
    cdef int propose(self) except -1
    cdef int on_decided(self) except -1
    cdef int send_decisions(self, bint to_all) except -1
    # once per wake-up
    cdef bint has_verdicts(self) noexcept
    cdef int act_on_verdicts(self) except -1
    cdef int settle(self) except -1
    # time
    cdef bint may_lead(self) noexcept
    cdef bint has_round(self) noexcept
    cdef int start(self) except -1
    cdef int greet(self, Link link) except -1
    cdef int on_room(self, Link link) except -1
    cdef int on_link_down(self, Link link) except -1
    cdef int on_ping_due(self) except -1
    cdef uint64_t decision_due(self) noexcept
    cdef uint64_t scout_due(self) noexcept
    cdef uint64_t due_ns(self) noexcept
    cdef Link on_due(self)
    cdef Link on_scout_due(self)
