"""Exactly once, in order: the replicated side of client sessions.

Theory. A session is opened by a decided command, and its id is the slot of that command. Commands carry (session,
sequence). For each session the table holds the last sequence that was applied and the answers that are not yet
acknowledged. The table is replicated state: it changes only in `apply`, in slot order, and depends on nothing but the
commands and the table itself, so it is equal on every replica.

Rules of `apply`, for (session, sequence, unacknowledged):
- a session that is unknown or was evicted: `expired`; the client cannot know what became of its commands in flight;
- first the acknowledgement: answers up to sequence - 1 - unacknowledged are dropped, a prefix that only grows;
- a sequence that was applied gets its first answer again, or `acknowledged` if that answer was dropped;
- a sequence ahead of its turn is void (`ahead`): the client sends again from the gap;
- too many or too large unacknowledged answers: the command is void (`overloaded`);
- otherwise the machine applies the command, once, and its answer - a refusal too - is kept.

A full table evicts the session whose last use lies in the lowest slot. Only `link`, which link asks in the session on
this replica, is not replicated.
"""

cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc
from libc.string cimport memcpy, memset

from multipaxos.wire.buffer cimport Bytes, bytes_free
from multipaxos.wire.messages cimport (
    ACKNOWLEDGED, AHEAD, APPLY, EXPIRED, OK, OPENED, OPEN_SESSION, OVERLOADED, REFUSED, Command,
)
from multipaxos.machine.hashing cimport hash_word
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.machine.semantics cimport Semantics
from multipaxos.paxos.array cimport ring_grow

from multipaxos.errors import InvariantViolation

cdef enum:
    FIRST_CAPACITY = 16


