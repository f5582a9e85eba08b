"""The entries of the key-value machine: a hash table and a skip list over the same entries.

Theory. The hash table finds a key; the skip list keeps the entries in key order for scans and is touched only when a
key comes or goes. Heights are drawn from the key's hash. The table is seeded per process, so that no client can choose
keys that collide; nothing that a replica answers depends on the seed. `content` is a sum over the entries of an
unseeded hash of key, value and version, kept up to date by each write: equal contents have equal sums, no matter how
they came about.

Rules.
- An entry is one allocation, its value another. A pointer to an entry is good until that key is removed.
- A key whose value cannot be stored for want of memory is not inserted.
"""

cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy

from multipaxos.machine.hashing cimport fold, hash_bytes

cdef enum:
    FIRST_BUCKETS = 1 << 10


@cython.final
cdef class Table:
    """Keys with their values and versions. `seed` places keys in the table and changes nothing that can be observed."""

    def __cinit__(self, uint64_t seed):
        self.seed = seed
        self.bucket_count = FIRST_BUCKETS
        self.buckets = <Entry**>calloc(self.bucket_count, sizeof(Entry*))
        self.head = <Entry*>calloc(1, sizeof(Entry) + HEIGHT_MAX * sizeof(Entry*))
        if self.buckets == NULL or self.head == NULL:
            raise MemoryError("no memory for the key-value machine")
        self.head.height = HEIGHT_MAX

    def __dealloc__(self):
        cdef Entry* entry = forward_of(self.head)[0] if self.head != NULL else NULL
        cdef Entry* next_entry
        while entry != NULL:
            next_entry = forward_of(entry)[0]
            free(entry.value)
            free(entry)
            entry = next_entry
        free(self.head)
        free(self.buckets)

    cdef Entry* find(self, Slice key) noexcept:
        cdef uint64_t hash = hash_bytes(self.seed, key.data, key.size)
        cdef Entry* entry = self.buckets[hash & (self.bucket_count - 1)]
        while entry != NULL:
            if entry.hash == hash and entry.key_size == key.size and memcmp(key_of(entry), key.data, key.size) == 0:
                return entry
            entry = entry.chain
        return NULL

    cdef int write(self, Entry* entry, Slice key, Slice value, uint64_t version) except -1:
        """Sets the value of an entry; of a new one for `key` where `entry` is NULL."""
        if entry != NULL:
            return self.set_value(entry, value, version)
        entry = self.insert(key)
        try:
            return self.set_value(entry, value, version)
        except MemoryError:
            self.remove(entry)           # no key without a value
            raise

    cdef int set_value(self, Entry* entry, Slice value, uint64_t version) except -1:
        cdef uint8_t* room
        if value.size > entry.value_room or entry.value_room > 4 * value.size + 64:
            room = <uint8_t*>realloc(entry.value, max(value.size, <size_t>1))
            if room == NULL:
                raise MemoryError("no memory for a value")
            entry.value = room
            entry.value_room = <uint32_t>value.size
        if value.size:
            memcpy(entry.value, value.data, value.size)
        entry.value_size = <uint32_t>value.size
        entry.version = version
        self.content -= entry.content
        entry.content = hash_bytes(hash_bytes(version, key_of(entry), entry.key_size), entry.value, value.size)
        self.content += entry.content
        return 0

    cdef Entry* insert(self, Slice key) except NULL:
        """A new entry, in its bucket and in the list, with no value yet."""
        cdef uint64_t hash = hash_bytes(self.seed, key.data, key.size)
        cdef uint64_t bits = fold(hash, <uint64_t>0x9E3779B97F4A7C15)
        cdef uint32_t height = 1, level
        cdef Entry* entry
        cdef Entry* before = self.head
        if self.count >= self.bucket_count:
            self.grow()
        while height < HEIGHT_MAX and bits & 3 == 0:
            height += 1
            bits >>= 2
        entry = <Entry*>calloc(1, sizeof(Entry) + height * sizeof(Entry*) + key.size)
        if entry == NULL:
            raise MemoryError("no memory for a key")
        entry.height = height
        entry.hash = hash
        entry.key_size = <uint32_t>key.size
        memcpy(key_of(entry), key.data, key.size)
        level = HEIGHT_MAX
        while level:
            level -= 1
            before = self.last_before(before, level, key)
            if level < height:
                forward_of(entry)[level] = forward_of(before)[level]
                forward_of(before)[level] = entry
        entry.chain = self.buckets[hash & (self.bucket_count - 1)]
        self.buckets[hash & (self.bucket_count - 1)] = entry
        self.count += 1
        return entry

    cdef Entry* last_before(self, Entry* before, uint32_t level, Slice key) noexcept:
        """The last entry of a level, from `before` on, whose key is less."""
        cdef Entry* entry = forward_of(before)[level]
        while entry != NULL and order(key_of(entry), entry.key_size, key.data, key.size) < 0:
            before = entry
            entry = forward_of(before)[level]
        return before

    cdef void remove(self, Entry* entry) noexcept:
        cdef Entry** place = &self.buckets[entry.hash & (self.bucket_count - 1)]
        cdef Entry* before = self.head
        cdef uint32_t level = HEIGHT_MAX
        cdef Slice key
        key.data, key.size = key_of(entry), entry.key_size
        while place[0] != entry:
            place = &place[0].chain
        place[0] = entry.chain
        while level:
            level -= 1
            before = self.last_before(before, level, key)
            if level < entry.height:
                forward_of(before)[level] = forward_of(entry)[level]
        self.content -= entry.content
        self.count -= 1
        free(entry.value)
        free(entry)

    cdef int grow(self) except -1:
        """Twice the buckets."""
        cdef uint64_t larger = self.bucket_count * 2, i
        cdef Entry** buckets = <Entry**>calloc(larger, sizeof(Entry*))
        cdef Entry* entry
        cdef Entry* next_entry
        if buckets == NULL:
            raise MemoryError("no memory for the key-value machine's table")
        for i in range(self.bucket_count):
            entry = self.buckets[i]
            while entry != NULL:
                next_entry = entry.chain
                entry.chain = buckets[entry.hash & (larger - 1)]
                buckets[entry.hash & (larger - 1)] = entry
                entry = next_entry
        free(self.buckets)
        self.buckets = buckets
        self.bucket_count = larger
        return 0

    cdef Entry* at_or_after(self, Slice key, bint strictly) noexcept:
        """The first entry in key order whose key is not less - or, strictly, greater."""
        cdef Entry* before = self.head
        cdef Entry* entry
        cdef uint32_t level = HEIGHT_MAX
        while level:
            level -= 1
            before = self.last_before(before, level, key)
        entry = forward_of(before)[0]
        if strictly and entry != NULL and order(key_of(entry), entry.key_size, key.data, key.size) == 0:
            entry = forward_of(entry)[0]
        return entry

    def items(self):
        """[(key, value, version)] in key order."""
        cdef Entry* entry = forward_of(self.head)[0]
        pairs = []
        while entry != NULL:
            pairs.append((<bytes>key_of(entry)[:entry.key_size], <bytes>entry.value[:entry.value_size], entry.version))
            entry = forward_of(entry)[0]
        return pairs
