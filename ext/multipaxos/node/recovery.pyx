"""Recovery: what the disk held becomes the state of acceptor and replica, once, before the first verb.

Theory. Records come sorted by first slot. A slot is settled when a record comes that begins above it: of the records
over that slot, the one with the greatest index holds it. Below META_DECIDED a settled slot is applied at once, so a
restart needs no memory for the log; above it slots are accepted pvalues.

Rules.
- While records are loaded, `votes` of an acceptor's row is the index of the record that holds the slot.
- Where a log lacks a decided slot, or holds what no node writes, recovery raises CorruptLog. It guesses nothing.
"""

from libc.stdint cimport uint8_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from multipaxos.node.journal cimport Journal
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.slots cimport Row
from multipaxos.wire.run cimport Run, run_drop, run_read

import multipaxos.node.output as output
from multipaxos.errors import CorruptLog


cdef uint64_t number_of(object meta, bytes key, uint64_t default):
    """A number among the metadata, `default` where there is none."""
    value = meta.get(key)
    return default if value is None else int.from_bytes(value, "little")


cdef tuple founders_of(object meta):
    """The voter record among the metadata: the incarnations of the founders by node id, or None."""
    voter = meta.get(output.META_VOTER)
    if voter is None:
        return None
    return tuple([int.from_bytes(voter[i:i + 8], "little") for i in range(0, len(voter), 8)])


cdef int recover(Journal journal, object records) except -1:
    """Loads [(index, first, end, frame)] into the acceptor and the replica of a new journal."""
    cdef uint64_t index, first, end
    cdef Acceptor acceptor = journal.acceptor
    cdef Replica replica = journal.replica
    cdef Run* run
    cdef bytes frame
    if replica.machine is None:
        begin_at(journal, acceptor.mark)
    for index, first, end, frame in records:
        run = run_read(<const uint8_t*>PyBytes_AS_STRING(frame), PyBytes_GET_SIZE(frame))
        if run == NULL:
            raise CorruptLog(
                f"record {index} at slot {first} is no phase2a; restore this node's directory or wipe it")
        try:
            apply_decided(journal, min(first, journal.decided_put))
            if end > acceptor.accepted.base + acceptor.accepted.capacity:
                journal.drop_below(replica.slot_out)
            load_record(acceptor, run, first, end, index)
        finally:
            run_drop(run)
    apply_decided(journal, journal.decided_put)
    journal.durable_out = journal.emitted_out = replica.slot_out
    return 0


cdef void begin_at(Journal journal, uint64_t mark) noexcept:
    """The log begins at the mark: what lies below is decided and was collected. A node without a machine does not need
    it. A replica has to apply it, so a replica's log begins at slot 1."""
    journal.drop_below(mark)
    journal.replica.begin_at(mark)
    journal.decided_put = max(journal.decided_put, mark)


cdef int load_record(Acceptor acceptor, Run* run, uint64_t first, uint64_t end, uint64_t index) except -1:
    cdef uint64_t slot
    cdef Row* row
    if first < run.first or end > run.first + run.count or first >= end:
        raise CorruptLog(
            f"record {index} claims slots {first} to {end}, its run begins at {run.first} with {run.count}")
    for slot in range(max(first, acceptor.accepted.base), end):
        row = acceptor.accepted.put(slot)
        if row == NULL:
            raise CorruptLog(
                f"record {index} lies more than {acceptor.accepted.capacity} slots above the decided ones, at {slot}")
        if row.run != NULL and row.votes > index:
            continue
        row.votes = index
        row.ballot = run.ballot
        acceptor.accepted.set_run(row, run)
    if end > acceptor.end:
        acceptor.end = end
    acceptor.adopt(run.ballot)
    return 0


cdef int apply_decided(Journal journal, uint64_t end) except -1:
    """Applies the slots from slot_out to `end`, all of them settled."""
    cdef uint64_t slot
    cdef Acceptor acceptor = journal.acceptor
    cdef Replica replica = journal.replica
    cdef Row* row
    for slot in range(replica.slot_out, end):
        row = acceptor.accepted.find(slot)
        if row == NULL or row.run == NULL:
            raise CorruptLog(
                f"the log lacks slot {slot}, which was decided; restore this node's directory or wipe it")
        replica.decide(row.run, slot, slot + 1)
        replica.perform()
        if not slot & 1023 and slot > 2 * replica.window:
            journal.drop_below(slot - 2 * replica.window)
    return 0
