"""A node's core: decodes what comes, hands it to the roles, collects what goes.

Theory. The core is a deterministic machine without IO, clock or randomness of its own: bytes, ticks and the ends of
jobs come in by six verbs, effects go out as data (`Output`). Each role - acceptor, leader, replica - is its own module;
this one knows how they are joined: which message goes to which, what must be durable before what leaves, who lacks
what.

Rules.
- Every phase 1b and 2b waits for the newest batch that holds any ballot or pvalue it rests on (`hold_ack`,
  `hold_promise`, `release`); a scout's phase 1a waits for its ballot; a vote waits for the voter record. Our own
  acceptor's votes wait like any other's. A phase 2a leaves at once.
- One batch is outstanding at a time; while it is made durable the next one gathers. Batches become durable in order.
- Handlers (`on_...`) only take; what follows from them is done once per wake-up, in `after`: verdicts of the scout and
  the commanders are acted upon, decisions applied, requests proposed or forwarded, gaps fetched.
- Whatever a higher ballot shows in, the leader hears of it (PREEMPTED) before anything rests on its own.
- A watermark (b, first, end) is believed where the pvalue held is of ballot b or above; any other slot is fetched.
- A phase 1a from a scout so far behind that part of what it asks for is on disk only, or WINDOW below our mark, is not
  adopted; it is told how far we are and fetches that first. To refuse a promise is always safe.
- Who has a mark has forgotten what lies below: it is not asked for that again.
- A bad frame closes its link and touches nothing else.
"""

cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memmove, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE

from multipaxos.paxos.acceptor cimport Acceptor, Vote
from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.ballot cimport ballot_leader, is_ballot
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put, bytes_take
from multipaxos.wire.encoding cimport FINE, FOREIGN, OVERSIZED, PARTIAL, Fault
from multipaxos.wire.messages cimport (
    DECISION, FETCH, FETCHED, FOUNDING, PHASE1A, PHASE1B, PHASE2A, PHASE2B, PING, PONG, REQUEST, SLOTS_END, Command,
    Message, Pvalues, Watermark,
)
from multipaxos.wire.reading cimport decode, frame_size, number_at, pvalues_at
from multipaxos.wire.run cimport Run, run_command, run_drop, run_from, run_read, set_watermark
from multipaxos.wire.writing cimport (
    put_decision, put_fetch, put_fetched, put_founding, put_leading, put_phase1a, put_phase1b, put_phase2b,
    put_ping, put_pong, pvalues_bytes,
)
from multipaxos.node.election cimport Election
from multipaxos.node.output cimport Batch, Event, Output, Read
from multipaxos.paxos.leader cimport ACTIVE, PASSIVE, SCOUTING, Leader
from multipaxos.paxos.limits cimport SESSIONS_MAX, SPAN_MAX
from multipaxos.machine.machine cimport Machine
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.roles cimport ACCEPTOR, LEADER, REPLICA
from multipaxos.paxos.slots cimport Ring, Row
from multipaxos.paxos.verdict cimport MALFORMED

from multipaxos.paxos.ballot import describe as describe_ballot
from multipaxos.errors import CorruptLog
from multipaxos.membership.founding import Founding
import multipaxos.node.output as keys

cdef enum:
    MILLISECOND = 1000000
    DECISION_DELAY = 5 * MILLISECOND     # a decision waits so long for a phase 2a to travel on
    RETRY = 100 * MILLISECOND            # scouts, commanders, fetches: what was not answered is sent again
    RING_DELAY = 5 * MILLISECOND         # a fetch waits so long for room in the rings
    FORWARD_RETRY = 500 * MILLISECOND
    FETCH_BYTES = 1 << 20                # of one answer to a fetch
    FETCH_ENTRIES = 4096
    RESEND_BYTES = 256 << 10             # to one acceptor at a time


@cython.final
cdef class Link:
    """One connection, to a peer or a client."""

    def __cinit__(self, uint64_t id, int node, incarnation):
        self.id = id
        self.node = node
        self.incarnation = incarnation
        memset(&self.pending, 0, sizeof(Bytes))
        memset(&self.outgoing, 0, sizeof(Bytes))

    def __dealloc__(self):
        bytes_free(&self.pending)
        bytes_free(&self.outgoing)


