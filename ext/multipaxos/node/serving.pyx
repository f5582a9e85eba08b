"""Serving: requests of clients and peers go to our replica, or on to the leader's; answers go to clients.

Rules.
- While our leader is not active, our replica's requests are forwarded to the replica beside the leader that we know,
  and kept until they are applied here. They are forwarded as far as the link has room; again on a new link, to every
  new leader, and after a while if they have arrived and are not applied.
- A node without a machine keeps no request: the node that forwarded it keeps it.
- A replica that differs from a majority (`agreement`) answers no client.
- Settings come on links of admins, and from the peers to which admins gave them (`changing`).
- Answers leave once per wake-up, those to one link and session in one frame.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.changing cimport Changing
from multipaxos.node.context cimport Context
from multipaxos.node.leading cimport Leading
from multipaxos.node.limits cimport ALLOWANCE_NS, FORWARD_RETRY_NS, FORWARD_RETRY_NS_MAX, NEVER
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.ballot cimport ballot_leader
from multipaxos.paxos.leader cimport PASSIVE, Leader
from multipaxos.paxos.limits cimport OPENINGS_MAX, REPORT_BYTES_MAX
from multipaxos.paxos.queue cimport Queue
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.requests cimport Allowance, Requests
from multipaxos.wire.messages cimport Message
from multipaxos.wire.writing cimport put_leading

cdef str NO_ANSWERS = "this replica differs from a majority and gives no answers: use another node"


@cython.final
cdef class Serving:

    def __cinit__(self, Context context not None, Links links not None, Leading leading not None,
                  Agreement agreement not None, Leader leader not None, Replica replica not None):
        self.context = context
        self.links = links
        self.leading = leading
        self.agreement = agreement
        self.changing = Changing(context, links, replica)
        self.leader = leader
        self.replica = replica
        self.forwarded_head = NEVER

    cdef int on_link_up(self, Link link) except -1:
        """A client is sent the leader's ballot. When a peer connects, waiting requests are forwarded again: the
        broken link may have lost some."""
        if link.node_id < 0:
            return put_leading(&link.outgoing, self.leading.leading_ballot)
        self.replica.requests.queue.forward_again()
        self.forwarded_head = NEVER
        return 0

    cdef int on_differs(self) except -1:
        """This replica's state differs from that of a majority: what it answers may be wrong. Its clients go to other
        nodes; a client that only asks for the status may come back."""
        cdef Link link
        for link in list(self.links.links.values()):
            if link.node_id < 0:
                self.links.close(link, NO_ANSWERS)
        return 0

    cdef int on_request(self, Link link, const Message* message) except -1:
        cdef bytes refusal = None        # of settings: None where the link may not carry them, empty: none
        if link.node_id >= 0:
            link.forwarded_ns = self.context.now_ns
            if self.leader.state == PASSIVE:
                return 0                 # the peer forwards it again, to the leader that it then knows
        elif not self.context.is_replica:
            return self.links.refuse(link, "a request to a node that is no replica")
        elif self.agreement.differs:
            return self.links.close(link, NO_ANSWERS)
        if link.node_id >= 0 or link.is_admin:
            refusal = self.changing.judge(&message.commands) if link.is_admin else b""
        if self.replica.on_request(link.id, self.allowance(link), &message.commands, refusal):
            return self.links.refuse(link, "a request with a command that this link does not carry")
        return 0

    cdef Allowance* allowance(self, Link link) noexcept:
        """What a client may ask for in this second; NULL for a peer."""
        if link.node_id >= 0:
            return NULL
        if not link.allowance_ns or self.context.now_ns >= link.allowance_ns + ALLOWANCE_NS:
            link.allowance_ns = self.context.now_ns
            link.allowance = Allowance(OPENINGS_MAX, REPORT_BYTES_MAX)
        return &link.allowance

    cdef int settle(self) except -1:
        """The end of a wake-up: keeps the requests that got no slot, forwards them, and sends answers."""
        cdef Requests requests = self.replica.requests
        if requests.arrived_count:
            requests.stash(self.context.utc_ns, self.replica.slot_out)
        if requests.waiting():
            self.replica.retire(self.context.utc_ns)
            if self.leader.state == PASSIVE and requests.waiting():
                self.forward()
        else:
            self.forwarded_head = NEVER
        if self.replica.answers.count:
            self.put_answers()
        return 0

    cdef int forward(self) except -1:
        """Requests go to the replica beside the active leader."""
        cdef Link link
        cdef uint64_t ballot = self.leading.known_ballot
        cdef int leader = <int>ballot_leader(ballot)
        if not self.context.is_replica:
            self.replica.requests.queue.clear()
            return 0
        if not ballot or leader == self.context.node_id or leader >= self.context.nodes:
            return 0
        link = self.links.peers[leader]
        if link is None:
            return 0
        if ballot != self.forwarded_ballot:
            self.forwarded_ballot, self.forwarded_head = ballot, NEVER
        self.forward_again(link)
        while link.has_room() and self.replica.put_forward(&link.bulk, self.context.utc_ns):
            pass
        return 0

    cdef int forward_again(self, Link link) except -1:
        """The leader's replica may have dropped what was forwarded: it is forwarded again after a time that doubles
        while nothing of it is applied, once it has arrived there. That time begins anew with another leader or link,
        and is longer where there is much to carry: to the leader, and from it."""
        cdef Queue queue = self.replica.requests.queue
        if queue.head != self.forwarded_head:
            self.forwarded_head = queue.head
            self.forward_wait_ns = FORWARD_RETRY_NS
            self.forward_due_ns = self.context.now_ns + FORWARD_RETRY_NS
            self.forwarded_ns = 0
        if link.waiting():
            self.forwarded_ns = 0
        elif not self.forwarded_ns:
            self.forwarded_ns = self.context.now_ns
            self.forward_due_ns = max(self.forward_due_ns,
                                      self.context.now_ns + 4 * self.links.carry_ns(link, queue.bytes))
        elif self.context.now_ns >= self.forward_due_ns and link.alive_ns >= self.forwarded_ns:
            self.forward_wait_ns = min(2 * self.forward_wait_ns, <uint64_t>FORWARD_RETRY_NS_MAX)
            self.forward_due_ns = self.context.now_ns + self.forward_wait_ns
            self.forwarded_ns = 0
            queue.forward_again()
        return 0

    cdef int put_answers(self) except -1:
        cdef Answers answers = self.replica.answers
        cdef uint64_t at = 0
        cdef Link link
        while at < answers.count:
            link = self.links.links.get(answers.reports[at].link)
            if link is None:
                at += 1
            else:
                at = answers.put(&link.outgoing, at)
        answers.clear()
        return 0
