"""Requests: a replica's commands that have no slot yet (`requests` of PMMC section 2.1).

Theory. A command arrives from a client, or from another replica that forwards it. In the wake-up that brings it, it is
a view into the chunk (`arrived`). If it gets a slot before the wake-up ends, it is never copied. The others are copied
in one run into the queue (`stash`), where they wait until the replica proposes them, or sees them applied after it
forwarded them to the leader's replica. `gather` gives views of the next commands that need a
slot and `taken` removes them.

Rules.
- Requests are bounded by number and bytes, and those of one flow by what is free: so a client that sends without
  measure has half the queue at most, and there is room for another one's. Above that a client is answered `overloaded`
  at once; a replica that forwards keeps its requests anyway. What a session sends behind a command that was refused so
  is refused too: it would be ahead of its turn, and take a slot for nothing.
- A run or a request frame ends before a command that it has no room for, so a large command is alone in its own, and
  nothing small waits for its bytes.
- A request leaves the queue when it gets a slot, when its command was applied, or after ten seconds: then it was void
  (ahead of its turn, say), or its client was answered or is gone. A client that still wants an answer asks again. So
  the head of the queue never holds up the others for ever.
- A command that this replica has applied is answered from the session table, without a slot: the first answer is final.
  Only a read whose answer was not kept needs a slot again, once for all its copies of a wake-up; it is done when it was
  executed after it came.
- A client is refused only when its command is applied, with one exception: a session below `slot_out` that is not in
  the table with this nonce was closed or evicted, or never opened. Of what a peer forwards, that is dropped which this
  replica would retire: the peer retires it when it has applied as much. Whether a sequence is ahead, only the log says.
- Where nothing is applied (a node without a machine), no session shows what became of a request: it leaves only with a
  slot, by its age, or when the node stops leading, because the replica that forwarded it keeps it.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memmove, memset

from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.array cimport array_grow
from multipaxos.paxos.limits cimport READ_AGAIN_BYTES, REQUESTS_BYTES_MAX, REQUESTS_MAX, RUN_BYTES
from multipaxos.paxos.kept_answers cimport Answer, Session, answer_data, answer_of, asked_in, note_asked
from multipaxos.paxos.queue cimport Queue, Waiting
from multipaxos.paxos.session_table cimport Outcome, SessionTable, status_without_session
from multipaxos.paxos.turns cimport Flow, flow_of
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport (
    ACKNOWLEDGED, APPLY, CLOSE_SESSION, EXPIRED, OPENED, OPEN_SESSION, OVERLOADED, REFUSED, RUN_SLOTS_MAX, SETTING,
    Command, Commands,
)
from multipaxos.wire.reading cimport command_at
from multipaxos.wire.run cimport Run, run_command, run_drop, run_new
from multipaxos.wire.writing cimport command_bytes, put_request

from multipaxos.errors import InvariantViolation

cdef uint64_t AGE_MAX_NS = 10_000_000_000


@cython.final
cdef class Requests:
    """The requests of one replica. `applies`: are commands applied here, so that `sessions` shows their outcome?"""

    def __cinit__(self, SessionTable sessions not None, Answers answers not None, bint applies):
        self.sessions = sessions
        self.answers = answers
        self.applies = applies
        self.queue = Queue()
        self.picked = <uint64_t*>malloc(RUN_SLOTS_MAX * sizeof(uint64_t))
        if self.picked == NULL:
            raise MemoryError("no memory for requests")

    def __dealloc__(self):
        free(self.arrived)
        free(self.picked)

    # -- arrival
    cdef int on_request(self, uint64_t link, Allowance* allowance, const Commands* commands, uint64_t slot_out,
                        bytes refusal) except -1:
        """The commands of a frame arrive. Returns 1 if one of them is of a kind that this link does not carry.
        `allowance`: the client's; NULL: a peer forwards them.
        `refusal`: why settings are refused, empty if they are not; None where the link does not carry settings."""
        cdef Command command
        cdef Session* session = NULL
        cdef uint32_t i
        if not self.arrived_count:
            self.wakeup += 1
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
            self.on_command(link, allowance, &command, session, slot_out, refusal)
        return 0

    cdef int refuse_setting(self, uint64_t link, const Command* command, bytes refusal) except -1:
        """Answers a setting that is not to be decided; nothing is applied, and the session goes on at its sequence."""
        cdef Outcome outcome
        memset(&outcome, 0, sizeof(Outcome))
        outcome.session, outcome.status = command.session, REFUSED
        outcome.data, outcome.size = refusal, <uint32_t>len(refusal)
        return self.answers.report(link, &outcome, command.sequence)

    cdef int on_command(self, uint64_t link, Allowance* allowance, const Command* command, Session* session,
                        uint64_t slot_out, bytes refusal) except -1:
        """Answers a command of a client, if its answer is known; else it has arrived, or there is no room for it."""
        if allowance != NULL:
            if self.answer_again(link, allowance, command, session, slot_out):
                self.void_commands += 1
                return 0
        elif self.is_retired(command, slot_out, slot_out):
            self.void_commands += 1
            return 0
        if command.kind == SETTING and refusal:
            return self.refuse_setting(link, command, refusal)
        if command.kind == OPEN_SESSION and not command.sequence:
            return 0                     # a peer's; it would open nothing
        if not self.has_room(command) or (
                session != NULL and session.refused > session.last and command.sequence > session.refused):
            self.overloaded += 1
            if session != NULL and (session.refused <= session.last or command.sequence < session.refused):
                session.refused = command.sequence
            return self.answers.report_status(link, command, OVERLOADED, 0) if allowance != NULL else 0
        if session != NULL and session.refused:
            session.refused = 0
        self.arrived[self.arrived_count] = command[0]
        self.arrived_count += 1
        self.arrived_bytes += command_bytes(command)
        return 0

    cdef bint flow_has_room(self, const Command* command) noexcept:
        """Is there room for a command of its flow, which may hold as much as is free?"""
        cdef uint64_t count = self.queue.count + self.arrived_count, bytes = self.queue.bytes + self.arrived_bytes
        cdef Flow* flow = &self.queue.turns.flows[flow_of(command)]
        return (count + flow.count + self.arrived_count < REQUESTS_MAX
                and bytes + flow.bytes + self.arrived_bytes <= REQUESTS_BYTES_MAX)

    cdef bint answer_opening(self, uint64_t link, Allowance* allowance, uint64_t nonce, Outcome* outcome) except -1:
        """What is known of an opening; false: it has to be decided, and this link waits for it."""
        cdef Session* session = self.sessions.find_nonce(nonce)
        if session != NULL:
            session.link = link
            outcome.status, outcome.session, outcome.slot = OPENED, session.id, session.id
        elif not nonce:
            outcome.status = EXPIRED
        elif not allowance.openings and self.answers.nonces.get(nonce) != link:
            self.refused_openings += 1
            outcome.status = OVERLOADED
        else:
            if allowance.openings:
                allowance.openings -= 1
            self.answers.expect_opening(nonce, link)
            return False
        return True

    cdef int answer_read(self, uint64_t link, Allowance* allowance, const Command* command, Answer* answer) except -1:
        """A read that was executed is asked for again, and nothing of its answer is kept: 0, it has to be executed
        again. 1: a copy of it has arrived in this wake-up, whose answer this link gets; or the link asked too often."""
        if asked_in(answer) == self.wakeup:
            return 1
        if allowance.repeated_bytes < READ_AGAIN_BYTES:
            self.refused_repeats += 1
            self.answers.report_status(link, command, OVERLOADED, 0)
            return 1
        allowance.repeated_bytes -= READ_AGAIN_BYTES
        note_asked(answer, self.wakeup)
        return 0

    cdef bint answer_again(self, uint64_t link, Allowance* allowance, const Command* command, Session* session,
                           uint64_t slot_out) except -1:
        """From now on this link gets the answers of the command's session, or of its opening. True if the command needs
        no slot: its answer is known, and was reported, or comes with that to a copy of it."""
        cdef Outcome outcome
        cdef Answer* answer
        memset(&outcome, 0, sizeof(Outcome))
        outcome.session = command.session
        if command.kind == OPEN_SESSION:
            if not self.answer_opening(link, allowance, command.sequence, &outcome):
                return False
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
                return self.answer_read(link, allowance, command, answer)
            outcome.status = ACKNOWLEDGED
            if answer != NULL and (answer.size > allowance.repeated_bytes or not self.answers.may_repeat(answer.size)):
                self.refused_repeats += 1
                outcome.status = OVERLOADED  # the client asks again, after a pause
            elif answer != NULL:
                allowance.repeated_bytes -= answer.size
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
                    self.queue.push(run, slot, slot_out)
            finally:
                run_drop(run)
            at += count
        self.arrived_count = 0
        self.arrived_bytes = 0
        return 0

    # -- what was applied meanwhile
    cdef bint is_retired(self, const Command* command, uint64_t since, uint64_t slot_out) noexcept:
        """Was it applied here since it came, in slot `since` or later?"""
        cdef Session* session
        cdef Answer* answer
        if not self.applies:
            return False
        if command.kind == OPEN_SESSION:
            return self.queue.has_opened(command) or self.sessions.find_nonce(command.sequence) != NULL
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
        while self.queue.head < self.queue.tail:
            first = self.queue.at(self.queue.head)
            run_command(first.run, first.slot, &command)
            if self.is_retired(&command, first.since, slot_out):
                if (self.answers.unknown and command.kind != OPEN_SESSION
                        and self.sessions.find(command.session, command.nonce) == NULL):
                    self.answers.report_gone(&command, slot_out)
            elif utc_ns < first.run.time_ns + AGE_MAX_NS:
                return 0
            self.queue.remove(self.queue.head)
        return 0

    # -- forwarding and proposing
    cdef int put_forward(self, Bytes* out) except -1:
        """Appends one frame of requests that were not yet forwarded, as their turns come, for the replica beside the
        active leader. Returns 1, or 0 if there are none."""
        cdef Command* commands
        cdef uint32_t count = 0, bytes
        cdef uint64_t size = 0
        if not self.queue.turns.size:
            return 0
        commands = <Command*>malloc(RUN_SLOTS_MAX * sizeof(Command))
        if commands == NULL:
            raise MemoryError("no memory to forward requests")
        try:
            while self.queue.turns.size and count < RUN_SLOTS_MAX:
                bytes = self.queue.next_bytes()
                if count and size + bytes > RUN_BYTES:
                    break
                self.queue.take_turn(&commands[count])
                size += bytes
                count += 1
            put_request(out, commands, count)
        finally:
            free(commands)
        return 1

    cdef uint32_t gather(self, Command* commands, uint64_t room, uint64_t utc_ns, uint64_t slot_out,
                         uint64_t longest) except? 0:
        """Views of up to `room` of the next commands that need a slot, as many as fit one run, and none of more than
        `longest` bytes. Returns their number. Where requests wait, or only short ones are wanted, those of this wake-up
        go to the queue and get their turns too."""
        cdef uint32_t count = 0
        cdef uint64_t size = 0, bytes
        self.picked_count = 0
        if self.queue.count or longest < REQUESTS_BYTES_MAX:
            self.stash(utc_ns, slot_out)
            return self.pick(commands, room, longest)
        while count < room and count < self.arrived_count:
            bytes = command_bytes(&self.arrived[count])
            if count and size + bytes > RUN_BYTES:
                break
            commands[count] = self.arrived[count]
            size += bytes
            count += 1
        return count

    cdef uint32_t pick(self, Command* commands, uint64_t room, uint64_t longest) except? 0:
        """What `gather` gives of the queue."""
        cdef uint32_t count = 0, bytes
        cdef uint64_t size = 0
        self.queue.forward_again()             # what was forwarded when another node led waits for a slot here
        while count < room and self.queue.turns.size:
            bytes = self.queue.next_bytes()
            if bytes > longest or (count and size + bytes > RUN_BYTES):
                break
            self.picked[count] = self.queue.take_turn(&commands[count])
            size += bytes
            count += 1
        self.picked_count = count
        return count

    cdef int taken(self, uint32_t count) except -1:
        """The commands that `gather` gave have their slots."""
        cdef uint32_t i
        if self.picked_count:
            for i in range(self.picked_count):
                self.queue.remove(self.picked[i])
            self.picked_count = 0
            return 0
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
        """The queue is in order, and no view outlives its chunk."""
        self.queue.invariants()
        if self.arrived_count or self.arrived_bytes:
            raise InvariantViolation(f"{self.arrived_count} requests are views into a chunk that is gone")
