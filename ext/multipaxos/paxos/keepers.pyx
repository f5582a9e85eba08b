"""The sum of what all sessions keep, and the session that keeps most.

Theory. When the sum is above its bound, the session that keeps most is evicted, among equals the one whose last use
lies in the lowest slot. A heap finds it without a look at every session. If `count` sessions keep more than `bound`
together, the one that keeps most keeps more than bound / count, so the heap need only hold sessions above `floor` =
bound / sessions_max: most clients never enter it.

Rules. `note` is called after each change of a session, `gone` before it is freed. `rank` of a session is its place in
the heap.
"""

cimport cython

from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from multipaxos.paxos.array cimport array_grow


cdef inline bint goes_before(const Session* a, const Session* b) noexcept:
    return a.used_slot < b.used_slot if a.kept_bytes == b.kept_bytes else a.kept_bytes > b.kept_bytes


@cython.final
cdef class Keepers:
    """The sessions that keep more than `floor`. If that changes, `note` is called for every session."""

    def __cinit__(self, uint64_t floor):
        self.floor = floor

    def __dealloc__(self):
        free(self.heap)

    cdef int note_keeper(self, Session* session) except -1:
        """A session that keeps more than `floor`, or did so until now."""
        if session.kept_bytes <= self.floor:
            self.remove(session)
            return 0
        if not session.rank:
            if self.count + 2 > self.room:
                self.heap = <Session**>array_grow(self.heap, &self.room, self.count + 2, sizeof(Session*))
            self.count += 1
            session.rank = self.count
            self.heap[session.rank] = session
        self.settle(session)
        return 0

    cdef void gone(self, Session* session) noexcept:
        """A session ends."""
        self.kept_bytes -= session.kept_bytes
        self.remove(session)

    cdef void remove(self, Session* session) noexcept:
        cdef uint64_t rank = session.rank
        cdef Session* moved
        if not rank:
            return
        session.rank = 0
        moved = self.heap[self.count]
        self.count -= 1
        if moved != session:
            self.heap[rank] = moved
            moved.rank = rank
            self.settle(moved)

    cdef void settle(self, Session* session) noexcept:
        """Moves a session up or down to where it belongs."""
        cdef uint64_t rank = session.rank, child
        while rank > 1 and goes_before(session, self.heap[rank // 2]):
            self.heap[rank] = self.heap[rank // 2]
            self.heap[rank].rank = rank
            rank //= 2
        while 2 * rank <= self.count:
            child = 2 * rank
            if child < self.count and goes_before(self.heap[child + 1], self.heap[child]):
                child += 1
            if not goes_before(self.heap[child], session):
                break
            self.heap[rank] = self.heap[child]
            self.heap[rank].rank = rank
            rank = child
        self.heap[rank] = session
        session.rank = rank
