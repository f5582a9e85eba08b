"""The acceptor: the fault-tolerant memory of Paxos (PMMC section 2.2; section 4.1 on keeping less).

Theory. `ballot_num` is the highest ballot adopted, `accepted` the pvalues held, one per slot: the one of the highest
ballot, which by PMMC section 4.1 ("state reduction") is all that a leader can ever need. `mark` is the slot below which
all is decided and forgotten. `holes` are slots of which it cannot tell what it accepted.

Rules.
- A1  ballot_num only rises.
- A2  a pvalue is accepted with ballot b only if b >= ballot_num, which becomes b. (PMMC says b = ballot_num; to
      accept at a higher b is as if a phase 1a of b had come just before, so an acceptor that missed phase 1 need not
      stall a slot.)
- A3  a pvalue accepted is never removed above the mark, only replaced by one of a higher ballot in the same slot.
- A4  one command per (ballot, slot): the leader sees to that; here the first one stays.
- H1  nothing is accepted in a hole, and a phase 1a that asks for a slot of one is not answered. Only a decided pvalue
      is held there, and it fills the hole.
- A node that does not vote holds pvalues the same way, as a learner: each is a true proposal of its ballot. It
  adopts nothing.
- Nothing here is durable: the node makes a record of what `on_phase2a` and `learn` changed, and sends no answer before
  that record is durable.
- Without room, in the ring or in memory, nothing is accepted: not to vote is safe. The first slot that found none is
  kept (`dropped`), for the leader to be told when there is room.
- The ring holds the slots [accepted.base, accepted.base + capacity); what lies below the base is decided and on disk. A
  re-proposal there is accepted without being held: the slot is decided, so every ballot from now on carries that
  command.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc

from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport SLOTS_END, Pvalues
from multipaxos.wire.run cimport Run
from multipaxos.wire.writing cimport put_phase1b, pvalues_bytes
from multipaxos.paxos.limits cimport PROMISE_BYTES
from multipaxos.paxos.holes cimport Holes, Span
from multipaxos.paxos.slots cimport Ring, Row

from multipaxos.errors import InvariantViolation

cdef enum:
    PART_ENTRIES = 4096              # of one part of a phase 1b


@cython.final
cdef class Acceptor:
    """One acceptor. `capacity` is the number of slots that its ring spans, a power of two; a part of a phase 1b has at
    most `part_bytes`, or one run."""

    def __cinit__(self, uint64_t capacity, uint64_t ballot_num=0, uint64_t mark=1, bint voting=False,
                  uint64_t part_bytes=PROMISE_BYTES):
        self.accepted = Ring(capacity)
        self.holes = Holes()
        self.ballot_num = ballot_num
        self.mark = mark
        self.end = mark
        self.voting = voting
        self.part_bytes = part_bytes

    def set_voting(self):
        """From now on it adopts and accepts, because its voter record is durable. It holds nothing yet: a node learns
        only when it knows its cluster, and a founder knows it by the voter record."""
        self.voting = True

    cdef bint adopt(self, uint64_t ballot) noexcept:
        """Phase 1a, and the phase-1 half of a phase 2a: true if ballot_num rose."""
        if not self.voting or ballot <= self.ballot_num:
            return False
        self.ballot_num = ballot
        self.dropped = 0                 # its leader sends all that is undecided
        return True

    cdef Vote on_phase2a(self, Run* run, bint has_room) noexcept:
        """Accepts what it may of a run: its slots from the mark on that the ring reaches; none without room in memory.
        """
        cdef uint64_t first = max(run.first, self.mark)
        cdef uint64_t end = min(run.first + run.count, self.accepted.base + self.accepted.capacity)
        cdef Span clear
        if run.ballot < self.ballot_num and self.voting:
            return Vote(False, False, run.first, run.first)
        self.adopt(run.ballot)
        if not has_room:
            end = run.first
        if end < run.first + run.count and self.voting:
            self.dropped = min(self.dropped or SLOTS_END, max(end, run.first))
            self.dropped_runs += 1
        if first < self.holes.end and first < end:
            clear = self.holes.clear_of(first, end)
            first, end = clear.first, clear.end
        if first >= end:
            return Vote(True, False, run.first, run.first)
        return Vote(True, self.hold(run, first, end), first, end)

    cdef uint64_t take_dropped(self) noexcept:
        """From which slot on the leader is to send again, as there is room now for an eighth of the ring; 0: from
        none."""
        cdef uint64_t slot = self.dropped
        if not slot or slot + self.accepted.capacity // 8 > self.accepted.base + self.accepted.capacity:
            return 0
        self.dropped = 0
        return slot

    cdef bint learn(self, Run* run, uint64_t first, uint64_t end) except -1:
        """Holds decided pvalues; true if any of them was not yet held at this ballot or a higher one."""
        cdef bint changed
        self.adopt(run.ballot)
        changed = self.hold(run, first, end)
        if first < self.holes.end:
            self.holes.fill(first, min(end, self.accepted.base + self.accepted.capacity))
        return changed

    cdef bint may_promise(self, uint64_t first, uint64_t part) noexcept:
        """Can it tell a scout that begins at `first` what it has accepted from `part` on? Not if that has a hole, nor
        if decided slots of it have left memory."""
        return first >= self.holes.end and max(part, self.mark) >= self.accepted.base

    cdef bint hold(self, Run* run, uint64_t first, uint64_t end) noexcept:
        """Puts the run into the rows of [first, end) that hold nothing, or a lower ballot; true if there are any."""
        cdef uint64_t slot
        cdef Row* row
        cdef bint changed = False
        for slot in range(max(first, self.accepted.base), end):
            row = self.accepted.put(slot)
            if row != NULL and (row.run == NULL or row.ballot < run.ballot):
                row.ballot = run.ballot
                self.accepted.set_run(row, run)
                changed = True
                if slot >= self.end:
                    self.end = slot + 1
        return changed

    cdef int answer_phase1a(self, Bytes* out, uint64_t part, uint64_t bytes_max) except -1:
        """Appends the part of the phase 1b for ballot_num that begins at the slot `part`: the pvalues held from there
        on, as many as fit, at most `bytes_max` or one run. Pvalues are named by their run and the slots of the run in
        which the ring holds it."""
        cdef Pvalues* entries = <Pvalues*>malloc(PART_ENTRIES * sizeof(Pvalues))
        cdef uint64_t slot = max(part, self.mark, self.accepted.base)
        cdef uint64_t end = SLOTS_END
        cdef uint64_t part_bytes = 0
        cdef uint32_t count = 0
        cdef Row* row
        cdef Run* previous = NULL
        bytes_max = min(bytes_max, self.part_bytes)
        if entries == NULL:
            raise MemoryError("no memory to answer a phase 1a")
        try:
            while slot < self.end:
                row = self.accepted.find(slot)
                if row == NULL or row.run == NULL:
                    previous = NULL
                elif row.run == previous:
                    entries[count - 1].end = slot + 1
                else:
                    if count and (part_bytes + row.run.size > bytes_max or count == PART_ENTRIES):
                        end = slot
                        break
                    previous = row.run
                    entries[count].first, entries[count].end = slot, slot + 1
                    entries[count].run, entries[count].size = previous.frame, previous.size
                    part_bytes += pvalues_bytes(&entries[count])
                    count += 1
                slot += 1
            put_phase1b(out, self.ballot_num, part, end, self.mark, entries, count)
        finally:
            free(entries)
        return 0

    # -- queries
    def pvalues(self):
        """[(slot, ballot)] of all that is held, in slot order."""
        cdef uint64_t slot
        cdef Row* row
        held = []
        for slot in range(self.accepted.base, self.end):
            row = self.accepted.find(slot)
            if row != NULL and row.run != NULL:
                held.append((slot, row.ballot))
        return held

    def invariants(self):
        """A2 as amended: nothing held is above ballot_num on an acceptor that votes; rows are those of their runs, and
        none lies above `end`."""
        cdef uint64_t slot
        cdef Row* row
        for slot in range(self.accepted.base, self.end):
            row = self.accepted.find(slot)
            if row == NULL or row.run == NULL:
                continue
            if self.voting and row.ballot > self.ballot_num:
                raise InvariantViolation(
                    f"A2: slot {slot} is held at ballot {row.ballot}, above ballot_num {self.ballot_num}")
            if row.ballot != row.run.ballot or not row.run.first <= slot < row.run.first + row.run.count:
                raise InvariantViolation(f"A4: the row of slot {slot} does not belong to its run")
            if slot < self.holes.end and self.holes.clear_of(slot, slot + 1).first != slot:
                raise InvariantViolation(f"H1: slot {slot} is held and lies in a hole")
        if self.end > self.accepted.base + self.accepted.capacity:
            raise InvariantViolation(f"the acceptor holds slots up to {self.end}, beyond its ring")
