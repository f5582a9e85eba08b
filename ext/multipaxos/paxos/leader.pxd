# Leaders, their scouts and their commanders: see leader.pyx.
cimport cython

from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

from multipaxos.wire.messages cimport Command, Message, Watermark
from multipaxos.wire.run cimport Run
from multipaxos.paxos.pmax cimport PMax
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.slots cimport Ring

cdef enum State:
    PASSIVE, SCOUTING, ACTIVE

# What scouts and commanders say to their leader, through its queue.
cdef enum VirtualKind:
    ADOPTED, PREEMPTED, DECIDED

cdef struct Virtual:
    VirtualKind kind
    uint64_t ballot                  # adopted at, or preempted by
    uint64_t first, end              # DECIDED: the slots that are now decided in a row


@cython.final
cdef class Scout:
    cdef readonly uint64_t ballot
    cdef readonly uint64_t first     # PMMC-reduced: pvalues below are not asked for; fixed for the scout's life
    cdef readonly uint64_t mark      # greatest of the answers
    cdef readonly uint64_t answered  # vote mask of complete answers
    cdef QuorumSystem quorums
    cdef PMax pvalues
    cdef uint64_t[64] covered        # per acceptor: its answer is complete up to this slot

    cdef int on_phase1b(self, int acceptor, const Message* message, Leader leader) except -1


@cython.final
cdef class Leader:
    cdef readonly int node
    cdef readonly uint64_t ballot    # ballot_num of PMMC's leader: its own, of the present or last attempt
    cdef readonly State state
    cdef readonly uint64_t start     # of the reign: everything below is decided and never proposed
    cdef readonly uint64_t decided_end   # everything below is decided
    cdef readonly uint64_t slot_end  # first slot not proposed
    cdef readonly Scout scout
    cdef readonly Ring proposals     # rows: what is proposed, and the commander's votes
    cdef QuorumSystem quorums
    cdef uint64_t[64] founders       # incarnations whose votes count
    cdef Virtual* queue
    cdef uint64_t queue_size, queue_room
    cdef uint64_t[64] heard_ns       # per acceptor: last sign of life at our ballot
    cdef Run** unsent                # runs of the adoption, to be sent
    cdef uint64_t unsent_count, unsent_room

    cdef int virtual(self, VirtualKind kind, uint64_t ballot, uint64_t first, uint64_t end) except -1
    cdef int on_phase1b(self, int acceptor, const Message* message) except -1
    cdef int adopt_proposals(self, uint64_t utc_ns) except -1
    cdef int on_propose(self, Run* run) except -1
    cdef int on_phase2b(self, int acceptor, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1
    cdef void hears(self, int acceptor, uint64_t ballot, uint64_t now_ns) noexcept
    cdef bint has_quorum(self, uint64_t now_ns, uint64_t timeout_ns) noexcept
    cdef Watermark watermark(self) noexcept
    cdef void preempted(self) noexcept
    cdef void drop_unsent(self) noexcept
    cdef Run* winner(self, uint64_t slot) noexcept
    cdef int place(self, uint64_t first, uint64_t time_ns, const Command* commands, uint32_t count) except -1
    cdef int set_rows(self, Run* run) except -1
    cdef void advance(self) noexcept
    cdef void restart_at(self, uint64_t mark) noexcept
    cdef int repropose(self, uint64_t first, uint64_t end, uint64_t utc_ns) except -1
