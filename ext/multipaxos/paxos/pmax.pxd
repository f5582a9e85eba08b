# The pvalues of highest ballot among those reported to a scout, by slot: see pmax.pyx.
from libc.stdint cimport uint64_t
from multipaxos.wire.run cimport Run

cimport cython

cdef struct PmaxRow:
    uint64_t ballot
    Run* run                         # one reference is held; NULL: nothing is known of the slot


@cython.final
cdef class PMax:
    cdef readonly uint64_t first     # the lowest slot of interest
    cdef readonly uint64_t end       # one above the highest slot seen; `first` while there is none
    cdef PmaxRow* rows               # of slot first + i
    cdef uint64_t room

    # The slots [slot_first, slot_end) of `run` were accepted at the run's ballot: keeps the highest per slot.
    cdef int add(self, Run* run, uint64_t slot_first, uint64_t slot_end) except -1
    cdef int reserve(self, uint64_t count) except -1

    # The run that holds the winning command of `slot` (borrowed), or NULL.
    cdef inline Run* get(self, uint64_t slot) noexcept:
        if slot < self.first or slot >= self.end:
            return NULL
        return self.rows[slot - self.first].run
