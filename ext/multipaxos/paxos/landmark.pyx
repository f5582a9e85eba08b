"""The slot at which a replica's state is compared with that of others.

Theory. Replicas tell each other (slot, hash of the state after it) about once a second, and two hashes can be compared
only if they are of one slot. Each replica applies many slots between two tellings and tells one of them, so all have to
choose the same one without asking each other. Each chooses the slot with the most trailing zero bits. If no replica
applies more than 2**j slots from one telling to the next, every replica tells every multiple of 2**j: among 2**j
consecutive slots there is one multiple, and no other slot of them has as many trailing zero bits.

Rules.
- The hash is taken when the slot is applied, and only if the slot has more trailing zero bits than the one noted so
  far. Of 2**j slots that are applied between two tellings at most j + 1 cost a hash.
"""

cimport cython

from libc.stdint cimport uint64_t


@cython.final
cdef class Landmark:
    """The best slot that was applied since the last `clear`."""

    cpdef void note(self, uint64_t slot, uint64_t hash) noexcept:
        """The state after `slot` has this hash, if `wants` says that it is to be noted."""
        if self.wants(slot):
            self.slot = slot
            self.hash = hash
            self.mask = (slot & -slot) << 1
            self.mask -= 1

    cpdef void clear(self) noexcept:
        """The slot was told."""
        self.slot = self.hash = self.mask = 0
