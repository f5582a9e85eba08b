# The session that keeps most: see keepers.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.paxos.kept_answers cimport Session


@cython.final
cdef class Keepers:
    cdef uint64_t kept_bytes         # the sum over all sessions
    cdef uint64_t bound              # of the sum
    cdef bint is_ordered             # is every session in the heap?
    cdef Session** heap              # [1, count]
    cdef uint64_t count, room

    # A session was used; it kept `before` bytes until then.
    cdef inline int note(self, Session* session, uint64_t before) except -1:
        self.kept_bytes += session.kept_bytes - before
        return self.place(session) if self.is_ordered else 0

    cdef Session* most(self, Session* oldest) except NULL
    cdef void gone(self, Session* session) noexcept
    cdef int place(self, Session* session) except -1
    cdef void forget_order(self) noexcept
    cdef void settle(self, Session* session) noexcept
    cdef int invariants(self, Session* oldest) except -1
