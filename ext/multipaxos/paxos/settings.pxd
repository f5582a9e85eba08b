# Settings that are decided in the log: see settings.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint64_t

from multipaxos.machine.machine cimport Context, Machine
from multipaxos.wire.buffer cimport Bytes

cdef enum:
    SEMANTICS = 1                    # which rules decide what `apply` does
    MACHINE_VERSION = 2              # which version of the machine the cluster runs
    SETTING_BYTES = 10               # name (2), value (8), little-endian
    MACHINE_VERSION_MAX = 0x7fff_ffff

cdef struct Setting:                 # the payload of a command of the kind `setting`
    int name
    uint64_t value

cdef bint setting_read(const uint8_t* payload, size_t size, Setting* setting) noexcept


@cython.final
cdef class Settings(Machine):
    cdef readonly uint64_t semantics, machine_version      # of the log, up to the slot applied last
    cdef readonly uint64_t semantics_known, machine_known  # the greatest that this node can run

    cdef int raise_semantics(self, const Context* context, uint64_t value) except -1
    cdef int raise_machine_version(self, const Context* context, uint64_t value) except -1
