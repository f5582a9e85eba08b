"""Catching up: both ends of a fetch, and what a node concludes from a watermark.

Theory. A leader reports decisions as a watermark (ballot, first, end): the slots [first, end) are decided at `ballot`,
and so is every slot below `first`. A node that holds pvalues of that ballot knows the commands already; what it lacks
it fetches, one stretch at a time, from a peer that is ahead. That peer answers with decided pvalues, from memory
where its rings still hold them, else from its log on disk.

Rules.
- Only the leader of its ballot reports a watermark.
- A watermark is believed where the pvalue held is of its ballot or above; every other slot is fetched.
- The peer that was last seen ahead is asked first, then the others in turn: what we know of a peer may be old, and any
  peer may be silent.
- Only a peer whose word counts is asked (`links`).
- A peer has forgotten all slots below its mark, so it is not asked for them again.
- A fetched pvalue is sent at the ballot at which the sender holds it. That ballot decided the slot or is above one that
  did, and every pvalue at or above a deciding ballot carries the decided command.
- A damaged record is not sent, nor is what an older one says of its slots: an answer ends before it. Where nothing can
  be sent, no answer is: the peer asks another one.
- What was decided in a former life is sent from the disk also where our own replica is stuck at a hole below it.
- Nothing is fetched while much waits for the disk (`Journal.may_fetch`): votes wait for the same disk.
- At most one read of the log is under way for a peer, and one fetch of it waits: the newest.
- A fetch is repeated after a time that doubles, to the next peer, and not while bytes of an answer are arriving. It is
  not answered twice while the answer waits for the link.
"""

cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from multipaxos.node.context cimport Context
from multipaxos.node.journal cimport Journal
from multipaxos.node.leading cimport Leading
from multipaxos.node.limits cimport FETCH_BYTES, FETCH_ENTRIES, RETRY_NS, RETRY_NS_MAX, RING_DELAY_NS
from multipaxos.node.links cimport Link, Links
from multipaxos.node.output cimport NOTHING, Read
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.ballot cimport ballot_leader
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.slots cimport Row
from multipaxos.wire.messages cimport Message, Pvalues, Watermark
from multipaxos.wire.reading cimport pvalues_at
from multipaxos.wire.record cimport WHOLE, Judgement, RecordHeader, judge
from multipaxos.wire.run cimport Run, run_drop, run_read
from multipaxos.wire.writing cimport put_fetch, put_fetched, pvalues_bytes

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Lookup:
    """A read of the log that is under way for the peer on `link`."""

    def __cinit__(self, uint64_t link, Read read not None):
        self.link = link
        self.read = read


