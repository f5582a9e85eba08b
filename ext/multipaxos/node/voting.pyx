"""Voting: our own acceptor, joined to links and disk.

Theory. Phases 1a and 2a of peers go to the acceptor. The journal holds each answer until the batch that it rests on is
durable; then it leaves from here, to a peer or to our own leader. The phase 2a of our own leader is accepted in
`Leading.accept_own`, but the answer to it leaves from here too.

Rules.
- Only its leader's link may bring a 1a or 2a of a ballot.
- A phase 1a from a scout so far behind that part of what it asks for is on disk only, or more than WINDOW below our
  mark, is not adopted: this node sends a pong, and the scout's node fetches first. To refuse a promise is always safe.
  So is a phase 1a that asks for a slot of a hole: our pong says up to where we have caught up.
- A phase 1b is pulled: a phase 1a asks for the part from one slot on, and gets that part alone. The
  answer to a leader's newest question replaces one that waits for the disk; while it waits for the link the same
  question is not answered again.
- While parts of an answer are pulled the rings keep the slots from the scout's first on (`Journal.keep`).
- A scout that asks for a further part than ever before at its ballot gets on: our own election waits, as it does when a
  ballot is adopted. The same question again is no such sign.
- A refusal of an old ballot covers no slot: otherwise that leader's next scout could count it as a complete answer
  without pvalues.
- A node that does not vote answers nothing. It holds the pvalues of a 2a as a learner.
"""

cimport cython

