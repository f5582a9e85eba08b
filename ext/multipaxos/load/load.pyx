"""A load: commands of the key-value store over one session, in a closed or an open loop, without a Python object per
command.

Theory. A closed loop keeps a number of commands outstanding; a latency begins when its command is sent. An open loop
plans commands at a rate, evenly or as a Poisson process, and sends each at its time, or as soon after as it can; a
latency begins at the *planned* time, so that a stall delays every command that was due in it (no coordinated
omission). The caller gives the time with each chunk: one reading of the clock serves all the answers in it.

Rules.
- Keys are `key_size` bytes, zero-padded decimal numbers below `keys`, drawn at random from a seed, uniformly or by
  Zipf's law. All bytes of all values are one letter.
- Latencies are counted only while `measuring`. An answer whose status is not `ok` is an error.
- While `recording`, every answer is a row of the layout of `multipaxos.load.operation_log`; a row is never dropped.
"""

cimport cython

from libc.math cimport log
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put, bytes_take
from multipaxos.wire.messages cimport OK, Reply
from multipaxos.machine.operations cimport GET, PUT
from multipaxos.load.histogram cimport Histogram
from multipaxos.load.zipf cimport Zipf
from multipaxos.client.session cimport Pending, Session
from multipaxos.paxos.random cimport random_bits

cdef enum:
    UNANSWERED = 0                   # the outcomes of multipaxos.load.operation_log
    DONE = 1
    REFUSED = 2

cdef packed struct OperationRow:     # the layout of multipaxos.load.operation_log
    uint64_t planned_ns
    uint64_t sent_ns
    uint64_t answered_ns
    uint64_t slot
    uint32_t sequence
    uint8_t operation
    uint8_t outcome
    uint16_t client


