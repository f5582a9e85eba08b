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
