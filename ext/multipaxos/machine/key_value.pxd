# The key-value machine: see store.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t

from multipaxos.wire.buffer cimport Bytes
from multipaxos.machine.machine cimport Context, Machine

cdef enum:
    HEIGHT_MAX = 20

cdef struct Entry:                   # one key; its forward pointers and the key's bytes follow the struct
    Entry* chain                     # next in the bucket
    uint64_t hash                    # seeded, of the key: places it
    uint64_t content                 # unseeded, of key, value and version: its part of the state's hash
    uint64_t version
    uint8_t* value
    uint32_t value_size
    uint32_t value_room
    uint32_t key_size
    uint32_t height

cdef struct Slice:
    const uint8_t* data
    size_t size

cdef struct Parsed:                  # one command, every length checked
    uint8_t op
    Slice key
    Slice value
    Slice expected
    uint64_t version
    uint32_t limit


@cython.final
cdef class KeyValue(Machine):
    cdef Entry** buckets
    cdef uint64_t bucket_count
    cdef readonly uint64_t count
    cdef uint64_t seed
    cdef uint64_t content
    cdef Entry* head

    cdef Entry* find(self, Slice key) noexcept
    cdef int write(self, Entry* entry, Slice key, Slice value, uint64_t version) except -1
    cdef Entry* insert(self, Slice key) except NULL
    cdef int set_value(self, Entry* entry, Slice value, uint64_t version) except -1
    cdef void remove(self, Entry* entry) noexcept
    cdef int grow(self) except -1
    cdef Entry* at_or_after(self, Slice key, bint strictly) noexcept
    cdef int perform(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1
    cdef int perform_cas(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1
    cdef int scan(self, const Parsed* command, Bytes* reply) except -1
    cdef const char* judge(self, const uint8_t** at, size_t* left, uint16_t count, bint* holds) noexcept
    cdef const char* check_branch(self, const uint8_t** at, size_t* left, uint16_t count) noexcept
    cdef Entry* last_before(self, Entry* before, uint32_t level, Slice key) noexcept
    cdef int transact(self, const uint8_t* data, size_t size, uint64_t slot, Bytes* reply) except -1
