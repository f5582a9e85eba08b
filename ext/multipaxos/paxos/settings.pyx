"""Settings: numbers of the cluster that are decided in the log, so that they change at one slot on every node.

Theory. The program and the machine of a cluster are replaced node by node, so for a while two versions of each apply
one log. They must do the same until all nodes have the new one. So a new version does what the old one did until a
*setting* is decided that raises the number in force; from the next slot on, all do the new thing. `semantics` is the
number of the program's own rules (`machine.semantics`), `machine_version` that of the user's machine, which gets it in
its context.

Rules.
- Both numbers are 1 when the log begins, and only rise: a setting that does not raise its number changes nothing. The
  answer to a setting is the number in force after it, 8 bytes, little-endian.
- A setting is a command of a session, as a command to the machine is one, and `Settings` applies it in the machine's
  place. So it takes effect at most once.
- A node that does not know a decided number stops (LogTooNew, MachineTooOld), also at each later start, before it
  applies a slot that it would apply wrongly. The node that an admin asks sees to it that this does not happen: it
  refuses the setting unless all nodes are linked and know the number (`node.changing`).
"""

cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint64_t
from libc.string cimport memcpy

from multipaxos.machine.hashing cimport hash_word
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.wire.buffer cimport Bytes, bytes_put

from multipaxos.errors import LogTooNew, MachineTooOld

globals().update(SEMANTICS=SEMANTICS, MACHINE_VERSION=MACHINE_VERSION, MACHINE_VERSION_MAX=MACHINE_VERSION_MAX,
                 SETTING_BYTES=SETTING_BYTES)

cdef bytes NO_SETTING = b"this is no setting"


cdef bint setting_read(const uint8_t* payload, size_t size, Setting* setting) noexcept:
    """Reads a payload; False if it is none."""
    cdef uint16_t name
    if size != SETTING_BYTES:
        return False
    memcpy(&name, payload, 2)
    memcpy(&setting.value, payload + 2, 8)
    setting.name = name
    return True


def encode_setting(int name, value):
    """The payload of a setting, for clients."""
    return name.to_bytes(2, "little") + value.to_bytes(8, "little")


@cython.final
cdef class Settings(Machine):
    """The settings in force. `semantics_known`, `machine_known`: the greatest numbers that this node can run."""

    def __cinit__(self, uint64_t semantics_known=1, uint64_t machine_known=1):
        self.semantics = self.machine_version = 1
        self.semantics_known, self.machine_known = semantics_known, machine_known

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        cdef Setting setting
        cdef uint64_t answer
        if not setting_read(command, size, &setting):
            bytes_put(reply, <const uint8_t*>(<char*>NO_SETTING), len(NO_SETTING))
            return 1
        if setting.name == SEMANTICS:
            self.raise_semantics(context, setting.value)
            answer = self.semantics
        elif setting.name == MACHINE_VERSION:
            self.raise_machine_version(context, setting.value)
            answer = self.machine_version
        else:
            raise LogTooNew(f"slot {context.slot} holds setting {setting.name}, which this program does not know: "
                            "run the program that the other nodes run")
        bytes_put(reply, <const uint8_t*>&answer, 8)
        return 0

    cdef int raise_semantics(self, const Context* context, uint64_t value) except -1:
        if value > self.semantics_known:
            raise LogTooNew(f"slot {context.slot} raises the semantics of the log to {value}, this program knows "
                            f"{self.semantics_known} at most: run the program that the other nodes run")
        self.semantics = max(self.semantics, value)
        return 0

    cdef int raise_machine_version(self, const Context* context, uint64_t value) except -1:
        if value > self.machine_known:
            raise MachineTooOld(f"slot {context.slot} raises the machine's version to {value}, this node's machine is "
                                f"version {self.machine_known}: start the node with the machine that the others run")
        self.machine_version = max(self.machine_version, value)
        return 0

    cdef uint64_t state_hash(self):
        return hash_word(hash_word(0, self.semantics), self.machine_version)
