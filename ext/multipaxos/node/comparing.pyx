"""Comparing: tells the other replicas the hash of our state, hears theirs, and acts where they differ.

Theory. `agreement` is the pure rule. This organ gives it what our replica has applied and what pings bring, and acts on
its verdict: it says what is wrong, and a replica that differs from a majority stops leading and serving.

Rules.
- A new slot is told only in pings that go to all peers, so every peer hears of it. The pings between repeat it.
- A node that differs stops in the wake-up in which it learns it, before anything else is sent to clients.
- What a node without the replica's role tells counts for nothing. A replica that is no founder counts: it applies
  the same log, and a state is no vote.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.context cimport Context
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link
from multipaxos.node.serving cimport Serving
from multipaxos.paxos.limits cimport ACCEPTORS_MAX
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.messages cimport Message

cdef str DIFFERS = (
    "this replica's state differs from that of a majority: it gives no answers and does not lead until it is "
    "restarted, it votes and learns; a machine that is not deterministic or a fault of the memory does this: find out "
    "which, and mend it before you restart the node")
cdef str DIVIDED = (
    "no majority of the replicas has one state: all go on, and clients may read different things from each; a machine "
    "that is not deterministic does this: stop the nodes, mend it, and start them again")


@cython.final
cdef class Comparing:

    def __cinit__(self, Context context not None, Leading leading not None, Serving serving not None,
                  Replica replica not None, Agreement agreement not None):
        self.context = context
        self.leading = leading
        self.serving = serving
        self.replica = replica
        self.agreement = agreement

    cdef int on_link_up(self, Link link) except -1:
        self.agreement.forget(link.node_id)
        self.unlike &= self.agreement.unlike
        return 0

    cdef int tell(self) except -1:
        """A ping to all peers is due: chooses the slot whose hash it tells."""
        if not self.context.is_replica or self.replica.slot_out == 1:
            return 0
        if not self.replica.landmark.slot:
            self.replica.landmark.note(self.replica.slot_out - 1, self.replica.state_hash())
        if self.agreement.tell(self.replica.landmark.slot, self.replica.landmark.hash):
            self.on_verdict()
        self.replica.landmark.clear()
        return 0

    cdef int on_ping(self, Link link, const Message* message) except -1:
        """A peer tells the hash of its state after a slot."""
        if self.agreement.hear(link.node_id, message.state_slot, message.state_hash):
            self.on_verdict()
        return 0

    cdef int on_verdict(self) except -1:
        """The verdict changed: says what is new, and acts."""
        cdef uint64_t unlike = self.agreement.unlike & ~self.unlike, slot = self.agreement.slot
        cdef int i
        for i in range(ACCEPTORS_MAX):
            if unlike >> i & 1:
                self.context.note("unlike", 0, slot, f"node {i} has another state than this node: look at `multipaxos "
                                                     "status` of all nodes")
        if self.agreement.divided and not self.divided:
            self.context.note("divided", 0, slot, DIVIDED)
        if self.agreement.differs and not self.differs:
            self.context.note("differs", 0, slot, DIFFERS)
            self.leading.on_differs()
            self.serving.on_differs()
        self.unlike, self.differs, self.divided = self.agreement.unlike, self.agreement.differs, self.agreement.divided
        return 0
