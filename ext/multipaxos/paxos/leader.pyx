"""Leaders with their scouts and commanders (PMMC sections 2.3 and 2.4; section 4.1 on keeping less).

Theory. A leader is passive, scouting or active. A scout secures its ballot: it gathers a phase-1 quorum of adoptions,
merges what they hold with *pmax*, and says ADOPTED; a commander gathers a phase-2 quorum for one slot and the row says
decided; either says PREEMPTED when it sees a higher ballot. They say so through the leader's queue of virtual messages,
which the node drains: no handler changes the leader under the feet of another. A commander is a row of the ring
`proposals`, not an object: its ballot, its votes, and a reference to the run that holds its command.

Rules.
- A ballot is used for one attempt only, and is durable before the scout's first phase 1a leaves (the node sees to
  that).
- `first` of a scout is the first slot its node does not know decided. An answer counts when complete, with the
  greatest mark.
- An answer counts only from an incarnation that founded the cluster: one that has forgotten must not vote as if it
  had not.
- start = max(first, every mark in the quorum, the slot below which commanders of an earlier reign have decided all).
  Below it all is decided: what was proposed there is dropped, and a proposal there is refused for the whole reign.
- From start on: proposals ◁ pmax(pvalues); no-ops into gaps below the highest slot seen; times of pvalues are kept.
- C1: one command per (ballot, slot): a row of this reign never changes its run.
- C2: a slot is decided when a phase-2 quorum accepted it at this ballot. A phase 2b counts only where slot and ballot
  match the row, and once per acceptor (votes are a mask).
- A 2b below its acceptor's mark is no vote: those slots were decided before; the reign starts above them.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memset

from multipaxos.paxos.ballot cimport ballot_of, ballot_round
from multipaxos.wire.messages cimport NOOP, RUN_SLOTS_MAX, SLOTS_END, Command, Message, Pvalues, Watermark
from multipaxos.wire.reading cimport pvalues_at
from multipaxos.wire.run cimport Run, run_command, run_drop, run_new, run_read
from multipaxos.wire.writing cimport command_bytes
from multipaxos.paxos.pmax cimport PMax
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.slots cimport Ring, Row

from multipaxos.errors import InvariantViolation

cdef enum:
    ROW_DECIDED = 1
    REPROPOSED_BYTES = 256 << 10     # a run made of other runs' commands is cut here


@cython.final
cdef class Scout:
    """One attempt to have a ballot adopted."""

    def __cinit__(self, uint64_t ballot, uint64_t first, QuorumSystem quorums):
        cdef int i
        self.ballot = ballot
        self.first = first
        self.mark = first
        self.quorums = quorums
        self.pvalues = PMax(first)
        for i in range(64):
            self.covered[i] = first

    cdef int on_phase1b(self, int acceptor, const Message* message, Leader leader) except -1:
        """Takes one part of an answer. Returns 1 if its bytes are no such answer: nothing of that part counts."""
        cdef Pvalues entry
        cdef uint32_t i
        cdef Run* run
        if message.ballot > self.ballot:
            leader.virtual(PREEMPTED, message.ballot, 0, 0)
            return 0
        if message.ballot < self.ballot or message.first > self.covered[acceptor]:
            return 0
        if message.number != -1 or message.incarnation != leader.founders[acceptor]:
            return 0
        for i in range(message.pvalues.count):
            pvalues_at(&message.pvalues, i, &entry)
            run = run_read(entry.run, entry.size)
            if run == NULL:
                return 1
            try:
                if run.ballot > self.ballot or entry.first < run.first or entry.end > run.first + run.count:
                    return 1
                if entry.end > max(self.first, message.mark) + leader.proposals.capacity:
                    return 1             # no acceptor holds slots so far above the first that it was asked for
                self.pvalues.add(run, entry.first, entry.end)
            except OverflowError:
                return 1
            finally:
                run_drop(run)
        self.mark = max(self.mark, message.mark)
        self.covered[acceptor] = max(self.covered[acceptor], message.end)
        if self.covered[acceptor] == SLOTS_END and not self.answered >> acceptor & 1:
            self.answered |= <uint64_t>1 << acceptor
            if self.quorums.is_phase1(self.answered):
                leader.virtual(ADOPTED, self.ballot, 0, 0)
        return 0


@cython.final
cdef class Leader:
    """The leader of one node. `capacity` is the number of slots its ring spans, a power of two."""

    def __cinit__(self, int node, QuorumSystem quorums, uint64_t capacity):
        self.node = node
        self.quorums = quorums
        self.proposals = Ring(capacity)
        self.state = PASSIVE
        self.start = self.decided_end = self.slot_end = 1

    def __dealloc__(self):
        self.drop_unsent()
        free(self.unsent)
        free(self.queue)

    cdef void drop_unsent(self) noexcept:
        while self.unsent_count:
            self.unsent_count -= 1
            run_drop(self.unsent[self.unsent_count])

    cdef int virtual(self, VirtualKind kind, uint64_t ballot, uint64_t first, uint64_t end) except -1:
        cdef Virtual* room
        if self.queue_size == self.queue_room:
            room = <Virtual*>realloc(self.queue, (self.queue_room + 16) * 2 * sizeof(Virtual))
            if room == NULL:
                raise MemoryError("no memory for the leader's queue")
            self.queue = room
            self.queue_room = (self.queue_room + 16) * 2
        self.queue[self.queue_size] = Virtual(kind, ballot, first, end)
        self.queue_size += 1
        return 0

    def set_founders(self, incarnations):
        """Whose votes count: the incarnation of each node that founded the cluster."""
        cdef int i
        for i, incarnation in enumerate(incarnations):
            self.founders[i] = incarnation

    # -- scout
    def begin_scout(self, uint64_t above, uint64_t first):
        """A new attempt, with a ballot greater than `above` and every one used before; returns that ballot, which must
        be durable before `scout` asks anyone."""
        self.ballot = ballot_of(ballot_round(max(above, self.ballot)) + 1, self.node)
        self.scout = Scout(self.ballot, first, self.quorums)
        self.state = SCOUTING
        self.drop_unsent()
        return self.ballot

    cdef int on_phase1b(self, int acceptor, const Message* message) except -1:
        if self.state != SCOUTING:
            if message.ballot > self.ballot and self.state == ACTIVE:
                self.virtual(PREEMPTED, message.ballot, 0, 0)
            return 0
        return self.scout.on_phase1b(acceptor, message, self)

    cdef int adopt_proposals(self, uint64_t utc_ns) except -1:
        """ADOPTED: start, proposals ◁ pmax(pvalues), no-ops into gaps, commanders for all (in `unsent`)."""
        cdef uint64_t end
        self.state = ACTIVE
        self.start = max(self.scout.first, self.scout.mark, self.proposals.base)
        end = max(self.start, self.slot_end, self.scout.pvalues.end)
        self.proposals.advance(self.start)
        self.decided_end = self.start
        self.repropose(self.start, end, utc_ns)
        self.slot_end = end
        self.scout = None
        memset(self.heard_ns, 0, sizeof(self.heard_ns))
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
                              or size + command_bytes(&command) > REPROPOSED_BYTES):
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
        row = self.proposals.find(slot)
        return row.run if row != NULL else NULL

    cdef int place(self, uint64_t first, uint64_t time_ns, const Command* commands, uint32_t count) except -1:
        """Makes one run of re-proposed commands, its rows, and puts it among the unsent."""
        cdef Run* run
        cdef Run** room
        if self.unsent_count == self.unsent_room:
            room = <Run**>realloc(self.unsent, (self.unsent_room + 16) * 2 * sizeof(Run*))
            if room == NULL:
                raise MemoryError("no memory to propose again")
            self.unsent = room
            self.unsent_room = (self.unsent_room + 16) * 2
        run = run_new(self.ballot, first, time_ns, commands, count)
        self.set_rows(run)
        self.unsent[self.unsent_count] = run
        self.unsent_count += 1
        return 0

    cdef int set_rows(self, Run* run) except -1:
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

    # -- commanders
    cdef int on_propose(self, Run* run) except -1:
        """PMMC's propose, for a run: commanders for its slots. Returns 1 if refused: not active, or not the next
        slots."""
        if self.state != ACTIVE or run.ballot != self.ballot or run.first != self.slot_end or run.first < self.start:
            return 1
        self.set_rows(run)
        self.slot_end = run.first + run.count
        return 0

    cdef int on_phase2b(self, int acceptor, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1:
        cdef uint64_t slot, before = self.decided_end
        cdef Row* row
        if ballot > self.ballot and self.state != PASSIVE:
            self.virtual(PREEMPTED, ballot, 0, 0)
        if self.state != ACTIVE or ballot != self.ballot:
            return 0
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
        if self.decided_end > before:
            self.virtual(DECIDED, ballot, before, self.decided_end)
        return 0

    cdef void advance(self) noexcept:
        """Moves decided_end over the rows decided in a row."""
        cdef Row* row
        while self.decided_end < self.slot_end:
            row = self.proposals.find(self.decided_end)
            if row == NULL or not row.flags & ROW_DECIDED:
                return
            self.decided_end += 1

    cdef void restart_at(self, uint64_t mark) noexcept:
        """An acceptor's mark is above our start: those slots were decided before us; their rows go."""
        self.start = mark
        if self.decided_end < mark:
            self.decided_end = mark
        self.proposals.advance(mark)

    cdef void preempted(self) noexcept:
        """PREEMPTED, or no quorum: passive. Proposals stay: the arrow of the next adoption asks for them."""
        self.state = PASSIVE
        self.scout = None
        self.drop_unsent()

    cdef Watermark watermark(self) noexcept:
        """What may be told of this reign: [start, decided_end) at our ballot, and everything below start."""
        return Watermark(self.ballot, self.start, self.decided_end)

    # -- contact with the quorum
    cdef void hears(self, int acceptor, uint64_t ballot, uint64_t now_ns) noexcept:
        if ballot == self.ballot and self.state == ACTIVE:
            self.heard_ns[acceptor] = now_ns

    cdef bint has_quorum(self, uint64_t now_ns, uint64_t timeout_ns) noexcept:
        """Did a phase-2 quorum show within `timeout_ns` that it still follows this ballot?"""
        cdef uint64_t votes = 0
        cdef int i
        if self.state != ACTIVE:
            return False
        for i in range(64):
            if self.heard_ns[i] and now_ns - self.heard_ns[i] <= timeout_ns:
                votes |= <uint64_t>1 << i
        return self.quorums.is_phase2(votes)

    def invariants(self):
        """C1 and C2 for the rows in flight: each is of this reign and its run, and decided rows have their quorum."""
        cdef uint64_t slot
        cdef Row* row
        if self.state != ACTIVE:
            return
        for slot in range(self.decided_end, self.slot_end):
            row = self.proposals.find(slot)
            if row == NULL or row.run == NULL or row.ballot != self.ballot or row.run.ballot != self.ballot:
                raise InvariantViolation(f"C1: slot {slot} has no commander at ballot {self.ballot}")
            if bool(row.flags & ROW_DECIDED) != self.quorums.is_phase2(row.votes):
                raise InvariantViolation(f"C2: slot {slot} is decided without a phase-2 quorum, or undecided with one")
