"""When a passive leader scouts (PMMC section 3).

Theory. Two leaders that answer every preemption with a higher ballot duel for ever. So the loser waits for the winner:
it pings it, and each sign that the winner leads and has its quorum moves `due_ns` on. When it passes, the loser scouts.
The wait is random, and adapts: it doubles when a scout is preempted - others want to lead too - and shrinks by a step
at each sign of a stable leader (additive decrease here stands for PMMC's "decrease linearly", since the wait, not the
rate, is what adapts).

Rules.
- Randomness comes from the seed alone.
- A lost connection to the leader is a suspicion, not a verdict: it shortens the wait to a fraction of the time-out, in
  which a leader that is alive reconnects and answers.
- A node that starts with a ballot on its disk waits as if it had just heard the leader, for the others most likely have
  one: a scout at once would preempt it for nothing. Others may dial it only after a while, so less would not do.
"""

cimport cython

from libc.stdint cimport uint64_t

cdef enum:
    WAIT_MAX = 16                    # times the time-out
    STEP = 8                         # part of the time-out by which a stable leader shortens the wait


@cython.final
cdef class Election:
    """`timeout_ns`: how long a leader may be silent; `seed`: of this node's randomness."""

    def __cinit__(self, uint64_t timeout_ns, uint64_t seed):
        self.timeout_ns = timeout_ns
        self.wait_ns = timeout_ns
        self.state = seed ^ <uint64_t>0x9E3779B97F4A7C15
        if self.state == 0:
            self.state = 1
        self.random(1)

    cpdef uint64_t random(self, uint64_t below) noexcept:
        """xorshift64*, in [0, below)."""
        self.state ^= self.state >> 12
        self.state ^= self.state << 25
        self.state ^= self.state >> 27
        return ((self.state * <uint64_t>0x2545F4914F6CDD1D) >> 11) % below

    cpdef void heard(self, uint64_t now_ns) noexcept:
        """The winner leads and has its quorum."""
        cdef uint64_t step = self.timeout_ns // STEP
        self.wait_ns = max(self.timeout_ns, self.wait_ns - step)
        self.passive(now_ns)

    cpdef void passive(self, uint64_t now_ns) noexcept:
        """Somebody may lead, and gets the time to show it: after each sign of it, and when we come back."""
        self.due_ns = now_ns + self.wait_ns + self.random(self.wait_ns // 2 + 1)

    cpdef void suspect(self, uint64_t now_ns) noexcept:
        """The connection to the winner broke."""
        cdef uint64_t due = now_ns + self.timeout_ns // 5 + self.random(self.timeout_ns * 3 // 10 + 1)
        if due < self.due_ns:
            self.due_ns = due

    cpdef void preempted(self, uint64_t now_ns, bint scouting) noexcept:
        """A higher ballot was seen; while scouting it means that somebody else wants to lead at the same time."""
        if scouting:
            self.wait_ns = min(self.wait_ns * 2, self.timeout_ns * WAIT_MAX)
        self.due_ns = now_ns + self.wait_ns + self.random(self.wait_ns + 1)

    cpdef void soon(self, uint64_t now_ns) noexcept:
        """Nobody leads as far as we know, as after the founding."""
        self.due_ns = now_ns + self.random(self.timeout_ns // 2 + 1)
