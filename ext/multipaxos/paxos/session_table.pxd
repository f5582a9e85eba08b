# The replicated side of client sessions: see session_table.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport CLOSE_SESSION, EXPIRED, OK, Command
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.machine.semantics cimport Semantics
from multipaxos.paxos.keepers cimport Keepers
from multipaxos.paxos.kept_answers cimport Session

cdef struct Outcome:                 # of one command that was judged
    uint16_t status
    bint known                       # its session lives, or lived until this command
    bint again                       # a read that was executed again
    uint64_t session
    uint64_t slot
    uint64_t link                    # that asks in the session here; 0: none
    Session* opened                  # by this command, or by an earlier one with its nonce; else NULL
    const uint8_t* data              # valid until the next apply
    uint32_t size


@cython.final
cdef class SessionTable:
    cdef readonly uint64_t count
    cdef uint64_t chain              # hash of everything applied so far, in order
    cdef uint64_t content            # sum of the sessions' digests, as of the last hash
    cdef uint64_t hashed_slot        # the last use that the digests know
    cdef Session** by_id
    cdef Session** by_nonce
    cdef uint64_t buckets
    cdef readonly Semantics semantics
    cdef Session* oldest
    cdef Session* newest
    cdef Session* fresh_oldest       # of the sessions that have applied nothing
    cdef Session* fresh_newest
    cdef readonly uint64_t fresh     # how many these are
    cdef Keepers keepers
    cdef readonly uint64_t rings     # answers that the rings of all sessions have room for
    cdef Bytes scratch
    cdef list evicted                # [(id, nonce, link)] of sessions that were evicted while a link asked in them

    cdef Session* find(self, uint64_t id, uint64_t nonce) noexcept
    cdef Session* find_nonce(self, uint64_t nonce) noexcept
    cdef uint64_t state_hash(self) noexcept
    cdef int use(self, Semantics semantics) except -1
    cdef int keep_bound(self) except -1
    cdef int apply(self, const Command* command, const Context* context, Machine machine, Outcome* outcome) except -1
    cdef bint will_apply(self, const Command* command, uint64_t before, uint64_t* room) noexcept
    cdef uint64_t bytes_up_to(self, Session* session, uint64_t sequence) noexcept
    cdef int apply_opening(self, const Command* command, uint64_t slot, Outcome* outcome) except -1
    cdef int apply_in(self, Session* session, const Command* command, const Context* context, Machine machine,
                      Outcome* outcome) except -1
    cdef int repeat(self, Session* session, const Command* command, const Context* context, Machine machine,
                    Outcome* outcome) except -1
    cdef Session* open(self, uint64_t id, uint64_t nonce) except NULL
    cdef Session* next_to_go(self) noexcept
    cdef void fresh_in(self, Session* session) noexcept
    cdef void fresh_out(self, Session* session) noexcept
    cdef int evict(self, Session* session) except -1
    cdef void forget(self, Session* session) noexcept
    cdef void used(self, Session* session, uint64_t slot) noexcept

# What a command gets whose session does not live, or no longer. To close it is done then.
cdef inline uint16_t status_without_session(const Command* command) noexcept:
    return OK if command.kind == CLOSE_SESSION else EXPIRED
