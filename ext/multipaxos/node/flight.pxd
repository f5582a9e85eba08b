# How much our leader may have undecided: see flight.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.limits cimport MILLISECOND_NS
from multipaxos.paxos.commander cimport Commanders
from multipaxos.wire.messages cimport CUT_BYTES
from multipaxos.wire.run cimport Run


@cython.final
cdef class Flight:
    cdef Context context
    cdef Commanders commanders
    cdef readonly uint64_t most      # bytes that may be undecided, whatever was measured
    cdef readonly uint64_t window    # bytes that may be undecided, by what was measured; one more run at the end
    cdef uint64_t large_bytes        # of undecided runs that are one large command each
    cdef bint is_held                # did something wait for room since the measurement began?
    cdef uint64_t watched_end        # the slot before this is decided: then a measurement ends; 0: none is going on
    cdef uint64_t watched_ns         # when it began
    cdef uint64_t least_ns           # the shortest time that was measured lately, and before that
    cdef uint64_t least_before_ns
    cdef uint64_t least_until_ns     # when `lately` begins anew

    cdef int begin_reign(self) except -1
    cdef void measure(self) noexcept

    # A large command is alone in its run.
    cdef inline bint is_large(self, Run* run) noexcept:
        return run.size > CUT_BYTES and run.count == 1

    cdef inline void on_proposed(self, Run* run) noexcept:
        if self.is_large(run):
            self.large_bytes += run.size
        if not self.watched_end and self.context.now_ns > self.watched_ns + MILLISECOND_NS:
            self.watched_end, self.watched_ns = run.first + run.count, self.context.now_ns
            self.is_held = False

    # Slots were decided.
    cdef inline void on_decided(self) noexcept:
        if self.watched_end and self.commanders.decided_end >= self.watched_end:
            self.measure()

    # A run was decided and leaves the leader's rows.
    cdef inline void on_landed(self, Run* run) noexcept:
        if self.is_large(run):
            self.large_bytes -= run.size

    # The longest command that may be proposed now; 0: none may.
    cdef inline uint64_t longest(self) noexcept:
        cdef uint64_t bytes = self.commanders.proposals.bytes
        if bytes < self.window:
            return <uint64_t>-1
        self.is_held = True
        return CUT_BYTES if bytes < self.most and bytes < self.window + self.large_bytes else 0
