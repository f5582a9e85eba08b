"""A client's side of a session, without IO: exactly once, in order, over links that break.

Theory. Commands get the sequences 1, 2, 3, ... and are kept until they are answered. On a new link all unanswered
commands are sent again, in order; the cluster knows which of them it has applied. Each command says how many commands
before it lack an answer, so the cluster may forget the answers to the others.

Rules.
- First the session is opened, by a nonce: a repeated opening gives the same id. Every command carries both.
- A session belongs to one cluster (`met`): where another one is met it has expired.
- An answer counts once; repetitions are expected and dropped.
- A command that is answered `ahead` or `overloaded` was not applied, or its answer was too long for what waits unread:
  after a pause, all unanswered commands are sent again from the first (`rewind`).
  Until then nothing is sent, because all of it would be ahead.
- What is sent and not acknowledged is bounded by a window (`set_window`), which the caller narrows when the cluster has
  no room. The rest stays here.
- With `in_steps`, `output` gives one request at a time, and on a new link the second one only after an answer: what a
  node cannot use - it does not lead, or is about to be left - is not sent to it in full.
- `expired` ends the session; the outcome of its unanswered commands is unknown, with one exception. Let the first of
  them be answered `expired` without a slot: the node that received it did not propose it. If all of them were sent on
  this link only, this was the only time that the first was sent; so it was never applied, and the later ones, which
  come after it, were not either (`untouched`).
- A session that is closed sends nothing but its end, which is answered `ok` as often as it is sent.
- Timeouts belong to the caller; a command stays here until it is answered.
"""

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memmove, memset

from multipaxos.paxos.limits cimport RUN_BYTES, UNACKNOWLEDGED_MAX
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put, bytes_take
from multipaxos.wire.encoding cimport FINE, PARTIAL, Fault
from multipaxos.wire.messages cimport (
    AHEAD, APPLY, CLOSE_SESSION, EXPIRED, LEADING, OPENED, OPEN_SESSION, OVERLOADED, RESPONSE, RUN_SLOTS_MAX, SETTING,
    Command, Message, Reply,
)
from multipaxos.wire.reading cimport decode, frame_size, reply_at
from multipaxos.wire.writing cimport put_request

from multipaxos.wire.codec import CodecError

globals().update(UNACKNOWLEDGED_MAX=UNACKNOWLEDGED_MAX)


