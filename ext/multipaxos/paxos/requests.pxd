# Requests that have no slot yet: see requests.pyx.
cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.kept_answers cimport Session
from multipaxos.paxos.session_table cimport SessionTable
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Command, Commands
from multipaxos.wire.run cimport Run

cdef struct Waiting:                 # a request in the queue
    Run* run                         # that holds its bytes; one reference is held
    uint64_t slot                    # its place in the run
    uint64_t since                   # slot_out when it came to the queue


@cython.final
cdef class Requests:
    cdef SessionTable sessions
    cdef Answers answers
    cdef bint applies                # are commands applied here? else no session shows what became of them
    cdef Waiting* queue              # [head, tail), a ring of `room`
    cdef uint64_t head, tail, room
    cdef readonly uint64_t bytes     # of the queue
    cdef uint64_t forwarded          # requests below this one were sent to the leader that this node follows
    cdef set queued                  # keys of the commands in the queue
    cdef set opened                  # those of them that open a session, and have done so
    cdef Command* arrived            # requests of this wake-up: views into the chunk, gone with it
    cdef uint64_t arrived_count, arrived_room
    cdef uint64_t arrived_bytes

    cdef int on_request(self, uint64_t link, bint client, const Commands* commands, uint64_t slot_out,
                        bytes refusal) except -1
    cdef int refuse_setting(self, uint64_t link, const Command* command, bytes refusal) except -1
    cdef int on_command(self, uint64_t link, bint client, const Command* command, Session* session,
                        uint64_t slot_out, bytes refusal) except -1
    cdef bint answer_again(self, uint64_t link, const Command* command, Session* session,
                           uint64_t slot_out) except -1
    cdef int stash(self, uint64_t utc_ns, uint64_t slot_out) except -1
    cdef int push(self, Run* run, uint64_t slot, uint64_t slot_out) except -1
    cdef int pop(self) except -1
    cdef int clear(self) except -1
    cdef int note_opened(self, const Command* command) except -1
    cdef bint is_retired(self, const Command* command, uint64_t since, uint64_t slot_out) noexcept
    cdef int retire(self, uint64_t utc_ns, uint64_t slot_out) except -1
    cdef int put_forward(self, Bytes* out) except -1
    cdef uint32_t gather(self, Command* commands, uint64_t room) noexcept
    cdef int taken(self, uint32_t count) except -1

    # Request number i of the queue, head <= i < tail.
    cdef inline Waiting* at(self, uint64_t i) noexcept:
        return &self.queue[i & (self.room - 1)]

    # How many wait in the queue.
    cdef inline uint64_t waiting(self) noexcept:
        return self.tail - self.head

    # The leader that this node follows is another one, or may not have received what was forwarded.
    cdef inline void forward_again(self) noexcept:
        self.forwarded = self.head
