"""The user's own machine, as the replica sees it.

Theory. A user's machine offers no state hash, so its hash is chained over everything that it was given and answered, in
order: replicas that applied the same commands with the same answers agree.

Rules.
- An Exception that a user's machine raises is the client's answer, "TypeName: text", on every replica alike.
- A failure that would differ between replicas - no memory, interruption, the depth of a stack - is no answer: it stops
  the node.
"""

cimport cython

from libc.stdint cimport uint8_t, uint64_t

from multipaxos.machine.hashing cimport hash_chained
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.wire.buffer cimport Bytes, bytes_put

from multipaxos.machine.state_machine import Context as UserContext

cdef enum:
    REFUSAL_BYTES_MAX = 1000


cdef bytes refusal_text(error):
    """`TypeName: text` in UTF-8, cut at a character.

    The user's code makes the text: if that fails, the command is refused too. If the failure were raised, one command
    would stop every replica, and stop it again at each start.
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
        self.version = machine.version

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        cdef bytes answer
        cdef bint refused = False
        try:
            known = UserContext(context.slot, context.time_ns, context.session, context.machine_version)
            given = self.user_apply(command[:size], known)
            if not isinstance(given, bytes):
                raise TypeError(f"the machine answered with {type(given).__name__}, not bytes")
            answer = given
            if len(answer) > self.semantics.machine_answer_bytes_max:
                raise ValueError(f"the machine answered with {len(answer)} bytes, more than "
                                 f"{self.semantics.machine_answer_bytes_max}")
        except (MemoryError, RecursionError):
            raise
        except Exception as error:
            answer = refusal_text(error)
            refused = True
        bytes_put(reply, <const uint8_t*>(<char*>answer), len(answer))
        self.hash = hash_chained(self.hash ^ context.slot, command, size)
        if refused:                      # the text may differ between processes: only the refusal counts
            self.hash = hash_chained(~self.hash, NULL, 0)
        else:
            self.hash = hash_chained(self.hash, <const uint8_t*>(<char*>answer), len(answer))
        return refused

    cdef uint64_t state_hash(self):
        return self.hash
