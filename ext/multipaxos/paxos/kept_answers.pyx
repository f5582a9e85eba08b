"""The answers that one session keeps until its client acknowledges them.

Theory. A repeated command must get its first answer, so an answer is kept until the client says that it has it. The
answers lie in a ring by sequence, from the first that is not acknowledged to the last that was applied. What they count
- `answer_bytes` of the session, `kept_bytes` in the sum over all sessions - depends on the log only.

Rules.
- The bytes of an answer to a read are not kept: a repeated read is executed again. Its size counts among the session's
  unacknowledged bytes all the same, because they are on their way to the client.
- A refusal counts `refusal_bytes`, whatever its text: the text may differ between replicas. So much of it is kept.
- Each answer counts `answer_cost` more, and three quarters of a ring may be empty: this covers its memory. A ring that
  is emptier shrinks when its client acknowledges, but only when the rings of all sessions have much room together: a
  client that keeps many commands in flight would else make its ring anew again and again.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy

from multipaxos.machine.semantics cimport Semantics
from multipaxos.paxos.array cimport ring_grow, ring_move
from multipaxos.wire.messages cimport REFUSED

cdef enum:
    FIRST_CAPACITY = 16

COST_LEAST = 4 * sizeof(Answer)      # below this `answer_cost` would not cover the ring


cdef inline uint32_t counted_bytes(Semantics semantics, uint16_t status, uint32_t size) noexcept:
    return <uint32_t>semantics.refusal_bytes if status == REFUSED else size


cdef int keep_answer(Session* session, Semantics semantics, uint16_t status, bint read, uint64_t slot,
                     const uint8_t* data, uint32_t size) except -1:
    """Keeps the answer of the next sequence."""
    cdef Answer* answer
    cdef uint8_t* large = NULL
    cdef uint32_t counted = counted_bytes(semantics, status, size)
    cdef uint32_t kept = 0 if read else min(size, counted)
    cdef uint32_t cost = <uint32_t>semantics.answer_cost + (0 if read else counted)
    if session.last - session.acknowledged >= session.capacity:
        session.answers = <Answer*>ring_grow(session.answers, &session.capacity, session.acknowledged + 1,
                                             session.last + 1, sizeof(Answer), FIRST_CAPACITY)
    if kept > SMALL_BYTES:
        large = <uint8_t*>malloc(kept)
        if large == NULL:
            raise MemoryError("no memory for an answer")
    session.last += 1
    answer = &session.answers[session.last & (session.capacity - 1)]
    answer.slot, answer.status, answer.read, answer.large = slot, status, read, large
    answer.size, answer.counted, answer.cost = kept, counted, cost
    if kept:
        memcpy(<void*>answer_data(answer), data, kept)
    elif read:
        note_asked(answer, 0)
    session.answer_bytes += counted
    session.kept_bytes += cost
    return 0


cdef int read_again(Session* session, Semantics semantics, Answer* answer, uint16_t status, uint64_t slot,
                    uint32_t size) except -1:
    """A read that has no answer at its client was executed again."""
    session.answer_bytes -= answer.counted
    answer.slot, answer.status, answer.counted = slot, status, counted_bytes(semantics, status, size)
    session.answer_bytes += answer.counted
    return 0


cdef int acknowledge(Session* session, uint64_t sequence, bint shrink) except -1:
    """Drops the answers up to `sequence`, as far as there are any; `shrink`: and the room that they leave."""
    cdef uint64_t kept, target = FIRST_CAPACITY
    drop_answers(session, sequence)
    kept = session.last - session.acknowledged
    if shrink and session.capacity > FIRST_CAPACITY and 4 * kept <= session.capacity:
        while target < 2 * kept:
            target *= 2
        session.answers = <Answer*>ring_move(session.answers, &session.capacity, session.acknowledged + 1,
                                             session.last + 1, sizeof(Answer), target)
    return 0


cdef void drop_answers(Session* session, uint64_t sequence) noexcept:
    """As `acknowledge`; the ring stays as it is."""
    cdef Answer* answer
    if sequence > session.last:
        sequence = session.last
    while session.acknowledged < sequence:
        session.acknowledged += 1
        answer = &session.answers[session.acknowledged & (session.capacity - 1)]
        session.answer_bytes -= answer.counted
        session.kept_bytes -= answer.cost
        if answer.large != NULL:
            free(answer.large)
