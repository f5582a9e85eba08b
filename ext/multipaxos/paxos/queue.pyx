"""The queue of requests that wait for a slot, and whose turn it is.

Theory. Requests lie in a ring in the order of arrival, so its head is the oldest; whose request gets a slot or is
forwarded next is a matter of `turns`. A request that had its turn is gone, or stays in the queue until it is seen
applied. What leaves from the middle leaves a gap, and gaps are closed before the ring would grow because of them.

Rules.
- A command waits in the queue once, however often it is sent: otherwise a client that repeats faster than slots are
  decided would grow the queue without bound.
- Those of a flow that wait for a turn are chained in the order of arrival (`next`): the first of them in the queue is
  the one whose turn comes first.
"""

cimport cython

from libc.stdint cimport uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free

from multipaxos.paxos.array cimport ring_grow
from multipaxos.paxos.turns cimport Flow, Turns, flow_of
from multipaxos.wire.messages cimport Command
from multipaxos.wire.run cimport Run, run_command, run_drop, run_hold
from multipaxos.wire.writing cimport command_bytes

from multipaxos.errors import InvariantViolation

cdef enum:
    FIRST_ROOM = 256


cdef inline object key_of(const Command* command):
    """Stands for a command: the same command, sent again, has the same key."""
    return command.session, command.nonce, command.kind, command.sequence


@cython.final
cdef class Queue:

    def __cinit__(self):
        self.queued, self.opened = set(), set()
        self.turns = Turns()

    def __dealloc__(self):
        cdef uint64_t i
        for i in range(self.head, self.tail):
            if self.at(i).run != NULL:
                run_drop(self.at(i).run)
        free(self.queue)

    cdef int push(self, Run* run, uint64_t slot, uint64_t slot_out) except -1:
        """A command that needs a slot, at the end of the queue, unless it waits there already."""
        cdef Waiting* entry
        cdef Command command
        run_command(run, slot, &command)
        key = key_of(&command)
        if key in self.queued:
            return 0
        if self.tail - self.head == self.room:
            if 2 * self.count <= self.room and self.room:
                self.compact()
            else:
                self.queue = <Waiting*>ring_grow(self.queue, &self.room, self.head, self.tail, sizeof(Waiting),
                                                 FIRST_ROOM)
        self.queued.add(key)
        entry = self.at(self.tail)
        entry[0] = Waiting(run_hold(run), slot, slot_out, 0, <uint32_t>command_bytes(&command),
                           <uint16_t>flow_of(&command), False)
        self.turns.flows[entry.flow].count += 1
        self.turns.flows[entry.flow].bytes += entry.bytes
        self.count += 1
        self.bytes += entry.bytes
        self.enlist(self.tail)
        self.tail += 1
        return 0

    cdef int remove(self, uint64_t i) except -1:
        """Request i leaves the queue."""
        cdef Waiting* entry = self.at(i)
        cdef Command command
        run_command(entry.run, entry.slot, &command)
        key = key_of(&command)
        self.queued.discard(key)
        self.opened.discard(key)
        if entry.waits:
            self.unlist(i, False)
        else:
            self.forwarded -= 1
        self.turns.flows[entry.flow].count -= 1
        self.turns.flows[entry.flow].bytes -= entry.bytes
        self.count -= 1
        self.bytes -= entry.bytes
        run_drop(entry.run)
        entry.run = NULL
        while self.head < self.tail and self.at(self.head).run == NULL:
            self.head += 1
        return 0

    cdef int clear(self) except -1:
        while self.head < self.tail:
            self.remove(self.head)
        return 0

    cdef void compact(self) noexcept:
        """Closes the gaps of the queue."""
        cdef uint64_t i, end = self.head
        cdef Waiting* entry
        cdef Flow* flow
        for i in range(self.head, self.tail):
            entry = self.at(i)
            if entry.run == NULL:
                continue
            if entry.waits:
                flow = &self.turns.flows[entry.flow]
                if flow.first == i:
                    flow.first = end
                else:
                    self.at(flow.last).next = end
                flow.last = end
            self.at(end)[0] = entry[0]
            end += 1
        self.tail = end

    # -- openings
    cdef int note_opened(self, const Command* command) except -1:
        """A session was opened. It may be evicted before its request is retired, so the request is marked as done."""
        key = key_of(command)
        if key in self.queued:
            self.opened.add(key)
        return 0

    cdef bint has_opened(self, const Command* command):
        """Was the session opened that this request in the queue asks for?"""
        return bool(self.opened) and key_of(command) in self.opened

    # -- turns
    cdef void enlist(self, uint64_t i) noexcept:
        """Request i of the queue waits for its turn, behind those of its flow that do."""
        cdef Waiting* entry = self.at(i)
        cdef Flow* flow = &self.turns.flows[entry.flow]
        entry.waits = True
        flow.waiting += 1
        if flow.waiting > 1:
            self.at(flow.last).next = i
            flow.last = i
        else:
            flow.first = flow.last = i
            self.turns.join(entry.flow, entry.bytes)

    cdef void unlist(self, uint64_t i, bint served) noexcept:
        """Request i, the first of its flow that waits for a turn, has it (`served`) or needs none."""
        cdef Waiting* entry = self.at(i)
        cdef Flow* flow = &self.turns.flows[entry.flow]
        entry.waits = False
        flow.waiting -= 1
        if flow.waiting:
            flow.first = entry.next
        self.turns.left(entry.flow, self.at(flow.first).bytes if flow.waiting else 0, served)

    cdef uint64_t take_turn(self, Command* command) noexcept:
        """A view of the request whose turn it is, which has it now. Returns its place in the queue."""
        cdef uint64_t i = self.turns.flows[self.turns.next()].first
        cdef Waiting* entry = self.at(i)
        run_command(entry.run, entry.slot, command)
        self.unlist(i, True)
        self.forwarded += 1
        return i

    cdef int forward_again(self) except -1:
        """The leader that this node follows is another one, or may not have received what was forwarded: every request
        waits for its turn again."""
        cdef uint64_t i
        if not self.forwarded:
            return 0
        self.turns.forget()
        self.forwarded = 0
        for i in range(self.head, self.tail):
            if self.at(i).run != NULL:
                self.enlist(i)
        return 0

    def invariants(self):
        """Each request waits once, openings that are done wait, and the turns know what waits for them."""
        cdef uint64_t place, waits = 0
        if <uint64_t>len(self.queued) != self.count or not self.opened <= self.queued:
            raise InvariantViolation(
                f"{self.count} requests wait, of {len(self.queued)} commands, {len(self.opened)} done")
        for place in range(1, self.turns.size + 1):
            waits += self.turns.flows[self.turns.heap[place]].waiting
        if waits + self.forwarded != self.count or (not self.count and (self.bytes or self.head != self.tail)):
            raise InvariantViolation(f"{self.count} requests of {self.bytes} bytes are in the queue, {waits} wait for "
                                     f"their turn and {self.forwarded} had it")
        self.turns.invariants()
