"""A load generator: commands of the key-value store over one session, closed or open loop, without a Python object
per command.

Theory. A closed loop keeps a number of commands outstanding; its latency begins when a command is sent. An open loop
plans commands at a fixed rate and sends each at its time, or as soon after as it can; its latency begins at the
*planned* time, so that a stall is felt by every command that was due in it (no coordinated omission). Time is given
with each chunk: one reading of the clock serves all the answers in it.

Rules. Keys are `key_size` bytes, zero-padded decimal numbers below `keys`, drawn by a seeded xorshift; values are one
letter. Latencies are recorded only while `measuring`; an answer that is not `ok` by status is an error.
"""

cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy, memset

from multipaxos.codec cimport OK, Reply, bytes_take
from multipaxos.histogram cimport Histogram
from multipaxos.session cimport Pending, Session

cdef enum:
    OP_PUT = 3
    OP_GET = 4


@cython.final
cdef class Load(Session):
    """See the module. `outstanding`: closed loop; `rate_per_s` > 0 makes it an open loop. `read_share`: of gets, 0
    to 1."""

    cdef readonly Histogram histogram
    cdef readonly uint64_t completed     # answered while measuring
    cdef readonly uint64_t answered      # ever
    cdef readonly uint64_t errors
    cdef public bint measuring
    cdef public bint draining            # nothing new is sent
    cdef uint64_t outstanding
    cdef uint64_t interval_ps            # of an open loop: picoseconds between planned commands
    cdef uint64_t start_ns, planned
    cdef uint64_t now_ns
    cdef uint64_t keys, key_size, value_size
    cdef uint64_t random_state
    cdef uint64_t read_below             # of 2**32
    cdef uint8_t* payload

    def __init__(self, uint64_t nonce, *, uint64_t outstanding=1, double rate_per_s=0, uint32_t key_size=8,
                 uint32_t value_size=64, uint64_t keys=1000, uint64_t seed=1, double read_share=0):
        super().__init__(nonce)
        self.histogram = Histogram()
        self.outstanding = min(outstanding, self.capacity)
        self.interval_ps = <uint64_t>(1e12 / rate_per_s) if rate_per_s > 0 else 0
        self.keys, self.key_size, self.value_size = keys, key_size, value_size
        self.random_state = seed * <uint64_t>0x9E3779B97F4A7C15 | 1
        self.read_below = <uint64_t>(read_share * 4294967296.0)
        self.payload = <uint8_t*>malloc(3 + key_size + value_size)
        if self.payload == NULL:
            raise MemoryError("no memory for a command")
        memset(self.payload, 0x78, 3 + key_size + value_size)

    def __dealloc__(self):
        free(self.payload)

    cdef uint64_t random(self) noexcept:
        """xorshift64*"""
        self.random_state ^= self.random_state >> 12
        self.random_state ^= self.random_state << 25
        self.random_state ^= self.random_state >> 27
        return self.random_state * <uint64_t>0x2545F4914F6CDD1D

    cdef int submit_one(self, uint64_t planned_ns) except -1:
        """Draws one command; returns 1 if there is no room for it."""
        cdef uint64_t drawn = self.random()
        cdef uint64_t key = (drawn >> 32) * self.keys >> 32
        cdef uint64_t i = self.key_size
        cdef uint16_t key_size = <uint16_t>self.key_size
        cdef bint reads = (drawn & 0xFFFFFFFF) < self.read_below
        self.payload[0] = OP_GET if reads else OP_PUT
        memcpy(self.payload + 1, &key_size, 2)
        while i:
            i -= 1
            self.payload[3 + i] = <uint8_t>(48 + key % 10)
            key //= 10
        return not self.add(self.payload, <uint32_t>(3 + self.key_size + (0 if reads else self.value_size)), planned_ns)

    cdef int fill(self) except -1:
        """Sends what is due."""
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
            due_ns = self.start_ns + self.planned * self.interval_ps // 1000
            if due_ns > self.now_ns or self.submit_one(due_ns):
                return 0
            self.planned += 1

    cdef int on_answer(self, Pending* pending, const Reply* reply) except -1:
        self.answered += 1
        if reply.status != OK:
            self.errors += 1
        elif self.measuring:
            self.completed += 1
            self.histogram.record(self.now_ns - pending.planned_ns if self.now_ns > pending.planned_ns else 1)
        return 0

    def pump(self, uint64_t now_ns, bytes data=None):
        """What came, if anything, and the time; returns what is to be written now."""
        self.now_ns = now_ns
        if data is not None:
            self.take(<const uint8_t*>(<char*>data), len(data))
        if self.id:
            self.fill()
        self.put_requests()
        return bytes_take(&self.outgoing) if self.outgoing.size else b""

    def next_due_ns(self):
        """When an open loop wants to send next; 0 for a closed loop."""
        if not self.interval_ps or not self.start_ns:
            return 0
        return self.start_ns + self.planned * self.interval_ps // 1000
