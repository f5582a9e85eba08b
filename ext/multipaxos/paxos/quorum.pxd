# Quorum systems over 64-bit vote masks (bit i: the acceptor with node id i). See quorum.pyx.
from libc.stdint cimport uint64_t

cdef class QuorumSystem:
    cdef readonly uint64_t acceptors                  # mask of all acceptors
    cdef int kind                                     # sizes or grid
    cdef int size1, size2                             # for sizes
    cdef int rows, columns                            # for a grid
    cdef uint64_t* row_masks
    cdef uint64_t* column_masks
    cdef bint is_phase1(self, uint64_t votes) noexcept   # does `votes` hold a phase-1 quorum?
    cdef bint is_phase2(self, uint64_t votes) noexcept
