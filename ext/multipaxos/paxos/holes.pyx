"""Holes: the slots of which an acceptor cannot tell what it accepted, because a record of them is damaged on its disk.

Theory. What an acceptor forgot, it must not deny. Until a slot of a hole is filled, the acceptor neither votes in it
nor answers a scout that asks for it: the answer would read as "I accepted nothing here". A decided pvalue fills the
slot: every pvalue at a ballot at or above a deciding one carries the decided command, so what was forgotten there is of
no use to a scout any more.

Rules.
- Holes only shrink while a node lives; recovery finds them.
- Spans are in order and do not touch each other; `end` is the end of the last one.
"""

cimport cython

from libc.stdint cimport uint64_t
from libc.stdlib cimport free

from multipaxos.paxos.array cimport array_grow


@cython.final
cdef class Holes:
    """No hole at first."""

    def __dealloc__(self):
        free(self.spans)

    cdef int add(self, uint64_t first, uint64_t end) except -1:
        """The slots [first, end) are missing; `first` lies at or above the first slot of the last hole."""
        if self.count and first <= self.end:
            self.spans[self.count - 1].end = max(self.end, end)
        else:
            self.put(self.count, first, end)
        self.end = self.spans[self.count - 1].end
        return 0

    cdef int fill(self, uint64_t first, uint64_t end) except -1:
        """The slots [first, end) are missing no longer."""
        cdef uint64_t i = 0, kept = 0
        cdef Span span
        while i < self.count:
            span = self.spans[i]
            if span.first < first and end < span.end:
                self.put(i + 1, end, span.end)
                self.spans[i].end = first
                return 0                 # it lies inside this one
            i += 1
        for i in range(self.count):
            span = self.spans[i]
            if span.first < end and first < span.end:
                if span.first < first:
                    span.end = first
                else:
                    span.first = min(end, span.end)
            if span.first < span.end:
                self.spans[kept] = span
                kept += 1
        self.count = kept
        self.end = self.spans[kept - 1].end if kept else 0
        return 0

    cdef Span clear_of(self, uint64_t first, uint64_t end) noexcept:
        """The first stretch of [first, end) that lies in no hole; empty if there is none."""
        cdef uint64_t i
        for i in range(self.count):
            if self.spans[i].first >= end:
                break
            if self.spans[i].first > first:
                end = self.spans[i].first
            elif self.spans[i].end > first:
                first = self.spans[i].end
        return Span(min(first, end), end)

    cdef uint64_t slots(self) noexcept:
        """How many slots are missing."""
        cdef uint64_t i, total = 0
        for i in range(self.count):
            total += self.spans[i].end - self.spans[i].first
        return total

    cdef int put(self, uint64_t place, uint64_t first, uint64_t end) except -1:
        """Puts a span before the one at that place."""
        cdef uint64_t i = self.count
        if self.count == self.room:
            self.spans = <Span*>array_grow(self.spans, &self.room, self.count + 1, sizeof(Span))
        while i > place:
            self.spans[i] = self.spans[i - 1]
            i -= 1
        self.spans[place] = Span(first, end)
        self.count += 1
        return 0

    # -- for tests and status
    def spans_list(self):
        """[(first, end)] of the holes, in order."""
        return [(self.spans[i].first, self.spans[i].end) for i in range(self.count)]

    def change(self, added=(), filled=()):
        """Adds and fills holes, each (first, end)."""
        for first, end in added:
            self.add(first, end)
        for first, end in filled:
            self.fill(first, end)

    def clear(self, uint64_t first, uint64_t end):
        """(first, end) of the first stretch that lies in no hole."""
        cdef Span span = self.clear_of(first, end)
        return span.first, span.end
