"""Jobs: decided commands for a machine that runs elsewhere, and the answers that come back.

Theory. A user's machine has a thread of its own, and the core never waits for it. Decided commands leave the core as a
job, one at a time; until its answers are back, slot_out stands still and everything else goes on. Then the replica
applies slot by slot, as it always does, and the machine (`python_machine`) hands out the answers that are prepared.

A job is a stretch of decided slots whose commands the machine will surely apply: no-ops may lie between them, and
nothing else. Whatever is judged otherwise - an opening, a repetition, a command ahead of its turn, a setting - ends the
stretch, and is judged when the answers before it are there. So the judgement of a command never rests on an answer
that is not known yet, and a job gives the machine exactly the commands that it would have been given one by one.

One judgement does rest on answers: the bounds of kept answers. A job carries how many bytes of answers may be kept
before any bound could be reached (`answer_bytes_max`). Whoever runs the job stops when the answers have more, and
answers the first of its commands only. The rest is planned again.

Rules.
- At most one job exists, and its commands lie in slots from slot_out on.
- The machine is given a command once, in slot order, as the same (slot, time, session, payload) on every replica.
- How a stretch is divided into jobs is no replicated fact: it depends on what has been decided by then.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.machine.python_machine cimport PythonMachine
from multipaxos.paxos.limits cimport JOB_BYTES, JOB_SLOTS
from multipaxos.paxos.session_table cimport SessionTable
from multipaxos.paxos.settings cimport Settings
from multipaxos.paxos.slots cimport Ring, Row
from multipaxos.wire.messages cimport APPLY, NOOP, Command
from multipaxos.wire.run cimport run_command

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Jobs:
    """The jobs of one replica, whose decisions, sessions and settings these are."""

    def __cinit__(self, PythonMachine machine not None, Ring decisions not None, SessionTable sessions not None,
                  Settings settings not None):
        self.machine = machine
        self.decisions = decisions
        self.sessions = sessions
        self.settings = settings
        self.commands = []

    cdef bint must_wait(self, uint64_t slot, uint64_t time_ns, tuple refused) except -1:
        """Has `slot`, the next one to be applied, to wait for the machine? Plans a job if there is none. `time_ns`:
        the machine's clock; `refused`: slots whose commands the machine is never given."""
        return slot >= self.end and (self.commands or self.plan(slot, time_ns, refused))

    cdef bint plan(self, uint64_t slot, uint64_t time_ns, tuple refused) except -1:
        """Makes a job that begins at `slot`; returns False if the machine is not given the command there."""
        cdef uint64_t end = slot + JOB_SLOTS, room = <uint64_t>-1, size = 0, before
        cdef list commands = []
        cdef dict planned = {}           # session -> how many of the job's commands are its
        cdef Command command
        cdef Row* row
        while slot < end and size < JOB_BYTES:
            row = self.decisions.find(slot)
            if row == NULL or row.run == NULL:
                break
            run_command(row.run, slot, &command)
            time_ns = max(time_ns, row.run.time_ns)
            if command.kind == APPLY and slot not in refused:
                before = planned.get(command.session, 0)
                if not self.sessions.will_apply(&command, before, &room):
                    break
                planned[command.session] = before + 1
                commands.append((slot, time_ns, command.session, self.settings.machine_version,
                                 command.payload[:command.size]))
                size += command.size
            elif command.kind != NOOP or not commands:
                break
            slot += 1
        self.commands = commands
        self.answer_bytes_max = room
        self.handed_out = False
        return len(commands) > 0

    cdef bint take(self) noexcept:
        """True, once, if there is a job to be run."""
        if self.handed_out or not self.commands:
            return False
        self.handed_out = True
        return True

    cdef int on_answers(self, list answers) except -1:
        """The machine has applied the first commands of the job, at least one."""
        if not 0 < len(answers) <= len(self.commands):
            raise InvariantViolation(f"{len(answers)} answers came for a job of {len(self.commands)} commands")
        self.machine.prepare(self.commands, answers)
        self.end = self.commands[len(answers) - 1][0] + 1
        self.commands = []
        return 0

    cdef int run_now(self) except -1:
        """Has the machine run the job while the caller waits."""
        return self.on_answers(self.machine.run_now(self.commands, self.answer_bytes_max))
