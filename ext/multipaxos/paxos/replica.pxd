# Replicas: see replica.pyx.
cimport cython

from libc.stdint cimport uint16_t, uint32_t, uint64_t

from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Command, Commands, Reply
from multipaxos.wire.run cimport Run
from multipaxos.machine.machine cimport Machine
from multipaxos.paxos.session_table cimport Outcome, Session, Sessions
from multipaxos.paxos.slots cimport Ring

cdef struct Waiting:                 # a request that has no slot yet
    Run* run                         # that holds its bytes
    uint64_t slot                    # its place in the run

cdef struct Told:                    # an answer on its way to a link; reply.data is an offset into `told_bytes`
    uint64_t link
    uint64_t session
    Reply reply


@cython.final
cdef class Replica:
    cdef readonly uint64_t slot_in   # next slot to propose in
    cdef readonly uint64_t slot_out  # next slot to apply
    cdef readonly uint64_t window    # WINDOW
    cdef readonly uint64_t time_ns   # the machine's clock
    cdef readonly Ring decisions
    cdef readonly Ring proposals     # its own, not yet decided
    cdef readonly Sessions sessions
    cdef Machine machine             # None on a node without the replica's role
    cdef uint64_t flight_bytes_max
    cdef Waiting* requests           # queue [requests_head, requests_tail), ring of requests_room
    cdef uint64_t requests_head, requests_tail, requests_room
    cdef readonly uint64_t requests_bytes
    cdef set queued                  # (session, sequence) of the commands in the queue
    cdef set opened                  # those of them that open a session, and have done so
    cdef uint64_t forwarded          # requests below this one were sent to the leader we know
    cdef Command* fresh              # requests of this wake-up: views into the chunk, gone with it
    cdef uint32_t fresh_count, fresh_room
    cdef uint64_t fresh_bytes
    cdef Told* told
    cdef uint64_t told_count, told_room
    cdef Bytes told_bytes
    cdef dict unknown                # session not known here -> link that asks
    cdef dict nonces                 # nonce of an opening -> link that asks
    cdef uint64_t reproposals        # times that another command won a slot of ours

    cdef int on_request(self, uint64_t link, bint client, const Commands* commands) except -1
    cdef int on_command(self, uint64_t link, bint client, const Command* command, Session* session) except -1
    cdef Run* propose(self, uint64_t ballot, uint64_t next_slot, uint64_t limit, uint64_t utc_ns) except? NULL
    cdef int gather(self, Command* commands, uint32_t room, uint64_t utc_ns) except -1
    cdef int grow_fresh(self, uint32_t more) except -1
    cdef int remember(self, dict who, uint64_t key, uint64_t link) except -1
    cdef int taken(self, uint32_t count) except -1
    cdef int stash(self, uint64_t utc_ns) except -1
    cdef int push(self, Run* run, uint64_t slot) except -1
    cdef object key_of(self, Run* run, uint64_t slot)
    cdef int pop(self) except -1
    cdef uint64_t waiting(self) noexcept
    cdef uint64_t oldest_ns(self) noexcept
    cdef int retire(self, uint64_t utc_ns) except -1
    cdef int tell_expired(self, const Command* command) except -1
    cdef int drop_requests(self) except -1
    cdef bint is_retired(self, const Command* command) noexcept
    cdef int put_forward(self, Bytes* out, uint64_t utc_ns) except -1
    cdef void begin_at(self, uint64_t slot) noexcept
    cdef int decide(self, Run* run, uint64_t first, uint64_t end) except -1
    cdef int perform(self) except -1
    cdef int apply(self, Run* run, uint64_t slot) except -1
    cdef int settle(self, Run* run, uint64_t slot) except -1
    cdef int tell(self, uint64_t link, const Outcome* outcome, uint64_t sequence) except -1
    cdef int answer(self, const Command* command, const Outcome* outcome) except -1
    cdef int put_answers(self, Bytes* out, uint64_t* link, uint64_t at) except -1
    cdef uint64_t end_of_decisions(self, uint64_t limit) noexcept