@cython.final
cdef class Load(Session):
    """See the module. `outstanding`: commands in flight of a closed loop; `rate_per_s` above 0 makes an open loop, with
    random arrivals if `poisson`. `key_size`, `value_size`: in bytes. `read_share`: the share of gets, 0 to 1. `zipf`:
    the exponent of the keys' popularity, 0 for uniform. `client`: the number of this client in its rows."""

    cdef readonly Histogram histogram
    cdef readonly uint64_t completed     # answered while measuring
    cdef readonly uint64_t answered      # ever
    cdef readonly uint64_t errors
    cdef public bint measuring
    cdef public bint draining            # no new command is submitted
    cdef uint64_t outstanding
    cdef public bint recording
    cdef uint64_t interval_ps            # of an open loop: picoseconds between planned commands, on average
    cdef bint poisson
    cdef uint64_t start_ns, due_ps       # when the open loop began; when its next command is due, after that
    cdef uint64_t now_ns
    cdef uint64_t key_size, value_size
    cdef uint16_t client
    cdef Zipf popularity
    cdef Bytes rows
    cdef uint64_t random_state
    cdef uint64_t read_below             # of 2**32
    cdef uint8_t* payload

    def __cinit__(self):
        memset(&self.rows, 0, sizeof(Bytes))

    def __init__(self, uint64_t nonce, *, uint64_t outstanding=1, double rate_per_s=0, bint poisson=False,
                 uint32_t key_size=8, uint32_t value_size=64, uint64_t keys=1000, double zipf=0, uint64_t seed=1,
                 double read_share=0, uint16_t client=0):
        super().__init__(nonce, in_steps=True)
        self.histogram = Histogram()
        self.outstanding = min(outstanding, self.capacity)
        self.interval_ps = <uint64_t>(1e12 / rate_per_s) if rate_per_s > 0 else 0
        self.poisson = poisson
        self.popularity = Zipf(keys, zipf)
        self.key_size, self.value_size = key_size, value_size
        self.client = client
        self.random_state = seed * <uint64_t>0x9E3779B97F4A7C15 | 1
        self.read_below = <uint64_t>(read_share * 4294967296.0)
        self.payload = <uint8_t*>malloc(3 + key_size + value_size)
        if self.payload == NULL:
            raise MemoryError("no memory for a command")
        memset(self.payload, 0x78, 3 + key_size + value_size)

    def __dealloc__(self):
        free(self.payload)
        bytes_free(&self.rows)

    cdef int submit_one(self, uint64_t planned_ns) except -1:
        """Draws one command; returns 1 if the session has no room for it."""
        cdef uint64_t drawn = random_bits(&self.random_state)
        cdef uint64_t key = self.popularity.draw(random_bits(&self.random_state) if self.popularity.exponent else drawn)
        cdef uint64_t i = self.key_size
        cdef uint16_t key_size = <uint16_t>self.key_size
        cdef bint reads = (drawn & 0xFFFFFFFF) < self.read_below
        self.payload[0] = GET if reads else PUT
        memcpy(self.payload + 1, &key_size, 2)
        while i:
            i -= 1
            self.payload[3 + i] = <uint8_t>(48 + key % 10)
            key //= 10
        if not self.add(self.payload, <uint32_t>(3 + self.key_size + (0 if reads else self.value_size)), planned_ns):
            return 1
        self.ring[self.last & (self.capacity - 1)].sent_ns = self.now_ns
        return 0

    cdef int fill(self) except -1:
        """Submits what is due."""
        cdef uint64_t due_ns
        if self.draining:
            return 0
        if not self.interval_ps:
            while self.unanswered < self.outstanding:
                if self.submit_one(self.now_ns):
                    return 0
            return 0
        if not self.start_ns:
            self.start_ns = self.now_ns
        while True:
            due_ns = self.start_ns + self.due_ps // 1000
            if due_ns > self.now_ns or self.submit_one(due_ns):
                return 0
            self.due_ps += self.until_next_ps()

    cdef uint64_t until_next_ps(self) noexcept:
        """Picoseconds from one planned command to the next: always the same, or exponentially distributed."""
        if not self.poisson:
            return self.interval_ps
        return <uint64_t>(-log(((random_bits(&self.random_state) >> 11) + 1) / 9007199254740992.0) * self.interval_ps)

    cdef int on_answer(self, Pending* pending, const Reply* reply) except -1:
        self.answered += 1
        if self.recording:
            self.put_row(pending, reply.slot, <uint32_t>reply.sequence, self.now_ns,
                         DONE if reply.status == OK else REFUSED)
        if reply.status != OK:
            self.errors += 1
        elif self.measuring:
            self.completed += 1
            self.histogram.record(self.now_ns - pending.planned_ns if self.now_ns > pending.planned_ns else 1)
        return 0

    def pump(self, uint64_t now_ns, bytes data=None):
        """Goes on at `now_ns` with the bytes that were received, if any; returns the bytes to be written now."""
        self.now_ns = now_ns
        if data is not None:
            self.take(<const uint8_t*>(<char*>data), len(data))
        if self.id:
            self.fill()
        self.put_requests()
        return bytes_take(&self.outgoing) if self.outgoing.size else b""

    cdef int put_row(self, const Pending* pending, uint64_t slot, uint32_t sequence, uint64_t answered_ns,
                     uint8_t outcome) except -1:
        cdef OperationRow row = OperationRow(
            pending.planned_ns, pending.sent_ns, answered_ns, slot, sequence, pending.payload[0], outcome, self.client)
        return bytes_put(&self.rows, &row, sizeof(row))

    def take_rows(self):
        """The rows of all answers since the last call, as bytes."""
        return bytes_take(&self.rows) if self.rows.size else b""

    def unanswered_rows(self):
        """The rows of all commands that have no answer, as bytes."""
        cdef uint64_t sequence
        cdef Pending* pending
        for sequence in range(self.acknowledged + 1, self.last + 1):
            pending = &self.ring[sequence & (self.capacity - 1)]
            if not pending.answered:
                self.put_row(pending, 0, <uint32_t>sequence, 0, UNANSWERED)
        return self.take_rows()

    def next_due_ns(self):
        """When an open loop's next command is due, in nanoseconds of the caller's clock; 0 for a closed loop."""
        if not self.interval_ps or not self.start_ns:
            return 0
        return self.start_ns + self.due_ps // 1000
