"""Leading: our own leader, its scout and its commanders, joined to links and disk.

Theory. `paxos.leader` is the pure role. This organ sends what its scout asks, hands it and the commanders the answers,
and reports what is decided; `delivery` sends the phases 2a. It also knows the ballots that were seen, because a
higher one ends our own attempt or reign.

A node keeps the highest ballot in several senses; each is needed:

- `known_ballot`: seen in any message, or on our disk. Our next scout goes above it.
- `leading_ballot`: of a node that was seen to lead; the owner of `known_ballot` may never lead. It is reported to
  clients.
- `leader.ballot`: of our own last attempt; before the first attempt what the disk held, or 0.
- `acceptor.ballot_num`: as in the paper, adopted by our acceptor. It rises above `known_ballot` only when a founding
  makes accepted pvalues of what a learner has stored.
- `journal.ballot_put`: the greatest META_BALLOT of all batches; a lower ballot need not be put again.
- `catch_up.scanned_ballot`: not a highest ballot, but the ballot of the last watermark that was compared.

Rules.
- If any message shows a higher ballot, our leader is preempted before anything else is done with that message.
- A scout's phase 1a waits until its ballot is durable. A phase 2a leaves at once.
- A scout asks each acceptor for one part of its answer at a time; a part that comes brings the next question. It asks
  again after a time that doubles, unless bytes of the answer are arriving.
- A scout goes on although slots are decided meanwhile. It gives way to a new attempt, which begins at a higher slot,
  only if it does not get on: an acceptor refused it as too far behind, or no part has come for a time-out, nor bytes
  of one (`patience`).
- A node does not scout while a peer that it heard lately is more than WINDOW ahead: it fetches from that peer first.
- A decision waits DECISION_DELAY_NS for a phase 2a to travel on; a peer with clients that wait gets it at once.
- A node whose replica differs from a majority (`agreement`) neither scouts nor leads.
- known_ballot >= leader.ballot, known_ballot >= leading_ballot.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.context cimport Context
from multipaxos.node.delivery cimport Delivery
from multipaxos.node.election cimport Election
from multipaxos.node.joining cimport Joining
from multipaxos.node.journal cimport Journal
from multipaxos.node.limits cimport DECISION_DELAY_NS, FORWARDER_NS, NEVER, RETRY_NS, RETRY_NS_MAX
from multipaxos.node.links cimport Link, Links
from multipaxos.node.patience cimport Patience
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.ballot cimport LEAP_MAX, ROUND_MAX, ballot_leader, ballot_round, is_ballot
from multipaxos.paxos.leader cimport ACTIVE, PASSIVE, SCOUTING, Leader
from multipaxos.paxos.limits cimport PROMISE_BYTES
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.roles cimport ACCEPTOR
from multipaxos.paxos.scout cimport Scout
from multipaxos.paxos.slots cimport Ring, Row
from multipaxos.paxos.verdict cimport MALFORMED
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_take
from multipaxos.wire.messages cimport Message, Watermark
from multipaxos.wire.run cimport Run, run_drop
from multipaxos.wire.writing cimport put_decision, put_leading, put_phase1a

from multipaxos.errors import InvariantViolation
from multipaxos.paxos.ballot import describe


@cython.final
cdef class Leading:
    def __cinit__(self, Context context not None, Links links not None, Journal journal not None,
                  Joining joining not None, Election election not None, Agreement agreement not None,
                  Acceptor acceptor not None, Leader leader not None, Replica replica not None,
                  uint64_t in_flight_bytes):
        self.context = context
        self.links = links
        self.journal = journal
        self.joining = joining
        self.election = election
        self.agreement = agreement
        self.acceptor = acceptor
        self.leader = leader
        self.commanders = leader.commanders
        self.replica = replica
        self.known_ballot = leader.ballot = max(journal.ballot_put, acceptor.ballot_num)  # that the disk held
        self.decision_due_ns = NEVER
        self.delivery = Delivery(context, links, journal, acceptor, leader, in_flight_bytes)
        self.patience = Patience(context, links, election)

    # == ballots

    cdef bint may_be(self, uint64_t ballot) noexcept:
        """Can our own rules have made this ballot? No cluster holds so many elections that its rounds leap by more than
        LEAP_MAX: whoever names such a ballot would use them up."""
        return is_ballot(ballot) and ballot_round(ballot) <= ballot_round(self.known_ballot) + LEAP_MAX

    cdef int see_ballot(self, uint64_t ballot) except -1:
        """A message shows this ballot."""
        if ballot > self.known_ballot:
            self.known_ballot = ballot
        if ballot > self.leader.ballot and self.leader.state != PASSIVE:
            self.step_down(ballot, "")
        return 0

    cdef int see_leading(self, uint64_t ballot) except -1:
        """A node leads at this ballot: requests go there, and it is reported to clients."""
        cdef Link link
        if ballot <= self.leading_ballot:
            return 0
        self.leading_ballot = ballot
        if <int>ballot_leader(ballot) != self.context.node_id:
            self.replica.leader_changed()
        for link in self.links.links.values():
            if link.node_id < 0:
                put_leading(&link.outgoing, ballot)
        return 0

    cdef int on_differs(self) except -1:
        """This replica's state differs from that of a majority: the node does not scout or lead any more."""
        if self.leader.state != PASSIVE:
            self.step_down(0, "this replica differs from a majority")
        return 0

    cdef int step_down(self, uint64_t preemptor, str reason) except -1:
        """Stops scouting or leading, because the higher ballot `preemptor` was seen, or, where that is 0, for this
        reason."""
        cdef bint scouting = self.leader.state == SCOUTING
        self.leader.preempted()
        self.scout_ticket = 0
        self.election.preempted(self.context.now_ns, scouting)
        self.replica.leader_changed()
        if preemptor:
            self.preempted_ns = self.context.now_ns
            self.context.note("preempted", preemptor, 0, f"preempted by ballot {describe(preemptor)} while "
                                                         f"{'scouting' if scouting else 'leading'}")
        else:
            self.context.note("stepped_down", self.leader.ballot, 0,
                              f"stepped down from ballot {describe(self.leader.ballot)}: {reason}")
        return 0

    # == phase 1

    cdef Link scout(self):
        """Begins an attempt and returns None. If we are far behind a peer that was heard lately, begins none and
        returns that peer: we fetch from it first."""
        cdef Link link
        for link in self.links.peers:
            if (link is not None and link.slot_out > self.replica.slot_out + self.context.window
                    and self.context.now_ns - link.heard_ns <= 2 * self.election.timeout_ns):
                self.election.soon(self.context.now_ns)
                return link
        self.is_refused = False
        self.leader.begin_scout(max(self.known_ballot, self.acceptor.ballot_num), self.replica.slot_out)
        self.known_ballot = self.leader.ballot
        self.journal.put_ballot(self.leader.ballot)
        self.scout_ticket = self.journal.ticket()
        self.scout_wait_ns = RETRY_NS
        self.scout_due_ns = self.context.now_ns + RETRY_NS
        self.got_on_ns = self.context.now_ns
        if self.acceptor.adopt(self.leader.ballot):
            self.promise_own()
        self.context.note("scouting", self.leader.ballot, self.replica.slot_out,
                          f"scouting at ballot {describe(self.leader.ballot)} from slot {self.replica.slot_out}")
        return None

    cdef int send_scout(self) except -1:
        """Phase 1a to every acceptor whose answer is not complete; nor, where it was asked, arriving."""
        cdef Link link
        if self.leader.state == SCOUTING and not self.scout_ticket:
            for link in self.links.peers:
                if link is not None and (self.scout_wait_ns == RETRY_NS or not self.patience.is_arriving(link)):
                    self.ask(link)
        return 0

    cdef int ask(self, Link link) except -1:
        """Asks an acceptor for the next part of its answer, if its answer is not complete."""
        cdef Scout scout = self.leader.scout
        if self.context.roles[link.node_id] & ACCEPTOR and not scout.answered >> link.node_id & 1:
            put_phase1a(&link.outgoing, self.leader.ballot, scout.first, scout.covered[link.node_id])
        return 0

    cdef int promise_own(self) except -1:
        """The next part of our own acceptor's answer to our scout; none where it can no longer tell what it has
        accepted."""
        cdef Bytes promise = Bytes(NULL, 0, 0)
        cdef uint64_t part = self.leader.scout.covered[self.context.node_id]
        if not self.acceptor.may_promise(self.leader.scout.first, part):
            self.is_refused = True
            return 0
        try:
            self.acceptor.answer_phase1a(&promise, part, PROMISE_BYTES)
            return self.journal.hold_promise(self.context.node_id, bytes_take(&promise))
        finally:
            bytes_free(&promise)

    cdef int on_durable(self) except -1:
        """Asks the acceptors once the scout's ballot is durable."""
        if self.scout_ticket and self.journal.is_durable(self.scout_ticket):
            self.scout_ticket = 0
            self.send_scout()
        return 0

    cdef int on_phase1b(self, Link link, const Message* message) except -1:
        cdef uint64_t covered
        self.see_ballot(message.ballot)
        if self.leader.state != SCOUTING:
            return 0
        covered = self.leader.scout.covered[link.node_id]
        if self.leader.on_phase1b(link.node_id, message) == MALFORMED:
            return self.links.refuse(link, "a phase1b whose pvalues are not pvalues")
        if self.leader.scout.covered[link.node_id] > covered:
            self.scout_wait_ns = RETRY_NS
            self.got_on_ns = self.context.now_ns
            if not self.scout_ticket:
                self.ask(link)
        return 0

    cdef int on_own_promise(self, const Message* message) except -1:
        """A part of our own acceptor's answer is durable."""
        cdef uint64_t ballot = self.leader.ballot
        if self.leader.state != SCOUTING or message.ballot != ballot:
            return 0
        self.leader.on_phase1b(self.context.node_id, message)
        if not self.leader.scout.answered >> self.context.node_id & 1 and message.first < message.end:
            self.promise_own()
        return 0

    cdef int on_refused(self, Link link, uint64_t slot_out) except -1:
        """A pong in place of a promise: our scout is too far behind for this acceptor."""
        if self.leader.state == SCOUTING and slot_out > self.leader.scout.first:
            self.is_refused = True
        return 0

    cdef int on_adopted(self) except -1:
        """The scout has its quorum: this node leads."""
        cdef Link link
        cdef uint64_t answered = self.leader.scout.answered
        self.leader.adopt_proposals(self.context.utc_ns)
        self.adopted_ns = self.context.now_ns
        self.election.begin_reign(self.leader.ballot, answered, self.context.now_ns)
        self.election.heard(self.context.now_ns)
        self.delivery.begin_reign()
        self.context.note("adopted", self.leader.ballot, self.commanders.start,
                          f"adopted at ballot {describe(self.leader.ballot)}: start {self.commanders.start}, "
                          f"proposed again up to slot {self.commanders.slot_end - 1}")
        self.see_leading(self.leader.ballot)
        for link in self.links.peers:
            if link is not None:
                link.reported_end = 0    # it is reported to all peers that we lead, also where nothing is decided
        return self.send_decisions(True)

    # == phase 2

    cdef int on_phase2b(self, Link link, const Message* message) except -1:
        self.see_ballot(message.ballot)
        self.election.note_contact(link.node_id, message.ballot, self.context.now_ns)
        self.leader.on_phase2b(link.node_id, message.ballot, message.first, message.end, message.mark)
        return 0

    cdef int on_own_ack(self, uint64_t ballot, uint64_t first, uint64_t end) except -1:
        """Our own acceptor's phase 2b, whose pvalues are durable."""
        self.election.note_contact(self.context.node_id, ballot, self.context.now_ns)
        self.leader.on_phase2b(self.context.node_id, ballot, first, end, self.acceptor.mark)
        return 0

    cdef int advance(self) except -1:
        """What an active leader does with each wake-up: it hands decisions to the replica and proposes its requests."""
        if self.leader.state != ACTIVE:
            return 0
        if self.commanders.proposals.base < self.commanders.decided_end:
            self.on_decided()
            self.replica.perform()
        if self.delivery.own_end < self.commanders.slot_end:
            self.delivery.pump_own()
        return self.propose()

    cdef int propose(self) except -1:
        cdef Ring ring = self.commanders.proposals
        cdef Run* run
        if self.commanders.decided_end == self.commanders.slot_end:
            self.delivery.on_progress()
        while self.replica.may_propose(self.commanders.slot_end):
            run = self.replica.propose(self.leader.ballot, ring.base + ring.capacity, self.context.utc_ns,
                                       self.delivery.flight.longest())
            if run == NULL:
                break
            try:
                self.commanders.propose(run)
                self.delivery.send(run)
            finally:
                run_drop(run)
        return 0

    cdef int on_decided(self) except -1:
        """Hands what commanders decided to the replica, as far as there is room; the rest stays in the leader's rows.
        What our acceptor did not hold is recorded now: every slot below slot_out must be in our log."""
        cdef uint64_t slot = self.commanders.proposals.base, upto
        cdef uint64_t end = self.replica.decisions.base + self.replica.decisions.capacity
        cdef Row* row
        end = min(end, self.commanders.decided_end)
        while slot < end:
            row = self.commanders.proposals.find(slot)
            if self.journal.full and not self.journal.may_hold(row.run):
                break
            upto = min(end, row.run.first + row.run.count)
            if self.acceptor.learn(row.run, slot, upto):
                self.journal.record(row.run, slot, upto)
            self.replica.decide(row.run, slot, upto)
            self.delivery.flight.on_landed(row.run)
            slot = upto
        self.commanders.proposals.advance(slot)
        self.delivery.flight.on_decided()
        self.delivery.on_progress()
        if self.decision_due_ns == NEVER:
            self.decision_due_ns = self.context.now_ns + DECISION_DELAY_NS
        return 0

    cdef int send_decisions(self, bint to_all) except -1:
        """Sends the watermark by itself: to all peers that lack it, or only to those of them with clients that wait."""
        cdef Link link
        cdef Watermark watermark = self.commanders.watermark()
        cdef uint64_t end = watermark.end
        for link in self.links.peers:
            if link is None:
                continue
            watermark.end = max(watermark.first, link.told_end(end))
            if link.reported_end < watermark.end and (
                    to_all or (link.forwarded_ns and self.context.now_ns - link.forwarded_ns < FORWARDER_NS)):
                put_decision(&link.outgoing, &watermark)
                link.reported_end = watermark.end
        if to_all:
            self.decision_due_ns = NEVER
        return 0

    # == once per wake-up

    cdef bint has_verdicts(self) noexcept:
        """Did the scout or the commanders return a verdict that is not yet acted upon?"""
        return self.leader.adopted or self.leader.decided

    cdef int act_on_verdicts(self) except -1:
        if self.leader.adopted:
            self.on_adopted()
        if self.leader.decided:
            self.leader.decided = False
            self.on_decided()
        return 0

    cdef int settle(self) except -1:
        """The end of a wake-up: reports decisions to peers whose clients wait."""
        if self.leader.state == ACTIVE and self.decision_due_ns != NEVER:
            self.send_decisions(False)
        return 0

    # == time and links

    cdef bint may_lead(self) noexcept:
        return (self.context.is_leader and self.joining.is_founded and self.has_round()
                and not self.agreement.differs)

    cdef bint has_round(self) noexcept:
        """Is there a round above every one that was seen?"""
        return ballot_round(max(self.known_ballot, self.acceptor.ballot_num)) < ROUND_MAX

    cdef int start(self) except -1:
        """The first tick. A node that knows a ballot gives the ballot's owner time to show that it leads."""
        if self.known_ballot and self.context.nodes > 1:
            self.election.passive(self.context.now_ns)
        else:
            self.election.soon(self.context.now_ns)
        return 0

    cdef int greet(self, Link link) except -1:
        """Sends to a peer with a new link what the broken link may have lost."""
        if self.leader.state == ACTIVE:
            self.delivery.greet(link)
            link.reported_end = 0
            self.send_decisions(True)
        elif self.leader.state == SCOUTING and not self.scout_ticket:
            self.ask(link)
        return 0

    cdef int on_room(self, Link link) except -1:
        """The backlog of a link has fallen: what is owed to it goes on, and it may be told more."""
        if self.leader.state != ACTIVE or link.node_id < 0:
            return 0
        self.delivery.pump(link)
        if self.decision_due_ns == NEVER and link.reported_end < link.told_end(self.commanders.decided_end):
            self.decision_due_ns = self.context.now_ns + DECISION_DELAY_NS
        return 0

    cdef int on_link_down(self, Link link) except -1:
        """A broken link to the owner of the highest ballot is a suspicion."""
        if link.counts and self.known_ballot and <int>ballot_leader(self.known_ballot) == link.node_id:
            self.election.suspect(self.context.now_ns)
        return 0

    cdef int on_ping_due(self) except -1:
        """At the pace of pings: does a phase-2 quorum still answer our active leader?"""
        if self.leader.state != ACTIVE:
            return 0
        if self.acceptor.voting:
            self.election.note_contact(self.context.node_id, self.acceptor.ballot_num, self.context.now_ns)
        self.patience.note_arrivals()
        if (self.context.now_ns - self.adopted_ns > 2 * self.election.timeout_ns
                and not self.election.has_quorum(self.context.now_ns, 2 * self.election.timeout_ns)):
            self.step_down(0, "no phase-2 quorum answers")
        return 0

    cdef uint64_t decision_due(self) noexcept:
        return self.decision_due_ns if self.leader.state == ACTIVE else NEVER

    cdef uint64_t scout_due(self) noexcept:
        """When a scout sends again, or a passive leader begins to scout."""
        if self.leader.state == SCOUTING:
            return self.scout_due_ns
        if self.leader.state == PASSIVE and self.may_lead():
            return self.election.due_ns
        return NEVER

    cdef uint64_t due_ns(self) noexcept:
        return min(self.decision_due(), min(self.delivery.due_ns(), self.scout_due()))

    cdef Link on_due(self):
        """Runs the timers that are due; returns the peer that we have to fetch from before we scout, or None."""
        if self.context.now_ns >= self.decision_due():
            self.send_decisions(True)
        if self.context.now_ns >= self.delivery.due_ns():
            self.delivery.repeat()
        if self.context.now_ns >= self.scout_due():
            return self.on_scout_due()
        return None

    cdef Link on_scout_due(self):
        """A passive leader scouts. A scout asks again, or gives way to a new attempt if it does not get on and would
        begin at a higher slot; `first` is fixed for a scout's life."""
        if self.leader.state == PASSIVE:
            return None if self.patience.waits(self.known_ballot) else self.scout()
        self.scout_due_ns = self.context.now_ns + self.scout_wait_ns
        self.scout_wait_ns = min(2 * self.scout_wait_ns, <uint64_t>RETRY_NS_MAX)
        if (self.replica.slot_out > self.leader.scout.first and self.has_round()
                and (self.is_refused or self.patience.is_stuck(self.leader.scout, self.got_on_ns))):
            return self.scout()
        self.send_scout()
        return None

    def invariants(self):
        """Every ballot of ours is known, and a passive leader waits for no ballot to be durable. An active one may,
        because a peer that answers without being asked completes a quorum early."""
        if self.known_ballot < max(self.leader.ballot, self.leading_ballot):
            raise InvariantViolation(f"known_ballot {self.known_ballot} is below the leader's {self.leader.ballot} or "
                                     f"leading_ballot {self.leading_ballot}")
        self.delivery.invariants()
        if self.scout_ticket and self.leader.state == PASSIVE:
            raise InvariantViolation(f"a passive leader waits for its ballot in batch {self.scout_ticket}")
