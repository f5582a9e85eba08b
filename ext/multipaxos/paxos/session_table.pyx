"""Exactly once, in order: the replicated side of client sessions.

Theory. A session is opened by a decided command. It is (id, nonce): the id is the slot of that command, the nonce 64
random bits that its client drew. Commands carry (session, nonce, sequence). For each session the table holds the last
sequence that was applied, the answers that are not yet acknowledged (`kept_answers`) and the slot of its last use. The
table is replicated state: it changes only in `apply`, in slot order, and depends on nothing but the commands and the
table itself, so it is equal on every replica. Its hash covers all of it.

Rules of `apply`, for (session, nonce, sequence, unacknowledged):
- a session that is unknown, has another nonce, was closed or was evicted: `expired`, and nothing is touched; the client
  cannot know what became of its commands in flight;
- first the acknowledgement: answers up to sequence - 1 - unacknowledged are dropped, a prefix that only grows;
- a sequence that was applied gets its first answer again, or `acknowledged` if that answer was dropped; a read that is
  not acknowledged is executed again, because the answers of reads are not kept;
- a sequence ahead of its turn is void (`ahead`): the client sends again from the gap;
- too many or too large unacknowledged answers: the command is void (`overloaded`);
- otherwise the machine applies the command, once, and its answer - a refusal too - is kept;
- closing ends a session, and is `ok` also where there is none; a nonce of 0 opens nothing (`expired`).

Two bounds. A full table evicts the session whose last use lies in the lowest slot; if more than `fresh_sessions_max`
sessions have applied nothing, it evicts that one of these. So whoever opens sessions without end evicts his own, and
clients that open one each, at the same time, do not evict one another. More kept bytes than `kept_bytes_max` evict the
session that keeps most (`keepers`), until the bound holds. Only `link`, which link asks in the session on this replica,
and `refused` are not replicated.
"""

cimport cython

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from multipaxos.wire.buffer cimport Bytes, bytes_free
from multipaxos.wire.messages cimport (
    ACKNOWLEDGED, AHEAD, APPLY, CLOSE_SESSION, EXPIRED, OK, OPENED, OPEN_SESSION, OVERLOADED, REFUSED, Command,
)
from multipaxos.machine.hashing cimport hash_word
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.machine.semantics cimport Semantics
from multipaxos.paxos.keepers cimport Keepers
from multipaxos.paxos.kept_answers cimport (
    Answer, Session, acknowledge, answer_data, answer_of, drop_answers, keep_answer, read_again,
)
from multipaxos.paxos.limits cimport RINGS_MAX

from multipaxos.errors import InvariantViolation


