"""The replica: requests, proposals, decisions, slot_in, slot_out, WINDOW (PMMC section 2.1).

Theory. A client's command is a *request* until it has a slot, a *proposal* from then until the slot is decided, and
then a *decision*, applied in slot order and exactly once (`sessions`). Where another command wins the slot, the
proposal becomes a request again. WINDOW bounds the slots in flight; bytes bound them too.

Rules.
- R1  one command per slot among the decisions: a second, different one is a violation of the protocol and stops the
  node.
- R2, R3  every slot below slot_out is decided here and was applied, in order; nothing above is.
- R4  slot_out only rises.
- R5  it proposes only where slot_in < slot_out + WINDOW, and within the ring (which a slow disk holds back).
- Only the replica beside the active leader proposes; the others forward their requests to it and keep them until they
  see them applied. So a command may be decided twice, and sessions make the second one a repetition.
- Requests of one wake-up (`fresh`) are views into the chunk that brought them; those that get no slot before it ends
  are copied (`stash`) in one run.
- A replica without a machine (a leader's node that is no replica) keeps no request once it is passive: who forwarded
  it has it.
- A command waits in the queue once, however often it is sent: who repeats faster than slots are decided would make the
  queue grow without end.
- A request that was not applied in ten seconds is dropped: it was void (ahead of its turn, say), its client was told or
  is gone. Whoever still wants an answer asks again. So the head of the queue never holds up those behind it for ever.
- Who waits for an answer is known by session (`Session.link`), so an answer finds whoever asked here last. Volatile.
- What a client repeats and this replica has applied is answered from the table: the first answer is final. Whatever
  would turn a client away is judged in the log only, except that a session opened and gone below slot_out is gone.
"""

cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memset

from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put
from multipaxos.wire.messages cimport (
    ACKNOWLEDGED, APPLY, EXPIRED, OPENED, OPEN_SESSION, OVERLOADED, RUN_SLOTS_MAX, Command, Commands, Reply,
)
from multipaxos.wire.reading cimport command_at
from multipaxos.wire.run cimport Run, run_command, run_drop, run_hold, run_new
from multipaxos.wire.writing cimport command_bytes, put_request, put_response
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.paxos.session_table cimport SESSIONS_MAX, Answer, Outcome, Session, Sessions, answer_data
from multipaxos.paxos.slots cimport Ring, Row

from multipaxos.errors import InvariantViolation

cdef enum:
    RUN_BYTES = 256 << 10            # a run is cut here, unless one command is larger
    REQUESTS_MAX = 1 << 17           # waiting without a slot; beyond, clients are told `overloaded`
    REQUESTS_BYTES_MAX = 64 << 20
    UNKNOWN_MAX = 1 << 16
    TOLD_BYTES_MAX = 16 << 20        # of answers told again in one wake-up

cdef uint64_t REQUEST_AGE_MAX_NS = 10_000_000_000


cdef bint same(const Command* a, const Command* b) noexcept:
    """Is it one and the same command?"""
    return (a.session == b.session and a.sequence == b.sequence and a.kind == b.kind and a.size == b.size
            and (a.size == 0 or memcmp(a.payload, b.payload, a.size) == 0))