cdef class Session:
    """One session. `nonce`: random, never 0. `capacity`: how many commands may be in flight, a power of two up to
    UNACKNOWLEDGED_MAX. `settings`: its commands are settings, for a link of an admin, and not for the machine.
    `in_steps`: see the module; after an output that is not empty, ask for the next one while `sent` is below `last`."""

    def __cinit__(self):
        memset(&self.incoming, 0, sizeof(Bytes))
        memset(&self.outgoing, 0, sizeof(Bytes))
        self.replies = []

    def __init__(self, uint64_t nonce, uint64_t capacity=UNACKNOWLEDGED_MAX, bint settings=False, bint in_steps=False):
        if self.ring != NULL:
            raise RuntimeError("a session is initialized once")
        if capacity & (capacity - 1) or not 0 < capacity <= UNACKNOWLEDGED_MAX:
            raise ValueError(f"capacity must be a power of two up to {<int>UNACKNOWLEDGED_MAX}, not {capacity}")
        self.nonce = nonce
        self.kind = SETTING if settings else APPLY
        self.in_steps = in_steps
        self.capacity = self.window = capacity
        self.window_bytes = <uint64_t>-1
        self.ring = <Pending*>calloc(capacity, sizeof(Pending))
        if self.ring == NULL:
            raise MemoryError("no memory for a session")

    def __dealloc__(self):
        cdef uint64_t i
        if self.ring != NULL:
            for i in range(self.capacity):
                free(self.ring[i].payload)
        free(self.ring)
        bytes_free(&self.incoming)
        bytes_free(&self.outgoing)

    # -- commands

    cdef uint64_t add(self, const uint8_t* payload, uint32_t size, uint64_t planned_ns) except? 0:
        """Adds the next command; returns its sequence, or 0 (no exception) if there is no room."""
        cdef Pending* pending
        cdef uint8_t* room
        if self.closing or self.last - self.acknowledged >= self.capacity:
            return 0
        pending = &self.ring[(self.last + 1) & (self.capacity - 1)]
        if size > pending.room or pending.room > 4 * size + 4096:
            room = <uint8_t*>realloc(pending.payload, max(size, <uint32_t>1))
            if room == NULL:
                raise MemoryError("no memory for a command")
            pending.payload = room
            pending.room = size
        memcpy(pending.payload, payload, size)
        pending.size = size
        pending.planned_ns = planned_ns
        pending.answered = False
        self.last += 1
        self.unanswered += 1
        self.unanswered_bytes += size
        return self.last

    def submit(self, bytes payload not None):
        """Adds a command; returns its sequence, or 0 if too many are unanswered: then wait for some answers first."""
        return self.add(<const uint8_t*>(<char*>payload), <uint32_t>len(payload), 0)

    def close(self):
        """The session ends, whatever became of its unanswered commands. False if the cluster knows nothing of it, so
        that there is nothing to be sent."""
        self.closing = True
        return bool((self.id or self.opening_sent) and not self.expired)

    def set_window(self, uint64_t commands, uint64_t size):
        """At most so many commands, of so many bytes, are sent and not acknowledged from now on."""
        self.window, self.window_bytes = commands, size

    def unanswered_commands(self):
        """[(sequence, payload)] of all commands without an answer."""
        cdef uint64_t sequence
        cdef Pending* pending
        found = []
        for sequence in range(self.acknowledged + 1, self.last + 1):
            pending = &self.ring[sequence & (self.capacity - 1)]
            if not pending.answered:
                found.append((sequence, <bytes>pending.payload[:pending.size]))
        return found

    # -- links

    def met(self, uint64_t cluster_id):
        """A node of this cluster was met; call it before `connected`. False if the session cannot use the link: the
        node does not know its cluster yet (0), or it is of another cluster, and the session has `expired`."""
        if not cluster_id:
            return False
        if self.id and self.cluster_id != cluster_id:
            self.expired = True
            self.untouched = max(self.sent, self.exposed) <= self.acknowledged
            return False
        self.cluster_id = cluster_id
        return True

    def connected(self):
        """There is a new link: all unanswered commands are to be sent on it."""
        self.incoming.size = 0
        self.outgoing.size = 0
        self.opening_sent = False
        self.is_new_link = True
        self.rewind()

    def rewind(self):
        """All unanswered commands are to be sent again."""
        self.exposed = max(self.exposed, self.sent)
        self.sent = self.acknowledged
        self.sent_bytes = 0
        self.closing_sent = False
        self.rewind_wanted = self.overloaded = False

    def output(self):
        """The bytes that are to be written to the link now; often none."""
        self.put_requests()
        return bytes_take(&self.outgoing) if self.outgoing.size else b""

    cdef int put_requests(self) except -1:
        cdef Command* commands
        cdef Pending* pending
        cdef uint32_t count = 0
        cdef size_t size = 0
        if self.expired:
            return 0
        if not self.id:
            if not self.opening_sent:
                self.put_one(OPEN_SESSION, self.nonce, 0)
                self.opening_sent = True
            return 0
        if self.closing:
            if not self.closing_sent:
                self.put_one(CLOSE_SESSION, self.last + 1, <uint32_t>(self.last - self.acknowledged))
                self.closing_sent = True
            return 0
        if self.sent == self.last or self.rewind_wanted:
            return 0
        if self.in_steps and self.is_new_link and self.sent > self.acknowledged:
            return 0
        commands = <Command*>malloc(RUN_SLOTS_MAX * sizeof(Command))
        if commands == NULL:
            raise MemoryError("no memory for a request")
        try:
            while self.sent < self.last:
                pending = &self.ring[(self.sent + 1) & (self.capacity - 1)]
                if self.is_window_full(pending):
                    break
                self.sent += 1
                if not pending.answered:
                    self.sent_bytes += pending.size
                    commands[count].session, commands[count].nonce = self.id, self.nonce
                    commands[count].sequence = self.sent
                    commands[count].kind = self.kind
                    commands[count].unacknowledged = <uint32_t>(self.sent - 1 - self.acknowledged)
                    commands[count].payload = pending.payload
                    commands[count].size = pending.size
                    size += pending.size
                    count += 1
                if count == RUN_SLOTS_MAX or size >= RUN_BYTES:
                    put_request(&self.outgoing, commands, count)
                    count, size = 0, 0
                    if self.in_steps:
                        break
            if count:
                put_request(&self.outgoing, commands, count)
        finally:
            free(commands)
        return 0

    cdef bint is_window_full(self, const Pending* next_one) noexcept:
        return self.sent > self.acknowledged and (
            self.sent - self.acknowledged >= self.window or self.sent_bytes + next_one.size > self.window_bytes
        )

    cdef int put_one(self, uint16_t kind, uint64_t sequence, uint32_t unacknowledged) except -1:
        """The opening or the end of the session."""
        cdef Command command
        memset(&command, 0, sizeof(Command))
        command.session, command.nonce = self.id, self.nonce if self.id else 0
        command.kind, command.sequence, command.unacknowledged = kind, sequence, unacknowledged
        return put_request(&self.outgoing, &command, 1)

    # -- answers

    def receive(self, bytes data not None):
        """Reads bytes from the link; returns [(sequence, status, slot, data)] of the commands that are answered now.
        Raises CodecError for bytes that are no answer: close the link, then connect again."""
        self.take(<const uint8_t*>(<char*>data), len(data))
        if not self.replies:
            return []
        replies, self.replies = self.replies, []
        return replies

    cdef int take(self, const uint8_t* data, size_t size) except -1:
        cdef size_t used
        if self.incoming.size:
            bytes_put(&self.incoming, data, size)
            used = self.consume(self.incoming.data, self.incoming.size)
            memmove(self.incoming.data, self.incoming.data + used, self.incoming.size - used)
            self.incoming.size -= used
        else:
            used = self.consume(data, size)
            if used < size:
                bytes_put(&self.incoming, data + used, size - used)
        return 0

    cdef size_t consume(self, const uint8_t* data, size_t size) except? 0:
        cdef size_t used = 0, length = 0
        cdef Fault fault
        while used < size:
            fault = frame_size(data + used, size - used, &length)
            if fault == PARTIAL:
                break
            if fault != FINE:
                raise CodecError("the node sent a frame that cannot be read: connect again", "malformed")
            self.on_frame(data + used, length)
            used += length
        return used

    cdef int on_frame(self, const uint8_t* frame, size_t size) except -1:
        cdef Message message
        cdef Reply reply
        cdef uint32_t i
        if decode(frame, size, &message) != FINE:
            raise CodecError("the node sent a message that cannot be read: connect again", "malformed")
        if message.kind == RESPONSE:
            for i in range(message.replies.count):
                reply_at(&message.replies, i, &reply)
                self.on_reply(message.session, &reply)
        elif message.kind == LEADING:
            self.leading_ballot = message.ballot
        return 0

    cdef int on_reply(self, uint64_t session, const Reply* reply) except -1:
        cdef Pending* pending
        if reply.status == OPENED:
            if not self.id and reply.sequence == self.nonce:
                self.id = session
            return 0
        if session != self.id or not self.id:
            return 0
        if self.closing and reply.sequence == self.last + 1:
            self.rewind_wanted = self.overloaded = reply.status == OVERLOADED
            self.closed = not self.rewind_wanted
            return 0
        if reply.sequence <= self.acknowledged or reply.sequence > self.last:
            return 0
        pending = &self.ring[reply.sequence & (self.capacity - 1)]
        if pending.answered:
            return 0
        if reply.status == EXPIRED:
            self.note_expired(reply)
            return 0
        if reply.status == AHEAD or reply.status == OVERLOADED:
            self.rewind_wanted = True
            self.overloaded |= reply.status == OVERLOADED
            return 0
        pending.answered = True
        if reply.sequence <= self.sent:
            self.sent_bytes -= pending.size
        self.is_new_link = False
        self.unanswered -= 1
        self.unanswered_bytes -= pending.size
        self.on_answer(pending, reply)
        while self.acknowledged < self.last and self.ring[(self.acknowledged + 1) & (self.capacity - 1)].answered:
            self.acknowledged += 1
        if self.sent < self.acknowledged:
            self.sent = self.acknowledged
        return 0

    cdef void note_expired(self, const Reply* reply) noexcept:
        if not self.expired:
            self.untouched = (not reply.slot and reply.sequence == self.acknowledged + 1
                              and self.exposed <= self.acknowledged
                              and self.unanswered == self.last - self.acknowledged)
        self.expired = True

    cdef int on_answer(self, Pending* pending, const Reply* reply) except -1:
        """The one answer of a command; a load generator counts it instead."""
        self.replies.append((reply.sequence, reply.status, reply.slot, <bytes>reply.data[:reply.size]))
        return 0
