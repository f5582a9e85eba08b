# A deterministic state machine as the replica sees it: see machine.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from multipaxos.machine.semantics cimport Semantics
from multipaxos.wire.buffer cimport Bytes

cdef struct Context:                 # of the command being applied, the same on every replica
    uint64_t slot                    # at which it was decided
    uint64_t time_ns                 # the machine's clock: the greatest time of a decided pvalue so far
    uint64_t session                 # that sent it
    uint32_t machine_version         # in force; decided in the log, see paxos/settings.pyx

cdef class Machine:
    cdef readonly uint32_t version   # the greatest machine version that it can be: see paxos/settings.pyx
    cdef Semantics semantics         # the version that the log says

    # Applies `command`; appends the answer to `reply`. 0: answered; 1: refused, `reply` holds the error
    # (as text) and nothing else. Raises only what must stop the node (MemoryError, KeyboardInterrupt, ...).
    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1
    cdef int use(self, Semantics semantics) except -1    # from the next command on
    # May `command` be executed again at any time, because it changes nothing? By its bytes alone.
    cdef bint is_read(self, const uint8_t* command, size_t size) noexcept
    cdef uint64_t state_hash(self)   # equal states, equal hashes; O(1)


cdef class RefusingMachine(Machine):
    pass
