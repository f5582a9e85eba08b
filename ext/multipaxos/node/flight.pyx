"""Flight: how many bytes our leader has undecided at a time.

Theory. Slots are applied in their order, so a small command waits for all that was proposed before it. What is in
flight beyond what the disks and links need to be busy is a queue in which nobody overtakes; what waits for a slot has
its turns (`paxos.turns`). So the queue belongs there. How much keeps disks and links busy shows in time, as in TCP
Vegas (L. S. Brakmo, L. L. Peterson, 1995): now and then a run is watched from its proposal to its decision. The least
of these times is the way itself, disks included. While it takes little longer, more in flight is more throughput;
beyond that more in flight is only a longer wait.

Rules.
- The window begins at `most` and halves when a decision takes longer than the least one by twice the slack. It grows by
  half when something waited for it and the decision took less than the least one and the slack. It never is below
  FLIGHT_BYTES_MIN, so small commands in common numbers never wait for it.
- The slack is SLACK_NS, or a quarter of the least time where that is long.
- One run at a time is watched, and one in a millisecond at most. The least time is that of the last LEAST_NS, up to
  twice as long: disks and links change.
- A large command, longer than a cut, is proposed while the window has room. Small ones may fill a window beside those
  that are in flight: they would wait for the large ones anyway, and then for their own decision too.
- More than `most` is never proposed: the next election has to carry it.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.limits cimport FLIGHT_BYTES_MIN, MILLISECOND_NS, NEVER
from multipaxos.paxos.commander cimport Commanders
from multipaxos.paxos.slots cimport Row

from multipaxos.errors import InvariantViolation

cdef enum:
    SLACK_NS = 2 * MILLISECOND_NS
    LEAST_NS = 5000 * MILLISECOND_NS


@cython.final
cdef class Flight:

    def __cinit__(self, Context context not None, Commanders commanders not None, uint64_t most):
        self.context = context
        self.commanders = commanders
        self.most = self.window = most
        self.least_ns = self.least_before_ns = NEVER

    cdef int begin_reign(self) except -1:
        """Our leader is adopted: what is proposed again is in flight, and is not watched."""
        cdef uint64_t slot = self.commanders.proposals.base
        cdef Row* row
        self.watched_end = self.large_bytes = 0
        while slot < self.commanders.slot_end:
            row = self.commanders.proposals.find(slot)
            if self.is_large(row.run):
                self.large_bytes += row.run.size
            slot = row.run.first + row.run.count
        return 0

    cdef void measure(self) noexcept:
        """The run that is watched is decided."""
        cdef uint64_t least, slack, took_ns = self.context.now_ns - self.watched_ns
        self.watched_end = 0
        if self.context.now_ns >= self.least_until_ns:
            self.least_until_ns = self.context.now_ns + LEAST_NS
            self.least_before_ns, self.least_ns = self.least_ns, NEVER
        self.least_ns = min(self.least_ns, took_ns)
        least = min(self.least_ns, self.least_before_ns)
        slack = max(<uint64_t>SLACK_NS, least // 4)
        if took_ns > least + 2 * slack:
            self.window = max(min(<uint64_t>FLIGHT_BYTES_MIN, self.most), self.window // 2)
        elif self.is_held and took_ns < least + slack:
            self.window = min(self.most, self.window + self.window // 2)

    def invariants(self):
        """The window is within its bounds, and what large commands hold is not more than is in flight."""
        if not min(FLIGHT_BYTES_MIN, self.most) <= self.window <= self.most:
            raise InvariantViolation(f"{self.window} bytes may be in flight, of at most {self.most}")
        if self.large_bytes > self.commanders.proposals.bytes:
            raise InvariantViolation(f"large commands of {self.large_bytes} bytes are in flight, of "
                                     f"{self.commanders.proposals.bytes}")