@cython.final
cdef class SessionTable:
    """The table. `semantics`: its bounds; the log may change them."""

    def __cinit__(self, Semantics semantics not None):
        self.buckets = 1 << 14
        self.semantics = semantics
        self.by_id = <Session**>calloc(self.buckets, sizeof(Session*))
        self.by_nonce = <Session**>calloc(self.buckets, sizeof(Session*))
        if self.by_id == NULL or self.by_nonce == NULL:
            raise MemoryError("no memory for the session table")
        memset(&self.scratch, 0, sizeof(Bytes))

    def __dealloc__(self):
        while self.oldest != NULL:
            self.forget(self.oldest)
        free(self.by_id)
        free(self.by_nonce)
        bytes_free(&self.scratch)

    cdef Session* find(self, uint64_t id) noexcept:
        cdef Session* session = self.by_id[hash_word(0, id) & (self.buckets - 1)]
        while session != NULL and session.id != id:
            session = session.next_id
        return session

    cdef Session* find_nonce(self, uint64_t nonce) noexcept:
        cdef Session* session = self.by_nonce[hash_word(0, nonce) & (self.buckets - 1)]
        while session != NULL and session.nonce != nonce:
            session = session.next_nonce
        return session

    cdef Answer* answer_of(self, Session* session, uint64_t sequence) noexcept:
        """The kept answer of an applied sequence; NULL if it was acknowledged, or is not yet applied."""
        if sequence <= session.acknowledged or sequence > session.last:
            return NULL
        return &session.answers[sequence & (session.capacity - 1)]

    cdef int apply(self, const Command* command, const Context* context, Machine machine, Outcome* outcome) except -1:
        """Judges and applies one decided command of a client; `outcome` is what is reported to the client."""
        cdef Session* session
        memset(outcome, 0, sizeof(Outcome))
        outcome.slot = context.slot
        outcome.session = command.session
        if command.kind == OPEN_SESSION:
            session = self.find_nonce(command.sequence)
            if session == NULL:
                session = self.open(context.slot, command.sequence)
            self.used(session)
            outcome.status = OPENED
            outcome.session = session.id
            outcome.owner = session
        else:
            session = self.find(command.session)
            outcome.owner = session
            if session == NULL:
                outcome.status = EXPIRED
            else:
                self.used(session)
                self.apply_in(session, command, context, machine, outcome)
        self.chain = hash_word(hash_word(hash_word(self.chain, context.slot), outcome.session), command.sequence)
        self.chain = hash_word(self.chain, outcome.status)
        return 0

    cdef int apply_in(self, Session* session, const Command* command, const Context* context, Machine machine,
                      Outcome* outcome) except -1:
        cdef Answer* answer
        if command.sequence > command.unacknowledged:
            self.acknowledge(session, command.sequence - 1 - command.unacknowledged)
        if command.sequence <= session.acknowledged:
            outcome.status = ACKNOWLEDGED
            return 0
        if command.sequence <= session.last:
            answer = self.answer_of(session, command.sequence)
            outcome.slot = answer.slot
        elif command.sequence > session.last + 1:
            outcome.status = AHEAD
            return 0
        elif (session.last - session.acknowledged >= self.semantics.unacknowledged_max
                or session.answer_bytes > self.semantics.answer_bytes_max):
            outcome.status = OVERLOADED
            return 0
        else:
            self.scratch.size = 0
            self.store_answer(
                session, REFUSED if machine.apply(context, command.payload, command.size, &self.scratch) else OK,
                context.slot)
            answer = self.answer_of(session, command.sequence)
        outcome.status = answer.status
        outcome.data = answer_data(answer)
        outcome.size = answer.size
        return 0

    cdef bint will_apply(self, const Command* command, uint64_t before, uint64_t* room) noexcept:
        """Will `apply` give this command (of kind APPLY) to the machine, if `before` commands of its session come first
        and are given to it too? With `before` 0 the answer is exact. `room` falls to the bytes that all answers of a
        job may have before a bound of kept answers could be reached."""
        cdef Session* session = self.find(command.session)
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
        if not before:
            kept = session.answer_bytes - self.bytes_up_to(session, acknowledged)
            if kept > self.semantics.answer_bytes_max:
                return False
            room[0] = min(room[0], self.semantics.answer_bytes_max - kept)
        return True

    cdef uint64_t bytes_up_to(self, Session* session, uint64_t sequence) noexcept:
        """The bytes of the kept answers up to a sequence that was applied."""
        cdef uint64_t bytes = 0, i
        for i in range(session.acknowledged + 1, sequence + 1):
            bytes += self.answer_of(session, i).size
        return bytes

    cdef int store_answer(self, Session* session, uint16_t status, uint64_t slot) except -1:
        """Stores `scratch` as the answer of the next sequence."""
        cdef Answer* answer
        if session.last - session.acknowledged >= session.capacity:
            session.answers = <Answer*>ring_grow(session.answers, &session.capacity, session.acknowledged + 1,
                                                 session.last + 1, sizeof(Answer), FIRST_CAPACITY)
        answer = &session.answers[(session.last + 1) & (session.capacity - 1)]
        answer.slot = slot
        answer.status = status
        answer.size = <uint32_t>self.scratch.size
        answer.large = NULL
        if answer.size > SMALL_BYTES:
            answer.large = <uint8_t*>malloc(answer.size)
            if answer.large == NULL:
                raise MemoryError("no memory for an answer")
            memcpy(answer.large, self.scratch.data, answer.size)
        elif answer.size:
            memcpy(answer.small, self.scratch.data, answer.size)
        session.answer_bytes += answer.size
        session.last += 1
        return 0

    cdef void acknowledge(self, Session* session, uint64_t sequence) noexcept:
        """Drops the answers up to `sequence`, as far as there are any."""
        cdef Answer* answer
        if sequence > session.last:
            sequence = session.last
        while session.acknowledged < sequence:
            session.acknowledged += 1
            answer = &session.answers[session.acknowledged & (session.capacity - 1)]
            session.answer_bytes -= answer.size
            if answer.large != NULL:
                free(answer.large)

    cdef Session* open(self, uint64_t id, uint64_t nonce) except NULL:
        cdef Session* session
        cdef uint64_t at
        if self.count >= self.semantics.sessions_max:
            self.evicted, self.evicted_link = self.oldest.id, self.oldest.link
            self.forget(self.oldest)
        session = <Session*>calloc(1, sizeof(Session))
        if session == NULL:
            raise MemoryError("no memory for a session")
        session.id = id
        session.nonce = nonce
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
        self.count += 1
        return session

    cdef void used(self, Session* session) noexcept:
        """Moves a session to the young end of the list: its last use is this slot."""
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
        self.acknowledge(session, session.last)
        free(session.answers)
        free(session)
        self.count -= 1

    # -- queries
    def invariants(self):
        """The table is bounded, and its list of sessions by use has two ends."""
        if self.count > self.semantics.sessions_max or (self.count == 0) != (self.oldest == NULL):
            raise InvariantViolation(f"the table holds {self.count} sessions, at most {self.semantics.sessions_max} "
                                     "may live")
        if (self.oldest == NULL) != (self.newest == NULL) or (
                self.oldest != NULL and (self.oldest.older != NULL or self.newest.newer != NULL)):
            raise InvariantViolation("the list of sessions by use has no ends")

    # -- for tests
    def apply_command(self, Machine machine, uint64_t slot, uint64_t session, uint64_t sequence,
                      uint32_t unacknowledged, bytes payload, bint opening=False):
        """Applies one command; returns (status, session, slot, answer) as reported to its client."""
        cdef Command command
        cdef Context context
        cdef Outcome outcome
        command.session, command.sequence, command.unacknowledged = session, sequence, unacknowledged
        command.kind = OPEN_SESSION if opening else APPLY
        command.payload, command.size = payload, len(payload)
        context.slot, context.time_ns, context.session, context.machine_version = slot, slot, session, 1
        self.apply(&command, &context, machine, &outcome)
        return outcome.status, outcome.session, outcome.slot, outcome.data[:outcome.size]

    def describe(self, uint64_t id):
        """(last, acknowledged, bytes kept) of a session, or None."""
        cdef Session* session = self.find(id)
        if session == NULL:
            return None
        return session.last, session.acknowledged, session.answer_bytes
