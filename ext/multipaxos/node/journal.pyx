"""The journal: what has to become durable, and which answers wait for it.

Theory. What changes in the acceptor - accepted pvalues, promised ballots, decided slots, the voter record - gathers in
a batch. The shell makes one batch durable at a time while the next one gathers; batches become durable in the order of
their numbers. An answer that must not leave before something is durable takes a *ticket*: the number of the newest
batch that holds anything. The answer may leave when that batch is durable.

Our acceptor's answers wait here: phase 2b as `Ack`, phase 1b as `Promise`. The journal does not send them; it hands
them up (`release_acks`, `release_promises`) to `voting`, which knows links and our own leader.

Rules.
- Every phase 1b and 2b waits for the newest batch that holds anything when it is made, an answer to a repeat too: what
  it rests on may be in any batch up to that one.
- On disk the newest record of a slot holds. So a run is recorded only for slots in which the ring holds that very run:
  a learner may receive an old pvalue late.
- META_DECIDED is put into the batch of the pvalues that it rests on, or into a later one, never before.
- META_DECIDED reaches the disk also when nothing is decided any more: of a record that is damaged later the node then
  knows that it was decided, and fetches it at once.
- A slot leaves memory only when it is applied, and durable, and a META_DECIDED above it is durable too.
- Memory is bounded by `ring_bytes`, also while the disk stands. Half of it is for what could leave; above that it
  leaves. Nothing is accepted or fetched while the ring holds five eighths, or more than a quarter waits for the disk
  (those runs are in the ring too); the last eighth is for what is on its way then. What is decided goes on all the same
  once nothing waits for the disk: the ring may be full of slots above one that is missing.
- durable < gathering; durable_out <= emitted_out <= undecided; all rings of acceptor and replica begin at one slot.
"""

cimport cython

from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from multipaxos.node.limits cimport IDLE_NS, IN_FLIGHT_BYTES
from multipaxos.node.output cimport Batch
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.array cimport array_grow
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.slots cimport Row, run_share
from multipaxos.wire.record cimport RecordHeader, record_header
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put, bytes_take
from multipaxos.wire.run cimport Run

import multipaxos.node.output as output
from multipaxos.errors import InvariantViolation


@cython.final
cdef class Promise:
    """A phase 1b that waits for a batch to be durable."""

    def __cinit__(self, uint64_t ticket, int node_id, bytes data):
        self.ticket = ticket
        self.node_id = node_id
        self.data = data


