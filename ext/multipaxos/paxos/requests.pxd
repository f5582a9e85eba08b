# Requests that have no slot yet: see requests.pyx.
cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.kept_answers cimport Answer, Session
from multipaxos.paxos.limits cimport REQUESTS_BYTES_MAX, REQUESTS_MAX
from multipaxos.paxos.queue cimport Queue
from multipaxos.paxos.session_table cimport Outcome, SessionTable
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Command, Commands


cdef struct Allowance:               # what one client may still ask for, in this second
    uint64_t openings
    uint64_t repeated_bytes          # of answers that are kept


@cython.final
cdef class Requests:
    cdef SessionTable sessions
    cdef Answers answers
    cdef bint applies                # are commands applied here? else no session shows what became of them
    cdef readonly Queue queue
    cdef uint64_t* picked            # places of what `gather` gave
    cdef uint32_t picked_count
    cdef Command* arrived            # requests of this wake-up: views into the chunk, gone with it
    cdef uint64_t arrived_count, arrived_room
    cdef uint64_t arrived_bytes
    cdef uint64_t wakeup             # counts the wake-ups that bring requests
    # Since the start.
    cdef readonly uint64_t refused_openings
    cdef readonly uint64_t refused_repeats   # answers that were kept and asked for again too often
    cdef readonly uint64_t overloaded    # commands for which there was no room
    cdef readonly uint64_t void_commands     # that were answered, or dropped, without a slot

    cdef int on_request(self, uint64_t link, Allowance* allowance, const Commands* commands, uint64_t slot_out,
                        bytes refusal) except -1
    cdef int refuse_setting(self, uint64_t link, const Command* command, bytes refusal) except -1
    cdef int on_command(self, uint64_t link, Allowance* allowance, const Command* command, Session* session,
                        uint64_t slot_out, bytes refusal) except -1
    cdef bint flow_has_room(self, const Command* command) noexcept
    cdef bint answer_opening(self, uint64_t link, Allowance* allowance, uint64_t nonce, Outcome* outcome) except -1
    cdef int answer_read(self, uint64_t link, Allowance* allowance, const Command* command, Answer* answer) except -1
    cdef bint answer_again(self, uint64_t link, Allowance* allowance, const Command* command, Session* session,
                           uint64_t slot_out) except -1
    cdef int stash(self, uint64_t utc_ns, uint64_t slot_out) except -1
    cdef bint is_retired(self, const Command* command, uint64_t since, uint64_t slot_out) noexcept
    cdef int retire(self, uint64_t utc_ns, uint64_t slot_out) except -1
    cdef int put_forward(self, Bytes* out) except -1
    cdef uint32_t gather(self, Command* commands, uint64_t room, uint64_t utc_ns, uint64_t slot_out,
                         uint64_t longest) except? 0
    cdef uint32_t pick(self, Command* commands, uint64_t room, uint64_t longest) except? 0
    cdef int taken(self, uint32_t count) except -1

    # Is there room for a command?
    cdef inline bint has_room(self, const Command* command) noexcept:
        return (2 * (self.queue.count + self.arrived_count) < REQUESTS_MAX
                and 2 * (self.queue.bytes + self.arrived_bytes) <= REQUESTS_BYTES_MAX) or self.flow_has_room(command)

    # How many wait in the queue.
    cdef inline uint64_t waiting(self) noexcept:
        return self.queue.count
