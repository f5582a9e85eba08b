# Which applied slot a replica's state is compared at: see landmark.pyx.
cimport cython

from libc.stdint cimport uint64_t


@cython.final
cdef class Landmark:
    cdef readonly uint64_t slot      # 0: none since the last `clear`
    cdef readonly uint64_t hash      # of the state after that slot
    cdef uint64_t mask               # a slot with one of these bits has no more trailing zero bits than `slot`

    cpdef void note(self, uint64_t slot, uint64_t hash) noexcept
    cpdef void clear(self) noexcept

    # Is this slot, which is being applied, to be noted?
    cdef inline bint wants(self, uint64_t slot) noexcept:
        return not slot & self.mask
