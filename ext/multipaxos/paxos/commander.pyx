"""Commanders: phase 2 of one ballot, a commander per slot (PMMC section 2.3, figure 6a).

Theory. A commander gathers a phase-2 quorum for one slot. It is not an object but a row of the ring `proposals`: its
ballot, its votes, a reference to the run that holds its command, and whether its slot is decided. `Commanders` are
those of one leader, which they do not know: `on_phase2b` counts a vote for a run of slots and returns a verdict -
DECIDED when `decided_end` rose, PREEMPTED when the vote shows a higher ballot, else NOTHING.

A reign begins with an adopted ballot and ends when the leader is preempted or steps down. Rows outlive it, because the
next adoption proposes again what was not decided.

Rules.
- C1: one command per (ballot, slot): a row of this reign never changes its run.
- C2: a slot is decided when a phase-2 quorum has accepted it at this ballot. A phase 2b counts only where slot and
  ballot match the row, and once per acceptor (votes are a mask).
- A 2b below its acceptor's mark is no vote: those slots were decided before; the reign starts above them.
- start <= decided_end <= slot_end, and no row lies below the ring's base, which is at most decided_end.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.slots cimport Ring, Row
from multipaxos.paxos.verdict cimport DECIDED, NOTHING, PREEMPTED, verdict_name
from multipaxos.wire.messages cimport Watermark
from multipaxos.wire.run cimport Run, run_drop, run_read

from multipaxos.errors import InvariantViolation

cdef enum:
    ROW_DECIDED = 1                  # a flag of a row


@cython.final
cdef class Commanders:
    """The commanders of one leader. `capacity`: how many slots their ring spans, a power of two."""

    def __cinit__(self, QuorumSystem quorums, uint64_t capacity):
        self.quorums = quorums
        self.proposals = Ring(capacity)
        self.start = self.decided_end = self.slot_end = 1

    cdef int begin_reign(self, uint64_t ballot, uint64_t start, uint64_t slot_end) except -1:
        """`ballot` is adopted. Every slot below `start` is decided; the caller sets the rows of [start, slot_end)."""
        self.proposals.advance(start)
        self.ballot = ballot
        self.start = self.decided_end = start
        self.slot_end = slot_end
        return 0

    cdef void end_reign(self) noexcept:
        """The leader is preempted or steps down: no vote counts any more. The rows stay."""
        self.ballot = 0

    cdef int set_rows(self, Run* run) except -1:
        """New commanders for all slots of a run."""
        cdef uint64_t slot
        cdef Row* row
        for slot in range(run.first, run.first + run.count):
            row = self.proposals.put(slot)
            if row == NULL:
                raise InvariantViolation(f"the leader proposes slot {slot}, beyond its ring at {self.proposals.base}")
            row.ballot = run.ballot
            row.votes = 0
            row.flags = 0
            self.proposals.set_run(row, run)
        return 0

    cdef int propose(self, Run* run) except -1:
        """PMMC's message `propose`, for a run: commanders for its slots, which must be the next ones of this reign."""
        if run.ballot != self.ballot or run.first != self.slot_end:
            raise InvariantViolation(f"slot {run.first} at ballot {run.ballot} is proposed, but the leader's next is "
                                     f"{self.slot_end} at ballot {self.ballot}")
        self.set_rows(run)
        self.slot_end = run.first + run.count
        return 0

    cdef int on_phase2b(self, int acceptor, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1:
        """An acceptor votes for the slots [first, end) at `ballot`; returns a Verdict."""
        cdef uint64_t slot, before = self.decided_end
        cdef Row* row
        if self.ballot == 0 or ballot != self.ballot:
            return PREEMPTED if self.ballot and ballot > self.ballot else NOTHING
        if mark > self.start:
            self.restart_at(min(mark, self.slot_end))
        for slot in range(max(first, self.decided_end), min(end, self.slot_end)):
            row = self.proposals.find(slot)
            if row == NULL or row.ballot != ballot or row.flags & ROW_DECIDED:
                continue
            row.votes |= <uint64_t>1 << acceptor
            if self.quorums.is_phase2(row.votes):
                row.flags |= ROW_DECIDED
        self.advance()
        return DECIDED if self.decided_end > before else NOTHING

    cdef void advance(self) noexcept:
        """Moves decided_end over the rows that are decided without a gap."""
        cdef Row* row
        while self.decided_end < self.slot_end:
            row = self.proposals.find(self.decided_end)
            if row == NULL or not row.flags & ROW_DECIDED:
                return
            self.decided_end += 1

    cdef void restart_at(self, uint64_t mark) noexcept:
        """An acceptor's mark is above our start: the slots below it were decided before this reign; their rows go."""
        self.start = mark
        if self.decided_end < mark:
            self.decided_end = mark
        self.proposals.advance(mark)

    cdef Watermark watermark(self) noexcept:
        """What may be reported: [start, decided_end) is decided at this ballot, and every slot below is decided."""
        return Watermark(self.ballot, self.start, self.decided_end)

    def invariants(self):
        """C1 and C2 for the rows in flight: each is of this reign and its run, and decided rows have their quorum."""
        cdef uint64_t slot
        cdef Row* row
        if self.proposals.base > self.decided_end:
            raise InvariantViolation(f"the leader's ring begins at {self.proposals.base}, above what is decided")
        if self.ballot == 0:
            return
        if not self.start <= self.decided_end <= self.slot_end:
            raise InvariantViolation(
                f"start {self.start}, decided_end {self.decided_end} and slot_end {self.slot_end} are out of order")
        for slot in range(self.decided_end, self.slot_end):
            row = self.proposals.find(slot)
            if row == NULL or row.run == NULL or row.ballot != self.ballot or row.run.ballot != self.ballot:
                raise InvariantViolation(f"C1: slot {slot} has no commander at ballot {self.ballot}")
            if bool(row.flags & ROW_DECIDED) != self.quorums.is_phase2(row.votes):
                raise InvariantViolation(f"C2: slot {slot} is decided without a phase-2 quorum, or undecided with one")

    # -- for tests
    def reign(self, uint64_t ballot, uint64_t start):
        """A reign that begins with nothing to propose again."""
        self.begin_reign(ballot, start, start)

    def propose_frame(self, bytes frame not None):
        """Proposes a phase2a frame. ValueError if it is none, InvariantViolation if its slots are not the next."""
        cdef Run* run = run_read(frame, len(frame))
        if run == NULL:
            raise ValueError(f"these {len(frame)} bytes are not a valid phase2a frame")
        try:
            self.propose(run)
        finally:
            run_drop(run)

    def vote(self, int acceptor, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark=1):
        """One phase2b; returns the name of the verdict."""
        return verdict_name(self.on_phase2b(acceptor, ballot, first, end, mark))
