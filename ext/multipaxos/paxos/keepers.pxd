# The sessions that keep much: see keepers.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.paxos.kept_answers cimport Session


@cython.final
cdef class Keepers:
    cdef uint64_t kept_bytes         # the sum over all sessions
    cdef uint64_t floor              # who keeps no more is never the one that keeps most when the sum is too large
    cdef Session** heap              # [1, count]
    cdef uint64_t count, room

    cdef int note_keeper(self, Session* session) except -1
    cdef void gone(self, Session* session) noexcept
    cdef void remove(self, Session* session) noexcept
    cdef void settle(self, Session* session) noexcept

    # A session was used; it kept `before` bytes until then.
    cdef inline int note(self, Session* session, uint64_t before) except -1:
        self.kept_bytes += session.kept_bytes - before
        if session.kept_bytes > self.floor or session.rank:
            return self.note_keeper(session)
        return 0

    # The session that keeps most, among equals the one that was used least recently; NULL if none is above `floor`.
    cdef inline Session* most(self) noexcept:
        return self.heap[1] if self.count else NULL
