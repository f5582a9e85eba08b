# The entries of the key-value machine: see table.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcmp

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


# The next entry of each level, in key order.
cdef inline Entry** forward_of(Entry* entry) noexcept:
    return <Entry**>(<uint8_t*>entry + sizeof(Entry))


cdef inline uint8_t* key_of(Entry* entry) noexcept:
    return <uint8_t*>entry + sizeof(Entry) + entry.height * sizeof(Entry*)


# Below, equal to or above 0. Keys and values compare as bytes. memcmp must not get NULL, where an empty value lies.
cdef inline int order(const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size) noexcept:
    cdef size_t shared = min(a_size, b_size)
    cdef int by_bytes = memcmp(a, b, shared) if shared else 0
    if by_bytes:
        return by_bytes
    return (a_size > b_size) - (a_size < b_size)


@cython.final
cdef class Table:
    cdef Entry** buckets
    cdef uint64_t bucket_count       # a power of two
    cdef readonly uint64_t count     # of keys
    cdef readonly uint64_t content   # the sum of the entries' parts of the state's hash
    cdef uint64_t seed
    cdef Entry* head                 # before the first key

    cdef Entry* find(self, Slice key) noexcept
    cdef int write(self, Entry* entry, Slice key, Slice value, uint64_t version) except -1
    cdef Entry* insert(self, Slice key) except NULL
    cdef int set_value(self, Entry* entry, Slice value, uint64_t version) except -1
    cdef void remove(self, Entry* entry) noexcept
    cdef int grow(self) except -1
    cdef Entry* at_or_after(self, Slice key, bint strictly) noexcept
    cdef Entry* last_before(self, Entry* before, uint32_t level, Slice key) noexcept