@cython.final
cdef class Node:
    """One node's core; `docs/design.md` has the contract.

    `roles`: of every node, bits 1 replica, 2 leader, 4 acceptor. `meta`, `records`: what the storage holds. `window`: a
    power of two, one value for the whole cluster, and so is `sessions_max`. `ring_bytes`: what the slots kept in memory
    may take.
    """

    def __init__(self, *, int node, roles, QuorumSystem quorums not None, incarnation, seed, Machine machine,
                 meta, records, flatten, uint64_t window=8192, uint64_t ring_bytes=256 << 20,
                 uint64_t election_timeout_ns=500 * MILLISECOND, uint64_t ping_interval_ns=100 * MILLISECOND,
                 uint64_t sessions_max=SESSIONS_MAX):
        cdef uint64_t capacity = 4 * window
        if capacity + window > SPAN_MAX:
            raise ValueError(f"window {window} is too large: a scout merges at most {SPAN_MAX} slots")
        self.id = node
        self.nodes = len(roles)
        self.roles = list(roles)
        self.is_replica = bool(roles[node] & REPLICA)
        self.is_leader = bool(roles[node] & LEADER)
        self.is_acceptor = bool(roles[node] & ACCEPTOR)
        self.quorums = quorums
        self.incarnation = incarnation
        self.machine = machine
        self.flatten = flatten
        self.window = window
        self.ring_bytes = ring_bytes
        self.ping_interval_ns = ping_interval_ns
        self.election = Election(election_timeout_ns, seed, quorums)
        self.links = {}
        self.peers = [None] * self.nodes
        self.meta = {}
        self.gathering = 1
        self.next_token = 1
        self.promises = []
        self.reads = {}
        self.closes, self.events, self.keep = [], [], []
        self.failed = ""
        self.fetch_source = -1
        voter = meta.get(keys.META_VOTER)
        founders = None if voter is None else tuple(
            int.from_bytes(voter[i:i + 8], "little") for i in range(0, len(voter), 8))
        self.founding = Founding(node, self.nodes, incarnation, founders)
        self.known_ballot = int.from_bytes(meta.get(keys.META_BALLOT, b""), "little")
        self.acceptor = Acceptor(capacity, self.known_ballot, int.from_bytes(meta.get(keys.META_MARK, b"\1"), "little"),
                                 founders is not None and self.is_acceptor)
        self.leader = Leader(node, quorums, capacity)
        self.commanders = self.leader.commanders
        self.leader.ballot = self.ballot_put = self.known_ballot
        self.replica = Replica(machine if self.is_replica else None, capacity, window, ring_bytes // 4,
                               sessions_max)
        self.decided_put = int.from_bytes(meta.get(keys.META_DECIDED, b"\1"), "little")
        if not self.is_replica:
            self.begin_at(self.acceptor.mark)
        self.load(records)
        if founders is not None:
            self.leader.set_founders(founders)

    def __dealloc__(self):
        free(self.acks)
        bytes_free(&self.records)
        bytes_free(&self.scratch)

    # == what the disk held

    cdef int load(self, object records) except -1:
        """Records come sorted by first slot, so a slot is settled when a record that begins above it comes: the one
        with the greatest index holds it. Below `decided` it is applied; above it is an accepted pvalue."""
        cdef uint64_t index, first, end
        cdef Run* run
        cdef bytes frame
        for index, first, end, frame in records:
            run = run_read(<const uint8_t*>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
            if run == NULL:
                raise CorruptLog(
                    f"record {index} at slot {first} is no phase2a; restore this node's directory or wipe it")
            try:
                self.load_apply(min(first, self.decided_put))
                if end > self.acceptor.accepted.base + self.acceptor.accepted.capacity:
                    self.advance_rings(self.replica.slot_out)
                self.load_record(run, first, end, index)
            finally:
                run_drop(run)
        self.load_apply(self.decided_put)
        if self.acceptor.ballot_num > self.known_ballot:
            self.known_ballot = self.acceptor.ballot_num
        self.leader.ballot = self.known_ballot
        self.durable_out = self.emitted_out = self.replica.slot_out
        return 0

    cdef int begin_at(self, uint64_t mark) noexcept:
        """The log begins at the mark: what lies below is decided and was collected. A node without a machine does not
        miss it; a replica has to apply it, so its log begins at slot 1."""
        self.advance_rings(mark)
        self.replica.begin_at(mark)
        self.decided_put = max(self.decided_put, mark)
        return 0

    cdef int load_record(self, Run* run, uint64_t first, uint64_t end, uint64_t index) except -1:
        cdef uint64_t slot
        cdef Row* row
        if first < run.first or end > run.first + run.count or first >= end:
            raise CorruptLog(
                f"record {index} claims slots {first} to {end}, its run begins at {run.first} with {run.count}")
        for slot in range(max(first, self.acceptor.accepted.base), end):
            row = self.acceptor.accepted.put(slot)
            if row == NULL:
                raise CorruptLog(
                    f"record {index} lies more than {4 * self.window} slots above the decided ones, at {slot}")
            if row.run != NULL and row.votes > index:
                continue                 # votes: the index of the record that holds, while loading
            row.votes = index
            row.ballot = run.ballot
            self.acceptor.accepted.set_run(row, run)
        if end > self.acceptor.end:
            self.acceptor.end = end
        self.acceptor.adopt(run.ballot)
        return 0

    cdef int load_apply(self, uint64_t end) except -1:
        cdef uint64_t slot
        cdef Row* row
        for slot in range(self.replica.slot_out, end):
            row = self.acceptor.accepted.find(slot)
            if row == NULL or row.run == NULL:
                raise CorruptLog(
                    f"the log lacks slot {slot}, which was decided; restore this node's directory or wipe it")
            self.replica.decide(row.run, slot, slot + 1)
            self.replica.perform()
            if not slot & 1023 and slot > 2 * self.window:
                self.advance_rings(slot - 2 * self.window)
        return 0

    cdef int advance_rings(self, uint64_t base) noexcept:
        """Slots below `base` leave memory: they are decided, applied and on disk."""
        self.acceptor.accepted.advance(base)
        self.replica.decisions.advance(base)
        self.replica.proposals.advance(base)
        return 0

    # == verbs

    def receive(self, uint64_t link, bytes data not None):
        """A whole chunk as the socket gave it."""
        cdef Link source = self.links.get(link)
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data)
        cdef size_t used = 0
        if source is None or self.failed:
            return
        if source.pending.size:
            bytes_put(&source.pending, start, size)
            self.consume(source, source.pending.data, source.pending.size, &used)
            self.after()
            if used:
                memmove(source.pending.data, source.pending.data + used, source.pending.size - used)
                source.pending.size -= used
        else:
            self.consume(source, start, size, &used)
            self.after()
            if used < size and link in self.links:
                bytes_put(&source.pending, start + used, size - used)
        if self.keep:
            self.keep.clear()

    def tick(self, uint64_t now_ns, uint64_t utc_ns):
        """Time: `now_ns` of a clock that counts suspension and never goes back, `utc_ns` of the calendar."""
        if now_ns < self.now_ns or self.failed:
            return
        if self.now_ns == 0:
            self.now_ns = now_ns
            self.start_timers()
        self.now_ns = now_ns
        self.utc_ns = utc_ns
        if now_ns >= self.next_tick_ns():
            self.on_timers()
            self.after()

    def output(self):
        """What is to be done; see `Output`."""
        cdef Link link
        cdef list writes = [], reads = [], closes = self.closes, events = self.events
        batch = None
        if self.closes:
            self.closes = []
        if self.events:
            self.events = []
        for link in self.links.values():
            if link.outgoing.size:
                writes.append((link.id, bytes_take(&link.outgoing)))
        if not self.batch_token and not self.failed and (
                self.records.size or self.meta or self.replica.slot_out > self.emitted_out + self.window // 2):
            batch = self.emit()          # decisions alone too, in time: the rings move on with what is durable
        if self.reads:
            for read in self.reads.values():
                if read[3] is not None:
                    reads.append(read[3])
                    read[3] = None
        return Output(writes, batch, reads, closes, events, self.failed)

    def done(self, uint64_t token, bint ok, data=None):
        """The job of that token ended: a batch is durable, a read has its records - or not."""
        if self.failed:
            return
        if token == self.batch_token and token:
            self.batch_token = 0
            if not ok:
                self.failed = "the storage failed: nothing more is promised; mend the disk and start this node again"
                return
            self.durable = self.gathering - 1
            self.durable_out = self.emitted_out
            if self.founding_batch and self.durable >= self.founding_batch:
                self.founding_batch = 0
                self.on_founded()
            self.release()
            self.after()
            return
        read = self.reads.pop(token, None)
        if read is not None:
            self.on_read(read[0], read[1], read[2], ok, data)

    def link_up(self, uint64_t link, int node, incarnation):
        """A handshake is done; `node` -1 is a client."""
        cdef Link new
        cdef Link old
        if self.failed:
            return
        new = Link(link, node, incarnation)
        if node >= 0:
            old = self.peers[node]
            if old is not None:
                self.link_down(old.id)
                self.closes.append((old.id, f"node {node} has a newer link"))
            self.peers[node] = new
        self.links[link] = new
        if node < 0:
            put_leading(&new.outgoing, self.leading_ballot)
            return
        if self.founding.on_link_up(node, incarnation):
            for peer in self.peers:
                if peer is not None:
                    self.send_founding(peer)
        else:
            self.send_founding(new)
        self.greet(new)

    def link_down(self, uint64_t link):
        """The connection is gone."""
        cdef Link gone = self.links.pop(link, None)
        if gone is None or gone.node < 0:
            return
        self.peers[gone.node] = None
        self.founding.on_link_down(gone.node)
        if self.fetch_source == gone.node:
            self.fetch_source = -1
            self.fetch_due_ns = 0
        if self.known_ballot and <int>ballot_leader(self.known_ballot) == gone.node:
            self.election.suspect(self.now_ns)

    # == frames

    cdef int consume(self, Link link, const uint8_t* data, size_t size, size_t* used) except -1:
        """Handles every whole frame of [data, data + size)."""
        cdef size_t length = 0
        cdef Fault fault
        while used[0] < size:
            fault = frame_size(data + used[0], size - used[0], &length)
            if fault == PARTIAL:
                return 0
            if fault != FINE and fault != FOREIGN:
                return self.refuse(link, "an oversized frame" if fault == OVERSIZED else "a malformed frame header")
            if length > size - used[0]:
                return 0
            self.on_frame(link, data + used[0], length)
            if link.id not in self.links:
                used[0] = size
                return 0
            used[0] += length
        return 0

    cdef int on_frame(self, Link link, const uint8_t* frame, size_t size) except -1:
        cdef Message message
        cdef Fault fault = decode(frame, size, &message)
        cdef bytes flat
        if fault == FOREIGN:
            try:
                flat = self.flatten(PyBytes_FromStringAndSize(<const char*>frame, size))
            except ValueError:
                return self.refuse(link, "a frame that is no message")
            self.keep.append(flat)       # requests are views into it until `after`
            frame = <const uint8_t*>PyBytes_AS_STRING(flat)
            size = PyBytes_GET_SIZE(flat)
            fault = decode(frame, size, &message)
        if fault != FINE:
            return self.refuse(link, "a malformed message")
        return self.dispatch(link, &message, frame, size)

    cdef int dispatch(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1:
        if message.kind == REQUEST:
            return self.on_request(link, message)
        if link.node < 0:
            return self.refuse(link, "a peer's message from a client")
        if not is_ballot(message.ballot) or not is_ballot(message.decided.ballot):
            return self.refuse(link, "a ballot that no leader makes")
        if message.kind == PHASE2A:
            return self.on_phase2a(link, message, frame, size)
        if message.kind == PHASE2B:
            return self.on_phase2b(link, message)
        if message.kind == DECISION:
            return self.on_watermark(link.node, message.decided.ballot, message.decided.first, message.decided.end)
        if message.kind == PHASE1A:
            return self.on_phase1a(link, message)
        if message.kind == PHASE1B:
            return self.on_phase1b(link, message)
        if message.kind == PING:
            return self.on_ping(link, message)
        if message.kind == PONG:
            return self.on_pong(link, message)
        if message.kind == FETCH:
            return self.on_fetch(link, message)
        if message.kind == FETCHED:
            return self.on_fetched(link, message)
        if message.kind == FOUNDING:
            return self.on_founding(link, message)
        return self.refuse(link, f"message {<int>message.kind}, which peers do not send")

    cdef int note(self, str kind, uint64_t ballot, uint64_t slot, str text) except -1:
        self.events.append(Event(kind, ballot, slot, text))
        return 0

    cdef int refuse(self, Link link, str reason) except -1:
        """Closes a link for what it sent."""
        self.bad_frames += 1
        self.closes.append((link.id, reason))
        self.link_down(link.id)
        return 0

    # == acceptor

    cdef int on_phase1a(self, Link link, const Message* message) except -1:
        if not self.acceptor.voting:
            return 0
        if <int>ballot_leader(message.ballot) != link.node:
            return self.refuse(link, "a phase1a for another leader's ballot")
        if link.incarnation != self.leader.founders[link.node]:
            return self.refuse(link, "a phase1a from an incarnation that does not vote")
        if (message.ballot >= self.acceptor.ballot_num
                and (max(message.first, self.acceptor.mark) < self.acceptor.accepted.base
                     or message.first + self.window < self.acceptor.mark)):
            return self.send_pong(link, 0)
        self.see_ballot(message.ballot)
        if self.acceptor.adopt(message.ballot):
            self.election.heard(self.now_ns)
        self.put_ballot(self.acceptor.ballot_num)
        self.scratch.size = 0
        if message.ballot == self.acceptor.ballot_num:
            self.acceptor.answer_phase1a(&self.scratch, message.first, self.incarnation)
        else:
            # A refusal covers no slot: the same leader's next scout would take it for an adoption of nothing.
            put_phase1b(&self.scratch, self.acceptor.ballot_num, SLOTS_END, SLOTS_END, self.acceptor.mark,
                        self.incarnation, -1, NULL, 0, NULL, 0)
        return self.hold_promise(link.node, bytes_take(&self.scratch))

    cdef int on_phase2a(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1:
        cdef Run* run
        cdef Vote vote
        if <int>ballot_leader(message.ballot) != link.node:
            return self.refuse(link, "a phase2a at another leader's ballot")
        if self.acceptor.voting and link.incarnation != self.leader.founders[link.node]:
            return self.refuse(link, "a phase2a from an incarnation that does not vote")
        run = run_from(message, frame, size)
        try:
            self.see_ballot(run.ballot)
            vote = self.acceptor.on_phase2a(run)
            if vote.changed:
                self.record(run, vote.first, vote.end)
            if self.acceptor.voting:
                self.hold_ack(link.node, run.ballot if vote.accepted else self.acceptor.ballot_num, vote.first,
                              vote.end)
            if vote.accepted and run.ballot >= self.known_ballot:
                self.see_leading(run.ballot)
        finally:
            run_drop(run)
        return self.on_watermark(link.node, message.decided.ballot, message.decided.first, message.decided.end)

    cdef int record(self, Run* run, uint64_t first, uint64_t end) except -1:
        """Appends to the batch that gathers what [first, end) of the run took in the ring. A slot in which a higher
        ballot is held stays out: on disk the newest record of a slot holds, and a learner is told old things late."""
        cdef uint64_t slot = max(first, self.acceptor.accepted.base)
        cdef Row* row
        first = slot
        while slot < end:
            row = self.acceptor.accepted.find(slot)
            if row == NULL or row.run != run:
                self.record_part(run, first, slot)
                first = slot + 1
            slot += 1
        return self.record_part(run, first, end)

    cdef int record_part(self, Run* run, uint64_t first, uint64_t end) except -1:
        cdef uint64_t[3] header
        if first >= end:
            return 0
        header[0], header[1], header[2] = first, end, run.size
        bytes_put(&self.records, header, sizeof(header))
        bytes_put(&self.records, run.frame, run.size)
        return 0

    # == durability

    cdef int put_meta(self, bytes key, object value) except -1:
        self.meta[key] = value.to_bytes(8, "little") if isinstance(value, int) else value
        return 0

    cdef int put_ballot(self, uint64_t ballot) except -1:
        """A ballot that a promise or a scout rests on. It may have been adopted before without a trace on the disk: by
        a phase 2a or a decision that lay outside our ring."""
        if ballot > self.ballot_put:
            self.ballot_put = ballot
            self.put_meta(keys.META_BALLOT, ballot)
        return 0

    cdef uint64_t newest_batch(self) noexcept:
        """The newest batch that holds anything."""
        if self.records.size or self.meta:
            return self.gathering
        return self.gathering - 1

    cdef object emit(self):
        """Closes the batch that gathers. The decided mark travels in it: all that it rests on is in it or before it."""
        self.emitted_out = self.replica.slot_out
        if self.emitted_out > self.decided_put:
            self.decided_put = self.emitted_out
            self.put_meta(keys.META_DECIDED, self.decided_put)
        batch = Batch(self.next_token, self.meta, bytes_take(&self.records))
        self.batch_token = self.next_token
        self.next_token += 1
        self.meta = {}
        self.gathering += 1
        return batch

    cdef int hold_ack(self, int node, uint64_t ballot, uint64_t first, uint64_t end) except -1:
        cdef Ack* grown
        if self.acks_count == self.acks_room:
            grown = <Ack*>realloc(self.acks, (self.acks_room + 64) * 2 * sizeof(Ack))
            if grown == NULL:
                raise MemoryError("no memory for held answers")
            self.acks = grown
            self.acks_room = (self.acks_room + 64) * 2
        self.acks[self.acks_count] = Ack(self.newest_batch(), ballot, first, end, node)
        self.acks_count += 1
        return 0

    cdef int hold_promise(self, int node, bytes data) except -1:
        self.promises.append((self.newest_batch(), node, data))
        return 0

    cdef int release(self) except -1:
        """Lets go what waited for batches that are durable now."""
        cdef Link link
        if self.acks_count:
            self.release_acks()
        if self.promises:
            waiting = []
            for batch, node, data in self.promises:
                if batch > self.durable:
                    waiting.append((batch, node, data))
                elif node == self.id:
                    self.own_promise(data)
                else:
                    link = self.peers[node]
                    if link is not None:
                        bytes_put(&link.outgoing, PyBytes_AS_STRING(data), PyBytes_GET_SIZE(data))
            self.promises = waiting
        if self.scout_batch and self.durable >= self.scout_batch:
            self.scout_batch = 0
            self.send_scout()
        return 0

    cdef int release_acks(self) except -1:
        """Acks for neighbouring runs leave as one."""
        cdef uint64_t i, kept = 0
        cdef Ack ack
        cdef Ack joined
        joined = Ack(0, 0, 0, 0, -1)
        for i in range(self.acks_count):
            ack = self.acks[i]
            if ack.batch > self.durable:
                self.acks[kept] = ack
                kept += 1
                continue
            if (joined.node == ack.node and joined.ballot == ack.ballot and joined.end == ack.first
                    and joined.first < joined.end):
                joined.end = ack.end
                continue
            if joined.node >= 0:
                self.put_ack(joined.node, joined.ballot, joined.first, joined.end)
            joined = ack
        if joined.node >= 0:
            self.put_ack(joined.node, joined.ballot, joined.first, joined.end)
        self.acks_count = kept
        return 0

    cdef int put_ack(self, int node, uint64_t ballot, uint64_t first, uint64_t end) except -1:
        cdef Link link
        if node == self.id:
            self.election.note_contact(node, ballot, self.now_ns)
            self.leader.on_phase2b(node, ballot, first, end, self.acceptor.mark)
            return 0
        link = self.peers[node]
        if link is not None:
            put_phase2b(&link.outgoing, ballot, first, end, self.acceptor.mark)
        return 0

    # == leader

    cdef bint may_lead(self) noexcept:
        return self.is_leader and not self.founding.fresh and not self.founding_batch

    cdef int scout(self) except -1:
        """Begins an attempt, unless we are behind a node that was heard lately: then we fetch from it first."""
        cdef Link link
        for link in self.peers:
            if (link is not None and link.slot_out > self.replica.slot_out + self.window
                    and self.now_ns - link.heard_ns <= 2 * self.election.timeout_ns):
                self.fetch_end = max(self.fetch_end, link.slot_out)
                self.fetch_source = link.node
                self.election.soon(self.now_ns)
                return 0
        self.leader.begin_scout(max(self.known_ballot, self.acceptor.ballot_num), self.replica.slot_out)
        self.known_ballot = self.leader.ballot
        self.put_ballot(self.leader.ballot)
        self.scout_batch = self.gathering
        self.scout_due_ns = self.now_ns + RETRY
        if self.acceptor.adopt(self.leader.ballot):
            self.acceptor.answer_phase1a(&self.scratch, self.replica.slot_out, self.incarnation)
            self.hold_promise(self.id, bytes_take(&self.scratch))
        self.note("scouting", self.leader.ballot, self.replica.slot_out,
                  f"scouting at ballot {describe_ballot(self.leader.ballot)} from slot {self.replica.slot_out}")
        return 0

    cdef int own_promise(self, bytes data) except -1:
        """Our own acceptor's phase 1b, durable now."""
        cdef const uint8_t* at = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data), length = 0
        cdef Message message
        while size and frame_size(at, size, &length) == FINE and decode(at, length, &message) == FINE:
            self.leader.on_phase1b(self.id, &message)
            at += length
            size -= length
        return 0

    cdef int send_scout(self) except -1:
        """Phase 1a to every acceptor that has not wholly answered; their ballot is durable by now."""
        cdef Link link
        cdef int i
        if self.leader.state != SCOUTING:
            return 0
        for i in range(self.nodes):
            link = self.peers[i]
            if link is not None and self.roles[i] & ACCEPTOR and not self.leader.scout.answered >> i & 1:
                put_phase1a(&link.outgoing, self.leader.ballot, self.leader.scout.first)
        return 0

    cdef int on_phase1b(self, Link link, const Message* message) except -1:
        if message.incarnation != link.incarnation:
            return self.refuse(link, "a phase1b of another incarnation than the link's")
        self.see_ballot(message.ballot)
        if self.leader.on_phase1b(link.node, message) == MALFORMED:
            return self.refuse(link, "a phase1b whose pvalues are not pvalues")
        return 0

    cdef int on_phase2b(self, Link link, const Message* message) except -1:
        self.see_ballot(message.ballot)
        if link.incarnation != self.leader.founders[link.node]:
            return 0
        self.election.note_contact(link.node, message.ballot, self.now_ns)
        self.leader.on_phase2b(link.node, message.ballot, message.first, message.end, message.mark)
        return 0

    cdef int see_ballot(self, uint64_t ballot) except -1:
        """A ballot shows: if it is higher than ours, our leader hears of it before anything else rests on ours."""
        if ballot > self.known_ballot:
            self.known_ballot = ballot
        if ballot > self.leader.ballot and self.leader.state != PASSIVE:
            self.on_preempted(ballot)
        return 0

    cdef int see_leading(self, uint64_t ballot) except -1:
        """Somebody leads at this ballot: requests go there, and clients are told."""
        cdef Link link
        if ballot <= self.leading_ballot:
            return 0
        self.leading_ballot = ballot
        if <int>ballot_leader(ballot) != self.id:
            self.replica.leader_changed()
        for link in self.links.values():
            if link.node < 0:
                put_leading(&link.outgoing, ballot)
        return 0

    cdef int act_on_verdicts(self) except -1:
        """What the scout and the commanders told their leader since it was last looked at."""
        if self.leader.adopted:
            self.on_adopted()
        if self.leader.decided:
            self.leader.decided = False
            self.on_decided()
        return 0

    cdef int on_adopted(self) except -1:
        cdef Link link
        cdef uint64_t i, answered = self.leader.scout.answered
        self.leader.adopt_proposals(self.utc_ns)
        self.adopted_ns = self.now_ns
        self.election.begin_reign(self.leader.ballot, answered, self.now_ns)
        self.election.heard(self.now_ns)
        self.resend_due_ns = self.now_ns + RETRY
        for i in range(self.leader.unsent_count):
            self.send_run(self.leader.unsent[i])
        self.leader.drop_unsent()
        self.note("adopted", self.leader.ballot, self.commanders.start,
                  f"adopted at ballot {describe_ballot(self.leader.ballot)}: start {self.commanders.start}, "
                  f"proposed again up to slot {self.commanders.slot_end - 1}")
        self.see_leading(self.leader.ballot)
        for link in self.peers:
            if link is not None:
                link.told_end = 0        # all hear who leads, also where nothing is decided
        self.send_decisions(True)
        return 0

    cdef int on_preempted(self, uint64_t ballot) except -1:
        cdef bint scouting = self.leader.state == SCOUTING
        self.leader.preempted()
        self.scout_batch = 0
        self.election.preempted(self.now_ns, scouting)
        self.known_ballot = max(self.known_ballot, ballot)
        self.replica.leader_changed()
        self.ping_due_ns = self.now_ns
        self.note("preempted", ballot, 0,
                  f"preempted by ballot {describe_ballot(ballot)} while {'scouting' if scouting else 'leading'}")
        return 0

    cdef int step_down(self, str why) except -1:
        self.leader.preempted()
        self.scout_batch = 0
        self.election.preempted(self.now_ns, False)
        self.replica.leader_changed()
        self.note("stepped_down", self.leader.ballot, 0,
                  f"stepped down from ballot {describe_ballot(self.leader.ballot)}: {why}")
        return 0

    cdef int on_decided(self) except -1:
        """Hands what commanders decided to the replica, as far as its ring reaches; the rest stays in the leader's
        rows. What our acceptor had no room for when it was proposed is recorded now, for all below slot_out must be in
        our log."""
        cdef uint64_t slot = self.commanders.proposals.base, upto
        cdef uint64_t end = self.replica.decisions.base + self.replica.decisions.capacity
        cdef Row* row
        end = min(end, self.commanders.decided_end)
        while slot < end:
            row = self.commanders.proposals.find(slot)
            upto = min(end, row.run.first + row.run.count)
            if self.acceptor.learn(row.run, slot, upto):
                self.record(row.run, slot, upto)
            self.replica.decide(row.run, slot, upto)
            slot = upto
        self.commanders.proposals.advance(end)
        self.resend_due_ns = self.now_ns + RETRY
        if not self.decision_due_ns:
            self.decision_due_ns = self.now_ns + DECISION_DELAY
        return 0

    cdef int take(self, Run* run) except -1:
        """Our own acceptor (or learner) takes a run of our own leader."""
        cdef Vote vote = self.acceptor.on_phase2a(run)
        if vote.changed:
            self.record(run, vote.first, vote.end)
        if self.acceptor.voting and vote.accepted:
            self.hold_ack(self.id, run.ballot, vote.first, vote.end)
        return 0

    cdef int send_run(self, Run* run) except -1:
        """A commander's phase 2a for every slot of the run, to all nodes."""
        cdef Link link
        for link in self.peers:
            if link is not None:
                self.send_run_to(link, run)
        return self.take(run)

    cdef int send_run_to(self, Link link, Run* run) except -1:
        cdef Watermark watermark = self.commanders.watermark()
        cdef size_t at = link.outgoing.size
        bytes_put(&link.outgoing, run.frame, run.size)
        set_watermark(link.outgoing.data + at, &watermark)
        link.told_end = watermark.end
        return 0

    cdef int propose(self) except -1:
        cdef Run* run
        cdef Ring ring = self.commanders.proposals
        if self.commanders.decided_end == self.commanders.slot_end:
            self.resend_due_ns = self.now_ns + RETRY
        while True:
            run = self.replica.propose(self.leader.ballot, self.commanders.slot_end, ring.base + ring.capacity,
                                       self.utc_ns)
            if run == NULL:
                return 0
            try:
                self.commanders.propose(run)
                self.send_run(run)
            finally:
                run_drop(run)

    cdef int resend(self) except -1:
        """Commanders ask again whoever has not voted for what is in flight; our own acceptor too, whose ring may have
        been too far behind."""
        cdef Link link
        for link in self.peers:
            if link is not None:
                self.resend_to(link)
        self.resend_to_self()
        self.resend_due_ns = self.now_ns + RETRY
        return 0

    cdef int resend_to_self(self) except -1:
        cdef uint64_t slot
        cdef Row* row
        cdef Run* last = NULL
        for slot in range(self.commanders.decided_end, self.commanders.slot_end):
            row = self.commanders.proposals.find(slot)
            if row != NULL and row.run != last and not row.votes >> self.id & 1:
                last = row.run
                self.take(last)
        return 0

    cdef int resend_to(self, Link link) except -1:
        cdef uint64_t slot = self.commanders.decided_end, bytes_sent = 0
        cdef Row* row
        cdef Run* last = NULL
        while slot < self.commanders.slot_end and bytes_sent < RESEND_BYTES:
            row = self.commanders.proposals.find(slot)
            if row != NULL and row.run != last and not row.votes >> link.node & 1:
                last = row.run
                self.send_run_to(link, last)
                bytes_sent += last.size
            slot += 1
        return 0

    cdef int send_decisions(self, bint all_links) except -1:
        """The watermark on its own: to all who were not told, or only to those with clients that wait."""
        cdef Link link
        cdef Watermark watermark = self.commanders.watermark()
        for link in self.peers:
            if link is not None and link.told_end < watermark.end and (
                    all_links or (link.forwards_ns and self.now_ns - link.forwards_ns < 1000 * MILLISECOND)):
                put_decision(&link.outgoing, &watermark)
                link.told_end = watermark.end
        if all_links:
            self.decision_due_ns = 0
        return 0

    # == replica

    cdef int on_request(self, Link link, const Message* message) except -1:
        if link.node >= 0:
            link.forwards_ns = self.now_ns
            if self.leader.state == PASSIVE:
                return 0                 # whoever forwarded it sends it again, to whom it then believes in
        elif not self.is_replica:
            return self.refuse(link, "a request to a node that is no replica")
        if self.replica.on_request(link.id, link.node < 0, &message.commands):
            return self.refuse(link, "a request with a command that clients do not send")
        return 0

    cdef int forward(self) except -1:
        """Requests go to the replica beside the active leader."""
        cdef Link link
        cdef int leader = <int>ballot_leader(self.known_ballot)
        if not self.is_replica:
            self.replica.requests.clear()  # whoever forwarded them keeps them
            return 0
        if not self.known_ballot or leader == self.id or leader >= self.nodes:
            return 0
        link = self.peers[leader]
        if link is None:
            return 0
        if self.now_ns >= self.forward_due_ns:
            self.forward_due_ns = self.now_ns + FORWARD_RETRY
            if self.utc_ns >= self.replica.requests.oldest_ns() + FORWARD_RETRY:
                self.replica.requests.forward_again()  # the leader's replica may not have had them
        self.replica.put_forward(&link.outgoing, self.utc_ns)
        return 0

    cdef int on_watermark(self, int source, uint64_t ballot, uint64_t first, uint64_t end) except -1:
        """[first, end) is decided at `ballot`, and so is everything below first."""
        cdef uint64_t slot, limit
        cdef Row* row
        self.see_ballot(ballot)
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
        if end > self.fetch_end:
            self.fetch_end = end
            self.fetch_source = source
        return 0

    cdef int fetch(self) except -1:
        """Asks for the first gap in the decisions, if one is known."""
        cdef Link link
        cdef uint64_t end
        if self.replica.slot_out >= self.fetch_end or self.now_ns < self.fetch_due_ns:
            return 0
        link = self.source()
        if link is None:
            self.fetch_due_ns = self.now_ns + RETRY
            return 0
        end = min(self.fetch_end, self.replica.slot_out + self.window)
        end = min(end, self.replica.decisions.base + self.replica.decisions.capacity)
        if self.replica.slot_out >= end:
            self.fetch_due_ns = self.now_ns + RING_DELAY
            return 0                     # no room until what we have is durable
        put_fetch(&link.outgoing, self.replica.slot_out, self.replica.end_of_decisions(end))
        self.fetching = self.replica.slot_out
        self.fetch_due_ns = self.now_ns + RETRY
        self.fetch_asked = link.node
        self.fetch_source = -1           # if no answer comes, the next node is asked
        return 0

    cdef Link source(self):
        """Whom to fetch from: who said to be further, else one after the other: what we know of a node may be old, and
        none may answer."""
        cdef Link link = self.peers[self.fetch_source] if self.fetch_source >= 0 else None
        cdef int i
        if link is not None and link.mark <= self.replica.slot_out:
            return link
        for i in range(1, self.nodes + 1):
            link = self.peers[(self.fetch_asked + i) % self.nodes]
            if link is not None and link.mark <= self.replica.slot_out:
                return link
        return None

    cdef int on_fetch(self, Link link, const Message* message) except -1:
        cdef uint64_t end = min(message.end, self.replica.slot_out)
        if self.founding.fresh or self.founding_batch:
            end = min(end, self.durable_out)  # whom it teaches must not outlive what it forgets: both may found
        if message.first < 1 or message.first >= end:
            return 0
        if message.first < self.acceptor.mark and not self.is_replica:
            put_fetched(&link.outgoing, message.first, message.first, self.acceptor.mark, NULL, 0)
            return 0
        if message.first >= self.replica.decisions.base:
            return self.answer_fetch(link, message.first, end)
        if not link.reading:
            link.reading = True
            end = min(end, self.replica.decisions.base)
            self.reads[self.next_token] = [link.id, message.first, end,
                                           Read(self.next_token, message.first, end, FETCH_BYTES)]
            self.next_token += 1
        return 0

    cdef int answer_fetch(self, Link link, uint64_t first, uint64_t end) except -1:
        """Decisions out of memory. Each goes at the ballot it is held at, which is one that decided it, or above."""
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
            put_fetched(&link.outgoing, first, slot, self.acceptor.mark, entries, count)
        finally:
            free(entries)
        return 0

    cdef int on_read(self, uint64_t link_id, uint64_t first, uint64_t end, bint ok, object data) except -1:
        """Records for a fetch. Of those over a slot the one with the greatest index holds."""
        cdef Link link = self.links.get(link_id)
        cdef uint64_t slot, upto
        cdef Pvalues* entries
        cdef uint32_t count = 0
        cdef dict holder
        if link is None:
            return 0
        link.reading = False
        if not ok:
            self.note("unreadable", 0, first, f"could not read slots {first} to {end} for node {link.node}")
            return 0
        covered_end, records = data
        upto = min(end, <uint64_t>covered_end)
        holder = {}
        for index, record_first, record_end, frame in records:
            for s in range(max(record_first, first), min(record_end, upto)):
                if s not in holder or holder[s][0] < index:
                    holder[s] = (index, frame)
        entries = <Pvalues*>malloc((len(holder) + 1) * sizeof(Pvalues))
        if entries == NULL:
            raise MemoryError("no memory to answer a fetch")
        try:
            slot = first
            last = None
            total = 0
            while slot < upto and slot in holder:
                held = holder[slot]
                if last is not None and held[0] == last:
                    entries[count - 1].end = slot + 1
                else:
                    frame = held[1]
                    if count and total + len(frame) > 2 * FETCH_BYTES:
                        break
                    total += len(frame)
                    last = held[0]
                    entries[count].first, entries[count].end = slot, slot + 1
                    entries[count].run = <const uint8_t*>PyBytes_AS_STRING(frame)
                    entries[count].size = PyBytes_GET_SIZE(frame)
                    count += 1
                slot += 1
            put_fetched(&link.outgoing, first, slot, self.acceptor.mark, entries, count)
        finally:
            free(entries)
        return 0

    cdef int on_fetched(self, Link link, const Message* message) except -1:
        cdef Pvalues entry
        cdef uint32_t i
        cdef Run* run
        for i in range(message.pvalues.count):
            pvalues_at(&message.pvalues, i, &entry)
            run = run_read(entry.run, entry.size)
            if run == NULL:
                return self.refuse(link, "a fetched run that is no run")
            try:
                if not is_ballot(run.ballot):
                    return self.refuse(link, "a ballot that no leader makes")
                if entry.first < run.first or entry.end > run.first + run.count or entry.first >= entry.end:
                    return self.refuse(link, "a fetched run without the slots it was sent for")
                self.see_ballot(run.ballot)
                if entry.end <= self.replica.slot_out:
                    continue
                if self.acceptor.learn(run, entry.first, entry.end):
                    self.record(run, entry.first, entry.end)
                self.replica.decide(run, entry.first, entry.end)
            finally:
                run_drop(run)
        if message.first == message.end:
            link.mark = max(link.mark, message.mark)  # it has not what was asked for: it was forgotten
        if message.first == self.fetching:
            self.fetching = 0            # once: a repeated answer must not ask for the next stretch twice
            self.fetch_due_ns = 0
            self.fetch_source = link.node if message.end > message.first else -1
        return 0

    cdef int put_answers(self) except -1:
        cdef Answers answers = self.replica.answers
        cdef uint64_t at = 0
        cdef Link link
        while at < answers.count:
            link = self.links.get(answers.reports[at].link)
            if link is None:
                at += 1
            else:
                at = answers.put(&link.outgoing, at)
        answers.clear()
        return 0

    # == liveness

    cdef int on_ping(self, Link link, const Message* message) except -1:
        link.slot_out = message.slot_out
        link.heard_ns = self.now_ns
        self.see_ballot(message.ballot)
        if message.voting:
            self.election.note_contact(link.node, message.ballot, self.now_ns)
        return self.send_pong(link, message.nonce)

    cdef int send_pong(self, Link link, uint64_t nonce) except -1:
        cdef Watermark watermark
        cdef bint leading = self.leader.state == ACTIVE
        cdef bint quorum = self.election.has_quorum(self.now_ns, self.election.timeout_ns)
        memset(&watermark, 0, sizeof(Watermark))
        if leading:
            watermark = self.commanders.watermark()
            link.told_end = watermark.end
        put_pong(&link.outgoing, self.leader.ballot if leading else self.known_ballot, nonce,
                 self.replica.slot_out, leading, quorum, &watermark)
        return 0

    cdef int on_pong(self, Link link, const Message* message) except -1:
        link.slot_out = message.slot_out
        link.heard_ns = self.now_ns
        self.see_ballot(message.ballot)
        if message.leading and message.quorum and message.ballot >= self.known_ballot:
            self.see_leading(message.ballot)
            self.election.heard(self.now_ns)
            self.led_ns = self.now_ns
        if message.leading:
            self.on_watermark(link.node, message.decided.ballot, message.decided.first, message.decided.end)
        if message.slot_out > self.replica.slot_out and message.slot_out > self.fetch_end:
            self.fetch_end = message.slot_out
            self.fetch_source = link.node
        return 0

    cdef int send_ping(self) except -1:
        """To the node whose ballot we follow; to all while none answers that it leads at it. For the owner of the
        highest ballot that we know of may be gone, and who leads at a lower one has to hear of it, or we never follow
        it."""
        cdef Link link
        cdef int leader = <int>ballot_leader(self.known_ballot) if self.known_ballot else -1
        cdef bint all_links = self.leader.state != ACTIVE and self.now_ns - self.led_ns > self.election.timeout_ns
        cdef bint voting = self.acceptor.voting and self.acceptor.ballot_num >= self.known_ballot
        for link in self.peers:
            if link is not None and (all_links or link.node == leader):
                put_ping(&link.outgoing, max(self.acceptor.ballot_num, self.known_ballot), self.now_ns,
                         self.replica.slot_out, voting)
        self.ping_due_ns = self.now_ns + self.ping_interval_ns
        return 0

    cdef int greet(self, Link link) except -1:
        """What a new link needs at once: what the broken one may have lost."""
        self.ping_due_ns = self.now_ns
        if self.leader.state == ACTIVE:
            self.resend_to(link)
            link.told_end = 0
            self.send_decisions(True)
        elif self.leader.state == SCOUTING and not self.scout_batch:
            self.send_scout()
        self.replica.requests.forward_again()
        return 0

    # == founding

    cdef int send_founding(self, Link link) except -1:
        """Our state of founding. A list of founders is told only when it is durable here: were it lost with a crash, we
        would report to be fresh again, and others could found another list while the first one is still on its way."""
        cdef uint64_t[64] incarnations
        if self.founding_batch:
            return 0                     # `on_founded` tells it
        self.founding.learnt = self.acceptor.end > 1
        incarnation, fresh, listed = self.founding.message()
        for i, one in enumerate(listed):
            incarnations[i] = one
        put_founding(&link.outgoing, incarnation, fresh, incarnations, <uint32_t>len(listed))
        return 0

    cdef int on_founding(self, Link link, const Message* message) except -1:
        cdef bint fresh = self.founding.fresh
        if message.incarnation != link.incarnation:
            return self.refuse(link, "a founding of another incarnation than the link's")
        listed = [number_at(&message.incarnations, i) for i in range(message.incarnations.count)]
        refused, witness = self.founding.is_refused(), self.founding.is_witness()
        self.founding.learnt = self.acceptor.end > 1
        if self.founding.on_founding(link.node, message.incarnation, message.fresh, listed) is not None:
            self.founded()
        elif self.founding.is_refused() and not refused:
            self.note("not_founder", 0, 0, "this incarnation is no founder of its cluster: it learns and does not vote")
        elif self.founding.is_witness() and not witness:
            self.note("witness", 0, 0,
                      "this node holds a log and no voter record: it cannot found a cluster with empty ones")
        elif self.founding.is_foreign(link.node):
            return self.refuse(link, "a founder of another cluster: one of the two has to be wiped")
        if message.fresh and not fresh:
            self.send_founding(link)
        return 0

    cdef int founded(self) except -1:
        """We know the founders: the voter record is made durable, then we vote."""
        record = b"".join(incarnation.to_bytes(8, "little") for incarnation in self.founding.founders)
        self.put_meta(keys.META_VOTER, record)
        self.founding_batch = self.gathering
        return 0

    cdef int on_founded(self) except -1:
        """The voter record is durable."""
        self.leader.set_founders(self.founding.founders)
        if self.is_acceptor:
            self.acceptor.set_voting()
        self.election.soon(self.now_ns)
        self.note("founded", 0, 0, "founded: the voter record is durable, this node votes")
        for peer in self.peers:
            if peer is not None:
                self.send_founding(peer)
        return 0

    # == time

    cdef int start_timers(self) except -1:
        """The first tick."""
        if self.known_ballot and self.nodes > 1:
            self.election.passive(self.now_ns)
        else:
            self.election.soon(self.now_ns)
        self.ping_due_ns = self.founding_due_ns = self.now_ns
        if self.nodes == 1 and self.founding.found() is not None:
            self.founded()
        return 0

    def next_tick_ns(self):
        """The moment by which `tick` has to be called at the latest."""
        cdef uint64_t due = self.ping_due_ns
        if self.leader.state == ACTIVE:
            if self.decision_due_ns:
                due = min(due, self.decision_due_ns)
            if self.commanders.decided_end < self.commanders.slot_end:
                due = min(due, self.resend_due_ns)
        elif self.leader.state == SCOUTING:
            due = min(due, self.scout_due_ns)
        elif self.may_lead():
            due = min(due, self.election.due_ns)
        if self.replica.slot_out < self.fetch_end:
            due = min(due, self.fetch_due_ns)
        return due

    cdef int on_timers(self) except -1:
        if self.now_ns >= self.ping_due_ns:
            self.on_ping_due()
        if self.leader.state == ACTIVE:
            if self.decision_due_ns and self.now_ns >= self.decision_due_ns:
                self.send_decisions(True)
            if self.commanders.decided_end < self.commanders.slot_end and self.now_ns >= self.resend_due_ns:
                self.resend()
        elif self.leader.state == SCOUTING:
            if self.now_ns >= self.scout_due_ns:
                self.on_scout_due()
        elif self.may_lead() and self.now_ns >= self.election.due_ns:
            self.scout()
        return 0

    cdef int on_ping_due(self) except -1:
        """Pings; and with them what is checked at their pace."""
        self.send_ping()
        if self.leader.state == ACTIVE:
            if self.acceptor.voting:
                self.election.note_contact(self.id, self.acceptor.ballot_num, self.now_ns)
            if (self.now_ns - self.adopted_ns > 2 * self.election.timeout_ns
                    and not self.election.has_quorum(self.now_ns, 2 * self.election.timeout_ns)):
                self.step_down("no phase-2 quorum answers")
        if self.founding.fresh and self.now_ns >= self.founding_due_ns:
            self.founding_due_ns = self.now_ns + 2 * self.ping_interval_ns
            for peer in self.peers:
                if peer is not None:
                    self.send_founding(peer)
        return 0

    cdef int on_scout_due(self) except -1:
        """Phase 1a again; a new attempt where decisions have come in the meantime, for `first` is fixed for a
        scout's life."""
        self.scout_due_ns = self.now_ns + RETRY
        if self.replica.slot_out > self.leader.scout.first:
            self.scout()
        elif not self.scout_batch:
            self.send_scout()
        return 0

    # == once per wake-up

    cdef int after(self) except -1:
        """What follows from all that was taken."""
        self.act_on_verdicts()
        while True:
            self.replica.perform()
            if self.leader.state == ACTIVE:
                if self.commanders.proposals.base < self.commanders.decided_end:
                    self.on_decided()
                    self.replica.perform()
                self.propose()
                if self.commanders.start > self.replica.slot_out:
                    self.fetch_end = max(self.fetch_end, self.commanders.start)
            self.release()
            if not self.leader.decided and not self.leader.adopted:
                break
            self.act_on_verdicts()
        if self.replica.requests.arrived_count:
            self.replica.requests.stash(self.utc_ns)
        if self.replica.requests.waiting():
            self.replica.retire(self.utc_ns)
        if self.replica.requests.waiting() and self.leader.state == PASSIVE:
            self.forward()
        if self.replica.answers.count:
            self.put_answers()
        if self.leader.state == ACTIVE and self.decision_due_ns:
            self.send_decisions(False)
        if self.replica.slot_out < self.fetch_end:
            self.fetch()
        return self.trim()

    cdef int trim(self) except -1:
        """Slots far below slot_out leave memory, sooner where they are large; only what is durable may, with the mark
        that says it is decided."""
        cdef bint large = self.acceptor.accepted.bytes > self.ring_bytes // 2
        cdef uint64_t keep = self.window // 16 if large else 2 * self.window
        cdef uint64_t base = self.acceptor.accepted.base
        cdef uint64_t enough = base + keep + self.window // 8    # below it a step is not worth while
        if self.durable_out > enough:
            self.advance_rings(self.durable_out - keep)
        return 0

    # == queries

    @property
    def slot_out(self):
        """The next slot to be applied here."""
        return self.replica.slot_out

    @property
    def voting(self):
        """Does its acceptor vote? Only with a durable voter record."""
        return bool(self.acceptor.voting)

    def command_at(self, uint64_t slot):
        """(kind, session, sequence, payload) decided in a slot, or None where it is not known or no longer in
        memory."""
        cdef Row* row = self.replica.decisions.find(slot)
        cdef Command command
        if row == NULL or row.run == NULL:
            return None
        run_command(row.run, slot, &command)
        return command.kind, command.session, command.sequence, command.payload[:command.size]

    def status(self):
        """Facts about this node, for `multipaxos status`."""
        cdef Link link
        state_hash = None
        if self.is_replica:
            state_hash = f"{(self.machine.state_hash_int() ^ self.replica.sessions.chain):016x}"
        return {
            "id": self.id,
            "leading": self.leader.state == ACTIVE,
            "ballot": describe_ballot(self.acceptor.ballot_num if self.is_acceptor else self.known_ballot),
            "leader": int(ballot_leader(self.leading_ballot)) if self.leading_ballot else None,
            "slot_in": self.replica.slot_in,
            "slot_out": self.replica.slot_out,
            "mark": self.acceptor.mark,
            "voting": bool(self.acceptor.voting),
            "state_hash": state_hash,
            "incarnation": f"{self.incarnation:016x}",
            "founded": not self.founding.fresh,
            "requests": len(self.replica.requests),
            "reproposals": self.replica.reproposals,
            "sessions": self.replica.sessions.count,
            "memory_bytes": self.acceptor.accepted.bytes + self.replica.requests.bytes,
            "bad_frames": self.bad_frames,
            "peers": [link.node for link in self.peers if link is not None],
        }

    def invariants(self):
        """Raises InvariantViolation where a rule of the protocol does not hold inside this node."""
        self.acceptor.invariants()
        self.leader.invariants()
        self.replica.invariants()
