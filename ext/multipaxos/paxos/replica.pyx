"""The replica: proposals, decisions, slot_in, slot_out, WINDOW (PMMC section 2.1).

Theory. A client's command is a *request* until it has a slot (`requests`), a *proposal* from then until the slot is
decided, and then a *decision*, applied in slot order and exactly once (`session_table`) and reported to its client
(`answers`). Where another command wins the slot, the proposal becomes a request again. WINDOW bounds the slots in
flight; bytes bound them too. A machine that runs elsewhere is given decided commands as `jobs`: there slot_out waits
for its answers, while `undecided` shows how far the decisions reach.

Rules.
- R1  one command per slot among the decisions: a second, different one is a violation of the protocol and stops the
  node.
- R2, R3  every slot below slot_out is decided here and was applied, in order; nothing above is. A decision at slot_out
  waits only for a job.
- R4  slot_out only rises.
- R5  it proposes only where slot_in < slot_out + WINDOW, and within the ring (which a slow disk holds back).
- Only the replica beside the active leader proposes; the others forward their requests to it and keep them until they
  see them applied. So a command may be decided twice, and sessions make the second one a repetition.
- A replica without a machine (a leader's node that is no replica) follows decisions without applying them, and keeps no
  request once it is passive.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp

from multipaxos.machine.machine cimport Context, Machine, RefusingMachine
from multipaxos.machine.python_machine cimport PythonMachine
from multipaxos.paxos.answers cimport Answers
from multipaxos.paxos.jobs cimport Jobs
from multipaxos.paxos.landmark cimport Landmark
from multipaxos.paxos.requests cimport Allowance, Requests
from multipaxos.paxos.session_table cimport Outcome, SessionTable
from multipaxos.paxos.settings cimport Settings
from multipaxos.paxos.slots cimport Ring, Row
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport (
    APPLY, CLOSE_SESSION, OPEN_SESSION, RUN_SLOTS_MAX, SETTING, Command, Commands,
)
from multipaxos.wire.run cimport Run, run_command, run_new

import multipaxos.machine.semantics as known_semantics
from multipaxos.errors import InvariantViolation, MachineStopped

cdef enum:
    ROW_WAITS = 1                    # a flag of a row of `proposals`: its command waits among the requests again


cdef bint same(const Command* a, const Command* b) noexcept:
    """Is it one and the same command?"""
    return (a.session == b.session and a.sequence == b.sequence and a.nonce == b.nonce and a.kind == b.kind
            and a.size == b.size and (a.size == 0 or memcmp(a.payload, b.payload, a.size) == 0))


@cython.final
cdef class Replica:
    """One replica. `machine`: None on a node without this role; `capacity`: how many slots its rings span, a power
    of two; `window`: WINDOW; `flight_bytes_max`: bound of the bytes of proposals in flight; `versions`: of the
    semantics, as far as this program knows them."""

    def __cinit__(self, Machine machine, uint64_t capacity, uint64_t window, uint64_t flight_bytes_max,
                  tuple versions not None=known_semantics.VERSIONS):
        self.machine = machine
        self.decisions = Ring(capacity)
        self.proposals = Ring(capacity)
        self.versions = versions
        self.semantics = versions[0]
        self.sessions = SessionTable(self.semantics)
        if machine is not None:
            machine.use(self.semantics)
        self.settings = Settings(len(versions), machine.version if machine is not None else 1)
        self.landmark = Landmark()
        self.answers = Answers()
        self.requests = Requests(self.sessions, self.answers, machine is not None)
        self.window = window
        self.flight_bytes_max = flight_bytes_max
        self.slot_in = self.slot_out = self.undecided = 1
        self.refused = ()
        self.refusing = RefusingMachine()
        if isinstance(machine, PythonMachine) and not (<PythonMachine>machine).inside:
            self.jobs = Jobs(machine, self.decisions, self.sessions, self.settings)

    # -- requests
    cdef int on_request(self, uint64_t link, Allowance* allowance, const Commands* commands, bytes refusal) except -1:
        """PMMC's message `request`, for all commands of a frame. Returns 1 if one is of a kind that this link does not
        carry; `allowance`, `refusal`: see `Requests.on_request`."""
        return self.requests.on_request(link, allowance, commands, self.slot_out, refusal)

    cdef int retire(self, uint64_t utc_ns) except -1:
        """Drops from the head of the requests what needs no slot any more."""
        return self.requests.retire(utc_ns, self.slot_out)

    cdef int put_forward(self, Bytes* out, uint64_t utc_ns) except -1:
        """Appends a frame of requests that were not yet forwarded, for the replica beside the active leader. Returns 1,
        or 0 if there are none."""
        self.retire(utc_ns)
        return self.requests.put_forward(out)

    # -- proposals
    cdef Run* propose(self, uint64_t ballot, uint64_t limit, uint64_t utc_ns, uint64_t longest) except? NULL:
        """PMMC's propose(), for as many requests as fit one run: gives them the next slots, below `limit`. No command
        is longer than `longest`. The caller gives the run, which is of `ballot`, to the leader's commanders and drops
        it. NULL (no exception): nothing to propose, or no room in WINDOW or bytes. First ask `may_propose`."""
        cdef uint64_t room, slot
        cdef Command* commands
        cdef uint32_t count
        cdef Run* run
        cdef Row* row
        limit = min(limit, self.slot_out + self.window)
        limit = min(limit, self.decisions.base + self.decisions.capacity)
        if not longest or self.slot_in >= limit or self.proposals.bytes > self.flight_bytes_max:
            return NULL
        self.retire(utc_ns)
        room = min(<uint64_t>RUN_SLOTS_MAX, limit - self.slot_in)
        commands = <Command*>malloc(room * sizeof(Command))
        if commands == NULL:
            raise MemoryError("no memory to propose")
        try:
            count = self.requests.gather(commands, room, utc_ns, self.slot_out, longest)
            if count == 0:
                return NULL
            run = run_new(ballot, self.slot_in, utc_ns, commands, count)
        finally:
            free(commands)
        self.requests.taken(count)
        for slot in range(run.first, run.first + run.count):
            row = self.proposals.put(slot)
            if row != NULL:
                self.proposals.set_run(row, run)
        self.slot_in = run.first + run.count
        return run

    cdef int leader_changed(self) except -1:
        """Another node leads, or none: what waits has to be forwarded again, and what was proposed here and is
        undecided becomes a request too. The proposals stay, as PMMC has it: this node's leader may be adopted again."""
        cdef uint64_t slot
        cdef Row* row
        if self.machine is None:
            return 0
        for slot in range(max(self.slot_out, self.proposals.base), self.slot_in):
            row = self.proposals.find(slot)
            if row != NULL and row.run != NULL and not row.flags:
                self.requests.queue.push(row.run, slot, self.slot_out)
                row.flags = ROW_WAITS
        self.requests.queue.forward_again()
        return 0

    # -- decisions
    cdef void begin_at(self, uint64_t slot) noexcept:
        """All slots below `slot` were decided elsewhere and are not fetched, because this replica has no machine that
        could apply them."""
        self.decisions.advance(slot)
        self.proposals.advance(slot)
        self.slot_in = self.slot_out = self.undecided = slot

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

    cdef void refuse(self, tuple slots):
        """The operator has had the commands of these slots refused, on every replica. None of the slots is applied."""
        self.refused = slots

    cdef int perform(self) except -1:
        """Applies the decisions from slot_out on, without gaps, as far as there is no job to wait for."""
        cdef Row* row
        try:
            self.apply_decided()
        except MemoryError as error:
            raise self.stopped(error) from error
        self.undecided = max(self.undecided, self.slot_out)
        if self.jobs is not None:
            row = self.decisions.find(self.undecided)
            while row != NULL and row.run != NULL:
                self.undecided += 1
                row = self.decisions.find(self.undecided)
        return 0

    cdef int perform_all(self) except -1:
        """`perform`, and waits for every job: only where nothing else has to go on."""
        self.perform()
        while self.jobs is not None and self.jobs.take():
            self.jobs.run_now()
            self.perform()
        return 0

    cdef object stopped(self, object error):
        """The error that says which command had no memory."""
        cdef Row* row = self.decisions.find(self.slot_out)
        cdef Command command
        run_command(row.run, self.slot_out, &command)
        return MachineStopped(self.slot_out, command.session, command.size, error)

    cdef int apply_decided(self) except -1:
        cdef Row* row
        while True:
            row = self.decisions.find(self.slot_out)
            if row == NULL or row.run == NULL:
                break
            if self.jobs is not None and self.jobs.must_wait(self.slot_out, self.time_ns, self.refused):
                break
            self.settle(row.run, self.slot_out)
            self.apply(row.run, self.slot_out)
            if self.machine is not None and self.landmark.wants(self.slot_out):
                self.landmark.note(self.slot_out, self.state_hash())
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
            if not same(&mine, &winner) and not own.flags and not self.requests.is_retired(&mine, slot, self.slot_out):
                self.reproposals += 1
                self.requests.queue.push(own.run, slot, self.slot_out)
        self.proposals.clear(own)
        return 0

    cdef int apply(self, Run* run, uint64_t slot) except -1:
        cdef Command command
        cdef Context context
        cdef Outcome outcome
        cdef Machine machine = self.machine
        if run.time_ns > self.time_ns:
            self.time_ns = run.time_ns
        if machine is None:
            return 0
        run_command(run, slot, &command)
        if command.kind not in (APPLY, OPEN_SESSION, CLOSE_SESSION, SETTING):
            return 0
        context.slot = slot
        context.time_ns = self.time_ns
        context.session = command.session
        context.machine_version = <uint32_t>self.settings.machine_version
        if self.refused and slot in self.refused:
            machine = self.refusing
        elif command.kind == SETTING:
            machine = self.settings
        self.sessions.apply(&command, &context, machine, &outcome)
        if command.kind == OPEN_SESSION:
            self.requests.queue.note_opened(&command)
        elif command.kind == SETTING:
            self.follow_settings()
        if self.sessions.evicted:            # commands that their clients have in flight will be answered `expired`
            for session, nonce, link in self.sessions.evicted:
                self.answers.expect_session(session, nonce, link)
            self.sessions.evicted.clear()
        return self.answers.report_applied(&command, &outcome)

    cdef uint64_t state_hash(self):
        """The hash of all replicated state, after the slot applied last. Not for a node without a machine."""
        return self.machine.state_hash() ^ self.sessions.state_hash() ^ self.settings.state_hash()

    cdef int follow_settings(self) except -1:
        """A setting was applied: the semantics that it demands hold for the slots after it."""
        if self.settings.semantics == self.semantics.version:
            return 0
        self.semantics = self.versions[self.settings.semantics - 1]
        self.sessions.use(self.semantics)
        return self.machine.use(self.semantics)

    cdef uint64_t end_of_decisions(self, uint64_t limit) noexcept:
        """The first slot from `undecided` on, below `limit`, whose decision is held: a gap ends there."""
        cdef uint64_t slot
        cdef Row* row
        for slot in range(self.undecided, limit):
            row = self.decisions.find(slot)
            if row != NULL and row.run != NULL:
                return slot
        return limit

    # -- queries
    cdef tuple command_in(self, Ring ring, uint64_t slot):
        """(kind, session, nonce, sequence, payload) of a slot of the ring, or None."""
        cdef Row* row = ring.find(slot)
        cdef Command command
        if row == NULL or row.run == NULL:
            return None
        run_command(row.run, slot, &command)
        return command.kind, command.session, command.nonce, command.sequence, command.payload[:command.size]

    def proposal_at(self, uint64_t slot):
        """(kind, session, nonce, sequence, payload) that this replica has proposed in a slot, or None."""
        return self.command_in(self.proposals, slot)

    def decision_at(self, uint64_t slot):
        """(kind, session, sequence, payload) decided in a slot; None where it is not known, or not in memory."""
        cdef tuple found = self.command_in(self.decisions, slot)
        return None if found is None else found[:2] + found[3:]

    def invariants(self):
        """R2, R4: the slot at slot_out is not decided here or waits for a job, and slot_in is not below slot_out."""
        cdef Row* row = self.decisions.find(self.undecided)
        if ((row != NULL and row.run != NULL)
                or (self.undecided > self.slot_out and (self.jobs is None or not self.jobs.commands))):
            raise InvariantViolation(f"R2: slot {self.slot_out} is decided and not applied")
        if self.slot_in < self.slot_out:
            raise InvariantViolation(f"R4: slot_in {self.slot_in} is below slot_out {self.slot_out}")
        if self.decisions.base != self.proposals.base or self.decisions.base > self.slot_out:
            raise InvariantViolation(f"the replica's rings begin at {self.decisions.base} and {self.proposals.base}, "
                                     f"slot_out is {self.slot_out}")
        self.sessions.invariants()
        self.requests.invariants()
        self.answers.invariants()
