"""Scouts: phase 1 of one ballot (PMMC section 2.3, figure 6b; section 4.1 on keeping less).

Theory. A scout gathers a phase-1 quorum of acceptors that have adopted its ballot, and merges the pvalues that they
hold with *pmax*. It does not know its leader: `on_phase1b` handles one message and returns a verdict - ADOPTED when
the quorum is complete, PREEMPTED when the message shows a higher ballot, MALFORMED when its pvalues are malformed, else
NOTHING. What the leader does then is in leader.pyx.

Rules.
- `first` is the first slot that the scout's node does not know to be decided. It is fixed for the scout's life.
- An answer comes in parts, each for a range of slots, in any order of arrival that joins up. An answer counts when its
  parts join up from `first` to SLOTS_END.
- An answer counts only from an incarnation that founded the cluster: an acceptor that has forgotten must not vote as if
  it had not. The link proves the incarnation, so the node sees to that.
- `mark` is the greatest mark of the answers: below it all slots are decided, and some acceptor has forgotten them.
- No acceptor holds slots `capacity` or more above the greater of `first` and its mark. A part that claims such slots is
  malformed.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.paxos.limits cimport ACCEPTORS_MAX
from multipaxos.paxos.pmax cimport PMax
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.verdict cimport ADOPTED, MALFORMED, NOTHING, PREEMPTED, verdict_name
from multipaxos.wire.encoding cimport FINE
from multipaxos.wire.messages cimport PHASE1B, SLOTS_END, Message, Pvalues
from multipaxos.wire.reading cimport decode, pvalues_at
from multipaxos.wire.run cimport Run, run_drop, run_read

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Scout:
    """One attempt to have `ballot` adopted. `capacity`: how many slots an acceptor's ring spans."""

    def __cinit__(self, uint64_t ballot, uint64_t first, QuorumSystem quorums, uint64_t capacity):
        cdef int i
        self.ballot = ballot
        self.first = first
        self.mark = first
        self.quorums = quorums
        self.pvalues = PMax(first)
        self.capacity = capacity
        for i in range(ACCEPTORS_MAX):
            self.covered[i] = first

    cdef int on_phase1b(self, int acceptor, const Message* message) except -1:
        """One part of an answer; returns a Verdict. Of a malformed part nothing but its first pvalues counts."""
        cdef Pvalues entry
        cdef uint32_t i
        if message.ballot > self.ballot:
            return PREEMPTED
        if message.ballot < self.ballot or message.first > self.covered[acceptor]:
            return NOTHING
        for i in range(message.pvalues.count):
            pvalues_at(&message.pvalues, i, &entry)
            if not self.merge(&entry, max(self.first, message.mark) + self.capacity):
                return MALFORMED
        self.mark = max(self.mark, message.mark)
        self.covered[acceptor] = max(self.covered[acceptor], message.end)
        if self.covered[acceptor] == SLOTS_END and not self.answered >> acceptor & 1:
            self.answered |= <uint64_t>1 << acceptor
            if self.quorums.is_phase1(self.answered):
                return ADOPTED
        return NOTHING

    cdef bint merge(self, const Pvalues* entry, uint64_t limit) except -1:
        """Adds pvalues that an acceptor holds; false if they are malformed, or reach above `limit`."""
        cdef Run* run = run_read(entry.run, entry.size)
        if run == NULL:
            return False
        try:
            if run.ballot > self.ballot or entry.first < run.first or entry.end > run.first + run.count:
                return False
            if entry.end > limit:
                return False
            self.pvalues.add(run, entry.first, entry.end)
        except OverflowError:
            return False
        finally:
            run_drop(run)
        return True

    def invariants(self):
        """An acceptor has answered when its parts reach the end; `mark` is not below `first`."""
        cdef int i
        for i in range(ACCEPTORS_MAX):
            if (self.covered[i] == SLOTS_END) != (self.answered >> i & 1):
                raise InvariantViolation(f"node {i} counts as answered, but its answer covers up to {self.covered[i]}")
        if self.mark < self.first:
            raise InvariantViolation(f"the scout's mark {self.mark} is below its first slot {self.first}")

    # -- for tests
    def answer(self, int acceptor, bytes frame not None):
        """One phase1b as its bytes; returns the name of the verdict. ValueError if the bytes are no phase1b."""
        cdef Message message
        if decode(frame, len(frame), &message) != FINE or message.kind != PHASE1B:
            raise ValueError(f"these {len(frame)} bytes are not a phase1b frame")
        return verdict_name(self.on_phase1b(acceptor, &message))

    def winners(self):
        """[(slot, ballot)] of the merged pvalues, in slot order."""
        return self.pvalues.items()
