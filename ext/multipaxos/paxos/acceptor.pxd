# The memory of Paxos: see acceptor.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.run cimport Run
from multipaxos.paxos.holes cimport Holes
from multipaxos.paxos.slots cimport Ring

cdef struct Vote:                    # what became of a run
    bint accepted                    # else a higher ballot was adopted, and nothing is accepted
    bint changed                     # is any slot of it held now that was not before? Then it needs a record
    uint64_t first, end              # the slots that are accepted; none where the run lies outside the ring


@cython.final
cdef class Acceptor:
    cdef readonly uint64_t ballot_num
    cdef readonly uint64_t mark
    cdef readonly uint64_t end       # one above the highest slot held
    cdef readonly bint voting
    cdef readonly Ring accepted
    cdef readonly Holes holes
    cdef uint64_t dropped            # the first slot of this ballot that found no room, if that was not told; 0: none
    cdef readonly uint64_t dropped_runs  # phases 2a of which slots found no room
    cdef uint64_t part_bytes         # of one part of a phase 1b, or one run

    cdef bint adopt(self, uint64_t ballot) noexcept
    cdef Vote on_phase2a(self, Run* run, bint has_room) noexcept
    cdef uint64_t take_dropped(self) noexcept
    cdef bint learn(self, Run* run, uint64_t first, uint64_t end) except -1
    cdef bint may_promise(self, uint64_t first, uint64_t part) noexcept
    cdef bint hold(self, Run* run, uint64_t first, uint64_t end) noexcept
    cdef int answer_phase1a(self, Bytes* out, uint64_t part, uint64_t bytes_max) except -1
