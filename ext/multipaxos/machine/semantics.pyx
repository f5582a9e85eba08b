"""Semantics: every number that decides what `apply` does, by version.

Theory. Replicas are equal because they apply the same commands in the same way. A program that bounds a session or a
value differently from the program that applied the log before it makes another state of the same log. So these numbers
are no constants of the program: they belong to the log. A log begins with version 1; a decided setting raises the
version for the slots after it (`paxos.settings`, which refuses a version that this program does not know). A program
knows the versions that logs may still hold (`VERSIONS`, in order from version 1), and runs the one that the log says.

Rules.
- A version that was ever released never changes. Another number is another version, at the end of `VERSIONS`.
- Whatever `apply` of the session table, of the store, or of the frame round a user's machine compares with, is here.
  What only a client or a queue is bounded by is not: it may differ from node to node (`paxos/limits.pxd`).
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.wire.messages cimport KEY_BYTES_MAX, VALUE_BYTES_MAX


@cython.final
cdef class Semantics:
    """One version. The defaults are those of version 1; tests make them small."""

    def __init__(self, uint64_t version=1, *, uint64_t sessions_max=65536, uint64_t fresh_sessions_max=4096,
                 uint64_t unacknowledged_max=16384, uint64_t answer_bytes_max=8 << 20,
                 uint64_t kept_bytes_max=256 << 20, uint64_t answer_cost=192, uint64_t refusal_bytes=1024,
                 uint64_t key_bytes_max=KEY_BYTES_MAX, uint64_t value_bytes_max=VALUE_BYTES_MAX,
                 uint64_t scan_bytes=1 << 20, uint64_t transact_bytes_max=2 << 20,
                 uint64_t machine_answer_bytes_max=VALUE_BYTES_MAX + (64 << 10)):
        self.version = version
        self.sessions_max = sessions_max
        self.fresh_sessions_max = fresh_sessions_max
        self.unacknowledged_max = unacknowledged_max
        self.answer_bytes_max = answer_bytes_max
        self.kept_bytes_max = kept_bytes_max
        self.answer_cost = answer_cost
        self.refusal_bytes = refusal_bytes
        self.key_bytes_max = key_bytes_max
        self.value_bytes_max = value_bytes_max
        self.scan_bytes = scan_bytes
        self.transact_bytes_max = transact_bytes_max
        self.machine_answer_bytes_max = machine_answer_bytes_max


VERSIONS = (Semantics(),)
