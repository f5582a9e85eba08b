"""Patience: bytes that are on their way put a judgement off.

Theory. A node judges others by signs that come in time: pongs of the leader, pings and votes of followers, parts of a
phase 1b. On a slow link a sign comes late although nothing is wrong, because a piece of something longer goes before
it, or because it is long itself. Then bytes are a sign too, though a weak one: they show that the link carries, and not
that the other side is well. So they count for a time-out, like a true sign, but at most for PATIENT_TIMEOUTS of them
after the last true sign. Who hangs, and whose kernel goes on to send, is judged that much later, and no more.

Rules.
- Bytes of a frame that is not whole yet are what arrives; whole frames speak for themselves.
- Bytes of a leader count only if its last pong said that it leads, with its quorum, at the highest ballot known.
- Bytes of a follower count for a leader's quorum after a vote or ping at its ballot.
- A scout gets on while bytes of an answer arrive that is not complete.
- An acceptor waits for the scout of the highest ballot while bytes of a part leave to it; the sign is the question for
  a part that was not asked for before. When the part has left, the scout may be adopted at any moment, and needs time
  to say so.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.limits cimport PATIENT_TIMEOUTS, RETRY_NS
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.ballot cimport ballot_leader
from multipaxos.paxos.scout cimport Scout


@cython.final
cdef class Patience:

    def __cinit__(self, Context context not None, Links links not None, Election election not None):
        self.context = context
        self.links = links
        self.election = election

    cdef bint is_arriving(self, Link link) noexcept:
        """Have bytes of a frame that is not whole come lately?"""
        return link.arrived_ns and self.context.now_ns - link.arrived_ns < RETRY_NS

    cdef bint waits(self, uint64_t ballot) noexcept:
        """Does our election wait on, because bytes of the leader of `ballot`, the highest one known, or to its scout,
        were on their way within a time-out?"""
        cdef int owner = <int>ballot_leader(ballot)
        cdef Link link = self.links.peers[owner] if ballot and owner < self.context.nodes else None
        if link is None:
            return False
        if link.led_ballot == ballot:
            return self.election.put_off(link.arrived_ns, link.led_ns, self.context.now_ns)
        return (link.promised_ballot == ballot and link.promised_ns
                and self.election.put_off(link.left_ns, link.promised_ns, self.context.now_ns))

    cdef bint is_stuck(self, Scout scout, uint64_t got_on_ns) noexcept:
        """Does our scout not get on, which got a part of an answer last at `got_on_ns`?"""
        cdef uint64_t quiet_ns = self.context.now_ns - got_on_ns
        cdef Link link
        if quiet_ns < self.election.timeout_ns:
            return False
        if quiet_ns < PATIENT_TIMEOUTS * self.election.timeout_ns:
            for link in self.links.peers:
                if (link is not None and not scout.answered >> link.node_id & 1 and link.arrived_ns
                        and self.context.now_ns - link.arrived_ns < self.election.timeout_ns):
                    return False
        return True

    cdef int note_arrivals(self) except -1:
        """Tells the election, at the pace of pings, from which followers of our leader bytes have come."""
        cdef Link link
        for link in self.links.peers:
            if link is not None:
                self.election.arrived_ns[link.node_id] = link.arrived_ns
        return 0
