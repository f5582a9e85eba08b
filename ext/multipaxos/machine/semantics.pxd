# What `apply` does, by number: see semantics.pyx.
cimport cython

from libc.stdint cimport uint64_t


@cython.final
cdef class Semantics:
    cdef readonly uint64_t version
    # Client sessions.
    cdef readonly uint64_t sessions_max          # live sessions; the least recently used one is evicted
    cdef readonly uint64_t fresh_sessions_max    # if more have applied nothing, one of these is evicted first
    cdef readonly uint64_t unacknowledged_max    # answers kept for one session; above this its commands are void
    cdef readonly uint64_t answer_bytes_max      # of its unacknowledged answers; above this they are void too
    cdef readonly uint64_t kept_bytes_max        # of all kept answers; above it who keeps most is evicted
    cdef readonly uint64_t answer_cost           # that every kept answer counts beside its bytes
    cdef readonly uint64_t refusal_bytes         # what the text of a kept refusal counts, whatever it is
    # The key-value store.
    cdef readonly uint64_t key_bytes_max
    cdef readonly uint64_t value_bytes_max
    cdef readonly uint64_t scan_bytes            # an answer to a scan ends here, after at least one pair
    cdef readonly uint64_t transact_bytes_max    # of a transaction's answer
    # A user's machine.
    cdef readonly uint64_t machine_answer_bytes_max
