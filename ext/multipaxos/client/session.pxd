# A client's side of a session: see session.pyx.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Reply

cdef struct Pending:                 # one command, until it and all earlier ones are answered
    uint8_t* payload
    uint32_t size
    uint32_t room
    uint64_t planned_ns              # when it should have been sent
    uint64_t sent_ns                 # when it was first sent; set and read by a load only
    bint answered

cdef class Session:
    cdef readonly uint64_t id        # 0 until the cluster has opened it
    cdef readonly uint64_t nonce
    cdef readonly uint64_t cluster_id  # of the cluster that it belongs to; 0: not known yet
    cdef readonly uint64_t last      # sequence of the newest command
    cdef readonly uint64_t acknowledged  # all up to here are answered
    cdef readonly uint64_t sent      # all up to here were sent on the present link
    cdef uint64_t exposed            # all up to here were sent earlier, too
    cdef readonly uint64_t sent_bytes  # of the unanswered ones up to `sent`
    cdef uint64_t window, window_bytes  # so many are sent and not acknowledged; the first is always sent
    cdef readonly uint64_t unanswered
    cdef readonly uint64_t unanswered_bytes
    cdef readonly uint64_t leading_ballot
    cdef readonly bint expired
    cdef readonly bint untouched     # it has expired, and none of its unanswered commands was applied or ever will be
    cdef readonly bint closed        # the cluster has forgotten it
    cdef readonly bint rewind_wanted  # an answer was `ahead` or `overloaded`: pause, then call rewind()
    cdef readonly bint overloaded    # it was `overloaded`
    cdef uint16_t kind               # of its commands
    cdef bint opening_sent, closing, closing_sent
    cdef bint in_steps, is_new_link  # is_new_link: nothing was answered on it
    cdef Pending* ring
    cdef uint64_t capacity
    cdef Bytes incoming, outgoing
    cdef list replies

    cdef uint64_t add(self, const uint8_t* payload, uint32_t size, uint64_t planned_ns) except? 0
    cdef int take(self, const uint8_t* data, size_t size) except -1
    cdef size_t consume(self, const uint8_t* data, size_t size) except? 0
    cdef int on_frame(self, const uint8_t* frame, size_t size) except -1
    cdef int on_reply(self, uint64_t session, const Reply* reply) except -1
    cdef int on_answer(self, Pending* pending, const Reply* reply) except -1
    cdef void note_expired(self, const Reply* reply) noexcept
    cdef int put_requests(self) except -1
    cdef bint is_window_full(self, const Pending* next_one) noexcept
    cdef int put_one(self, uint16_t kind, uint64_t sequence, uint32_t unacknowledged) except -1