@cython.final
cdef class Journal:
    """`ballot`, `decided`: META_BALLOT and META_DECIDED as the disk held them."""

    def __cinit__(self, Acceptor acceptor not None, Replica replica not None, uint64_t ballot, uint64_t decided,
                  uint64_t ring_bytes):
        self.acceptor = acceptor
        self.replica = replica
        self.ballot_put = ballot
        self.decided_put = self.decided_before = decided
        self.large_bytes = ring_bytes // 2
        self.ring_bytes_max = ring_bytes // 8 * 5
        self.waiting_bytes_max = ring_bytes // 4
        self.keep_slots = 2 * replica.window
        self.enough_slots = self.keep_slots + replica.window // 8     # smaller steps do not pay
        self.meta = {}
        self.promises = []
        self.gathering = self.next_token = 1
        memset(&self.records, 0, sizeof(Bytes))

    def __dealloc__(self):
        bytes_free(&self.records)
        free(self.acks)
        free(self.released)

    cdef uint64_t new_token(self) noexcept:
        """A number for one job of the shell; none is used twice."""
        self.next_token += 1
        return self.next_token - 1

    # -- the batch that gathers
    cdef int record(self, Run* run, uint64_t first, uint64_t end) except -1:
        """Appends the run as a record of those slots of [first, end) in which the acceptor's ring holds it."""
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
        cdef RecordHeader header
        if first >= end:
            return 0
        self.index += 1
        record_header(&header, first, end, self.index, run.frame, run.size)
        bytes_put(&self.records, &header, sizeof(header))
        bytes_put(&self.records, run.frame, run.size)
        self.look()
        return 0

    cdef int put_number(self, bytes key, uint64_t value) except -1:
        self.meta[key] = value.to_bytes(8, "little")
        return 0

    cdef int put_ballot(self, uint64_t ballot) except -1:
        """A ballot that a promise or a scout rests on. The acceptor may have adopted it before without a trace on the
        disk: by a phase 2a or a decision that lay outside its ring."""
        if ballot > self.ballot_put:
            self.ballot_put = ballot
            self.put_number(output.META_BALLOT, ballot)
        return 0

    cdef int put_cluster(self, uint64_t cluster_id, tuple founders, tuple refused_slots) except -1:
        """The cluster to which this node belongs; `founders`: the voter record, None on a node that is none of them."""
        self.put_number(output.META_CLUSTER, cluster_id)
        if founders is not None:
            self.meta[output.META_VOTER] = output.words(founders)
        self.meta[output.META_REFUSED] = output.words(refused_slots)
        return 0

    # -- batches
    cdef uint64_t ticket(self) noexcept:
        """The newest batch that holds anything: durable when all that was recorded or put until now is."""
        return self.gathering if self.records.size or self.meta else self.gathering - 1

    cdef bint is_durable(self, uint64_t ticket) noexcept:
        return ticket <= self.durable

    cdef int settle(self, uint64_t now_ns) except -1:
        """The end of a wake-up: the time of idleness begins anew where slots were decided."""
        if self.replica.undecided != self.seen_out:
            self.seen_out = self.replica.undecided
            self.idle_due_ns = now_ns + IDLE_NS
        return 0

    cdef Batch next_batch(self, uint64_t now_ns):
        """The batch that the shell is to make durable now; None while one is outstanding or nothing has to be. Decided
        slots alone get a batch in time, because the rings move on with what is durable, and when the node is idle."""
        if self.batch_token:
            return None
        if (self.records.size or self.meta or now_ns >= self.due_ns()
                or self.replica.undecided > self.emitted_out + self.replica.window // 2):
            return self.close_batch()
        return None

    cdef Batch close_batch(self):
        """Closes the batch that gathers; it is outstanding now."""
        cdef Batch batch
        self.emitted_out = self.replica.undecided
        if self.emitted_out > self.decided_put:
            self.decided_put = self.emitted_out
            self.put_number(output.META_DECIDED, self.decided_put)
        self.batch_token = self.new_token()
        self.batch_bytes = self.newest_bytes = self.records.size
        batch = Batch(self.batch_token, self.meta, bytes_take(&self.records))
        self.meta = {}
        self.gathering += 1
        return batch

    cdef void on_durable(self) noexcept:
        """The outstanding batch is durable."""
        self.batch_token = self.batch_bytes = 0
        self.durable = self.gathering - 1
        self.durable_out = self.emitted_out
        if self.full:
            self.look()

    # -- answers that wait
    cdef int hold_ack(self, int node_id, uint64_t ballot, uint64_t first, uint64_t end) except -1:
        """A phase 2b of our acceptor for the leader on `node_id`."""
        if self.acks_count == self.acks_room:
            self.acks = <Ack*>array_grow(self.acks, &self.acks_room, self.acks_count + 1, sizeof(Ack))
        self.acks[self.acks_count] = Ack(self.ticket(), ballot, first, end, node_id)
        self.acks_count += 1
        return 0

    cdef int hold_promise(self, int node_id, bytes data) except -1:
        """A phase 1b of our acceptor for the leader on `node_id`; it replaces one that waits."""
        cdef Promise promise
        self.promises = [promise for promise in self.promises if promise.node_id != node_id]
        self.promises.append(Promise(self.ticket(), node_id, data))
        return 0

    cdef int release_acks(self) except -1:
        """Moves the acks whose batch is durable to `released`, in order; acks of neighbouring runs become one."""
        cdef uint64_t i, kept = 0
        cdef Ack ack
        cdef Ack joined = Ack(0, 0, 0, 0, -1)
        self.released_count = 0
        for i in range(self.acks_count):
            ack = self.acks[i]
            if not self.is_durable(ack.ticket):
                self.acks[kept] = ack
                kept += 1
                continue
            if (joined.node_id == ack.node_id and joined.ballot == ack.ballot and joined.end == ack.first
                    and joined.first < joined.end):
                joined.end = ack.end
                continue
            if joined.node_id >= 0:
                self.put_released(&joined)
            joined = ack
        if joined.node_id >= 0:
            self.put_released(&joined)
        self.acks_count = kept
        return 0

    cdef int put_released(self, const Ack* ack) except -1:
        if self.released_count == self.released_room:
            self.released = <Ack*>array_grow(self.released, &self.released_room, self.released_count + 1,
                                             sizeof(Ack))
        self.released[self.released_count] = ack[0]
        self.released_count += 1
        return 0

    cdef list release_promises(self):
        """The promises whose batch is durable, in their order; the others go on waiting."""
        cdef Promise promise
        cdef list waiting = [], durable = []
        for promise in self.promises:
            (durable if self.is_durable(promise.ticket) else waiting).append(promise)
        self.promises = waiting
        return durable

    # -- memory
    cdef void keep(self, uint64_t slot, uint64_t now_ns, uint64_t until_ns) noexcept:
        """The slots from `slot` on do not leave memory before that time, unless they are too large: a scout pulls
        them."""
        self.kept_slot = min(self.kept_slot, slot) if now_ns < self.kept_until_ns else slot
        self.kept_until_ns = until_ns

    cdef void drop_applied(self, uint64_t now_ns) noexcept:
        """Slots far below slot_out leave memory, sooner where they are large. A slot may leave only when it is
        applied, and durable, and a META_DECIDED above it is durable too."""
        cdef uint64_t out = min(self.durable_out, self.replica.slot_out)
        if self.acceptor.accepted.bytes > self.large_bytes:
            self.drop_large(out)
        elif out > self.acceptor.accepted.base + self.enough_slots:
            if now_ns < self.kept_until_ns:
                out = min(out, self.kept_slot + self.keep_slots)
            if out > self.acceptor.accepted.base + self.enough_slots:
                self.drop_below(out - self.keep_slots)

    cdef void drop_large(self, uint64_t out) noexcept:
        """As many of the slots below `out` leave memory as have more than half of it."""
        cdef uint64_t excess = self.acceptor.accepted.bytes - self.large_bytes
        cdef uint64_t slot = self.acceptor.accepted.base
        cdef Row* row
        while slot < out and excess:
            row = self.acceptor.accepted.find(slot)
            if row != NULL and row.run != NULL:
                excess -= min(excess, run_share(row.run))
            slot += 1
        self.drop_below(slot)

    cdef void look(self) noexcept:
        """Is memory full?"""
        self.full = self.acceptor.accepted.bytes > self.ring_bytes_max or self.waiting() > self.waiting_bytes_max

    cdef bint has_space(self) noexcept:
        """Is there room for a while?"""
        return not self.full and self.waiting() <= self.waiting_bytes_max // 2

    cdef bint may_fetch(self) noexcept:
        """May decided slots be fetched? A vote waits for all that gathers before it, so few of them gather."""
        return self.is_idle() or (not self.full and self.waiting() <= IN_FLIGHT_BYTES)

    cdef bint may_hold(self, const Run* run) noexcept:
        """While memory is full: is the run accepted all the same? It is if it adds nothing, if it takes the place of
        others and the disk keeps up, or if the replica needs it next and the disk is idle."""
        cdef uint64_t slot, end = run.first + run.count
        cdef bint keeps_up = self.waiting() <= self.waiting_bytes_max
        cdef Row* row
        if self.is_idle() and run.first <= self.replica.undecided:
            return True
        for slot in range(max(run.first, self.acceptor.accepted.base), end):
            row = self.acceptor.accepted.find(slot)
            if row == NULL or row.run == NULL or (row.ballot < run.ballot and not keeps_up):
                return False
        return True

    cdef void drop_below(self, uint64_t slot) noexcept:
        """The slots below `slot` leave memory: they are decided, applied and durable."""
        self.acceptor.accepted.advance(slot)
        self.replica.decisions.advance(slot)
        self.replica.proposals.advance(slot)
        if self.full:
            self.look()

    def invariants(self):
        """Batches are in order, slots become durable after they are applied, and the rings move together."""
        cdef uint64_t base = self.acceptor.accepted.base
        if self.durable >= self.gathering:
            raise InvariantViolation(f"batch {self.durable} is durable, and batch {self.gathering} still gathers")
        if not self.durable_out <= self.emitted_out <= self.replica.undecided:
            raise InvariantViolation(f"durable_out {self.durable_out}, emitted_out {self.emitted_out} and undecided "
                                     f"{self.replica.undecided} are out of order")
        if self.replica.decisions.base != base or self.replica.proposals.base != base:
            raise InvariantViolation(f"rings begin at {base}, {self.replica.decisions.base} and "
                                     f"{self.replica.proposals.base}")