from libc.stdint cimport uint8_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from multipaxos.node.catch_up cimport CatchUp
from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.journal cimport Ack, Journal, Promise
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link, Links
from multipaxos.node.limits cimport KEEP_TIMEOUTS, NEVER
from multipaxos.paxos.acceptor cimport Acceptor, Vote
from multipaxos.paxos.ballot cimport ballot_leader
from multipaxos.paxos.leader cimport Leader
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put, bytes_take
from multipaxos.wire.encoding cimport FINE
from multipaxos.wire.messages cimport SLOTS_END, Message
from multipaxos.wire.reading cimport decode, frame_size
from multipaxos.wire.run cimport Run, run_drop, run_from
from multipaxos.wire.writing cimport put_phase1b, put_phase2b

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Voting:

    def __cinit__(self, Context context not None, Links links not None, Journal journal not None,
                  Leading leading not None, CatchUp catch_up not None, Election election not None,
                  Acceptor acceptor not None, Leader leader not None):
        self.context = context
        self.links = links
        self.journal = journal
        self.leading = leading
        self.catch_up = catch_up
        self.election = election
        self.acceptor = acceptor
        self.leader = leader

    cdef int on_phase1a(self, Link link, const Message* message) except -1:
        """Returns 1 if the scout is too far behind: nothing is adopted, and the caller sends it a pong."""
        cdef Bytes answer = Bytes(NULL, 0, 0)
        if not self.acceptor.voting:
            return 0
        if <int>ballot_leader(message.ballot) != link.node_id:
            return self.links.refuse(link, "a phase1a for another leader's ballot")
        if self.is_too_far_behind(message):
            return 1
        if self.is_on_its_way(link, message):
            return 0
        self.leading.see_ballot(message.ballot)
        if self.acceptor.adopt(message.ballot):
            self.election.heard(self.context.now_ns)
        elif message.ballot == self.pulled_ballot and message.part > self.pulled_part:
            self.election.passive(self.context.now_ns)
        self.journal.put_ballot(self.acceptor.ballot_num)
        try:
            if message.ballot == self.acceptor.ballot_num:
                self.journal.keep(message.first, self.context.now_ns,
                                  self.context.now_ns + KEEP_TIMEOUTS * self.election.timeout_ns)
                self.acceptor.answer_phase1a(&answer, max(message.first, message.part), link.budget)
                self.note_pulled(link, message)
                link.promised_ballot, link.promised_part = message.ballot, message.part
                link.promised_place = NEVER
            else:
                put_phase1b(&answer, self.acceptor.ballot_num, SLOTS_END, SLOTS_END, self.acceptor.mark, NULL, 0)
            return self.journal.hold_promise(link.node_id, bytes_take(&answer))
        finally:
            bytes_free(&answer)

    cdef void note_pulled(self, Link link, const Message* message) noexcept:
        """How far the scout of this ballot has got with our answer."""
        link.promised_ns = 0
        if message.ballot != self.pulled_ballot or message.part > self.pulled_part:
            self.pulled_ballot, self.pulled_part = message.ballot, message.part
            link.promised_ns = self.context.now_ns

    cdef bint is_on_its_way(self, Link link, const Message* message) noexcept:
        """Was this part sent already, and waits for the link?"""
        return (link.promised_ballot == message.ballot and link.promised_part == message.part
                and message.ballot == self.acceptor.ballot_num and link.is_promising())

    cdef bint is_too_far_behind(self, const Message* message) noexcept:
        if message.ballot < self.acceptor.ballot_num:
            return False                 # it is refused anyway
        return (message.first + self.context.window < self.acceptor.mark
                or not self.acceptor.may_promise(message.first, max(message.first, message.part)))

    cdef int on_phase2a(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1:
        cdef Run* run
        cdef Vote vote
        if <int>ballot_leader(message.ballot) != link.node_id:
            return self.links.refuse(link, "a phase2a at another leader's ballot")
        run = run_from(message, frame, size)
        try:
            self.leading.see_ballot(run.ballot)
            vote = self.acceptor.on_phase2a(run, not self.journal.full or self.journal.may_hold(run))
            if vote.changed:
                self.journal.record(run, vote.first, vote.end)
            if self.acceptor.voting:
                self.journal.hold_ack(link.node_id, run.ballot if vote.accepted else self.acceptor.ballot_num,
                                      vote.first, vote.end)
            if vote.accepted and run.ballot >= self.leading.known_ballot:
                self.leading.see_leading(run.ballot)
        finally:
            run_drop(run)
        return self.catch_up.on_watermark(link, &message.decided)

    # == answers that waited

    cdef int release(self) except -1:
        """Sends the answers that waited for batches that are now durable."""
        cdef uint64_t i
        cdef Promise promise
        if self.journal.acks_count:
            self.journal.release_acks()
            for i in range(self.journal.released_count):
                self.put_ack(&self.journal.released[i])
        if self.journal.promises:
            released = self.journal.release_promises()
            while released:              # a part of our own answer brings about the next one, which waits for nothing
                for promise in released:
                    self.put_promise(promise.node_id, promise.data)
                released = self.journal.release_promises()
        return 0

    cdef int put_ack(self, const Ack* ack) except -1:
        cdef Link link
        if ack.node_id == self.context.node_id:
            return self.leading.on_own_ack(ack.ballot, ack.first, ack.end)
        link = self.links.peers[ack.node_id]
        if link is not None:
            put_phase2b(&link.outgoing, ack.ballot, ack.first, ack.end, self.acceptor.mark)
        return 0

    cdef int put_promise(self, int node_id, bytes data) except -1:
        cdef Link link
        if node_id == self.context.node_id:
            return self.own_promise(data)
        link = self.links.peers[node_id]
        if link is not None:
            bytes_put(&link.bulk, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            link.promised_place = link.place()
        return 0

    cdef int own_promise(self, bytes data) except -1:
        """Our own acceptor's phase 1b, for our own scout."""
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data), length = 0
        cdef Message message
        while size and frame_size(at, size, &length) == FINE and decode(at, length, &message) == FINE:
            self.leading.on_own_promise(&message)
            at += length
            size -= length
        return 0

    def invariants(self):
        """Only an acceptor that votes has answers that wait."""
        if not self.acceptor.voting and (self.journal.acks_count or self.journal.promises):
            raise InvariantViolation("answers of an acceptor that does not vote wait for the disk")
