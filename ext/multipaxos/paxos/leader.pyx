"""Leaders (PMMC sections 2.3 and 2.4).

Theory. A leader is passive, scouting or active. While scouting it has a `Scout`, which secures its ballot; while active
it has `Commanders`, one per slot in flight. In the paper these are processes that send their leader `adopted`,
`preempted` and `decision` over a channel. Here they return a verdict from the handler of the message that brought it
about, and the leader keeps it as a flag: `adopted`, `decided`. This is the channel between them, with room for one
message of each kind.

Its rules are those of the paper's channel, as far as they matter. No handler of a message changes the leader: the node
acts on both flags once per wake-up, when all messages of the chunk are handled. So an adoption merges the answers of
the whole chunk, and one look at the decided slots serves all votes of the chunk. A verdict is of one ballot and is void
when that ballot is left: `begin_scout` and `preempted` clear both flags, and only the scout of the present ballot can
set `adopted`. A second verdict of a kind adds nothing to the first: more answers to an adopted scout, more slots below
the same `decided_end`. `preempted` needs no room: the node compares the ballot of every message with the leader's
before it hands the message on, and preempts the leader at once; scouts and commanders keep the paper's rule by
themselves.

Rules.
- A ballot is used for one attempt only, and is durable before the scout's first phase 1a leaves (the node sees to
  that).
- start = max(first, every mark in the quorum, the slot below which commanders of an earlier reign have decided all).
  Below it every slot is decided: what was proposed there is dropped, and a proposal there is refused for the whole
  reign.
- From start on: proposals ◁ pmax(pvalues); no-ops into gaps below the highest slot seen; times of pvalues are kept.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from multipaxos.paxos.ballot cimport ballot_of, ballot_round
from multipaxos.paxos.commander cimport Commanders
from multipaxos.paxos.limits cimport RUN_BYTES
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.scout cimport Scout
from multipaxos.paxos.slots cimport Row
from multipaxos.paxos.verdict cimport ADOPTED, DECIDED, NOTHING
from multipaxos.wire.messages cimport NOOP, RUN_SLOTS_MAX, Command, Message
from multipaxos.wire.run cimport Run, run_command, run_drop, run_new
from multipaxos.wire.writing cimport command_bytes

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Leader:
    """The leader of one node. `capacity`: how many slots the rings of the cluster span, a power of two."""

    def __cinit__(self, int node, QuorumSystem quorums, uint64_t capacity):
        self.node = node
        self.quorums = quorums
        self.commanders = Commanders(quorums, capacity)
        self.state = PASSIVE

    # -- phase 1
    def begin_scout(self, uint64_t above, uint64_t first):
        """Begins a new attempt, with a ballot greater than `above` and than every one used before. `first` is the first
        slot that this node does not know to be decided. Returns the ballot, which must be durable before the scout's
        first phase 1a leaves."""
        self.ballot = ballot_of(ballot_round(max(above, self.ballot)) + 1, self.node)
        self.scout = Scout(self.ballot, first, self.quorums, self.commanders.proposals.capacity)
        self.state = SCOUTING
        self.adopted = self.decided = False
        return self.ballot

    cdef int on_phase1b(self, int acceptor, const Message* message) except -1:
        """One part of an answer to the scout; returns its Verdict, NOTHING where there is no scout."""
        cdef int verdict
        if self.state != SCOUTING:
            return NOTHING
        verdict = self.scout.on_phase1b(acceptor, message)
        if verdict == ADOPTED:
            self.adopted = True
        return verdict

    cdef int adopt_proposals(self, uint64_t utc_ns) except -1:
        """ADOPTED: start, proposals ◁ pmax(pvalues), no-ops into gaps, commanders for all."""
        cdef uint64_t start = max(self.scout.first, self.scout.mark, self.commanders.proposals.base)
        cdef uint64_t end = max(start, self.commanders.slot_end, self.scout.pvalues.end)
        self.adopted = False
        self.state = ACTIVE
        self.commanders.begin_reign(self.ballot, start, end)
        self.repropose(start, end, utc_ns)
        self.scout = None
        return 0

    cdef int repropose(self, uint64_t first, uint64_t end, uint64_t utc_ns) except -1:
        """New runs at our ballot for [first, end): consecutive slots of one time share a run."""
        cdef Command* commands = <Command*>malloc(RUN_SLOTS_MAX * sizeof(Command))
        cdef uint64_t slot, begin = first, size = 0
        cdef uint64_t time_ns = 0, slot_time_ns
        cdef uint32_t count = 0
        cdef Command command
        cdef Run* winner
        if commands == NULL:
            raise MemoryError("no memory to propose again")
        try:
            for slot in range(first, end):
                winner = self.winner(slot)
                if winner == NULL:
                    memset(&command, 0, sizeof(Command))
                    command.kind = NOOP
                    slot_time_ns = time_ns if count else utc_ns
                else:
                    run_command(winner, slot, &command)
                    slot_time_ns = winner.time_ns
                if count and (slot_time_ns != time_ns or count == RUN_SLOTS_MAX
                              or size + command_bytes(&command) > RUN_BYTES):
                    self.place(begin, time_ns, commands, count)
                    begin, count, size = slot, 0, 0
                commands[count] = command
                count += 1
                time_ns = slot_time_ns
                size += command_bytes(&command)
            if count:
                self.place(begin, time_ns, commands, count)
        finally:
            free(commands)
        return 0

    cdef Run* winner(self, uint64_t slot) noexcept:
        """The arrow, for one slot: what pmax holds, else what the leader had; NULL where neither has anything."""
        cdef Run* run = self.scout.pvalues.get(slot)
        cdef Row* row
        if run != NULL:
            return run
        row = self.commanders.proposals.find(slot)
        return row.run if row != NULL else NULL

    cdef int place(self, uint64_t first, uint64_t time_ns, const Command* commands, uint32_t count) except -1:
        """Makes one run of re-proposed commands and its commanders."""
        cdef Run* run = run_new(self.ballot, first, time_ns, commands, count)
        try:
            self.commanders.set_rows(run)
        finally:
            run_drop(run)
        return 0

    # -- phase 2
    cdef int on_phase2b(self, int acceptor, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1:
        """A vote for the slots [first, end) at `ballot`; returns the Verdict of the commanders."""
        cdef int verdict = self.commanders.on_phase2b(acceptor, ballot, first, end, mark)
        if verdict == DECIDED:
            self.decided = True
        return verdict

    cdef void preempted(self) noexcept:
        """PREEMPTED, or no quorum: passive. Proposals stay, because the arrow of the next adoption asks for them."""
        self.state = PASSIVE
        self.scout = None
        self.adopted = self.decided = False
        self.commanders.end_reign()

    def invariants(self):
        """A scouting leader has a scout, an active one a reign at its ballot; and the invariants of these two."""
        if (self.scout is not None) != (self.state == SCOUTING) or (self.adopted and self.state != SCOUTING):
            raise InvariantViolation(f"the leader is in state {self.state}, which does not fit its scout")
        if self.commanders.ballot != (self.ballot if self.state == ACTIVE else 0):
            raise InvariantViolation(f"the commanders are at ballot {self.commanders.ballot}, the leader's is "
                                     f"{self.ballot} in state {self.state}")
        if self.scout is not None:
            self.scout.invariants()
        self.commanders.invariants()
