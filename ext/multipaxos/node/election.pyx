"""When a passive leader scouts, and whether an active one still has its quorum (PMMC section 3).

Theory. Two leaders that answer every preemption with a higher ballot duel for ever. So the loser waits: it pings the
winner, and each sign that the winner leads and has its quorum moves `due_ns` on. When `due_ns` has passed, the loser
scouts. The wait is random, and adapts: it doubles when a scout is preempted, because other nodes want to lead too, and
shrinks by a step at each sign of a stable leader (additive decrease here stands for PMMC's "decrease linearly", because
the wait adapts here, and not the rate).

The winner in turn notes when each acceptor last showed that it follows the winner's ballot (`note_contact`). A leader
without a phase-2 quorum of recent contacts cannot decide anything: it does not claim to have a quorum, and after a
while its node steps down.

On a slow link a sign may be late because bytes of something longer come first. So bytes are a sign too, a weak one:
they count for as long, but only for PATIENT_TIMEOUTS after the last true sign.

Rules.
- Randomness comes from the seed alone.
- A lost connection to the leader is a suspicion, not a verdict: it shortens the wait to a fraction of the time-out, in
  which a leader that is alive reconnects and answers.
- A node that starts with a ballot on its disk waits as if it had just heard the leader, because the others most likely
  have one: a scout at once would preempt it for nothing. Other nodes may dial it only after a while, so a shorter wait
  would not do.
"""

cimport cython

from libc.stdint cimport uint64_t
from libc.string cimport memset

from multipaxos.node.limits cimport PATIENT_TIMEOUTS
from multipaxos.paxos.limits cimport ACCEPTORS_MAX
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.random cimport random_bits

cdef enum:
    WAIT_MAX = 16                    # times the time-out
    STEP = 8                         # part of the time-out by which a stable leader shortens the wait


@cython.final
cdef class Election:
    """`timeout_ns`: how long a leader may be silent; `seed`: of this node's randomness; `quorums`: of the cluster."""

    def __cinit__(self, uint64_t timeout_ns, uint64_t seed, QuorumSystem quorums not None):
        self.timeout_ns = timeout_ns
        self.wait_ns = timeout_ns
        self.quorums = quorums
        self.state = seed ^ <uint64_t>0x9E3779B97F4A7C15
        if self.state == 0:
            self.state = 1
        self.random(1)

    cpdef uint64_t random(self, uint64_t below) noexcept:
        """A random number in [0, below)."""
        return (random_bits(&self.state) >> 11) % below

    # -- a passive leader
    cpdef void heard(self, uint64_t now_ns) noexcept:
        """The winner leads and has its quorum."""
        cdef uint64_t step = self.timeout_ns // STEP
        self.wait_ns = max(self.timeout_ns, self.wait_ns - step)
        self.passive(now_ns)

    cpdef void passive(self, uint64_t now_ns) noexcept:
        """Another node may lead and gets time to show it. Called at each sign of a leader and when this node starts."""
        self.due_ns = now_ns + self.wait_ns + self.random(self.wait_ns // 2 + 1)

    cpdef bint put_off(self, uint64_t bytes_ns, uint64_t sign_ns, uint64_t now_ns) noexcept:
        """Bytes were seen last at `bytes_ns` (0: never), and the last true sign at `sign_ns`. Returns whether the
        election waits on because of these bytes."""
        cdef uint64_t due_ns
        if bytes_ns == 0 or sign_ns == 0 or bytes_ns + self.timeout_ns <= now_ns:
            return False
        due_ns = min(bytes_ns + self.timeout_ns + self.random(self.timeout_ns // 2 + 1),
                     sign_ns + PATIENT_TIMEOUTS * self.timeout_ns)
        if due_ns <= now_ns:
            return False
        self.due_ns = due_ns
        return True

    cpdef void suspect(self, uint64_t now_ns) noexcept:
        """The connection to the winner broke."""
        cdef uint64_t due = now_ns + self.timeout_ns // 5 + self.random(self.timeout_ns * 3 // 10 + 1)
        if due < self.due_ns:
            self.due_ns = due

    cpdef void preempted(self, uint64_t now_ns, bint scouting) noexcept:
        """A higher ballot was seen, or this leader stepped down. A scout's preemption means that another node wants to
        lead at the same time."""
        self.reign = 0
        if scouting:
            self.wait_ns = min(self.wait_ns * 2, self.timeout_ns * WAIT_MAX)
        self.due_ns = now_ns + self.wait_ns + self.random(self.wait_ns + 1)

    cpdef void soon(self, uint64_t now_ns) noexcept:
        """No node leads as far as this one knows, for example after the founding: it scouts soon."""
        self.due_ns = now_ns + self.random(self.timeout_ns // 2 + 1)

    # -- an active leader
    cpdef void begin_reign(self, uint64_t ballot, uint64_t votes, uint64_t now_ns) noexcept:
        """This node's ballot was adopted now by the acceptors of the mask `votes`."""
        cdef int i
        self.reign = ballot
        memset(self.contact_ns, 0, sizeof(self.contact_ns))
        memset(self.arrived_ns, 0, sizeof(self.arrived_ns))
        for i in range(ACCEPTORS_MAX):
            if votes >> i & 1:
                self.contact_ns[i] = now_ns

    cpdef void note_contact(self, int acceptor, uint64_t ballot, uint64_t now_ns) noexcept:
        """An acceptor says that it follows `ballot`; of interest if that is the ballot at which this node leads."""
        if ballot == self.reign and ballot:
            self.contact_ns[acceptor] = now_ns

    cpdef bint has_quorum(self, uint64_t now_ns, uint64_t timeout_ns) noexcept:
        """Does this node lead, and has a phase-2 quorum shown within `timeout_ns` that it follows its ballot? Of an
        acceptor that is not silent an older sign counts too."""
        cdef uint64_t votes = 0
        cdef int i
        if not self.reign:
            return False
        for i in range(ACCEPTORS_MAX):
            if self.contact_ns[i] and (now_ns - self.contact_ns[i] <= timeout_ns
                                       or (now_ns - self.contact_ns[i] <= PATIENT_TIMEOUTS * self.timeout_ns
                                           and self.arrived_ns[i] and now_ns - self.arrived_ns[i] <= timeout_ns)):
                votes |= <uint64_t>1 << i
        return self.quorums.is_phase2(votes)
