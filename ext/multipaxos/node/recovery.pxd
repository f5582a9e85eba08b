# What the disk held: see recovery.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.journal cimport Journal
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.slots cimport Row
from multipaxos.wire.record cimport Judgement


@cython.final
cdef class Recovery:
    cdef Journal journal
    cdef Acceptor acceptor
    cdef Replica replica
    cdef uint64_t decided            # META_DECIDED
    cdef uint64_t first, index       # of the last record
    cdef list damaged                # (index, first, end) of the records that are damaged, as far as they can matter
    cdef bint stuck                  # a slot below META_DECIDED is missing: nothing more is applied
    cdef uint64_t unread_end         # records of slots below it lie beyond the rings, because we are stuck; else 0

    cdef int run(self, object records) except -1
    cdef int on_record(self, const Judgement* record) except -1
    cdef int on_damaged(self, const Judgement* record) except -1
    cdef int load(self, const Judgement* record) except -1
    cdef int apply_decided(self, uint64_t end) except -1
    cdef bint is_missing(self, uint64_t slot, const Row* row) except -1
    cdef int find_holes(self) except -1

cdef uint64_t number_of(object meta, bytes key, uint64_t default)
cdef tuple founders_of(object meta, int nodes, str name)
cdef int recover(Journal journal, object records) except -1
