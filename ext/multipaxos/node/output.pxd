# What leaves the core: see output.pyx.
cimport cython

from libc.stdint cimport uint64_t

cdef list NOTHING                   # empty; shared by all outputs, so nobody changes it


@cython.final
cdef class Event:
    cdef readonly str kind
    cdef readonly uint64_t ballot
    cdef readonly uint64_t slot
    cdef readonly str text


@cython.final
cdef class Batch:
    cdef readonly uint64_t token
    cdef readonly dict meta
    cdef readonly bytes records


@cython.final
cdef class Read:
    cdef readonly uint64_t token
    cdef readonly uint64_t first, end
    cdef readonly uint64_t max_bytes


@cython.final
cdef class ApplyJob:
    cdef readonly uint64_t token
    cdef readonly list commands
    cdef readonly uint64_t answer_bytes_max


@cython.final
cdef class Output:
    cdef readonly list writes
    cdef readonly list bulk
    cdef readonly Batch batch
    cdef readonly list reads
    cdef readonly ApplyJob job
    cdef readonly list closes
    cdef readonly list events
    cdef readonly list status_requests
    cdef readonly str failed
    cdef readonly bint is_plain

    cdef void look(self) noexcept
