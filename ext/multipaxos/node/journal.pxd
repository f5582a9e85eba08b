# What has to become durable, and what waits for it: see journal.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.limits cimport NEVER
from multipaxos.node.output cimport Batch
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.run cimport Run

cdef struct Ack:                     # a phase 2b that waits for a batch to be durable
    uint64_t ticket
    uint64_t ballot, first, end
    int node_id                      # of the leader that gets it


@cython.final
cdef class Promise:                  # a phase 1b that waits for a batch to be durable
    cdef uint64_t ticket
    cdef int node_id                 # of the leader that gets it
    cdef bytes data                  # frames


@cython.final
cdef class Journal:
    cdef Acceptor acceptor
    cdef Replica replica
    # batches
    cdef Bytes records               # of the batch that gathers
    cdef uint64_t index              # of the newest record; records count from 1, over all lives of the disk
    cdef dict meta                   # of the batch that gathers
    cdef uint64_t gathering          # number of the batch that gathers; batches count from 1
    cdef readonly uint64_t durable   # number of the newest durable batch
    cdef uint64_t batch_token        # of the batch that is outstanding; 0: none
    cdef uint64_t batch_bytes        # of its records
    cdef uint64_t newest_bytes       # of the records of the newest batch, durable or not
    cdef uint64_t next_token
    cdef uint64_t ballot_put         # the greatest ballot among the metadata of all batches
    cdef uint64_t decided_put        # META_DECIDED of the newest batch that had it
    cdef uint64_t decided_before     # META_DECIDED as the disk held it at the start
    cdef uint64_t seen_out           # `undecided` of the replica when `idle_due_ns` was set
    cdef uint64_t idle_due_ns        # META_DECIDED is put then, if nothing is decided until then
    cdef readonly uint64_t emitted_out   # `undecided` of the replica when the newest batch was closed
    cdef readonly uint64_t durable_out   # the same when the newest durable batch was closed
    cdef uint64_t large_bytes        # of the ring, above which slots leave that could stay
    cdef uint64_t ring_bytes_max     # of the ring, and of what waits for the disk, above which memory is full
    cdef uint64_t waiting_bytes_max
    cdef bint full                   # accept only what `may_hold` lets in
    cdef uint64_t keep_slots         # below slot_out that stay, where they are small
    cdef uint64_t enough_slots       # above the base for some of them to leave
    cdef uint64_t kept_slot, kept_until_ns   # slots from there on stay in memory until then
    # answers of our acceptor
    cdef Ack* acks                   # that wait
    cdef uint64_t acks_count, acks_room
    cdef Ack* released               # that may leave
    cdef uint64_t released_count, released_room
    cdef list promises               # [Promise] that wait

    # Bytes of records that wait for the disk.
    cdef inline uint64_t waiting(self) noexcept:
        return self.records.size + self.batch_bytes

    # Does nothing wait for the disk?
    cdef inline bint is_idle(self) noexcept:
        return not self.batch_token and not self.records.size

    cdef inline uint64_t due_ns(self) noexcept:
        return self.idle_due_ns if self.replica.undecided > self.decided_put and not self.batch_token else NEVER

    cdef uint64_t new_token(self) noexcept
    cdef int record(self, Run* run, uint64_t first, uint64_t end) except -1
    cdef int record_part(self, Run* run, uint64_t first, uint64_t end) except -1
    cdef int put_number(self, bytes key, uint64_t value) except -1
    cdef int put_ballot(self, uint64_t ballot) except -1
    cdef int put_cluster(self, uint64_t cluster_id, tuple founders, tuple refused_slots) except -1
    cdef uint64_t ticket(self) noexcept
    cdef bint is_durable(self, uint64_t ticket) noexcept
    cdef int settle(self, uint64_t now_ns) except -1
    cdef Batch next_batch(self, uint64_t now_ns)
    cdef Batch close_batch(self)
    cdef void on_durable(self) noexcept
    cdef int hold_ack(self, int node_id, uint64_t ballot, uint64_t first, uint64_t end) except -1
    cdef int hold_promise(self, int node_id, bytes data) except -1
    cdef int release_acks(self) except -1
    cdef int put_released(self, const Ack* ack) except -1
    cdef list release_promises(self)
    cdef void keep(self, uint64_t slot, uint64_t now_ns, uint64_t until_ns) noexcept
    cdef void drop_applied(self, uint64_t now_ns) noexcept
    cdef void drop_large(self, uint64_t out) noexcept
    cdef void look(self) noexcept
    cdef bint has_space(self) noexcept
    cdef bint may_fetch(self) noexcept
    cdef bint may_hold(self, const Run* run) noexcept
    cdef void drop_below(self, uint64_t slot) noexcept
