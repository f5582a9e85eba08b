# The core's side of a user's machine: see python_machine.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.machine.machine cimport Machine


@cython.final
cdef class PythonMachine(Machine):
    cdef object run
    cdef bint inside                 # there are no jobs: `apply` waits for each command
    cdef list slots                  # of the answers that are prepared
    cdef list answers
    cdef Py_ssize_t next             # of these lists
    cdef uint64_t hash

    cdef int prepare(self, list commands, list answers) except -1
    cdef list run_now(self, list commands, uint64_t answer_bytes_max)
