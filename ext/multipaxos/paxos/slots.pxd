# The ring of slots: see slots.pyx. All that the hot loops use is inline here.
from libc.stdint cimport uint32_t, uint64_t
from libc.string cimport memset
from multipaxos.wire.run cimport Run, run_drop, run_hold

cimport cython

cdef struct Row:
    uint64_t slot                    # 0: the row is empty
    uint64_t ballot
    uint64_t votes
    Run* run                         # one reference is held; set by set_run only
    uint32_t flags                   # as the owner of the ring defines them

# The share of the run's bytes that one row accounts for.
cdef inline uint64_t run_share(const Run* run) noexcept:
    return run.size / run.count if run.count else run.size


@cython.final
cdef class Ring:
    cdef readonly uint64_t base      # the lowest slot that the ring may hold
    cdef readonly uint64_t capacity
    cdef readonly uint64_t bytes     # of runs, each row counting its share
    cdef uint64_t mask
    cdef Row* rows

    # The row of `slot` if it is present, else NULL.
    cdef inline Row* find(self, uint64_t slot) noexcept:
        cdef Row* row = &self.rows[slot & self.mask]
        if row.slot != slot or slot < self.base:
            return NULL
        return row

    # The row of `slot`: as it is if present, else a zeroed one. NULL if the ring does not reach the slot.
    cdef inline Row* put(self, uint64_t slot) noexcept:
        cdef Row* row = &self.rows[slot & self.mask]
        if slot < self.base or slot - self.base >= self.capacity:
            return NULL
        row.slot = slot
        return row

    # Makes the row hold `run` (or nothing, if NULL) instead of what it held.
    cdef inline void set_run(self, Row* row, Run* run) noexcept:
        cdef Run* before = row.run
        if run != NULL:
            self.bytes += run_share(run)
            run_hold(run)
        row.run = run
        if before != NULL:
            self.bytes -= run_share(before)
            run_drop(before)

    # Empties the row.
    cdef inline void clear(self, Row* row) noexcept:
        if row.run != NULL:
            self.set_run(row, NULL)
        memset(row, 0, sizeof(Row))

    # Raises `base` and empties all rows below it. A base at or below the present one changes nothing.
    cpdef void advance(self, uint64_t base) noexcept
