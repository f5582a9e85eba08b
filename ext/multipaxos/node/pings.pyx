"""Pings: which node leads, which nodes still follow, which are ahead, and which are copies.

Theory. A node pings the leader that it follows. The pong reports whether that leader still has its quorum, which puts
our election off, and how far the leader is, which shows what we have to fetch. The ping in turn carries the ballot that
our acceptor follows: so a leader without requests learns that it still has its quorum. It also tells the processes that
we are linked with, so that peers notice two processes on copies of one directory (`copies`).

Rules.
- A node that knows of no leader pings all peers, with the highest ballot that it knows. The owner of that ballot may be
  gone; a node that leads at a lower one has to learn of it, or we never follow that node.
- A ping is answered whoever sends it. What it says of ballots, slots and processes counts only where the link counts.
- An acceptor counts as a follower only if it votes and has adopted the ballot of the ping.
- A node whose leader was preempted pings at once. A node that `delivery` wants to know of is pinged with the others.
- A leader whose pvalues we dropped for want of room is told so with the next ping after there is room, by a pong that
  it did not ask for.
- Every TO_ALL intervals a ping goes to all peers, whoever leads, so that replicas compare their states (`comparing`)
  and every peer compares processes (`copies`).
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.catch_up cimport CatchUp
from multipaxos.node.comparing cimport Comparing
from multipaxos.node.context cimport Context
from multipaxos.node.copies cimport Copies
from multipaxos.node.election cimport Election
from multipaxos.node.journal cimport Journal
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.ballot cimport ballot_leader
from multipaxos.paxos.leader cimport ACTIVE, PASSIVE, Leader
from multipaxos.paxos.limits cimport ACCEPTORS_MAX
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.messages cimport Message, Watermark
from multipaxos.wire.reading cimport number_at
from multipaxos.wire.writing cimport put_ping, put_pong

cdef enum:
    TO_ALL = 10                      # intervals from one ping to all peers to the next
    HEARD = 15                       # intervals; whoever answered no ping of these is not told


@cython.final
cdef class Pings:
    """`interval_ns`: from one ping to the next."""

    def __cinit__(self, Context context not None, Links links not None, Journal journal not None,
                  Leading leading not None, CatchUp catch_up not None, Election election not None,
                  Comparing comparing not None, Acceptor acceptor not None, Leader leader not None,
                  Replica replica not None, uint64_t interval_ns):
        self.context = context
        self.links = links
        self.journal = journal
        self.leading = leading
        self.catch_up = catch_up
        self.election = election
        self.comparing = comparing
        self.acceptor = acceptor
        self.leader = leader
        self.replica = replica
        self.interval_ns = interval_ns
        self.copies = Copies(context.nodes, HEARD * interval_ns + 2 * election.timeout_ns)

    cdef int send_pings(self) except -1:
        """Pings the node whose ballot we follow; all peers from time to time, and while no node answers that it leads
        at that ballot."""
        cdef Link link
        cdef uint64_t ballot = self.leading.known_ballot
        cdef int leader = <int>ballot_leader(ballot) if ballot else -1
        cdef bint to_all = (self.context.now_ns >= self.all_due_ns or
                            (self.leader.state != ACTIVE
                             and self.context.now_ns - self.led_ns > self.election.timeout_ns))
        cdef Agreement agreement = self.comparing.agreement
        cdef bint voting = self.acceptor.voting and self.acceptor.ballot_num >= ballot
        cdef uint64_t[ACCEPTORS_MAX] processes
        cdef uint64_t missing
        cdef int i
        if self.context.now_ns >= self.links.partial_due_ns:
            self.links.end_partial(self.context.now_ns)
        if to_all:
            self.all_due_ns = self.context.now_ns + TO_ALL * self.interval_ns
            self.comparing.tell()
        for i in range(self.context.nodes):
            processes[i] = self.process_of(i) or self.copies.refused_lately(i, self.context.now_ns)
        for link in self.links.peers:
            if link is not None and (to_all or link.must_ping or link.node_id == leader):
                put_ping(&link.outgoing, max(self.acceptor.ballot_num, ballot), self.context.now_ns,
                         self.replica.slot_out, voting, agreement.slot, agreement.hash, processes, self.context.nodes)
                link.must_ping = False
            if link is not None and self.acceptor.dropped:
                missing = self.take_missing(link)
                if missing:
                    self.tell(link, 0, missing)
        self.leading.preempted_ns = 0
        self.ping_due_ns = self.context.now_ns + self.interval_ns
        return 0

    cdef uint64_t process_of(self, int node):
        """The process of a founder that we are linked with, if it has answered a ping that we sent lately; 0: none."""
        cdef Link link = self.links.peers[node]
        if link is None or not link.counts or self.context.now_ns - link.alive_ns > HEARD * self.interval_ns:
            return 0
        return link.process

    cdef int on_ping(self, Link link, const Message* message) except -1:
        if link.counts:
            link.slot_out = message.slot_out
            link.heard_ns = self.context.now_ns
            self.leading.see_ballot(message.ballot)
            if message.voting:
                self.election.note_contact(link.node_id, message.ballot, self.context.now_ns)
        self.comparing.on_ping(link, message)
        return self.send_pong(link, message.nonce)

    cdef Link copy_in(self, Link link, const Message* ping):
        """A link to a process that is a copy, as this ping of a founder shows, or None."""
        cdef uint32_t i
        if not self.copies.is_new(link.node_id, ping.nonce):
            return None
        for i in range(min(ping.processes.count, <uint32_t>self.context.nodes)):
            if self.copies.hear(link.node_id, i, number_at(&ping.processes, i), self.process_of(i),
                                self.context.now_ns, ping.nonce):
                self.context.note("copied", 0, 0,
                                  f"node {link.node_id} is linked with another process of node {i} than this node, on "
                                  "a copy of its data directory: both are refused; stop one of them for good, and "
                                  "start the other one again")
                return self.links.peers[i]
        return None

    cdef int send_pong(self, Link link, uint64_t nonce) except -1:
        """Answers a ping; or, without a nonce, a scout that is too far behind, in place of a promise."""
        return self.tell(link, nonce, self.take_missing(link))

    cdef int tell(self, Link link, uint64_t nonce, uint64_t missing) except -1:
        """Reports how far we are, whether we lead, and what we miss."""
        cdef Watermark watermark
        cdef bint leading = self.leader.state == ACTIVE
        cdef bint quorum = self.election.has_quorum(self.context.now_ns, self.election.timeout_ns)
        memset(&watermark, 0, sizeof(Watermark))
        if leading:
            watermark = self.leader.commanders.watermark()
            watermark.end = max(watermark.first, link.told_end(watermark.end))
            link.reported_end = watermark.end
        put_pong(&link.outgoing, self.leader.ballot if leading else self.leading.known_ballot, nonce,
                 link.told_end(self.replica.slot_out), leading, quorum, &watermark, missing)
        return 0

    cdef uint64_t take_missing(self, Link link) noexcept:
        """From which slot on this leader is to send again, because we dropped pvalues and have room now; 0: from none.
        When the ring is full of others, and the disk is idle, there is room for the one that the replica needs next."""
        if <int>ballot_leader(self.acceptor.ballot_num) == link.node_id and (
                self.journal.has_space()
                or (self.journal.is_idle() and self.acceptor.dropped <= self.replica.undecided)):
            return self.acceptor.take_dropped()
        return 0

    cdef int on_pong(self, Link link, const Message* message) except -1:
        if link.alive_ns < message.nonce <= self.context.now_ns:
            link.alive_ns = message.nonce
        link.slot_out = message.slot_out
        link.heard_ns = self.context.now_ns
        self.leading.see_ballot(message.ballot)
        link.led_ns = self.context.now_ns
        link.led_ballot = message.ballot if message.leading and message.quorum else 0
        if link.led_ballot >= self.leading.known_ballot and link.led_ballot:
            self.leading.see_leading(message.ballot)
            self.election.heard(self.context.now_ns)
            self.led_ns = self.context.now_ns
        elif not message.nonce:
            self.leading.on_refused(link, message.slot_out)
        if message.leading:
            self.catch_up.on_watermark(link, &message.decided)
        self.leading.delivery.on_missing(link, message.missing)
        return self.catch_up.want(message.slot_out, link.node_id) if link.is_up and self.may_want(link) else 0

    cdef bint may_want(self, Link link) noexcept:
        """Is what this peer has to be fetched now? A node that follows a leader takes that leader's word alone: what
        others have may be on its way from the leader."""
        cdef int leader = <int>ballot_leader(self.leading.known_ballot)
        return (link.node_id == leader or self.leader.state != PASSIVE or leader >= self.context.nodes
                or self.links.peers[leader] is None or self.context.now_ns - self.led_ns > self.election.timeout_ns)

    cdef void soon(self) noexcept:
        """Pings with the next wake-up."""
        self.ping_due_ns = self.context.now_ns

    cdef uint64_t due_ns(self) noexcept:
        return self.leading.preempted_ns if self.leading.preempted_ns else self.ping_due_ns
