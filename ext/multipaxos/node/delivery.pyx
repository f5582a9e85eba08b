"""Delivery: each phase 2a of our leader goes to each node once.

Theory. In the paper a commander sends its phase 2a and waits. Here every link has a place in the leader's log
(`sent_end`): the phases 2a of the slots below were sent on it. Where the link has room a run leaves when it is
proposed. Where it has none the link falls behind, and goes on when its backlog falls (`pump`). What is decided
meanwhile by others is not sent to it any more; it fetches that.

TCP loses nothing while a link lives. So a phase 2a is missing at a node only if its link is new (`greet`), if the node
dropped it for want of room, which it says (`on_missing`), or for some other reason of its own, which it does not say:
it did not vote yet, say. For the last case there is a timer.

Rules.
- A run leaves as control only if it is short and nothing before it is owed to the link; else it is bulk. Short is what
  is no longer than a cut, or what the link carries in a small part of the time-out: to cut a run and put it together
  again costs more than the few milliseconds for which control waits behind it there.
- The timer doubles as long as nothing is decided. It repeats to a node only what has arrived there: nothing waits for
  the link, and a ping that was sent after it was answered. So nothing is ever repeated behind its own copy.
- Our own acceptor has such a place too (`own_end`), because its disk may be slow: what is proposed again after an
  election goes into batches from BUDGET_BYTES_MAX to IN_FLIGHT_BYTES, each at most twice as long as the one before, so
  that the first of it is voted for while the rest waits.
- sent_end of a link never lies above the leader's slot_end, nor does own_end.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.flight cimport Flight
from multipaxos.node.journal cimport Journal
from multipaxos.node.limits cimport BUDGET_BYTES_MAX, IN_FLIGHT_BYTES, NEVER, RETRY_NS, RETRY_NS_MAX
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor, Vote
from multipaxos.paxos.leader cimport ACTIVE, Leader
from multipaxos.paxos.slots cimport Row
from multipaxos.wire.buffer cimport Bytes, bytes_put
from multipaxos.wire.messages cimport CUT_BYTES, Watermark
from multipaxos.wire.run cimport Run, set_watermark

from multipaxos.errors import InvariantViolation

cdef enum:
    SHORT_SHARE = 8                  # of the budget: a thirty-second of the time-out


@cython.final
cdef class Delivery:

    def __cinit__(self, Context context not None, Links links not None, Journal journal not None,
                  Acceptor acceptor not None, Leader leader not None, uint64_t in_flight_bytes):
        self.context = context
        self.links = links
        self.journal = journal
        self.acceptor = acceptor
        self.leader = leader
        self.commanders = leader.commanders
        self.flight = Flight(context, self.commanders, in_flight_bytes)
        self.wait_ns = RETRY_NS

    cdef int begin_reign(self) except -1:
        """Our leader is adopted: what it proposes again goes to all nodes, as far as links have room."""
        cdef Link link
        self.on_progress()
        self.flight.begin_reign()
        self.own_end = self.commanders.decided_end
        self.pump_own()
        for link in self.links.peers:
            if link is not None:
                self.greet(link)
        return 0

    cdef int send(self, Run* run) except -1:
        """A commander's phase 2a for every slot of a new run, to all nodes."""
        cdef Link link
        self.flight.on_proposed(run)
        for link in self.links.peers:
            if link is not None and link.sent_end == run.first and link.has_room():
                self.put(link, run, run.size <= max(<uint64_t>CUT_BYTES, link.budget // SHORT_SHARE))
                link.sent_end = run.first + run.count
        if self.own_end == run.first and not self.journal.full:
            self.own_end = run.first + run.count
            self.accept_own(run)
        return 0

    cdef int pump(self, Link link) except -1:
        """Sends what is owed to the link, as far as it has room."""
        cdef uint64_t slot = max(link.sent_end, self.commanders.proposals.base)
        cdef Row* row
        cdef Run* last = NULL
        while slot < self.commanders.slot_end:
            row = self.commanders.proposals.find(slot)
            if row != NULL and row.run != last and not row.votes >> link.node_id & 1:
                if not link.has_room():
                    break
                last = row.run
                self.put(link, last, False)
            slot += 1
        link.sent_end = slot
        return 0

    cdef int pump_own(self) except -1:
        """Gives our own acceptor what is owed to it, as far as the batch that gathers has room: for twice the one
        before, so that many syncs do not take longer than their bytes."""
        cdef uint64_t slot = max(self.own_end, self.commanders.proposals.base)
        cdef uint64_t room = max(<uint64_t>BUDGET_BYTES_MAX, 2 * self.journal.newest_bytes)
        cdef Run* run
        while slot < self.commanders.slot_end and self.journal.records.size < min(room, <uint64_t>IN_FLIGHT_BYTES):
            run = self.commanders.proposals.find(slot).run
            if self.journal.full and not self.journal.may_hold(run):
                break
            self.accept_own(run)
            slot = run.first + run.count
        self.own_end = slot
        return 0

    cdef int put(self, Link link, Run* run, bint short) except -1:
        cdef Watermark watermark = self.commanders.watermark()
        cdef Bytes* queue = &link.outgoing if short else &link.bulk
        cdef size_t at = queue.size
        watermark.end = max(watermark.first, link.told_end(watermark.end))
        bytes_put(queue, run.frame, run.size)
        set_watermark(queue.data + at, &watermark)
        if not short and not link.uncut_first:
            link.uncut_first = run.first
        link.reported_end = watermark.end
        return 0

    cdef int accept_own(self, Run* run) except -1:
        """Our own acceptor accepts (or learns) a run of our own leader."""
        cdef Vote vote = self.acceptor.on_phase2a(run, True)
        if vote.changed:
            self.journal.record(run, vote.first, vote.end)
        if self.acceptor.voting and vote.accepted:
            self.journal.hold_ack(self.context.node_id, run.ballot, vote.first, vote.end)
        return 0

    # == again

    cdef int greet(self, Link link) except -1:
        """The link is new, or the reign: all that is undecided is owed to it."""
        link.sent_end = self.commanders.decided_end
        link.probe_ns = 0
        return self.pump(link)

    cdef int on_missing(self, Link link, uint64_t slot) except -1:
        """The node on this link dropped the phases 2a from `slot` on for want of room, and has room now."""
        if slot and self.leader.state == ACTIVE and slot < link.sent_end:
            link.sent_end = max(slot, self.commanders.decided_end)
            link.probe_ns = 0
            self.missed += 1
            return self.pump(link)
        return 0

    cdef void on_progress(self) noexcept:
        """Slots were decided, or none are in flight: nothing is repeated for a while."""
        self.wait_ns = RETRY_NS
        self.repeat_due_ns = self.context.now_ns + RETRY_NS

    cdef uint64_t due_ns(self) noexcept:
        if self.leader.state == ACTIVE and self.commanders.decided_end < self.commanders.slot_end:
            return self.repeat_due_ns
        return NEVER

    cdef int repeat(self) except -1:
        """Nothing was decided for a while: each node is sent again what has arrived there and has no vote of it. Where
        that is not known a ping will tell."""
        cdef Link link
        for link in self.links.peers:
            if link is None:
                continue
            self.pump(link)
            if link.waiting():
                continue
            if link.probe_ns and link.alive_ns >= link.probe_ns:
                self.repeat_to(link, link.probe_end)
                link.probe_ns = 0
            if not link.probe_ns:
                link.probe_ns, link.probe_end = self.context.now_ns, link.sent_end
            link.must_ping = True
        self.repeat_to_self()
        self.repeat_due_ns = self.context.now_ns + self.wait_ns
        self.wait_ns = min(2 * self.wait_ns, <uint64_t>RETRY_NS_MAX)
        return 0

    cdef int repeat_to(self, Link link, uint64_t end) except -1:
        """The undecided slots below `end`, as far as the link has room."""
        cdef uint64_t slot
        cdef Row* row
        cdef Run* last = NULL
        for slot in range(self.commanders.decided_end, end):
            row = self.commanders.proposals.find(slot)
            if row != NULL and row.run != last and not row.votes >> link.node_id & 1:
                if not link.has_room():
                    return 0
                last = row.run
                self.put(link, last, False)
                self.repeated += 1
        return 0

    cdef int repeat_to_self(self) except -1:
        """Our own acceptor's ring may have been too far behind."""
        cdef uint64_t slot
        cdef Row* row
        cdef Run* last = NULL
        for slot in range(self.commanders.decided_end, self.own_end):
            row = self.commanders.proposals.find(slot)
            if row != NULL and row.run != last and not row.votes >> self.context.node_id & 1:
                last = row.run
                self.accept_own(last)
        return 0

    def invariants(self):
        """Nothing was sent of a slot that is not proposed."""
        cdef Link link
        if self.leader.state != ACTIVE:
            return
        self.flight.invariants()
        if self.own_end > self.commanders.slot_end:
            raise InvariantViolation(f"slots up to {self.own_end} were given to our own acceptor, the leader's next is "
                                     f"{self.commanders.slot_end}")
        for link in self.links.peers:
            if link is not None and link.sent_end > self.commanders.slot_end:
                raise InvariantViolation(f"slots up to {link.sent_end} were sent to node {link.node_id}, the leader's "
                                         f"next is {self.commanders.slot_end}")
