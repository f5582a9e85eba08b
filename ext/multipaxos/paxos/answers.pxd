# Answers on their way to clients: see answers.pyx.
cimport cython

from libc.stdint cimport uint16_t, uint64_t

from multipaxos.paxos.limits cimport LONG_ANSWER_BYTES, REPORT_BYTES_MAX
from multipaxos.paxos.session_table cimport Outcome
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Command, Reply

cdef struct Report:                  # an answer to one command; reply.data is an offset into `data`
    uint64_t link
    uint64_t session
    Reply reply


@cython.final
cdef class Answers:
    cdef Report* reports             # of this wake-up, in the order in which they came about
    cdef uint64_t count, room
    cdef Bytes data                  # of the reports
    cdef dict unknown                # (id, nonce) of a session that is not known here -> link that asks in it
    cdef dict nonces                 # nonce of an opening -> link that asks for it
    cdef dict unread                 # link -> bytes of answers that it has not read, this wake-up's long ones with them
    cdef uint64_t unread_bytes       # the sum
    cdef dict given                  # link -> bytes of the long answers of this wake-up
    cdef readonly uint64_t withheld  # long answers in whose place `overloaded` was sent

    cdef int report(self, uint64_t link, const Outcome* outcome, uint64_t sequence) except -1
    cdef int report_applied(self, const Command* command, const Outcome* outcome) except -1
    cdef int report_opened(self, const Command* command, const Outcome* outcome) except -1
    cdef int report_status(self, uint64_t link, const Command* command, uint16_t status, uint64_t slot) except -1
    cdef int report_gone(self, const Command* command, uint64_t slot) except -1
    cdef bint may_give(self, uint64_t link, uint64_t size) except -1
    cdef int note_unread(self, uint64_t link, uint64_t held_bytes) except -1
    cdef int expect_session(self, uint64_t id, uint64_t nonce, uint64_t link) except -1
    cdef int expect_opening(self, uint64_t nonce, uint64_t link) except -1
    cdef uint64_t put(self, Bytes* out, uint64_t at) except? 0
    cdef int clear(self) except -1

    # Is an answer so long that it depends on what its link has not read?
    cdef inline bint is_long(self, uint64_t size) noexcept:
        return size > LONG_ANSWER_BYTES

    # May an answer of `size` bytes be sent again in this wake-up?
    cdef inline bint may_repeat(self, uint64_t size) noexcept:
        return self.data.size + size <= REPORT_BYTES_MAX
