"""The state machine as the replica sees it, and the user's own machine behind that face.

Theory. `apply` takes the command's bytes where they lie and appends the answer; what it refuses is an answer too.
`state_hash` lets two replicas be compared: equal states, equal hashes. A user's machine does not offer one, so its hash
is chained over everything it was given and answered, in order: replicas that applied the same commands with the same
answers agree.

Rules.
- An Exception of a user's machine is its client's answer: "TypeName: text", on every replica alike.
- What would differ between replicas - no memory, interruption, the depth of a stack - is no answer: it stops the node.
"""

cimport cython

from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy, memset

from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put
from multipaxos.wire.messages cimport VALUE_BYTES_MAX

from multipaxos.machine.state_machine import Context as UserContext

cdef enum:
    REFUSAL_BYTES_MAX = 1000
    ANSWER_BYTES_MAX = VALUE_BYTES_MAX + (64 << 10)


cdef uint64_t chained(uint64_t hash, const uint8_t* data, size_t size) noexcept:
    """A 64-bit hash of bytes, going on from `hash`; the same in every process."""
    cdef uint64_t word
    cdef size_t at = 0
    hash ^= <uint64_t>size * <uint64_t>0x9E3779B97F4A7C15
    while at < size:
        word = 0
        memcpy(&word, data + at, min(<size_t>8, size - at))
        hash = (hash ^ word) * <uint64_t>0xD6E8FEB86659FD93
        hash ^= hash >> 32
        at += 8
    return hash


cdef class Machine:
    """Base of the compiled machines."""

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        raise TypeError("Machine is abstract: use KeyValue or PythonMachine")

    cdef uint64_t state_hash(self):
        raise TypeError("Machine is abstract: use KeyValue or PythonMachine")

    def state_hash_int(self):
        """The hash of the state, 64 bits."""
        return self.state_hash()

    def apply_bytes(self, uint64_t slot, uint64_t time_ns, uint64_t session, bytes command not None):
        """Applies one command, as decided in `slot`; returns (refused, answer)."""
        cdef Context context
        cdef Bytes reply
        context.slot, context.time_ns, context.session = slot, time_ns, session
        memset(&reply, 0, sizeof(Bytes))
        try:
            refused = self.apply(&context, <const uint8_t*>(<char*>command), len(command), &reply)
            return bool(refused), reply.data[:reply.size] if reply.size else b""
        finally:
            bytes_free(&reply)


cdef bytes refusal_text(error):
    """`TypeName: text` in UTF-8, cut at a character.

    The text is made by the user's code: if that fails, the command is refused too. Were the failure raised,
    one command would stop every replica, and stop it again at each start.
    """
    try:
        text = f"{type(error).__name__}: {error}"
    except (MemoryError, RecursionError):
        raise
    except Exception:
        text = f"{type(error).__name__}: (its text cannot be made)"
    encoded = text.encode("utf-8", "replace")[:REFUSAL_BYTES_MAX]
    return encoded.decode("utf-8", "ignore").encode("utf-8")


@cython.final
cdef class PythonMachine(Machine):
    """A user's `StateMachine`."""

    cdef object machine
    cdef object user_apply
    cdef uint64_t hash

    def __init__(self, machine):
        self.machine = machine
        self.user_apply = machine.apply

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        cdef bytes answer
        cdef bint refused = False
        try:
            given = self.user_apply(command[:size], UserContext(context.slot, context.time_ns, context.session))
            if not isinstance(given, bytes):
                raise TypeError(f"the machine answered with {type(given).__name__}, not bytes")
            answer = given
            if len(answer) > ANSWER_BYTES_MAX:
                raise ValueError(f"the machine answered with {len(answer)} bytes, more than {ANSWER_BYTES_MAX}")
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            answer = refusal_text(error)
            refused = True
        bytes_put(reply, <const uint8_t*>(<char*>answer), len(answer))
        self.hash = chained(self.hash ^ context.slot, command, size)
        if refused:                      # the text may differ between processes: only the refusal counts
            self.hash = chained(~self.hash, NULL, 0)
        else:
            self.hash = chained(self.hash, <const uint8_t*>(<char*>answer), len(answer))
        return refused

    cdef uint64_t state_hash(self):
        return self.hash
