# The replicated side of client sessions: see session_table.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Command
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.machine.semantics cimport Semantics

cdef enum:
    SMALL_BYTES = 16                 # an answer up to here needs no allocation of its own

cdef struct Answer:                  # of one applied command, kept until acknowledged
    uint64_t slot
    uint32_t size
    uint16_t status
    uint8_t small[SMALL_BYTES]
    uint8_t* large                   # NULL where small holds it

cdef struct Session:
    uint64_t id                      # the slot that opened it
    uint64_t nonce
    uint64_t last                    # sequence last applied
    uint64_t acknowledged            # answers up to here are gone
    uint64_t link                    # volatile: the link that asks here, 0: none; not part of the replicated state
    uint64_t answer_bytes
    uint64_t capacity                # of answers, a power of two
    Answer* answers                  # ring, by sequence
    Session* next_id                 # hash chains
    Session* next_nonce
    Session* older                   # list by slot of last use
    Session* newer

cdef struct Outcome:                 # of one command that was judged
    uint16_t status
    uint64_t session
    uint64_t slot
    Session* owner                   # NULL where there is none
    const uint8_t* data              # valid until the next apply
    uint32_t size


@cython.final
cdef class SessionTable:
    cdef readonly uint64_t count
    cdef readonly uint64_t chain     # hash of everything applied so far, in order
    cdef Session** by_id
    cdef Session** by_nonce
    cdef uint64_t buckets
    cdef Semantics semantics
    cdef Session* oldest
    cdef Session* newest
    cdef Bytes scratch
    cdef uint64_t evicted, evicted_link  # the session that the last command evicted, its link; 0: none

    cdef Session* find(self, uint64_t id) noexcept
    cdef Session* find_nonce(self, uint64_t nonce) noexcept
    cdef Answer* answer_of(self, Session* session, uint64_t sequence) noexcept
    cdef int apply(self, const Command* command, const Context* context, Machine machine, Outcome* outcome) except -1
    cdef bint will_apply(self, const Command* command, uint64_t before, uint64_t* room) noexcept
    cdef uint64_t bytes_up_to(self, Session* session, uint64_t sequence) noexcept
    cdef Session* open(self, uint64_t id, uint64_t nonce) except NULL
    cdef void forget(self, Session* session) noexcept
    cdef void acknowledge(self, Session* session, uint64_t sequence) noexcept
    cdef int apply_in(self, Session* session, const Command* command, const Context* context, Machine machine,
                      Outcome* outcome) except -1
    cdef int store_answer(self, Session* session, uint16_t status, uint64_t slot) except -1
    cdef void used(self, Session* session) noexcept

cdef inline const uint8_t* answer_data(const Answer* answer) noexcept:
    return answer.large if answer.large != NULL else answer.small