@cython.final
cdef class SessionTable:
    """The table. `semantics`: its bounds; the log may change them."""

    def __cinit__(self, Semantics semantics not None):
        self.buckets = 1 << 14
        self.semantics = semantics
        self.evicted = []
        self.keepers = Keepers(semantics.kept_bytes_max)
        self.by_id = <Session**>calloc(self.buckets, sizeof(Session*))
        self.by_nonce = <Session**>calloc(self.buckets, sizeof(Session*))
        if self.by_id == NULL or self.by_nonce == NULL:
            raise MemoryError("no memory for the session table")
        memset(&self.scratch, 0, sizeof(Bytes))

    def __dealloc__(self):
        cdef Session* session
        while self.oldest != NULL:
            session = self.oldest
            self.oldest = session.newer
            drop_answers(session, session.last)
            free(session.answers)
            free(session)
        free(self.by_id)
        free(self.by_nonce)
        bytes_free(&self.scratch)

    cdef Session* find(self, uint64_t id, uint64_t nonce) noexcept:
        """The session with this id, if it has this nonce."""
        cdef Session* session = self.by_id[hash_word(0, id) & (self.buckets - 1)]
        while session != NULL and session.id != id:
            session = session.next_id
        return session if session != NULL and session.nonce == nonce else NULL

    cdef Session* find_nonce(self, uint64_t nonce) noexcept:
        cdef Session* session = self.by_nonce[hash_word(0, nonce) & (self.buckets - 1)]
        while session != NULL and session.nonce != nonce:
            session = session.next_nonce
        return session

    cdef uint64_t state_hash(self) noexcept:
        """Equal tables that came about by equal commands have equal hashes. What a session has changes only when it is
        used, so those used since the last call are the newest ones, and only their digests are made anew."""
        cdef Session* session = self.newest
        cdef uint64_t digest
        while session != NULL and session.used_slot > self.hashed_slot:
            digest = hash_word(hash_word(session.name, session.used_slot), session.last)
            digest = hash_word(hash_word(digest, session.acknowledged),
                               session.answer_bytes << 32 ^ session.kept_bytes)
            self.content += digest - session.digest
            session.digest = digest
            session = session.older
        if self.newest != NULL:
            self.hashed_slot = self.newest.used_slot
        return self.chain ^ self.content

    cdef int use(self, Semantics semantics) except -1:
        """The bounds that the log says, from the next command on."""
        self.semantics = semantics
        self.keepers.bound = semantics.kept_bytes_max
        self.keepers.forget_order()
        while self.count > semantics.sessions_max:
            self.evict(self.next_to_go())
        return self.keep_bound()

    cdef int keep_bound(self) except -1:
        """Evicts what is kept above the bound."""
        while self.keepers.kept_bytes > self.keepers.bound:
            self.evict(self.keepers.most(self.oldest))
        return 0

    # -- applying
    cdef int apply(self, const Command* command, const Context* context, Machine machine, Outcome* outcome) except -1:
        """Judges and applies one decided command of a client; `outcome` is what is reported to the client."""
        cdef Session* session
        memset(outcome, 0, sizeof(Outcome))
        outcome.slot = context.slot
        outcome.session = command.session
        if command.kind == OPEN_SESSION:
            self.apply_opening(command, context.slot, outcome)
        else:
            session = self.find(command.session, command.nonce)
            if session == NULL:
                outcome.status = status_without_session(command)
            else:
                outcome.known, outcome.link = True, session.link
                self.apply_in(session, command, context, machine, outcome)
        self.chain = hash_word(hash_word(hash_word(self.chain, context.slot), outcome.session), command.sequence)
        self.chain = hash_word(self.chain, outcome.status)
        return 0

    cdef int apply_opening(self, const Command* command, uint64_t slot, Outcome* outcome) except -1:
        if not command.sequence:
            outcome.status = EXPIRED
            return 0
        outcome.opened = self.find_nonce(command.sequence)
        if outcome.opened == NULL:
            outcome.opened = self.open(slot, command.sequence)
        self.used(outcome.opened, slot)
        self.keepers.note(outcome.opened, outcome.opened.kept_bytes)
        outcome.known = True
        outcome.status = OPENED
        outcome.session = outcome.opened.id
        return 0

    cdef int apply_in(self, Session* session, const Command* command, const Context* context, Machine machine,
                      Outcome* outcome) except -1:
        """A command of a session that lives."""
        cdef uint64_t before = session.kept_bytes, room = session.capacity
        cdef bint reads
        if command.kind == CLOSE_SESSION:
            outcome.status = OK
            self.forget(session)
            return 0
        self.used(session, context.slot)
        if command.sequence > command.unacknowledged:
            acknowledge(session, command.sequence - 1 - command.unacknowledged, self.rings > RINGS_MAX)
        if command.sequence <= session.last:
            self.repeat(session, command, context, machine, outcome)
        elif command.sequence > session.last + 1:
            outcome.status = AHEAD
        elif (session.last - session.acknowledged >= self.semantics.unacknowledged_max
                or session.answer_bytes > self.semantics.answer_bytes_max):
            outcome.status = OVERLOADED
        else:
            self.scratch.size = 0
            reads = machine.is_read(command.payload, command.size)
            outcome.status = REFUSED if machine.apply(context, command.payload, command.size, &self.scratch) else OK
            outcome.data, outcome.size = self.scratch.data, <uint32_t>self.scratch.size
            if not session.last:
                self.fresh_out(session)
            keep_answer(session, self.semantics, outcome.status, reads, context.slot, outcome.data, outcome.size)
        self.keepers.note(session, before)
        self.rings += session.capacity - room
        return self.keep_bound() if self.keepers.kept_bytes > self.keepers.bound else 0

    cdef bint will_apply(self, const Command* command, uint64_t before, uint64_t* room) noexcept:
        """Will `apply` give this command (of kind APPLY) to the machine, if `before` commands of its session come first
        and are given to it too? With `before` 0 the answer is exact. `room`, 2^64 - 1 at the first command of a job,
        falls to the bytes that all answers of the job may have before a bound of kept answers could be reached: each
        may be a refusal, which counts more than its text."""
        cdef Session* session = self.find(command.session, command.nonce)
        cdef uint64_t each = self.semantics.answer_cost + self.semantics.refusal_bytes
        cdef uint64_t last, acknowledged, kept
        if session == NULL:
            return False
        last = session.last + before
        if command.sequence != last + 1:
            return False
        acknowledged = session.acknowledged
        if command.sequence > command.unacknowledged:
            acknowledged = max(acknowledged, command.sequence - 1 - command.unacknowledged)
        if last - acknowledged >= self.semantics.unacknowledged_max:
            return False
        if room[0] == <uint64_t>-1:
            room[0] = self.semantics.kept_bytes_max - self.keepers.kept_bytes
        elif room[0] < each:
            return False
        else:
            room[0] -= each
        if not before:
            kept = session.answer_bytes - self.bytes_up_to(session, acknowledged)
            if kept > self.semantics.answer_bytes_max:
                return False
            room[0] = min(room[0], self.semantics.answer_bytes_max - kept)
        return True

    cdef uint64_t bytes_up_to(self, Session* session, uint64_t sequence) noexcept:
        """What the unacknowledged answers up to a sequence that was applied count in their session."""
        cdef uint64_t bytes = 0, i
        for i in range(session.acknowledged + 1, sequence + 1):
            bytes += answer_of(session, i).counted
        return bytes

    cdef int repeat(self, Session* session, const Command* command, const Context* context, Machine machine,
                    Outcome* outcome) except -1:
        """A sequence that was applied before."""
        cdef Answer* answer = answer_of(session, command.sequence)
        if answer == NULL or (answer.read and not machine.is_read(command.payload, command.size)):
            outcome.status = ACKNOWLEDGED    # or it is not the command that it was
        elif answer.read:
            self.scratch.size = 0
            outcome.status = REFUSED if machine.apply(context, command.payload, command.size, &self.scratch) else OK
            outcome.data, outcome.size, outcome.again = self.scratch.data, <uint32_t>self.scratch.size, True
            read_again(session, self.semantics, answer, outcome.status, context.slot, outcome.size)
        else:
            outcome.status, outcome.slot = answer.status, answer.slot
            outcome.data, outcome.size = answer_data(answer), answer.size
        return 0

    # -- sessions
    cdef Session* open(self, uint64_t id, uint64_t nonce) except NULL:
        cdef Session* session
        cdef uint64_t at
        if self.count >= self.semantics.sessions_max:
            self.evict(self.next_to_go())
        session = <Session*>calloc(1, sizeof(Session))
        if session == NULL:
            raise MemoryError("no memory for a session")
        session.id = id
        session.nonce = nonce
        session.name = hash_word(hash_word(0, id), nonce)
        at = hash_word(0, id) & (self.buckets - 1)
        session.next_id = self.by_id[at]
        self.by_id[at] = session
        at = hash_word(0, nonce) & (self.buckets - 1)
        session.next_nonce = self.by_nonce[at]
        self.by_nonce[at] = session
        session.older = self.newest
        if self.newest != NULL:
            self.newest.newer = session
        else:
            self.oldest = session
        self.newest = session
        self.fresh_in(session)
        self.count += 1
        return session

    cdef Session* next_to_go(self) noexcept:
        """The session that goes when there are too many."""
        return self.fresh_oldest if self.fresh > self.semantics.fresh_sessions_max else self.oldest

    cdef void fresh_in(self, Session* session) noexcept:
        """A session that has applied nothing was used: it is the newest of those."""
        session.fresh_older = self.fresh_newest
        session.fresh_newer = NULL
        if self.fresh_newest != NULL:
            self.fresh_newest.fresh_newer = session
        else:
            self.fresh_oldest = session
        self.fresh_newest = session
        self.fresh += 1

    cdef void fresh_out(self, Session* session) noexcept:
        """It leaves the list of those that have applied nothing."""
        if session.fresh_older != NULL:
            session.fresh_older.fresh_newer = session.fresh_newer
        else:
            self.fresh_oldest = session.fresh_newer
        if session.fresh_newer != NULL:
            session.fresh_newer.fresh_older = session.fresh_older
        else:
            self.fresh_newest = session.fresh_older
        self.fresh -= 1

    cdef int evict(self, Session* session) except -1:
        """A session ends that its client did not close."""
        if session.link:
            self.evicted.append((session.id, session.nonce, session.link))
        self.forget(session)

    cdef void used(self, Session* session, uint64_t slot) noexcept:
        """The last use of a session is this slot: it moves to the young end of the list."""
        session.used_slot = slot
        if not session.last and session != self.fresh_newest:
            self.fresh_out(session)
            self.fresh_in(session)
        if session == self.newest:
            return
        session.newer.older = session.older
        if session.older != NULL:
            session.older.newer = session.newer
        else:
            self.oldest = session.newer
        session.older = self.newest
        session.newer = NULL
        self.newest.newer = session
        self.newest = session

    cdef void forget(self, Session* session) noexcept:
        cdef Session** place = &self.by_id[hash_word(0, session.id) & (self.buckets - 1)]
        while place[0] != session:
            place = &place[0].next_id
        place[0] = session.next_id
        place = &self.by_nonce[hash_word(0, session.nonce) & (self.buckets - 1)]
        while place[0] != session:
            place = &place[0].next_nonce
        place[0] = session.next_nonce
        if session.older != NULL:
            session.older.newer = session.newer
        else:
            self.oldest = session.newer
        if session.newer != NULL:
            session.newer.older = session.older
        else:
            self.newest = session.older
        if not session.last:
            self.fresh_out(session)
        self.keepers.gone(session)
        self.content -= session.digest
        self.rings -= session.capacity
        drop_answers(session, session.last)
        free(session.answers)
        free(session)
        self.count -= 1

    # -- queries
    @property
    def kept_bytes(self):
        """What the answers count that all sessions keep."""
        return self.keepers.kept_bytes

    def state_hash_int(self):
        """The hash of the table, 64 bits."""
        return self.state_hash()

    def invariants(self):
        """The table is bounded, its list is in the order of use, what is kept adds up, and the heap is one."""
        cdef Session* session = self.oldest
        cdef Session* fresh = self.fresh_oldest
        cdef uint64_t count = 0, kept = 0, used = 0, rings = 0
        while session != NULL:
            if session.used_slot <= used:
                raise InvariantViolation(f"session {session.id} was used last in slot {session.used_slot}, the one "
                                         f"before it in {used}")
            used = session.used_slot
            kept += session.kept_bytes
            rings += session.capacity
            count += 1
            if not session.last:
                if session != fresh:
                    raise InvariantViolation(f"session {session.id} has applied nothing, and is not listed so in order")
                fresh = fresh.fresh_newer
            session = session.newer
        if fresh != NULL:
            raise InvariantViolation(f"session {fresh.id} has applied something, and is listed otherwise")
        if count != self.count or count > self.semantics.sessions_max:
            raise InvariantViolation(f"the table holds {count} sessions, counts {self.count}, and at most "
                                     f"{self.semantics.sessions_max} may live")
        if kept != self.keepers.kept_bytes or kept > self.semantics.kept_bytes_max:
            raise InvariantViolation(f"the sessions keep {kept} bytes, the table counts {self.keepers.kept_bytes}, and "
                                     f"at most {self.semantics.kept_bytes_max} may be kept")
        if rings != self.rings:
            raise InvariantViolation(f"the rings have room for {rings} answers, the table counts {self.rings}")
        self.keepers.invariants(self.oldest)

    # -- for tests
    def change(self, Semantics semantics not None):
        """The log says other bounds."""
        self.use(semantics)

    def apply_command(self, Machine machine, uint64_t slot, uint64_t session, uint64_t sequence,
                      uint32_t unacknowledged, bytes payload, int kind=APPLY, uint64_t nonce=0):
        """Applies one command; returns (status, session, slot, answer) as reported to its client."""
        cdef Command command
        cdef Context context
        cdef Outcome outcome
        command.session, command.sequence, command.unacknowledged = session, sequence, unacknowledged
        command.kind, command.nonce = <uint16_t>kind, nonce
        command.payload, command.size = payload, len(payload)
        context.slot, context.time_ns, context.session, context.machine_version = slot, slot, session, 1
        self.apply(&command, &context, machine, &outcome)
        return outcome.status, outcome.session, outcome.slot, outcome.data[:outcome.size]

    def describe(self, uint64_t id, uint64_t nonce):
        """(last, acknowledged, bytes kept, slot of the last use) of a session, or None."""
        cdef Session* session = self.find(id, nonce)
        if session == NULL:
            return None
        return session.last, session.acknowledged, session.kept_bytes, session.used_slot
