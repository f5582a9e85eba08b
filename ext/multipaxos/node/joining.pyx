"""Joining: how this node learns that it is a founder, records it, and then votes.

Theory. `membership.founding` is the pure rule: when the reports of the peers make a list of founders. This organ
joins it to links and disk: it reports our state to the peers, and makes the voter record durable before the node votes.

Rules.
- A list of founders is reported only when it is durable here. If a crash lost it, this node would report to be fresh
  again, and others could found another list while the first one is still on its way.
- A node without a durable cluster id learns nothing of a log: a crash would make it forget whose log that is. It takes
  the id from the first founder that it meets, and the refused slots from the hello of the same link. So no link
  outlives a change of the slots that our hello told on it. A founder has the id with its voter record.
- Two nodes whose ids differ have no link.
- While a node is not founded it reports again, at the pace of pings.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.membership.founding cimport Founding
from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.journal cimport Journal
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.limits cimport ACCEPTORS_MAX
from multipaxos.wire.messages cimport Message
from multipaxos.wire.reading cimport number_at
from multipaxos.wire.writing cimport put_founding

from multipaxos.errors import InvariantViolation

OTHER_CLUSTER = "it belongs to another cluster of this name: give each cluster a name, addresses and a key of its own"
OTHER_SLOTS = "other slots are refused here than this node's hello told: dial again"
NO_FOUNDER = "this incarnation is no founder of its cluster: it learns and does not vote"


@cython.final
cdef class Joining:
    """`founders`: the voter record that the disk held, or None; `cluster_id`: the id that it held, 0: none;
    `refused_slots`: those that it held; `ping_interval_ns`: the pace of pings."""

    def __cinit__(self, Context context not None, Links links not None, Journal journal not None,
                  Acceptor acceptor not None, Election election not None, tuple founders, uint64_t cluster_id,
                  tuple refused_slots not None, uint64_t ping_interval_ns):
        self.context = context
        self.links = links
        self.journal = journal
        self.acceptor = acceptor
        self.election = election
        self.founding = Founding(context.cluster, context.node_id, context.nodes, context.incarnation, founders,
                                 cluster_id)
        self.cluster_id = cluster_id
        self.is_founded = founders is not None
        self.interval_ns = 2 * ping_interval_ns
        self.refused_slots = refused_slots
        self.tell_founders()

    cdef int start(self) except -1:
        """The first tick. A node without peers founds its cluster at once."""
        if self.founding.fresh and self.cluster_id:
            self.context.note("not_founder", 0, 0, NO_FOUNDER)
        self.due_ns = self.context.now_ns
        if self.context.nodes == 1 and self.founding.found() is not None:
            self.record()
        return 0

    cdef int on_link_up(self, Link link) except -1:
        """A peer's handshake is done: our state is reported to it, and to all peers if our view changed."""
        if link.cluster_id and self.founding.cluster_id and link.cluster_id != self.founding.cluster_id:
            return self.links.refuse(link, OTHER_CLUSTER)
        if self.founding.on_link_up(link.node_id, link.incarnation):
            return self.send_to_all()
        return self.send_founding(link)

    cdef int on_link_down(self, Link link) except -1:
        self.founding.on_link_down(link.node_id)
        return 0

    cdef int on_founding(self, Link link, const Message* message) except -1:
        """A peer reports its state of founding."""
        cdef bint fresh = self.founding.fresh, witness = self.founding.is_witness()
        cdef uint64_t cluster_id = self.founding.cluster_id
        if message.incarnation != link.incarnation:
            return self.links.refuse(link, "a founding of another incarnation than the link's")
        listed = [number_at(&message.incarnations, i) for i in range(message.incarnations.count)]
        if not message.fresh and listed[link.node_id:link.node_id + 1] != [link.incarnation]:
            return self.links.refuse(link, "a list of founders that does not name its sender")
        self.founding.on_founding(link.node_id, message.incarnation, message.fresh, listed)
        self.tell_founders()
        if self.founding.cluster_id != cluster_id:
            if not message.fresh:
                self.take_refused_slots(link)
            self.record()
            if self.founding.fresh:
                self.context.note("not_founder", 0, 0, NO_FOUNDER)
        elif self.founding.is_witness() and not witness:
            self.context.note("witness", 0, 0,
                              "this node belongs to a cluster of which no peer is a founder: it founds no other one")
        elif self.founding.is_foreign(link.node_id):
            return self.links.refuse(link, OTHER_CLUSTER)
        if message.fresh and not fresh:
            self.send_founding(link)
        return 0

    cdef int take_refused_slots(self, Link source) except -1:
        """The refused slots come with the cluster's id. Our hellos told the other peers other ones, which a peer
        without an id would take from us with the id: those links close, and the next ones begin with new hellos."""
        cdef Link link
        if self.refused_slots == source.refused_slots:
            return 0
        self.refused_slots = source.refused_slots
        for link in self.links.peers:
            if link is not None and link is not source:
                self.links.close(link, OTHER_SLOTS)
                self.on_link_down(link)
        return 0

    cdef int on_ping_due(self) except -1:
        """Pings are due: reports again while this node is not founded."""
        if self.founding.fresh and self.context.now_ns >= self.due_ns:
            self.due_ns = self.context.now_ns + self.interval_ns
            self.send_to_all()
        return 0

    cdef int send_to_all(self) except -1:
        cdef Link link
        for link in self.links.peers:
            if link is not None:
                self.send_founding(link)
        return 0

    cdef int send_founding(self, Link link) except -1:
        """Our state of founding."""
        cdef uint64_t[ACCEPTORS_MAX] incarnations
        if self.ticket:
            return 0                     # `on_durable` sends it
        incarnation, fresh, listed = self.founding.message()
        for i, one in enumerate(listed):
            incarnations[i] = one
        put_founding(&link.outgoing, incarnation, fresh, incarnations, <uint32_t>len(listed))
        return 0

    cdef int record(self) except -1:
        """We know the cluster: its id is made durable, with the voter record if we are a founder; then we learn, and
        vote."""
        self.journal.put_cluster(self.founding.cluster_id, self.founding.founders, self.refused_slots)
        self.ticket = self.journal.ticket()
        return 0

    cdef bint on_durable(self) except -1:
        """A batch is durable. True if with it the node belongs to its cluster, and refuses the slots that are refused
        there."""
        if not self.ticket or not self.journal.is_durable(self.ticket):
            return False
        self.ticket = 0
        self.cluster_id = self.founding.cluster_id
        self.tell_founders()
        if not self.founding.fresh:
            self.on_founders_durable()
        self.send_to_all()
        return True

    cdef int tell_founders(self) except -1:
        """From now on the founders' word on the log counts, if we know them and our cluster's id is durable."""
        if self.cluster_id and self.links.founders is None and self.founding.known is not None:
            self.links.set_founders(self.founding.known)
        return 0

    cdef int on_founders_durable(self) except -1:
        """The voter record is durable."""
        self.is_founded = True
        if self.context.is_acceptor:
            self.acceptor.set_voting()
        self.election.soon(self.context.now_ns)
        self.context.note("founded", 0, 0, "founded: the voter record is durable, this node votes")
        return 0

    def invariants(self):
        """A node is founded when it knows the founders and the voter record is durable."""
        self.founding.invariants()
        if self.is_founded != (not self.founding.fresh and not self.ticket):
            raise InvariantViolation("the voter record is durable and the founders are unknown, or the reverse")
        if self.cluster_id != (0 if self.ticket else self.founding.cluster_id):
            raise InvariantViolation("the cluster's id is durable and is not this cluster's, or the reverse")
