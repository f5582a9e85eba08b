# Requests that wait for a slot: see queue.pyx.
cimport cython

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from multipaxos.paxos.turns cimport Turns
from multipaxos.wire.messages cimport Command
from multipaxos.wire.run cimport Run

cdef struct Waiting:                 # a request in the queue
    Run* run                         # that holds its bytes; one reference is held. NULL: it left the queue
    uint64_t slot                    # its place in the run
    uint64_t since                   # slot_out when it came to the queue
    uint64_t next                    # place of the next one of its flow that waits for a turn, if there is one
    uint32_t bytes                   # of the command
    uint16_t flow
    bint waits                       # for its turn; else it had it


@cython.final
cdef class Queue:
    cdef Waiting* queue              # [head, tail), a ring of `room`, in the order of arrival
    cdef uint64_t head, tail, room
    cdef uint64_t count              # those in [head, tail) that have not left
    cdef readonly uint64_t bytes     # of their commands
    cdef uint64_t forwarded          # how many of them had their turn
    cdef Turns turns                 # of the others
    cdef set queued                  # keys of the commands in the queue
    cdef set opened                  # those of them that open a session, and have done so

    cdef int push(self, Run* run, uint64_t slot, uint64_t slot_out) except -1
    cdef int remove(self, uint64_t i) except -1
    cdef int clear(self) except -1
    cdef void compact(self) noexcept
    cdef int note_opened(self, const Command* command) except -1
    cdef bint has_opened(self, const Command* command)
    cdef void enlist(self, uint64_t i) noexcept
    cdef void unlist(self, uint64_t i, bint served) noexcept
    cdef uint64_t take_turn(self, Command* command) noexcept
    cdef int forward_again(self) except -1

    # Request number i of the queue, head <= i < tail.
    cdef inline Waiting* at(self, uint64_t i) noexcept:
        return &self.queue[i & (self.room - 1)]

    # Bytes of the request whose turn it is; some request waits for one.
    cdef inline uint32_t next_bytes(self) noexcept:
        return self.at(self.turns.flows[self.turns.next()].first).bytes
