# Commands for a machine that runs elsewhere: see jobs.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.machine.python_machine cimport PythonMachine
from multipaxos.paxos.session_table cimport SessionTable
from multipaxos.paxos.settings cimport Settings
from multipaxos.paxos.slots cimport Ring


@cython.final
cdef class Jobs:
    cdef PythonMachine machine
    cdef Ring decisions
    cdef SessionTable sessions
    cdef Settings settings
    cdef readonly list commands      # of the job, as `Output.job` has them; empty: there is none
    cdef readonly uint64_t answer_bytes_max
    cdef bint handed_out             # was the job taken?
    cdef uint64_t end                # for the commands of slots below it answers are prepared

    cdef bint must_wait(self, uint64_t slot, uint64_t time_ns, tuple refused) except -1
    cdef bint plan(self, uint64_t slot, uint64_t time_ns, tuple refused) except -1
    cdef bint take(self) noexcept
    cdef int on_answers(self, list answers) except -1
    cdef int run_now(self) except -1
