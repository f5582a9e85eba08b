# Bytes that are on their way put a judgement off: see patience.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.scout cimport Scout


@cython.final
cdef class Patience:
    cdef Context context
    cdef Links links
    cdef Election election

    cdef bint is_arriving(self, Link link) noexcept
    cdef bint waits(self, uint64_t ballot) noexcept
    cdef bint is_stuck(self, Scout scout, uint64_t got_on_ns) noexcept
    cdef int note_arrivals(self) except -1
