"""Merging what the acceptors of a phase-1 quorum have accepted (PMMC 2.3).

Theory. A scout's quorum answers with pvalues (ballot, slot, command). For each slot the leader must propose the command
of the highest ballot among them, because only that command can have been decided at a lower ballot than the leader's:

    pmax(pvals) = {(s, c) | some (b, s, c) in pvals, and no (b', s, c') in pvals with b' > b}
    x ◁ y       = {(s, c) | (s, c) in y, or (s, c) in x and no (s, c') in y}

and its proposals become proposals ◁ pmax(pvals). `pmax` and `arrow` below are these two lines in Python, for reading
and for tests; `PMax` is what the core uses.

Rules.
- Rows point into the runs that brought the pvalues and hold one reference each: no command is copied.
- Slots below `first` are ignored.
- A slot SPAN_MAX or more above `first` raises OverflowError before any slot of its run is added, so that a peer cannot
  make this node reserve memory without bound.
- Two pvalues of one slot and one ballot carry the same command (invariant A4), so the first stays.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport free
from libc.string cimport memset

from multipaxos.paxos.array cimport array_grow
from multipaxos.paxos.limits cimport SPAN_MAX
from multipaxos.wire.run cimport Run, run_drop, run_hold, run_read

cimport cython

globals().update(SPAN_MAX=SPAN_MAX)


def pmax(pvalues):
    """pmax of (ballot, slot, command) triples, as {slot: command}."""
    best = {}
    for ballot, slot, command in pvalues:
        if slot not in best or ballot > best[slot][0]:
            best[slot] = (ballot, command)
    return {slot: command for slot, (ballot, command) in best.items()}


def arrow(proposals, winners):
    """proposals ◁ winners, both {slot: command}: the winners, and the proposals at all other slots."""
    return {**proposals, **winners}


@cython.final
cdef class PMax:
    """pmax over the slots at or above `first`, fed run by run."""

    def __cinit__(self, uint64_t first):
        self.first = first
        self.end = first

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.end - self.first):
            if self.rows[i].run != NULL:
                run_drop(self.rows[i].run)
        free(self.rows)

    cdef int add(self, Run* run, uint64_t slot_first, uint64_t slot_end) except -1:
        cdef PmaxRow* row
        cdef uint64_t slot
        slot_first = max(slot_first, run.first, self.first)
        slot_end = min(slot_end, run.first + run.count)
        if slot_first >= slot_end:
            return 0
        if slot_end - self.first > SPAN_MAX:
            raise OverflowError(
                f"slot {slot_end - 1} is {SPAN_MAX} or more above the scout's first slot {self.first}"
            )
        self.reserve(slot_end - self.first)
        for slot in range(slot_first, slot_end):
            row = &self.rows[slot - self.first]
            if row.run != NULL:
                if row.ballot >= run.ballot:
                    continue
                run_drop(row.run)
            row.run = run_hold(run)
            row.ballot = run.ballot
        self.end = max(self.end, slot_end)
        return 0

    cdef int reserve(self, uint64_t count) except -1:
        """Makes room for `count` rows; new ones are empty."""
        cdef uint64_t before = self.room
        if count > self.room:
            self.rows = <PmaxRow*>array_grow(self.rows, &self.room, count, sizeof(PmaxRow))
            memset(&self.rows[before], 0, (self.room - before) * sizeof(PmaxRow))
        return 0

    def add_frame(self, bytes frame not None, uint64_t first, uint64_t end):
        """Adds the slots [first, end) of a phase2a frame, at the frame's ballot. ValueError if it is none."""
        cdef Run* run = run_read(frame, len(frame))
        if run == NULL:
            raise ValueError(f"these {len(frame)} bytes are not a valid phase2a frame")
        try:
            self.add(run, first, end)
        finally:
            run_drop(run)

    def items(self):
        """(slot, ballot) of every slot that has a winner, in slot order."""
        cdef uint64_t i
        cdef uint64_t count = self.end - self.first
        return [(self.first + i, self.rows[i].ballot) for i in range(count) if self.rows[i].run != NULL]
