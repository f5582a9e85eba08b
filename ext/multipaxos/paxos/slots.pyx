"""The ring of slots: state per slot for the stretch of the log that is in motion.

Theory. Commanders in flight, accepted pvalues that are not yet forgotten, decisions that wait to be applied: each is a
row of a ring, found by slot number in O(1), not an object. The ring has a power of two of rows and holds slots of
[base, base + capacity) only. A slot lives in row `slot & (capacity - 1)`, so two slots of this stretch never share a
row.

Rules.
- Slots start at 1, so a row whose slot is 0 is empty.
- A slot outside the stretch has no row: `put` returns NULL, and the caller must wait until the base has risen.
- Raising `base` empties the rows that fall below it; `base` never falls.
- A row holds one reference to its run (the phase 2a that brought the command). `bytes` adds up the shares of their
  runs' bytes that the rows keep alive, so that rings can be bounded by memory.
- Rows stay where they are: a pointer to a row is good until the row is cleared or falls below `base`.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from multipaxos.wire.run cimport Run, run_drop, run_read

cimport cython

CAPACITY_MAX = 1 << 24


@cython.final
cdef class Ring:
    """A ring of `capacity` slots, from slot 1."""

    def __cinit__(self, capacity):
        if not isinstance(capacity, int) or not 0 < capacity <= CAPACITY_MAX or capacity & (capacity - 1):
            raise ValueError(f"capacity {capacity!r} must be a power of two, 1 to {CAPACITY_MAX}")
        self.rows = <Row*>calloc(capacity, sizeof(Row))
        if self.rows == NULL:
            raise MemoryError(f"no memory for a ring of {capacity} slots")
        self.capacity = capacity
        self.mask = self.capacity - 1
        self.base = 1

    def __dealloc__(self):
        cdef uint64_t i
        if self.rows != NULL:
            for i in range(self.capacity):
                self.clear(&self.rows[i])
            free(self.rows)

    cpdef void advance(self, uint64_t base) noexcept:
        """Raises the base and empties all rows below it; a lower base changes nothing."""
        cdef uint64_t i, count
        if base <= self.base:
            return
        count = min(base - self.base, self.capacity)
        for i in range(self.base, self.base + count):
            self.clear(&self.rows[i & self.mask])
        self.base = base

    def insert(self, uint64_t slot, uint64_t ballot, uint64_t votes=0, bytes frame=None):
        """Puts `slot` and sets its row; a phase2a `frame` with the slot becomes its run. False if the ring does not
        reach the slot."""
        cdef Run* run = NULL
        cdef Row* row
        if frame is not None:
            run = run_read(frame, len(frame))
            if run == NULL or not run.first <= slot < run.first + run.count:
                if run != NULL:
                    run_drop(run)
                raise ValueError(f"these {len(frame)} bytes are not a phase2a frame with slot {slot}")
        row = self.put(slot)
        if row != NULL:
            row.ballot, row.votes = ballot, votes
            if run != NULL:
                self.set_run(row, run)
        if run != NULL:
            run_drop(run)
        return row != NULL

    def row(self, uint64_t slot):
        """(ballot, votes, whether it has a run) of a slot that is present, else None."""
        cdef Row* row = self.find(slot)
        return None if row == NULL else (row.ballot, row.votes, row.run != NULL)

    def remove(self, uint64_t slot):
        """Empties the row of `slot`; False if it was not present."""
        cdef Row* row = self.find(slot)
        if row == NULL:
            return False
        self.clear(row)
        return True

    def vote_all(self, uint64_t first, uint64_t end, uint64_t ballot, int voter):
        """Counts a vote in each slot of [first, end) that is new or of `ballot`; returns the number of these slots. For
        the benchmarks."""
        cdef uint64_t slot, counted = 0
        cdef Row* row
        for slot in range(first, end):
            row = self.put(slot)
            if row == NULL:
                break
            if row.votes == 0:
                row.ballot = ballot
            if row.ballot == ballot:
                row.votes |= <uint64_t>1 << voter
                counted += 1
        return counted

    def slots(self):
        """The slots that are present, in order."""
        cdef uint64_t slot
        return [slot for slot in range(self.base, self.base + self.capacity) if self.find(slot) != NULL]
