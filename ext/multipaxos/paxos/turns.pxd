# Whose request is next: see turns.pyx.
cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.machine.hashing cimport hash_word
from multipaxos.wire.messages cimport Command

cdef enum:
    FLOWS = 4096                     # a power of two; a session is in one of them

cdef struct Flow:
    uint64_t first, last             # places of its first and its last request that wait for a turn
    uint64_t waiting                 # how many of them there are
    uint64_t count, bytes            # of all its requests, those that had their turn too
    uint64_t start, finish           # when its first request begins and is through, in virtual time
    uint32_t place                   # in the heap, from 1; 0: nothing waits


@cython.final
cdef class Turns:
    cdef Flow* flows
    cdef uint32_t* heap              # heap[1] to heap[size], the flow with the least `finish` first
    cdef readonly uint32_t size
    cdef uint64_t now                # virtual time: bytes served of each flow that waits, times FLOWS

    cdef void join(self, uint32_t flow, uint64_t bytes) noexcept
    cdef void left(self, uint32_t flow, uint64_t next_bytes, bint served) noexcept
    cdef void forget(self) noexcept
    cdef bint is_before(self, uint32_t a, uint32_t b) noexcept
    cdef void up(self, uint32_t place) noexcept
    cdef void down(self, uint32_t place) noexcept

    # The flow whose turn it is; some flow waits.
    cdef inline uint32_t next(self) noexcept:
        return self.heap[1]

# The flow of a command. All openings are in one.
cdef inline uint32_t flow_of(const Command* command) noexcept:
    return <uint32_t>(hash_word(hash_word(0, command.session), command.nonce) & (FLOWS - 1))
