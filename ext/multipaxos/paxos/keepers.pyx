"""The sum of what all sessions keep, and the session that keeps most.

Theory. When the sum is above its bound, the session that keeps most is evicted, among equals the one whose last use
lies in the lowest slot. A heap finds it without a look at every session. The heap is made when it is asked for first
and is forgotten when the sum has fallen below half of the bound. So a look at every session is paid for by half of the
bound in answers, and as long as little is kept the heap costs nothing.

Rules. `note` is called after each use of a session, `gone` before it is freed. `rank` of a session is its place in the
heap; 0: it is not there.
"""

cimport cython

from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from multipaxos.paxos.array cimport array_grow

from multipaxos.errors import InvariantViolation


cdef inline bint goes_before(const Session* a, const Session* b) noexcept:
    return a.used_slot < b.used_slot if a.kept_bytes == b.kept_bytes else a.kept_bytes > b.kept_bytes


@cython.final
cdef class Keepers:
    """The sum may be up to `bound` bytes. If that changes, `forget_order` is called."""

    def __cinit__(self, uint64_t bound):
        self.bound = bound

    def __dealloc__(self):
        free(self.heap)

    cdef Session* most(self, Session* oldest) except NULL:
        """The session that keeps most, of those from `oldest` on in the order of use, at least one."""
        if not self.is_ordered:
            while oldest != NULL:
                self.place(oldest)
                oldest = oldest.newer
            self.is_ordered = True
        return self.heap[1]

    cdef void gone(self, Session* session) noexcept:
        """A session ends."""
        cdef uint64_t rank = session.rank
        cdef Session* moved
        self.kept_bytes -= session.kept_bytes
        if not rank:
            return
        session.rank = 0
        moved = self.heap[self.count]
        self.count -= 1
        if moved != session:
            self.heap[rank] = moved
            moved.rank = rank
            self.settle(moved)

    cdef int place(self, Session* session) except -1:
        """Puts a session where it belongs, or forgets the order if it is not worth its cost."""
        if self.is_ordered and self.kept_bytes < self.bound // 2:
            self.forget_order()
            return 0
        if not session.rank:
            if self.count + 2 > self.room:
                self.heap = <Session**>array_grow(self.heap, &self.room, self.count + 2, sizeof(Session*))
            self.count += 1
            session.rank = self.count
            self.heap[session.rank] = session
        self.settle(session)
        return 0

    cdef void forget_order(self) noexcept:
        """No session is in the heap."""
        cdef uint64_t i
        for i in range(1, self.count + 1):
            self.heap[i].rank = 0
        self.count = 0
        self.is_ordered = False

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

    cdef int invariants(self, Session* oldest) except -1:
        """All of the sessions from `oldest` on are in the heap, none above one that goes before it; or none is."""
        cdef uint64_t sessions = 0
        while oldest != NULL:
            sessions += 1
            if (oldest.rank != 0) != self.is_ordered:
                raise InvariantViolation(f"session {oldest.id} has rank {oldest.rank}, and the heap holds {self.count}")
            if self.is_ordered and (oldest.rank > self.count or self.heap[oldest.rank] != oldest):
                raise InvariantViolation(f"session {oldest.id} is not in the heap at its rank {oldest.rank}")
            if oldest.rank > 1 and goes_before(oldest, self.heap[oldest.rank // 2]):
                raise InvariantViolation(f"session {oldest.id} goes before the one above it in the heap")
            oldest = oldest.newer
        if self.count != (sessions if self.is_ordered else 0):
            raise InvariantViolation(f"the heap holds {self.count} of {sessions} sessions")
        return 0
