"""The user's own machine, as the replica sees it.

Theory. A user's code may be slow, endless or deep, so it never runs inside the core. The core hands out commands as
jobs, whose answers come back (`paxos.jobs`); `apply` here takes the answer that was prepared for its slot, and goes on
with the hash. A user's machine offers no hash of its state, so its hash is chained over everything that it was given
and answered, in order: replicas that applied the same commands with the same answers agree.

Rules.
- A refusal is an answer too; its text may differ between processes, so the hash counts the refusal only.
- Every command that `apply` is given has its answer; a command without one is a bug of the replica, and stops the node.
"""

cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from multipaxos.machine.hashing cimport hash_chained
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.wire.buffer cimport Bytes, bytes_put

from multipaxos.errors import InvariantViolation


@cython.final
cdef class PythonMachine(Machine):
    """A user's `StateMachine`, which runs elsewhere. `run(commands, answer_bytes_max)` has it apply commands while the
    caller waits, and returns answers, see `run_now`: recovery uses it. `version`: the newest that the machine can be.
    `inside`: there are no jobs, and `apply` waits for each command; for tests that need the core's steps one by one."""

    def __init__(self, run, uint32_t version=1, *, bint inside=False):
        self.run = run
        self.version = version
        self.inside = inside
        self.slots, self.answers = [], []

    cdef int prepare(self, list commands, list answers) except -1:
        """The machine has applied the first of these commands (as `Output.job` has them) and has given these answers,
        [(refused, bytes)]."""
        self.slots = [command[0] for command in commands[:len(answers)]]
        self.answers = answers
        self.next = 0
        return 0

    cdef list run_now(self, list commands, uint64_t answer_bytes_max):
        """Has the machine apply commands while the caller waits; returns the answers of the first of them, see
        `Output.job`."""
        return self.run(commands, answer_bytes_max)

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        cdef bytes answer
        cdef bint refused
        if self.inside:
            commands = [(context.slot, context.time_ns, context.session, context.machine_version, command[:size])]
            self.prepare(commands, self.run(commands, 0))
        if self.next >= len(self.answers) or self.slots[self.next] != context.slot:
            raise InvariantViolation(f"the machine has no answer for the command of slot {context.slot}")
        refused, answer = self.answers[self.next]
        self.next += 1
        if not refused and <uint64_t>len(answer) > self.semantics.machine_answer_bytes_max:
            refused, answer = True, b"ValueError: the machine answered with %d bytes, more than %d" % (
                len(answer), self.semantics.machine_answer_bytes_max)
        bytes_put(reply, <const uint8_t*>(<char*>answer), len(answer))
        self.hash = hash_chained(self.hash ^ context.slot, command, size)
        if refused:
            self.hash = hash_chained(~self.hash, NULL, 0)
        else:
            self.hash = hash_chained(self.hash, <const uint8_t*>(<char*>answer), len(answer))
        return refused

    cdef uint64_t state_hash(self):
        return self.hash
