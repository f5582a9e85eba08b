"""Turns: whose request is next, so that large values of one client do not hold up small ones of another.

Theory. Weighted fair queueing with equal weights, in the virtual time of WF2Q+ (J. C. R. Bennett, H. Zhang, 1997).
Requests are in flows, by a hash of their session; a flow is first in, first out, so a session's order stays. Virtual
time is what each flow that waits would have been served if all were served at once, each an equal share: it goes on by
what is served, divided by their number. The first request of a flow starts at `start`, which is `now` or where the flow
had got to, and is through at `finish`, its bytes after that; the least `finish` is next. So flows that wait have equal
bytes over time, a small request of a flow that asks for little is next, however many large ones wait, also where these
are in step and all of one `finish`; and flows that come once and again, each with little, keep no large one waiting for
more than its bytes times the number of flows.

Rules.
- Two sessions may share a flow, and its share. Who would bring that about on purpose has to know the other's nonce.
- Openings, of any client, are one flow: many of them take one share.
- The places of requests are the caller's, and so are `first`, `last`, `waiting`, `count` and `bytes` of a flow.
"""

cimport cython

from libc.stdint cimport uint32_t, uint64_t
from libc.stdlib cimport calloc, free

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Turns:

    def __cinit__(self):
        self.flows = <Flow*>calloc(FLOWS, sizeof(Flow))
        self.heap = <uint32_t*>calloc(FLOWS + 1, sizeof(uint32_t))
        if self.flows == NULL or self.heap == NULL:
            raise MemoryError("no memory for the turns of clients")

    def __dealloc__(self):
        free(self.flows)
        free(self.heap)

    cdef void join(self, uint32_t flow, uint64_t bytes) noexcept:
        """A request of `bytes` waits in a flow in which none waited."""
        self.flows[flow].start = max(self.now, self.flows[flow].finish)
        self.flows[flow].finish = self.flows[flow].start + bytes * FLOWS
        self.size += 1
        self.heap[self.size] = flow
        self.flows[flow].place = self.size
        self.up(self.size)

    cdef void left(self, uint32_t flow, uint64_t next_bytes, bint served) noexcept:
        """The first request of a flow waits no longer; `next_bytes`: of the one behind it, 0: there is none."""
        cdef uint32_t place = self.flows[flow].place, last
        if served:
            self.now += (self.flows[flow].finish - self.flows[flow].start) // self.size
        if next_bytes:
            self.flows[flow].start = self.flows[flow].finish
            self.flows[flow].finish += next_bytes * FLOWS
            self.down(place)
        else:
            self.flows[flow].place = 0
            last = self.heap[self.size]
            self.size -= 1
            if last != flow:
                self.heap[place] = last
                self.flows[last].place = place
                self.up(place)
                self.down(self.flows[last].place)
        if self.size:
            self.now = max(self.now, self.flows[self.next()].start)

    cdef void forget(self) noexcept:
        """Nothing waits for a turn."""
        cdef uint32_t place
        for place in range(1, self.size + 1):
            self.flows[self.heap[place]].place = 0
            self.flows[self.heap[place]].waiting = 0
        self.size = 0

    # -- the heap
    cdef bint is_before(self, uint32_t a, uint32_t b) noexcept:
        cdef Flow* one = &self.flows[a]
        cdef Flow* other = &self.flows[b]
        return one.finish < other.finish or (one.finish == other.finish and one.first < other.first)

    cdef void up(self, uint32_t place) noexcept:
        cdef uint32_t flow = self.heap[place]
        while place > 1 and self.is_before(flow, self.heap[place // 2]):
            self.heap[place] = self.heap[place // 2]
            self.flows[self.heap[place]].place = place
            place //= 2
        self.heap[place] = flow
        self.flows[flow].place = place

    cdef void down(self, uint32_t place) noexcept:
        cdef uint32_t flow = self.heap[place], child
        while 2 * place <= self.size:
            child = 2 * place
            if child < self.size and self.is_before(self.heap[child + 1], self.heap[child]):
                child += 1
            if not self.is_before(self.heap[child], flow):
                break
            self.heap[place] = self.heap[child]
            self.flows[self.heap[place]].place = place
            place = child
        self.heap[place] = flow
        self.flows[flow].place = place

    def invariants(self):
        """Each flow of the heap knows its place, and something waits in it; none is before the one above it."""
        cdef uint32_t flow, place
        for place in range(1, self.size + 1):
            flow = self.heap[place]
            if self.flows[flow].place != place or not self.flows[flow].waiting:
                raise InvariantViolation(f"flow {flow}, in which {self.flows[flow].waiting} requests wait, stands at "
                                         f"{place} and has place {self.flows[flow].place}")
            if place > 1 and self.is_before(flow, self.heap[place // 2]):
                raise InvariantViolation(f"flow {flow} is behind a flow whose turn is later")
