# Replicas: see replica.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.machine.machine cimport Machine
from multipaxos.machine.semantics cimport Semantics
from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.jobs cimport Jobs
from multipaxos.paxos.landmark cimport Landmark
from multipaxos.paxos.requests cimport Allowance, Requests
from multipaxos.paxos.session_table cimport SessionTable
from multipaxos.paxos.settings cimport Settings
from multipaxos.paxos.slots cimport Ring
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Commands
from multipaxos.wire.run cimport Run


@cython.final
cdef class Replica:
    cdef readonly uint64_t slot_in   # next slot to propose in
    cdef readonly uint64_t slot_out  # next slot to apply
    cdef readonly uint64_t undecided  # first slot from slot_out on whose decision is not held
    cdef readonly uint64_t window    # WINDOW
    cdef readonly uint64_t time_ns   # the machine's clock
    cdef readonly Ring decisions
    cdef readonly Ring proposals     # its own, not yet decided
    cdef readonly Requests requests
    cdef readonly SessionTable sessions
    cdef readonly Settings settings
    cdef readonly Landmark landmark  # the slot at which the state is compared with other replicas
    cdef readonly uint64_t reproposals   # times that another command won a slot that this replica had proposed for
    cdef readonly Semantics semantics    # the version that the log says
    cdef tuple versions              # those that this program knows
    cdef Answers answers
    cdef Machine machine             # None on a node without the replica's role
    cdef readonly Jobs jobs          # of a machine that runs elsewhere; None where it runs here, or where there is none
    cdef readonly tuple refused  # slots whose commands the machine is never given
    cdef Machine refusing            # stands in for it there
    cdef uint64_t flight_bytes_max

    cdef int on_request(self, uint64_t link, Allowance* allowance, const Commands* commands, bytes refusal) except -1
    cdef int retire(self, uint64_t utc_ns) except -1
    cdef int put_forward(self, Bytes* out, uint64_t utc_ns) except -1
    cdef Run* propose(self, uint64_t ballot, uint64_t limit, uint64_t utc_ns, uint64_t longest) except? NULL
    cdef int leader_changed(self) except -1
    cdef void begin_at(self, uint64_t slot) noexcept
    cdef int decide(self, Run* run, uint64_t first, uint64_t end) except -1
    cdef void refuse(self, tuple slots)
    cdef int perform(self) except -1
    cdef int perform_all(self) except -1
    cdef int apply_decided(self) except -1
    cdef object stopped(self, object error)
    cdef int settle(self, Run* run, uint64_t slot) except -1
    cdef int apply(self, Run* run, uint64_t slot) except -1
    cdef tuple command_in(self, Ring ring, uint64_t slot)
    cdef uint64_t state_hash(self)
    cdef int follow_settings(self) except -1
    cdef uint64_t end_of_decisions(self, uint64_t limit) noexcept

    # Does any command want a slot? `next_slot`: the leader's next.
    cdef inline bint may_propose(self, uint64_t next_slot) noexcept:
        self.slot_in = max(self.slot_in, next_slot)
        return self.requests.arrived_count or self.requests.queue.count
