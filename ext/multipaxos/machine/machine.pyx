"""The state machine as the replica sees it.

Theory. `apply` reads the command's bytes where they lie and appends the answer; a refusal is an answer too.
`state_hash` serves to compare two replicas: equal states have equal hashes.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from multipaxos.machine.semantics cimport Semantics
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put

import multipaxos.machine.semantics as known_semantics

REFUSED_SLOT = b"the operator of this cluster has refused the command of this slot"


cdef class Machine:
    """The base of the compiled machines: `key_value.KeyValue`, `python_machine.PythonMachine`, `RefusingMachine`. It
    begins with the first version of the semantics, as a log does."""

    def __cinit__(self, *_, **__):
        self.version = 1
        self.semantics = known_semantics.VERSIONS[0]

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        raise TypeError("Machine is abstract: use KeyValue or PythonMachine")

    cdef int use(self, Semantics semantics) except -1:
        """The version that the log says, from the next command on."""
        self.semantics = semantics
        return 0

    cdef bint is_read(self, const uint8_t* command, size_t size) noexcept:
        return False

    cdef uint64_t state_hash(self):
        raise TypeError("Machine is abstract: use KeyValue or PythonMachine")

    def state_hash_int(self):
        """The hash of the state, 64 bits."""
        return self.state_hash()

    def reads(self, bytes command not None):
        """Does the command change nothing, whatever the state?"""
        return self.is_read(<const uint8_t*>(<char*>command), len(command))

    def apply_bytes(self, uint64_t slot, uint64_t time_ns, uint64_t session, bytes command not None,
                    uint32_t machine_version=1):
        """Applies one command, as decided in `slot`; returns (refused, answer)."""
        cdef Context context
        cdef Bytes reply
        context.slot, context.time_ns, context.session = slot, time_ns, session
        context.machine_version = machine_version
        memset(&reply, 0, sizeof(Bytes))
        try:
            refused = self.apply(&context, <const uint8_t*>(<char*>command), len(command), &reply)
            return bool(refused), reply.data[:reply.size] if reply.size else b""
        finally:
            bytes_free(&reply)


cdef class RefusingMachine(Machine):
    """Stands in for the machine in slots whose commands the operator has had refused (`--refuse-slot`)."""

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        cdef bytes text = REFUSED_SLOT
        bytes_put(reply, <const uint8_t*>(<char*>text), len(text))
        return True
