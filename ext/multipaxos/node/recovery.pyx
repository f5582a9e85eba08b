"""Recovery: what the disk held becomes the state of acceptor and replica, once, before the first verb.

Theory. Records come sorted by first slot. A slot is settled when a record comes that begins above it: of the records
over that slot, the one with the greatest index holds it. Below META_DECIDED a settled slot is applied at once, so a
restart needs no memory for the log; above it slots are accepted pvalues.

A slot is *missing* if a damaged record may have covered it and no whole record of a greater index does: what the
acceptor accepted last in this slot is not known. Missing slots become the acceptor's holes. Below META_DECIDED the
replica gets stuck at the first of them. It applies the rest when it has fetched it; what then lies beyond the rings is
not read, so it is missing too.

Rules.
- While records are loaded, `votes` of an acceptor's row is the index of the record that holds the slot.
- What an older record says of a missing slot is not held either: a scout must not read it as the newest.
- Where a log lacks a decided slot that no damaged record explains, or holds what no node writes, recovery raises
  CorruptLog. It guesses nothing.
"""

cimport cython

from libc.stdint cimport uint8_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from multipaxos.node.journal cimport Journal
from multipaxos.paxos.slots cimport Row
from multipaxos.wire.record cimport LOST, WHOLE, Judgement, judge
from multipaxos.wire.run cimport Run, run_drop, run_read

import multipaxos.node.output as output
from multipaxos.errors import CorruptLog
from multipaxos.membership.founding import cluster_id_of


cdef uint64_t number_of(object meta, bytes key, uint64_t default):
    """A number among the metadata, `default` where there is none."""
    value = meta.get(key)
    return default if value is None else int.from_bytes(value, "little")


cdef tuple founders_of(object meta, int nodes, str name):
    """The voter record among the metadata: the incarnations of the founders by node id, or None."""
    voter = meta.get(output.META_VOTER)
    if voter is None:
        return None
    founders = output.numbers(voter)
    if len(founders) != nodes:
        raise CorruptLog(f"the voter record lists {len(founders)} founders of a cluster of {nodes} nodes")
    if number_of(meta, output.META_CLUSTER, 0) != cluster_id_of(name, founders):
        raise CorruptLog("the cluster's id is not that of the founders in the voter record")
    return founders


cdef int recover(Journal journal, object records) except -1:
    """Loads [(first, index, value)] into the acceptor and the replica of a new journal."""
    return Recovery(journal).run(records)


