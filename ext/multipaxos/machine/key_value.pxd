# The key-value machine: see key_value.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from multipaxos.machine.machine cimport Machine
from multipaxos.machine.table cimport Slice, Table
from multipaxos.wire.buffer cimport Bytes

cdef struct Parsed:                  # one command, every length checked
    uint8_t op
    Slice key
    Slice value
    Slice expected
    uint64_t version
    uint32_t limit


@cython.final
cdef class KeyValue(Machine):
    cdef Table table

    cdef int perform(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1
    cdef int perform_cas(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1
    cdef int scan(self, const Parsed* command, Bytes* reply) except -1
    cdef const char* judge(self, const uint8_t** at, size_t* left, uint16_t count, bint* holds) noexcept
    cdef const char* check_branch(self, const uint8_t** at, size_t* left, uint16_t count) noexcept
    cdef int transact(self, const uint8_t* data, size_t size, uint64_t slot, Bytes* reply) except -1