@cython.final
cdef class Replica:
    """One replica. `machine` None: it follows decisions without applying them (a node that has not this role)."""

    def __cinit__(self, Machine machine, uint64_t capacity, uint64_t window, uint64_t flight_bytes_max,
                  uint64_t sessions_max=SESSIONS_MAX):
        self.machine = machine
        self.decisions = Ring(capacity)
        self.proposals = Ring(capacity)
        self.sessions = Sessions(sessions_max)
        self.window = window
        self.flight_bytes_max = flight_bytes_max
        self.slot_in = self.slot_out = 1
        self.queued, self.opened = set(), set()
        self.unknown = {}
        self.nonces = {}
        memset(&self.told_bytes, 0, sizeof(Bytes))

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.requests_head, self.requests_tail):
            run_drop(self.requests[i & (self.requests_room - 1)].run)
        free(self.requests)
        free(self.fresh)
        free(self.told)
        bytes_free(&self.told_bytes)

    # -- requests
    cdef int on_request(self, uint64_t link, bint client, const Commands* commands) except -1:
        """Takes the commands of a frame. Returns 1 if one of them is not for a client to send."""
        cdef Command command
        cdef Session* session = NULL
        cdef uint32_t i
        if self.fresh_count + commands.count > self.fresh_room:
            self.grow_fresh(commands.count)
        for i in range(commands.count):
            command_at(commands, i, &command)
            if command.kind != APPLY and command.kind != OPEN_SESSION:
                return 1
            if session == NULL or session.id != command.session:
                session = self.sessions.find(command.session)
            self.on_command(link, client, &command, session)
        return 0

    cdef int grow_fresh(self, uint32_t more) except -1:
        cdef uint32_t room = (self.fresh_count + more) * 2
        cdef Command* grown = <Command*>realloc(self.fresh, room * sizeof(Command))
        if grown == NULL:
            raise MemoryError("no memory for requests")
        self.fresh = grown
        self.fresh_room = room
        return 0

    cdef int on_command(self, uint64_t link, bint client, const Command* command, Session* session) except -1:
        cdef Outcome outcome
        cdef Answer* answer
        memset(&outcome, 0, sizeof(Outcome))
        outcome.session = command.session
        if client and command.kind == OPEN_SESSION:
            session = self.sessions.find_nonce(command.sequence)
            if session != NULL:
                session.link = link
                outcome.status, outcome.session, outcome.slot = OPENED, session.id, session.id
                return self.tell(link, &outcome, command.sequence)
            self.remember(self.nonces, command.sequence, link)
        elif client and session == NULL:
            if command.session < self.slot_out:
                outcome.status = EXPIRED
                return self.tell(link, &outcome, command.sequence)
            self.remember(self.unknown, command.session, link)
        elif client:
            session.link = link
            if command.sequence <= session.last:
                answer = self.sessions.answer_of(session, command.sequence)
                outcome.status = ACKNOWLEDGED
                if answer != NULL and self.told_bytes.size + answer.size > TOLD_BYTES_MAX:
                    outcome.status = OVERLOADED  # of this wake-up's answers; it will ask again, after a pause
                elif answer != NULL:
                    outcome.status, outcome.slot = answer.status, answer.slot
                    outcome.data, outcome.size = answer_data(answer), answer.size
                return self.tell(link, &outcome, command.sequence)
        if (self.waiting() + self.fresh_count >= REQUESTS_MAX
                or self.requests_bytes + self.fresh_bytes > REQUESTS_BYTES_MAX):
            outcome.status = OVERLOADED
            return self.tell(link, &outcome, command.sequence) if client else 0
        self.fresh[self.fresh_count] = command[0]
        self.fresh_count += 1
        self.fresh_bytes += command_bytes(command)
        return 0

    cdef int remember(self, dict who, uint64_t key, uint64_t link) except -1:
        if len(who) >= UNKNOWN_MAX:
            who.clear()
        who[key] = link
        return 0

    cdef uint64_t waiting(self) noexcept:
        return self.requests_tail - self.requests_head

    cdef uint64_t oldest_ns(self) noexcept:
        """When the head of the queue came; the queue is not empty."""
        return self.requests[self.requests_head & (self.requests_room - 1)].run.time_ns

    cdef int stash(self, uint64_t utc_ns) except -1:
        """Copies what is left of this wake-up's requests into the queue; `utc_ns` is when they came."""
        cdef Run* run
        cdef uint32_t at = 0, count
        cdef uint64_t size, i
        while at < self.fresh_count:
            count, size = 0, 0
            while at + count < self.fresh_count and count < RUN_SLOTS_MAX and size < RUN_BYTES:
                size += command_bytes(&self.fresh[at + count])
                count += 1
            run = run_new(0, 1, utc_ns, &self.fresh[at], count)
            try:
                for i in range(1, count + 1):
                    self.push(run, i)
            finally:
                run_drop(run)
            at += count
        self.fresh_count = 0
        self.fresh_bytes = 0
        return 0

    cdef int push(self, Run* run, uint64_t slot) except -1:
        """A command that needs a slot, at the end of the queue, unless it waits there already."""
        cdef uint64_t room, i
        cdef Waiting* grown
        key = self.key_of(run, slot)
        if key in self.queued:
            return 0
        self.queued.add(key)
        if self.requests_tail - self.requests_head == self.requests_room:
            room = max(<uint64_t>256, self.requests_room * 2)
            grown = <Waiting*>malloc(room * sizeof(Waiting))
            if grown == NULL:
                raise MemoryError("no memory for waiting requests")
            for i in range(self.requests_head, self.requests_tail):
                grown[i & (room - 1)] = self.requests[i & (self.requests_room - 1)]
            free(self.requests)
            self.requests = grown
            self.requests_room = room
        self.requests[self.requests_tail & (self.requests_room - 1)] = Waiting(run_hold(run), slot)
        self.requests_tail += 1
        self.requests_bytes += run.size // run.count
        return 0

    cdef object key_of(self, Run* run, uint64_t slot):
        """Stands for a command: the same one, sent again, has the same."""
        cdef Command command
        run_command(run, slot, &command)
        return command.session, command.sequence

    cdef int pop(self) except -1:
        cdef Waiting* head = &self.requests[self.requests_head & (self.requests_room - 1)]
        key = self.key_of(head.run, head.slot)
        self.queued.discard(key)
        self.opened.discard(key)
        self.requests_bytes -= head.run.size // head.run.count
        run_drop(head.run)
        self.requests_head += 1
        return 0

    cdef bint is_retired(self, const Command* command) noexcept:
        """Was it applied here since it came?"""
        cdef Session* session
        if self.machine is None:
            return False                 # nothing is applied here: it has no sessions to judge by
        if command.kind == OPEN_SESSION:
            return ((command.session, command.sequence) in self.opened
                    or self.sessions.find_nonce(command.sequence) != NULL)
        session = self.sessions.find(command.session)
        if session == NULL:
            return command.session < self.slot_out
        return command.sequence <= session.last

    cdef int drop_requests(self) except -1:
        while self.requests_head < self.requests_tail:
            self.pop()
        return 0

    cdef int retire(self, uint64_t utc_ns) except -1:
        """Drops from the head of the queue what needs no slot any more, and what is too old."""
        cdef Command command
        cdef Waiting* head
        while self.requests_head < self.requests_tail:
            head = &self.requests[self.requests_head & (self.requests_room - 1)]
            run_command(head.run, head.slot, &command)
            if self.is_retired(&command):
                self.tell_expired(&command)
            elif utc_ns < head.run.time_ns + REQUEST_AGE_MAX_NS:
                return 0
            self.pop()
        return 0

    cdef int tell_expired(self, const Command* command) except -1:
        """Its session was evicted while it waited: whoever asks in it hears of that, if anybody does."""
        cdef Outcome outcome
        cdef uint64_t link
        if not self.unknown or command.kind != APPLY or self.sessions.find(command.session) != NULL:
            return 0
        link = self.unknown.get(command.session, 0)
        if link:
            memset(&outcome, 0, sizeof(Outcome))
            outcome.session, outcome.status = command.session, EXPIRED
            self.tell(link, &outcome, command.sequence)
        return 0

    cdef int put_forward(self, Bytes* out, uint64_t utc_ns) except -1:
        """Appends the requests not yet forwarded, for the replica beside the active leader; returns how many."""
        cdef Command* commands
        cdef uint32_t count = 0
        cdef uint64_t size = 0, total = 0
        cdef Waiting* entry
        self.retire(utc_ns)
        if self.forwarded < self.requests_head:
            self.forwarded = self.requests_head
        if self.forwarded == self.requests_tail:
            return 0
        commands = <Command*>malloc(RUN_SLOTS_MAX * sizeof(Command))
        if commands == NULL:
            raise MemoryError("no memory to forward requests")
        try:
            while self.forwarded < self.requests_tail:
                entry = &self.requests[self.forwarded & (self.requests_room - 1)]
                run_command(entry.run, entry.slot, &commands[count])
                size += command_bytes(&commands[count])
                count += 1
                total += 1
                self.forwarded += 1
                if count == RUN_SLOTS_MAX or size > RUN_BYTES or self.forwarded == self.requests_tail:
                    put_request(out, commands, count)
                    count, size = 0, 0
        finally:
            free(commands)
        return total

    # -- proposals
    cdef Run* propose(self, uint64_t ballot, uint64_t next_slot, uint64_t limit, uint64_t utc_ns) except? NULL:
        """PMMC's propose(), for as many requests as fit one run: gives them slots from `next_slot` on, the leader's
        next, and below `limit`. The caller gives the run, which is of `ballot`, to the leader and drops it. NULL (no
        exception): nothing to propose, or no room in WINDOW or bytes."""
        cdef uint64_t room, slot
        cdef Command* commands
        cdef uint32_t count
        cdef Run* run
        cdef Row* row
        self.slot_in = max(self.slot_in, next_slot)
        limit = min(limit, self.slot_out + self.window)
        limit = min(limit, self.decisions.base + self.decisions.capacity)
        if self.slot_in >= limit or self.proposals.bytes > self.flight_bytes_max:
            return NULL
        if self.fresh_count == 0 and self.requests_head == self.requests_tail:
            return NULL
        room = min(<uint64_t>RUN_SLOTS_MAX, limit - self.slot_in)
        commands = <Command*>malloc(room * sizeof(Command))
        if commands == NULL:
            raise MemoryError("no memory to propose")
        try:
            count = self.gather(commands, <uint32_t>room, utc_ns)
            if count == 0:
                return NULL
            run = run_new(ballot, self.slot_in, utc_ns, commands, count)
        finally:
            free(commands)
        self.taken(count)
        for slot in range(run.first, run.first + run.count):
            row = self.proposals.put(slot)
            if row != NULL:
                self.proposals.set_run(row, run)
        self.slot_in = run.first + run.count
        return run

    cdef int gather(self, Command* commands, uint32_t room, uint64_t utc_ns) except -1:
        """Views of the next commands that want a slot: first those that wait, then this wake-up's."""
        cdef uint32_t count = 0, i = 0
        cdef uint64_t size = 0, at
        cdef Waiting* entry
        self.retire(utc_ns)
        at = self.requests_head
        while count < room and size < RUN_BYTES and at < self.requests_tail:
            entry = &self.requests[at & (self.requests_room - 1)]
            run_command(entry.run, entry.slot, &commands[count])
            size += command_bytes(&commands[count])
            count += 1
            at += 1
        while count < room and size < RUN_BYTES and i < self.fresh_count:
            commands[count] = self.fresh[i]
            size += command_bytes(&commands[count])
            count += 1
            i += 1
        return count

    cdef int taken(self, uint32_t count) except -1:
        """The first `count` of what gather gave have their slots."""
        cdef uint32_t rest, i
        while count and self.requests_head < self.requests_tail:
            self.pop()
            count -= 1
        if count:
            for i in range(count):
                self.fresh_bytes -= command_bytes(&self.fresh[i])
            rest = self.fresh_count - count
            for i in range(rest):
                self.fresh[i] = self.fresh[count + i]
            self.fresh_count = rest
        return 0

    def forget_forwarded(self):
        """Another leader, or none: what waits has to be sent again, and so has what was proposed here and is undecided.
        The proposals stay too, as PMMC has it: this leader may be adopted again."""
        cdef uint64_t slot
        cdef Row* row
        if self.machine is None:
            return
        for slot in range(max(self.slot_out, self.proposals.base), self.slot_in):
            row = self.proposals.find(slot)
            if row != NULL and row.run != NULL and not row.flags:
                self.push(row.run, slot)
                row.flags = 1            # its copy waits
        self.forwarded = self.requests_head

    # -- decisions
    cdef void begin_at(self, uint64_t slot) noexcept:
        """Everything below is decided elsewhere and not asked for here: nothing is applied without a machine."""
        self.decisions.advance(slot)
        self.proposals.advance(slot)
        self.slot_in = self.slot_out = slot

    cdef int decide(self, Run* run, uint64_t first, uint64_t end) except -1:
        """PMMC's decision message, for the slots [first, end) of a run; R1 is checked here."""
        cdef uint64_t slot
        cdef Row* row
        cdef Command old
        cdef Command new
        for slot in range(max(first, self.slot_out), end):
            row = self.decisions.put(slot)
            if row == NULL:
                return 0
            if row.run == NULL:
                row.ballot = run.ballot
                self.decisions.set_run(row, run)
            elif row.run != run:
                run_command(row.run, slot, &old)
                run_command(run, slot, &new)
                if not same(&old, &new):
                    raise InvariantViolation(
                        f"R1: two commands are decided in slot {slot}, at ballots {row.ballot} and {run.ballot}")
        return 0

    cdef int perform(self) except -1:
        """Applies the decisions from slot_out on, without gaps."""
        cdef Row* row
        while True:
            row = self.decisions.find(self.slot_out)
            if row == NULL or row.run == NULL:
                break
            self.settle(row.run, self.slot_out)
            self.apply(row.run, self.slot_out)
            self.slot_out += 1
        if self.slot_in < self.slot_out:
            self.slot_in = self.slot_out
        return 0

    cdef int settle(self, Run* run, uint64_t slot) except -1:
        """The slot is decided: our proposal there has won, or becomes a request again."""
        cdef Row* own = self.proposals.find(slot)
        cdef Command mine
        cdef Command winner
        if own == NULL or own.run == NULL:
            return 0
        if own.run != run and self.machine is not None:
            run_command(own.run, slot, &mine)
            run_command(run, slot, &winner)
            if not same(&mine, &winner) and not own.flags and not self.is_retired(&mine):
                self.reproposals += 1
                self.push(own.run, slot)
        self.proposals.clear(own)
        return 0

    cdef int apply(self, Run* run, uint64_t slot) except -1:
        cdef Command command
        cdef Context context
        cdef Outcome outcome
        if run.time_ns > self.time_ns:
            self.time_ns = run.time_ns
        if self.machine is None:
            return 0
        run_command(run, slot, &command)
        if command.kind != APPLY and command.kind != OPEN_SESSION:
            return 0
        context.slot = slot
        context.time_ns = self.time_ns
        context.session = command.session
        self.sessions.apply(&command, &context, self.machine, &outcome)
        if command.kind == OPEN_SESSION and (command.session, command.sequence) in self.queued:
            self.opened.add((command.session, command.sequence))  # its session may be evicted before it is retired
        if self.sessions.evicted:
            if self.sessions.evicted_link:  # what its client has under way will find no session: it waits to hear that
                self.remember(self.unknown, self.sessions.evicted, self.sessions.evicted_link)
            self.sessions.evicted = 0
        return self.answer(&command, &outcome)

    # -- answers
    cdef int answer(self, const Command* command, const Outcome* outcome) except -1:
        """Tells whoever asks here."""
        cdef uint64_t link
        if command.kind == OPEN_SESSION:
            if self.nonces:
                link = self.nonces.pop(command.sequence, 0)
                if link:
                    outcome.owner.link = link
                    self.tell(link, outcome, command.sequence)
            if self.unknown:
                link = self.unknown.pop(outcome.session, 0)
                if link:
                    outcome.owner.link = link
        elif outcome.owner != NULL:
            if outcome.owner.link:
                self.tell(outcome.owner.link, outcome, command.sequence)
        elif self.unknown:
            link = self.unknown.get(command.session, 0)
            if link:
                self.tell(link, outcome, command.sequence)
        return 0

    cdef int tell(self, uint64_t link, const Outcome* outcome, uint64_t sequence) except -1:
        cdef Told* grown
        cdef Told* told
        if self.told_count == self.told_room:
            grown = <Told*>realloc(self.told, (self.told_room + 64) * 2 * sizeof(Told))
            if grown == NULL:
                raise MemoryError("no memory for answers")
            self.told = grown
            self.told_room = (self.told_room + 64) * 2
        told = &self.told[self.told_count]
        told.link = link
        told.session = outcome.session
        told.reply.sequence = sequence
        told.reply.slot = outcome.slot
        told.reply.status = outcome.status
        told.reply.size = outcome.size
        told.reply.data = <const uint8_t*><size_t>self.told_bytes.size
        if outcome.size:
            bytes_put(&self.told_bytes, outcome.data, outcome.size)
        self.told_count += 1
        return 0

    cdef int put_answers(self, Bytes* out, uint64_t* link, uint64_t at) except -1:
        """Appends one Response with the answers from `at` on that go to one link in one session; returns how many."""
        cdef Reply* replies
        cdef uint64_t link_of = self.told[at].link, session = self.told[at].session
        cdef uint32_t count = 0
        cdef uint64_t size = 0
        link[0] = link_of
        replies = <Reply*>malloc(RUN_SLOTS_MAX * sizeof(Reply))
        if replies == NULL:
            raise MemoryError("no memory for answers")
        try:
            while (at < self.told_count and count < RUN_SLOTS_MAX and size < RUN_BYTES
                   and self.told[at].link == link_of and self.told[at].session == session):
                replies[count] = self.told[at].reply
                replies[count].data = self.told_bytes.data + <size_t>replies[count].data
                size += replies[count].size
                count += 1
                at += 1
            put_response(out, session, replies, count)
        finally:
            free(replies)
        return count

    cdef uint64_t end_of_decisions(self, uint64_t limit) noexcept:
        """The first slot from slot_out on, below `limit`, whose decision is held: a gap ends there."""
        cdef uint64_t slot
        cdef Row* row
        for slot in range(self.slot_out, limit):
            row = self.decisions.find(slot)
            if row != NULL and row.run != NULL:
                return slot
        return limit

    # -- queries
    def waiting_count(self):
        """How many requests wait for a slot here."""
        return self.waiting()

    def reproposal_count(self):
        """How often another command won a slot that this replica had proposed for."""
        return self.reproposals

    def invariants(self):
        """R2, R4: the next slot is not decided here and left, and slot_in is not behind."""
        cdef Row* row = self.decisions.find(self.slot_out)
        if row != NULL and row.run != NULL:
            raise InvariantViolation(f"R2: slot {self.slot_out} is decided and not applied")
        if self.slot_in < self.slot_out:
            raise InvariantViolation(f"R4: slot_in {self.slot_in} is below slot_out {self.slot_out}")
