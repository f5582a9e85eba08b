# The answers that a session keeps: see kept_answers.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy

from multipaxos.machine.semantics cimport Semantics

cdef enum:
    SMALL_BYTES = 16                 # an answer up to here needs no allocation of its own

cdef struct Answer:                  # to one applied command, until it is acknowledged
    uint64_t slot                    # in which the command was applied; of a read, the last time
    uint32_t size                    # of what is kept
    uint32_t counted                 # bytes among the unacknowledged ones of its session
    uint32_t cost                    # bytes in the sum over all sessions
    uint16_t status
    uint8_t read                     # 1: its bytes are not kept
    uint8_t small[SMALL_BYTES]
    uint8_t* large                   # NULL where small holds it, or nothing is kept

cdef struct Session:
    uint64_t id                      # the slot that opened it
    uint64_t nonce                   # random: who does not know it cannot use the session
    uint64_t used_slot               # the slot of its last use
    uint64_t last                    # sequence last applied
    uint64_t acknowledged            # answers up to here are gone
    uint64_t answer_bytes            # of the answers that are not acknowledged, those to reads too
    uint64_t kept_bytes              # what its answers count in the sum over all sessions
    uint64_t name                    # hash of id and nonce
    uint64_t digest                  # of all above, as of the table's last hash
    uint64_t link                    # volatile: the link that asks here, 0: none; not part of the replicated state
    uint64_t refused                 # volatile: the lowest sequence that was refused here for want of room; 0: none
    uint64_t capacity                # of answers, a power of two
    Answer* answers                  # ring, by sequence
    Session* next_id                 # hash chains
    Session* next_nonce
    Session* older                   # list by slot of last use
    Session* newer
    Session* fresh_older             # the same list, of those that have applied nothing
    Session* fresh_newer
    uint64_t rank                    # its place among the sessions that keep much; 0: it is not among them

cdef int keep_answer(Session* session, Semantics semantics, uint16_t status, bint read, uint64_t slot,
                     const uint8_t* data, uint32_t size) except -1
cdef int read_again(Session* session, Semantics semantics, Answer* answer, uint16_t status, uint64_t slot,
                    uint32_t size) except -1
cdef int acknowledge(Session* session, uint64_t sequence, bint shrink) except -1
cdef void drop_answers(Session* session, uint64_t sequence) noexcept

cdef inline const uint8_t* answer_data(const Answer* answer) noexcept:
    return answer.large if answer.large != NULL else <const uint8_t*>answer.small

# Volatile, of a read, of which nothing is kept: in which wake-up of this replica it was asked for again.
cdef inline uint64_t asked_in(const Answer* answer) noexcept:
    cdef uint64_t wakeup
    memcpy(&wakeup, answer.small, sizeof(wakeup))
    return wakeup

cdef inline void note_asked(Answer* answer, uint64_t wakeup) noexcept:
    memcpy(answer.small, &wakeup, sizeof(wakeup))

# The kept answer of an applied sequence; NULL if it was acknowledged, or is not yet applied.
cdef inline Answer* answer_of(Session* session, uint64_t sequence) noexcept:
    if sequence <= session.acknowledged or sequence > session.last:
        return NULL
    return &session.answers[sequence & (session.capacity - 1)]