@cython.final
cdef class Recovery:
    """One start. A log begins at the mark: what lies below is decided and was collected. A node without a machine does
    not need it. A replica has to apply it, so a replica's log begins at slot 1."""

    def __cinit__(self, Journal journal not None):
        self.journal = journal
        self.acceptor = journal.acceptor
        self.replica = journal.replica
        self.damaged = []
        if self.replica.machine is None:
            journal.drop_below(self.acceptor.mark)
            self.replica.begin_at(self.acceptor.mark)
            journal.decided_put = max(journal.decided_put, self.acceptor.mark)
        self.decided = journal.decided_put

    cdef int run(self, object records) except -1:
        cdef uint64_t first, index
        cdef bytes value
        cdef Judgement record
        for first, index, value in records:
            record = judge(first, index, <const uint8_t*>PyBytes_AS_STRING(value), PyBytes_GET_SIZE(value))
            if record.verdict == LOST:
                raise CorruptLog(f"record {index} at slot {first} is damaged, and so is its key")
            self.on_record(&record)
        self.apply_decided(self.decided)
        if self.damaged:
            self.find_holes()
        self.journal.durable_out = self.journal.emitted_out = self.replica.slot_out
        return 0

    cdef int on_record(self, const Judgement* record) except -1:
        if record.first < self.first or record.first == self.first and record.index <= self.index:
            raise CorruptLog(f"record {record.index} at slot {record.first} is out of order: a key is damaged")
        self.first, self.index = record.first, record.index
        self.journal.index = max(self.journal.index, record.index)
        if record.verdict != WHOLE:
            return self.on_damaged(record)
        self.apply_decided(min(record.first, self.decided))
        return self.load(record)

    cdef int on_damaged(self, const Judgement* record) except -1:
        """Remembers the record, and forgets those that lie below the slots that are still open."""
        cdef uint64_t slot_out = self.replica.slot_out
        if record.first >= max(self.decided, slot_out) + self.acceptor.accepted.capacity:
            raise CorruptLog(f"record {record.index} at slot {record.first} is damaged, and so is its key")
        self.damaged = [each for each in self.damaged if each[2] > slot_out]
        self.damaged.append((record.index, record.first, record.end))
        return 0

    cdef int load(self, const Judgement* record) except -1:
        cdef Run* run = run_read(record.frame, record.size)
        cdef uint64_t slot, limit, end = record.end
        cdef Row* row
        if run == NULL:
            raise CorruptLog(f"record {record.index} at slot {record.first} is no phase2a")
        try:
            if record.first < run.first or end > run.first + run.count:
                raise CorruptLog(f"record {record.index} claims slots {record.first} to {end}, its run begins at "
                                 f"{run.first} with {run.count}")
            if end > self.acceptor.accepted.base + self.acceptor.accepted.capacity:
                self.journal.drop_below(self.replica.slot_out)
            limit = self.acceptor.accepted.base + self.acceptor.accepted.capacity
            if end > limit:
                if not self.stuck:
                    raise CorruptLog(f"record {record.index} lies more than {self.acceptor.accepted.capacity} slots "
                                     f"above the decided ones, at {limit}")
                self.unread_end = max(self.unread_end, end)
                end = limit
            for slot in range(max(record.first, self.acceptor.accepted.base), end):
                row = self.acceptor.accepted.put(slot)
                if row.run != NULL and row.votes > record.index:
                    continue
                row.votes = record.index
                row.ballot = run.ballot
                self.acceptor.accepted.set_run(row, run)
            self.acceptor.end = max(self.acceptor.end, end)
            self.acceptor.adopt(run.ballot)
        finally:
            run_drop(run)
        return 0

    cdef int apply_decided(self, uint64_t end) except -1:
        """Applies the slots from slot_out to `end`, all of them settled, up to the first one that is missing."""
        cdef uint64_t slot
        cdef Row* row
        if self.stuck:
            return 0
        for slot in range(self.replica.slot_out, end):
            row = self.acceptor.accepted.find(slot)
            if self.is_missing(slot, row):
                self.stuck = True
                break
            if row == NULL or row.run == NULL:
                raise CorruptLog(f"the log lacks slot {slot}, which was decided")
            self.replica.decide(row.run, slot, slot + 1)
            if not slot & 1023:
                self.replica.perform_all()
                if slot > 2 * self.replica.window:
                    self.journal.drop_below(slot - 2 * self.replica.window)
        return self.replica.perform_all()

    cdef bint is_missing(self, uint64_t slot, const Row* row) except -1:
        """May a damaged record have covered the slot, with no whole record of a greater index over it?"""
        cdef uint64_t held = row.votes if row != NULL and row.run != NULL else 0
        for index, first, end in self.damaged:
            if index > held and first <= slot < end:
                return True
        return False

    cdef int find_holes(self) except -1:
        """All that is missing becomes holes of the acceptor."""
        cdef uint64_t slot, limit = self.acceptor.accepted.base + self.acceptor.accepted.capacity
        cdef uint64_t known_end = max(self.unread_end, max([each[2] for each in self.damaged]))
        cdef uint64_t end = max(known_end, self.decided)
        cdef Row* row
        if known_end < self.decided and self.decided > limit:
            raise CorruptLog(f"the log lacks slot {known_end}, which was decided")
        for slot in range(self.replica.slot_out, min(end, limit)):
            row = self.acceptor.accepted.find(slot)
            if self.is_missing(slot, row):
                if row != NULL:
                    self.acceptor.accepted.clear(row)
                self.acceptor.holes.add(slot, slot + 1)
            elif row == NULL and slot < self.decided:
                raise CorruptLog(f"the log lacks slot {slot}, which was decided")
        if end > limit:
            self.acceptor.holes.add(limit, end)
        return 0
