"""Requests: a replica's commands that have no slot yet (`requests` of PMMC section 2.1).

Theory. A command arrives from a client, or from another replica that forwards it. In the wake-up that brings it, it is
a view into the chunk (`arrived`). If it gets a slot before the wake-up ends, it is never copied. The others are copied
in one run into the queue (`stash`), where they wait until the replica proposes them, forwards them to the leader's
replica, or sees them applied. `gather` gives views of the next commands that need a slot and `taken` removes them.

Rules.
- A command waits in the queue once, however often it is sent: otherwise a client that repeats faster than slots are
  decided would grow the queue without bound.
- Requests are bounded by number and bytes. Above that a client is answered `overloaded`; a replica that forwards keeps
  its requests anyway.
- A request leaves the queue when it gets a slot, when its command was applied, or after ten seconds: then it was void
  (ahead of its turn, say), or its client was answered or is gone. A client that still wants an answer asks again. So
  the head of the queue never holds up the others for ever.
- A command that this replica has applied is answered from the session table, without a slot: the first answer is final.
  Only a read whose answer was not kept needs a slot again; it is done when it was executed after it came.
- A client is refused only when its command is applied, with one exception: a session below `slot_out` that is not in
  the table with this nonce was closed or evicted, or never opened.
- Where nothing is applied (a node without a machine), no session shows what became of a request: it leaves only with a
  slot, by its age, or when the node stops leading, because the replica that forwarded it keeps it.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove, memset

from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.array cimport array_grow, ring_grow
from multipaxos.paxos.limits cimport REQUESTS_BYTES_MAX, REQUESTS_MAX, RUN_BYTES
from multipaxos.paxos.kept_answers cimport Answer, Session, answer_data, answer_of
from multipaxos.paxos.session_table cimport Outcome, SessionTable, status_without_session
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport (
    ACKNOWLEDGED, APPLY, CLOSE_SESSION, EXPIRED, OPENED, OPEN_SESSION, OVERLOADED, REFUSED, RUN_SLOTS_MAX, SETTING,
    Command, Commands,
)
from multipaxos.wire.reading cimport command_at
from multipaxos.wire.run cimport Run, run_command, run_drop, run_hold, run_new
from multipaxos.wire.writing cimport command_bytes, put_request

from multipaxos.errors import InvariantViolation

cdef enum:
    FIRST_ROOM = 256                 # of the queue

cdef uint64_t AGE_MAX_NS = 10_000_000_000


cdef inline object key_of(const Command* command):
    """Stands for a command: the same command, sent again, has the same key."""
    return command.session, command.nonce, command.kind, command.sequence


@cython.final
cdef class Requests:
    """The requests of one replica. `applies`: are commands applied here, so that `sessions` shows their outcome?"""

    def __cinit__(self, SessionTable sessions not None, Answers answers not None, bint applies):
        self.sessions = sessions
        self.answers = answers
        self.applies = applies
        self.queued, self.opened = set(), set()

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.head, self.tail):
            run_drop(self.at(i).run)
        free(self.queue)
        free(self.arrived)

    # -- arrival
    cdef int on_request(self, uint64_t link, bint client, const Commands* commands, uint64_t slot_out,
                        bytes refusal) except -1:
        """The commands of a frame arrive. Returns 1 if one of them is of a kind that this link does not carry.
        `refusal`: why settings are refused, empty if they are not; None where the link does not carry settings."""
        cdef Command command
        cdef Session* session = NULL
        cdef uint32_t i
        if self.arrived_count + commands.items.count > self.arrived_room:
            self.arrived = <Command*>array_grow(self.arrived, &self.arrived_room,
                                                self.arrived_count + commands.items.count, sizeof(Command))
        for i in range(commands.items.count):
            command_at(commands, i, &command)
            if (command.kind == SETTING and refusal is None
                    or command.kind not in (APPLY, OPEN_SESSION, CLOSE_SESSION, SETTING)):
                return 1
            if session == NULL or session.id != command.session or session.nonce != command.nonce:
                session = self.sessions.find(command.session, command.nonce)
            self.on_command(link, client, &command, session, slot_out, refusal)
        return 0

    cdef int refuse_setting(self, uint64_t link, const Command* command, bytes refusal) except -1:
        """Answers a setting that is not to be decided; nothing is applied, and the session goes on at its sequence."""
        cdef Outcome outcome
        memset(&outcome, 0, sizeof(Outcome))
        outcome.session, outcome.status = command.session, REFUSED
        outcome.data, outcome.size = refusal, <uint32_t>len(refusal)
        return self.answers.report(link, &outcome, command.sequence)

    cdef int on_command(self, uint64_t link, bint client, const Command* command, Session* session,
                        uint64_t slot_out, bytes refusal) except -1:
        """Answers a command of a client, if its answer is known; else it has arrived, or there is no room for it."""
        if client and self.answer_again(link, command, session, slot_out):
            return 0
        if command.kind == SETTING and refusal:
            return self.refuse_setting(link, command, refusal)
        if command.kind == OPEN_SESSION and not command.sequence:
            return 0                     # a peer's; it would open nothing
        if (self.waiting() + self.arrived_count >= REQUESTS_MAX
                or self.bytes + self.arrived_bytes > REQUESTS_BYTES_MAX):
            return self.answers.report_status(link, command, OVERLOADED, 0) if client else 0
        self.arrived[self.arrived_count] = command[0]
        self.arrived_count += 1
        self.arrived_bytes += command_bytes(command)
        return 0

    cdef bint answer_again(self, uint64_t link, const Command* command, Session* session,
                           uint64_t slot_out) except -1:
        """From now on this link gets the answers of the command's session, or of its opening. True if the answer to
        the command is known, and was reported."""
        cdef Outcome outcome
        cdef Answer* answer
        memset(&outcome, 0, sizeof(Outcome))
        outcome.session = command.session
        if command.kind == OPEN_SESSION:
            session = self.sessions.find_nonce(command.sequence)
            if session != NULL:
                session.link = link
                outcome.status, outcome.session, outcome.slot = OPENED, session.id, session.id
            elif command.sequence:
                self.answers.expect_opening(command.sequence, link)
                return False
            else:
                outcome.status = EXPIRED
        elif session == NULL:
            if command.session >= slot_out:
                self.answers.expect_session(command.session, command.nonce, link)
                return False
            outcome.status = status_without_session(command)
        else:
            session.link = link
            if command.kind == CLOSE_SESSION or command.sequence > session.last:
                return False
            answer = answer_of(session, command.sequence)
            if answer != NULL and answer.read:
                return False
            outcome.status = ACKNOWLEDGED
            if answer != NULL and not self.answers.may_repeat(answer.size):
                outcome.status = OVERLOADED  # of this wake-up's answers: the client asks again, after a pause
            elif answer != NULL:
                outcome.status, outcome.slot = answer.status, answer.slot
                outcome.data, outcome.size = answer_data(answer), answer.size
        self.answers.report(link, &outcome, command.sequence)
        return True

    # -- the queue
    cdef int stash(self, uint64_t utc_ns, uint64_t slot_out) except -1:
        """Copies what is left of this wake-up's requests into the queue; `utc_ns` is when they came."""
        cdef Run* run
        cdef uint64_t at = 0, slot, size
        cdef uint32_t count
        while at < self.arrived_count:
            count, size = 0, 0
            while at + count < self.arrived_count and count < RUN_SLOTS_MAX and size < RUN_BYTES:
                size += command_bytes(&self.arrived[at + count])
                count += 1
            run = run_new(0, 1, utc_ns, &self.arrived[at], count)
            try:
                for slot in range(run.first, run.first + count):
                    self.push(run, slot, slot_out)
            finally:
                run_drop(run)
            at += count
        self.arrived_count = 0
        self.arrived_bytes = 0
        return 0

    cdef int push(self, Run* run, uint64_t slot, uint64_t slot_out) except -1:
        """A command that needs a slot, at the end of the queue, unless it waits there already."""
        cdef Command command
        run_command(run, slot, &command)
        key = key_of(&command)
        if key in self.queued:
            return 0
        if self.waiting() == self.room:
            self.queue = <Waiting*>ring_grow(self.queue, &self.room, self.head, self.tail, sizeof(Waiting), FIRST_ROOM)
        self.queued.add(key)
        self.at(self.tail)[0] = Waiting(run_hold(run), slot, slot_out)
        self.tail += 1
        self.bytes += run.size // run.count
        return 0

    cdef int pop(self) except -1:
        """The head of the queue leaves."""
        cdef Waiting* first = self.at(self.head)
        cdef Command command
        run_command(first.run, first.slot, &command)
        key = key_of(&command)
        self.queued.discard(key)
        self.opened.discard(key)
        self.bytes -= first.run.size // first.run.count
        run_drop(first.run)
        self.head += 1
        return 0

    cdef int clear(self) except -1:
        while self.head < self.tail:
            self.pop()
        return 0

    # -- what was applied meanwhile
    cdef int note_opened(self, const Command* command) except -1:
        """A session was opened. It may be evicted before its request is retired, so the request is marked as done."""
        key = key_of(command)
        if key in self.queued:
            self.opened.add(key)
        return 0

    cdef bint is_retired(self, const Command* command, uint64_t since, uint64_t slot_out) noexcept:
        """Was it applied here since it came, in slot `since` or later?"""
        cdef Session* session
        cdef Answer* answer
        if not self.applies:
            return False
        if command.kind == OPEN_SESSION:
            return key_of(command) in self.opened or self.sessions.find_nonce(command.sequence) != NULL
        session = self.sessions.find(command.session, command.nonce)
        if session == NULL:
            return command.session < slot_out
        if command.kind == CLOSE_SESSION or command.sequence > session.last:
            return False
        answer = answer_of(session, command.sequence)
        return answer == NULL or not answer.read or answer.slot >= since

    cdef int retire(self, uint64_t utc_ns, uint64_t slot_out) except -1:
        """Drops from the head of the queue what needs no slot any more, and what is too old."""
        cdef Command command
        cdef Waiting* first
        while self.head < self.tail:
            first = self.at(self.head)
            run_command(first.run, first.slot, &command)
            if self.is_retired(&command, first.since, slot_out):
                if (self.answers.unknown and command.kind != OPEN_SESSION
                        and self.sessions.find(command.session, command.nonce) == NULL):
                    self.answers.report_gone(&command, slot_out)
            elif utc_ns < first.run.time_ns + AGE_MAX_NS:
                return 0
            self.pop()
        return 0

    # -- forwarding and proposing
    cdef int put_forward(self, Bytes* out) except -1:
        """Appends one frame of requests that were not yet forwarded, for the replica beside the active leader. Returns
        1, or 0 if there are none."""
        cdef Command* commands
        cdef uint32_t count = 0
        cdef uint64_t size = 0
        cdef Waiting* entry
        self.forwarded = max(self.forwarded, self.head)
        if self.forwarded == self.tail:
            return 0
        commands = <Command*>malloc(RUN_SLOTS_MAX * sizeof(Command))
        if commands == NULL:
            raise MemoryError("no memory to forward requests")
        try:
            while self.forwarded < self.tail and count < RUN_SLOTS_MAX and size <= RUN_BYTES:
                entry = self.at(self.forwarded)
                run_command(entry.run, entry.slot, &commands[count])
                size += command_bytes(&commands[count])
                count += 1
                self.forwarded += 1
            put_request(out, commands, count)
        finally:
            free(commands)
        return 1

    cdef uint32_t gather(self, Command* commands, uint64_t room) noexcept:
        """Views of up to `room` of the next commands that need a slot, as many as fit one run: first those that wait,
        then those of this wake-up. Returns their number."""
        cdef uint32_t count = 0
        cdef uint64_t size = 0, at = self.head, i = 0
        while count < room and size < RUN_BYTES and at < self.tail:
            run_command(self.at(at).run, self.at(at).slot, &commands[count])
            size += command_bytes(&commands[count])
            count += 1
            at += 1
        while count < room and size < RUN_BYTES and i < self.arrived_count:
            commands[count] = self.arrived[i]
            size += command_bytes(&commands[count])
            count += 1
            i += 1
        return count

    cdef int taken(self, uint32_t count) except -1:
        """The first `count` commands that `gather` gave have their slots."""
        cdef uint32_t i
        while count and self.head < self.tail:
            self.pop()
            count -= 1
        if count:
            for i in range(count):
                self.arrived_bytes -= command_bytes(&self.arrived[i])
            self.arrived_count -= count
            memmove(self.arrived, self.arrived + count, self.arrived_count * sizeof(Command))
        return 0

    # -- queries
    def __len__(self):
        """How many requests wait for a slot here."""
        return self.waiting()

    def invariants(self):
        """Each request waits once, openings that are done wait, and no view outlives its chunk."""
        if <uint64_t>len(self.queued) != self.waiting() or not self.opened <= self.queued:
            raise InvariantViolation(
                f"{self.waiting()} requests wait, of {len(self.queued)} commands, {len(self.opened)} done")
        if self.forwarded > self.tail or (self.head == self.tail and self.bytes):
            raise InvariantViolation(f"the queue of requests ends at {self.tail}, it is forwarded up to "
                                     f"{self.forwarded} and holds {self.bytes} bytes")
        if self.arrived_count or self.arrived_bytes:
            raise InvariantViolation(f"{self.arrived_count} requests are views into a chunk that is gone")