@cython.final
cdef class CatchUp:

    def __cinit__(self, Context context not None, Links links not None, Journal journal not None,
                  Leading leading not None, Acceptor acceptor not None,
                  Replica replica not None):
        self.context = context
        self.links = links
        self.journal = journal
        self.leading = leading
        self.acceptor = acceptor
        self.replica = replica
        self.source = -1
        self.wait_ns = RETRY_NS
        self.lookups = {}
        self.damaged = set()
        self.reads = []

    # == what we lack

    cdef int start(self) except -1:
        """The first tick: what our disk lost is fetched at once, as far as it is known to be decided."""
        self.has_holes = self.acceptor.holes.end > 0
        if self.has_holes:
            first, _ = self.acceptor.holes.spans_list()[0]
            self.context.note(
                "holes", 0, first,
                f"{self.acceptor.holes.slots()} slots from {first} on are missing, because records on this disk are "
                f"damaged: this node fetches what was decided there, and until then promises nothing below slot "
                f"{self.acceptor.holes.end}")
        return self.want(self.journal.decided_before, -1)

    cdef int want(self, uint64_t end, int source) except -1:
        """Every slot below `end` is decided; the peer `source` (-1: none in particular) reported it."""
        if end <= self.replica.undecided or end <= self.wanted_end:
            return 0
        self.wanted_end = end
        if source >= 0:
            self.source = source
        return 0

    cdef int want_from(self, Link ahead) except -1:
        """Our scout waits until we have caught up with this peer, so this peer is asked next, whichever was chosen."""
        self.want(ahead.slot_out, ahead.node_id)
        self.source = ahead.node_id
        return 0

    cdef int on_watermark(self, Link link, const Watermark* decided) except -1:
        """A leader reports: the slots [first, end) are decided at `ballot`, and every slot below `first` is decided."""
        cdef uint64_t slot, limit
        cdef uint64_t ballot = decided.ballot, first = decided.first, end = decided.end
        cdef Row* row
        if ballot and <int>ballot_leader(ballot) != link.node_id:
            return self.links.refuse(link, "a watermark at another leader's ballot")
        if not ballot and first < end:
            return self.links.refuse(link, "a watermark at no ballot")
        self.leading.see_ballot(ballot)
        if end <= self.replica.slot_out:
            return 0
        slot = self.replica.slot_out
        if ballot == self.scanned_ballot:
            slot = max(slot, self.scanned)
        limit = min(end, self.acceptor.accepted.base + self.acceptor.accepted.capacity)
        while slot < limit:
            row = self.acceptor.accepted.find(slot)
            if slot >= first and row != NULL and row.run != NULL and row.ballot >= ballot:
                self.replica.decide(row.run, slot, slot + 1)
            slot += 1
        self.scanned_ballot = ballot
        self.scanned = max(limit, self.replica.slot_out)
        return self.want(end, link.node_id)

    cdef int settle(self) except -1:
        """The end of a wake-up: fetches what is still missing."""
        if self.has_holes and not self.acceptor.holes.end:
            self.has_holes = False
            self.context.note("filled", 0, 0, "nothing is missing any more: decided commands are in the place of what "
                                              "was damaged")
        if self.context.now_ns >= self.due_ns():
            self.fetch()
        return 0

    cdef int fetch(self) except -1:
        """Asks for the first gap in the decisions, unless the answer to the last question is arriving."""
        cdef Link link = self.links.peers[self.asked]
        cdef uint64_t end, first = self.replica.undecided
        if self.fetching and link is not None and self.leading.patience.is_arriving(link):
            self.fetch_due_ns = self.context.now_ns + RETRY_NS
            return 0
        link = self.whom_to_ask()
        if link is None:
            self.fetch_due_ns = self.context.now_ns + RETRY_NS
            return 0
        end = min(self.wanted_end, first + self.context.window)
        end = min(end, self.replica.decisions.base + self.replica.decisions.capacity)
        if first >= end or not self.journal.may_fetch():
            self.fetch_due_ns = self.context.now_ns + RING_DELAY_NS
            return 0                     # no room until what we have is durable
        put_fetch(&link.outgoing, first, self.replica.end_of_decisions(end))
        self.fetching = first
        self.fetch_due_ns = self.context.now_ns + self.wait_ns
        self.wait_ns = min(2 * self.wait_ns, <uint64_t>RETRY_NS_MAX)
        self.asked = link.node_id
        self.source = -1                 # if no answer comes, the next peer is asked
        return 0

    cdef Link whom_to_ask(self):
        """The peer that is known to be ahead, else the peers in turn; None if each has forgotten what we lack."""
        cdef Link link = self.links.peers[self.source] if self.source >= 0 else None
        cdef int i
        if link is not None and link.counts and link.mark <= self.replica.undecided:
            return link
        for i in range(1, self.context.nodes + 1):
            link = self.links.peers[(self.asked + i) % self.context.nodes]
            if link is not None and link.counts and link.mark <= self.replica.undecided:
                return link
        return None

    cdef int on_fetched(self, Link link, const Message* message) except -1:
        """Decided pvalues, in answer to a fetch."""
        cdef Pvalues entry
        cdef uint32_t i
        cdef Run* run
        for i in range(message.pvalues.count):
            pvalues_at(&message.pvalues, i, &entry)
            run = run_read(entry.run, entry.size)
            if run == NULL:
                return self.links.refuse(link, "a fetched run that is no run")
            try:
                if not self.leading.may_be(run.ballot):
                    return self.links.refuse(link, "a ballot that no leader makes")
                if entry.first < run.first or entry.end > run.first + run.count or entry.first >= entry.end:
                    return self.links.refuse(link, "a fetched run without the slots it was sent for")
                self.leading.see_ballot(run.ballot)
                if entry.end <= self.replica.slot_out:
                    continue
                if self.acceptor.learn(run, entry.first, entry.end):
                    self.journal.record(run, entry.first, entry.end)
                self.replica.decide(run, entry.first, entry.end)
            finally:
                run_drop(run)
        if message.first == message.end:
            link.mark = max(link.mark, message.mark)  # the peer has forgotten what it was asked for
        if message.first == self.fetching:
            self.fetching = 0            # once: a repeated answer must not ask for the next stretch twice
            self.fetch_due_ns = 0
            self.wait_ns = RETRY_NS
            self.source = link.node_id if message.end > message.first else -1
        return 0

    cdef int on_link_down(self, Link link) except -1:
        """A peer that was ahead, or was asked, is gone: another one is asked at once."""
        if self.source == link.node_id or (self.fetching and self.asked == link.node_id):
            self.source = -1
            self.fetch_due_ns = 0
            self.wait_ns = RETRY_NS
        return 0

    # == what peers lack

    cdef int on_fetch(self, Link link, const Message* message) except -1:
        """A peer asks for decisions: it is answered now, or when its link has room, or not at all if the same answer
        still waits for the link."""
        if message.first == link.answered_first and not link.has_left(link.answered_place):
            return 0
        link.asked_first, link.asked_end = message.first, message.end
        return self.on_room(link)

    cdef int on_room(self, Link link) except -1:
        """Answers the fetch that waits, if there is one and the link has room."""
        cdef uint64_t first = link.asked_first
        if not first or not link.has_room():
            return 0
        link.asked_first = 0
        return self.answer(link, first, link.asked_end)

    cdef int answer(self, Link link, uint64_t first, uint64_t end) except -1:
        end = min(end, max(self.replica.undecided, self.journal.decided_before))
        if first >= end:
            return 0
        if first < self.acceptor.mark and not self.context.is_replica:
            return self.send(link, first, first, NULL, 0)
        if first >= self.replica.undecided:
            return self.look_up(link, first, end)
        if first >= self.replica.decisions.base:
            return self.answer_fetch(link, first, min(end, self.replica.undecided))
        return self.look_up(link, first, min(end, self.replica.decisions.base))

    cdef int send(self, Link link, uint64_t first, uint64_t end, const Pvalues* entries, uint32_t count) except -1:
        """The answer to a fetch from `first` on."""
        put_fetched(&link.bulk, first, end, self.acceptor.mark, entries, count)
        link.answered_first, link.answered_place = first, link.place()
        return 0

    cdef int answer_fetch(self, Link link, uint64_t first, uint64_t end) except -1:
        """Sends decisions from memory."""
        cdef Pvalues* entries = <Pvalues*>malloc(FETCH_ENTRIES * sizeof(Pvalues))
        cdef uint32_t count = 0
        cdef uint64_t slot = first, size = 0
        cdef Row* row
        cdef Run* run
        if entries == NULL:
            raise MemoryError("no memory to answer a fetch")
        try:
            while slot < end and count < FETCH_ENTRIES:
                row = self.replica.decisions.find(slot)
                if row == NULL or row.run == NULL:
                    break
                run = row.run
                if count and size + run.size > FETCH_BYTES:
                    break
                entries[count].first = slot
                while slot < end and row != NULL and row.run == run:
                    slot += 1
                    row = self.replica.decisions.find(slot)
                entries[count].end = slot
                entries[count].run, entries[count].size = run.frame, run.size
                size += pvalues_bytes(&entries[count])
                count += 1
            self.send(link, first, slot, entries, count)
        finally:
            free(entries)
        return 0

    cdef int look_up(self, Link link, uint64_t first, uint64_t end) except -1:
        """Asks the shell for decisions that are on disk only; the answer is sent when they are read."""
        cdef uint64_t token
        cdef Read read
        if link.is_reading:
            return 0
        link.is_reading = True
        token = self.journal.new_token()
        read = Read(token, first, end, FETCH_BYTES)
        self.lookups[token] = Lookup(link.id, read)
        self.reads.append(read)
        return 0

    cdef int on_read(self, uint64_t token, bint ok, object data) except -1:
        """The read of that token has ended; `data` is (covered_end, records) if `ok`."""
        cdef Lookup lookup = self.lookups.pop(token, None)
        cdef Link link
        if lookup is None:
            return 0
        link = self.links.links.get(lookup.link)
        if link is None:
            return 0
        link.is_reading = False
        if not ok:
            return self.context.note(
                "unreadable", 0, lookup.read.first,
                f"could not read slots {lookup.read.first} to {lookup.read.end} for node {link.node_id}")
        covered_end, records = data
        return self.answer_from_disk(link, lookup.read.first, min(lookup.read.end, <uint64_t>covered_end), records)

    cdef int answer_from_disk(self, Link link, uint64_t first, uint64_t end, object records) except -1:
        """Sends decisions from the log, up to the first slot that a damaged record may have covered."""
        cdef uint64_t slot = first
        cdef uint32_t count = 0
        cdef dict holder = self.holders_of(first, end, records)
        cdef bytes value
        cdef Pvalues* entries = <Pvalues*>malloc((len(holder) + 1) * sizeof(Pvalues))
        if entries == NULL:
            raise MemoryError("no memory to answer a fetch")
        try:
            last = None
            total = 0
            while slot < end and slot in holder:
                index, value = holder[slot]
                if value is None:
                    break
                if last is not None and index == last:
                    entries[count - 1].end = slot + 1
                else:
                    if count and total + len(value) > 2 * FETCH_BYTES:
                        break
                    total += len(value)
                    last = index
                    entries[count].first, entries[count].end = slot, slot + 1
                    entries[count].run = <const uint8_t*>PyBytes_AS_STRING(value) + sizeof(RecordHeader)
                    entries[count].size = PyBytes_GET_SIZE(value) - sizeof(RecordHeader)
                    count += 1
                slot += 1
            if count:
                self.send(link, first, slot, entries, count)
        finally:
            free(entries)
        return 0

    cdef int note_damaged(self, const Judgement* record) except -1:
        """Reports a damaged record, once."""
        if record.index in self.damaged:
            return 0
        self.damaged.add(record.index)
        return self.context.note(
            "damaged", 0, record.first,
            f"record {record.index} of slots {record.first} to {record.end} is damaged on this disk: nothing of it is "
            "sent; start this node again, and it fetches what it lost")

    cdef dict holders_of(self, uint64_t first, uint64_t end, object records):
        """{slot: (index, record)} for the slots of [first, end). Of all records that cover a slot, the one with the
        greatest index holds it; None in place of a record that is damaged."""
        cdef dict holder = {}
        cdef uint64_t key_first, key_index, covered
        cdef Judgement record
        cdef bytes value
        for key_first, key_index, value in records:
            record = judge(key_first, key_index, <const uint8_t*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            if record.verdict != WHOLE:
                self.note_damaged(&record)
            for covered in range(max(record.first, first), min(record.end, end)):
                if covered not in holder or holder[covered][0] < record.index:
                    holder[covered] = (record.index, value if record.verdict == WHOLE else None)
        return holder

    cdef list take_reads(self):
        """[Read] since the last call."""
        cdef list reads = self.reads
        if not reads:
            return NOTHING
        self.reads = []
        return reads

    def invariants(self):
        """A fetch on its way is for a slot that is wanted, and every read to hand out is under way."""
        cdef Read read
        if self.fetching >= self.wanted_end and self.fetching:
            raise InvariantViolation(f"slot {self.fetching} is being fetched, but only slots below {self.wanted_end} "
                                     "are wanted")
        for read in self.reads:
            if read.token not in self.lookups:
                raise InvariantViolation(f"read {read.token} is to be handed out but is not under way")
