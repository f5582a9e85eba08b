"""The key-value machine: create, get, update, put, remove, cas, scan, transact.

Theory. A hash table finds a key; a skip list over the same entries keeps them in key order for scans and is touched
only when a key comes or goes. Heights are drawn from the key's hash. The table is seeded per process, so that nobody
can choose keys that collide; nothing that a replica answers depends on it. The state's hash is a sum over the entries
of an unseeded hash of key, value and version, kept up to date by each write: equal contents, equal hashes, whatever the
history.

Rules.
- A version is the slot that last changed the key.
- The bytes of a command are hostile: every length is checked before anything is done. What does not parse, or is over a
  limit, is refused with the reason, and nothing is changed.
- A transaction is parsed whole, and its answer bounded, before any of it is applied; then nothing in it can fail.
The encodings of commands and answers are in docs/encodings.md.
"""

cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, realloc
from libc.string cimport memcmp, memcpy, memset

from multipaxos.wire.buffer cimport Bytes, bytes_put
from multipaxos.wire.messages cimport KEY_BYTES_MAX, VALUE_BYTES_MAX
from multipaxos.machine.machine cimport Context, Machine

cdef enum:
    CREATE = 1
    UPDATE = 2
    PUT = 3
    GET = 4
    REMOVE = 5
    CAS_VALUE = 6
    CAS_VERSION = 7
    SCAN = 8
    TRANSACT = 9

cdef enum:
    ANSWER_OK = 0
    ANSWER_EXISTS = 1
    ANSWER_NOT_FOUND = 2
    ANSWER_MISMATCH = 3
    ANSWER_ELSE = 4

cdef enum:
    IS_THERE = 1
    IS_MISSING = 2
    VALUE_EQUALS = 3
    VERSION_EQUALS = 4

cdef enum:
    SCAN_BYTES = 1 << 20             # an answer is cut here, after at least one pair
    TRANSACT_BYTES_MAX = 2 << 20     # of a transaction's answer
    FIRST_BUCKETS = 1 << 10

cdef const char* MALFORMED_TEXT = "Malformed: the lengths do not fit the bytes; build commands with multipaxos.commands"
cdef const char* KEY_TEXT = "TooLarge: a key has 1 to 480 bytes"
cdef const char* VALUE_TEXT = "TooLarge: a value has at most 1048576 bytes"
cdef const char* OP_TEXT = "Malformed: no such operation here"
cdef const char* ANSWER_TEXT = "TooLarge: the transaction's answer could exceed 2 MiB; read fewer values in one"


# -- hashing

cdef extern from *:
    ctypedef unsigned long long uint128_t "unsigned __int128"


cdef inline uint64_t fold(uint64_t a, uint64_t b) noexcept:
    """The two halves of a 128-bit product, folded."""
    cdef uint128_t product = <uint128_t>a * b
    return <uint64_t>product ^ <uint64_t>(product >> 64)


cdef uint64_t hash_bytes(uint64_t hash, const uint8_t* data, size_t size) noexcept:
    """64 bits of `data`, going on from `hash`."""
    cdef uint64_t word
    cdef size_t left = size
    hash = fold(hash ^ <uint64_t>0xA0761D6478BD642F, <uint64_t>size ^ <uint64_t>0xE7037ED1A0B428DB)
    while left >= 8:
        memcpy(&word, data, 8)
        hash = fold(hash ^ word, <uint64_t>0x8EBC6AF09C88C6E3)
        data += 8
        left -= 8
    if left:
        word = 0
        memcpy(&word, data, left)
        hash = fold(hash ^ word, <uint64_t>0x589965CC75374CC3)
    return hash ^ (hash >> 29)


# -- entries

cdef inline Entry** forward_of(Entry* entry) noexcept:
    return <Entry**>(<uint8_t*>entry + sizeof(Entry))


cdef inline uint8_t* key_of(Entry* entry) noexcept:
    return <uint8_t*>entry + sizeof(Entry) + entry.height * sizeof(Entry*)


cdef inline int order(const uint8_t* a, size_t a_size, const uint8_t* b, size_t b_size) noexcept:
    """Keys compare as bytes. memcmp is not to be given NULL, which is where an empty value lies."""
    cdef size_t shared = min(a_size, b_size)
    cdef int by_bytes = memcmp(a, b, shared) if shared else 0
    if by_bytes:
        return by_bytes
    return (a_size > b_size) - (a_size < b_size)


# -- parsing

cdef inline bint take(const uint8_t** at, size_t* left, void* into, size_t size) noexcept:
    if left[0] < size:
        return False
    memcpy(into, at[0], size)
    at[0] += size
    left[0] -= size
    return True


cdef inline bint take_slice(const uint8_t** at, size_t* left, size_t size, Slice* into) noexcept:
    if left[0] < size:
        return False
    into.data = at[0]
    into.size = size
    at[0] += size
    left[0] -= size
    return True


cdef bint take_short(const uint8_t** at, size_t* left, Slice* into) noexcept:
    """Bytes with a 16-bit length before them."""
    cdef uint16_t size = 0
    return take(at, left, &size, 2) and take_slice(at, left, size, into)


cdef bint take_long(const uint8_t** at, size_t* left, Slice* into) noexcept:
    """Bytes with a 32-bit length before them."""
    cdef uint32_t size = 0
    return take(at, left, &size, 4) and take_slice(at, left, size, into)


cdef const char* check_key(Slice key) noexcept:
    return NULL if 1 <= key.size <= KEY_BYTES_MAX else KEY_TEXT


cdef const char* parse(const uint8_t* data, size_t size, Parsed* out) noexcept:
    """Any command but a transaction; NULL, or why it is refused."""
    cdef const uint8_t* at = data
    cdef size_t left = size
    memset(out, 0, sizeof(Parsed))
    if not take(&at, &left, &out.op, 1):
        return MALFORMED_TEXT
    if out.op == SCAN:
        if not (take_short(&at, &left, &out.key) and take_short(&at, &left, &out.expected)
                and take(&at, &left, &out.limit, 4) and left == 0):
            return MALFORMED_TEXT
        return NULL if out.key.size <= KEY_BYTES_MAX and out.expected.size <= KEY_BYTES_MAX else KEY_TEXT
    if out.op < CREATE or out.op > CAS_VERSION:
        return OP_TEXT
    if not take_short(&at, &left, &out.key):
        return MALFORMED_TEXT
    if check_key(out.key) != NULL:
        return KEY_TEXT
    if out.op == GET or out.op == REMOVE:
        return NULL if left == 0 else MALFORMED_TEXT
    if out.op == CAS_VALUE and not take_long(&at, &left, &out.expected):
        return MALFORMED_TEXT
    if out.op == CAS_VERSION and not take(&at, &left, &out.version, 8):
        return MALFORMED_TEXT
    take_slice(&at, &left, left, &out.value)
    return NULL if out.value.size <= VALUE_BYTES_MAX else VALUE_TEXT


# -- answers

cdef inline int put_code(Bytes* reply, uint8_t code) except -1:
    return bytes_put(reply, &code, 1)


cdef int put_value(Bytes* reply, uint8_t code, Entry* entry) except -1:
    """code, version, value"""
    put_code(reply, code)
    bytes_put(reply, &entry.version, 8)
    return bytes_put(reply, entry.value, entry.value_size)


cdef int refuse(Bytes* reply, size_t start, const char* text) except -1:
    """Takes back what was written and leaves the reason; returns 1, as `apply` does for a refusal."""
    cdef size_t size = 0
    while text[size]:
        size += 1
    reply.size = start
    bytes_put(reply, text, size)
    return 1


@cython.final
cdef class KeyValue(Machine):
    """The store. `seed` places keys in the table and changes nothing that can be observed."""

    def __cinit__(self, uint64_t seed=0):
        self.seed = seed
        self.bucket_count = FIRST_BUCKETS
        self.buckets = <Entry**>calloc(self.bucket_count, sizeof(Entry*))
        self.head = <Entry*>calloc(1, sizeof(Entry) + HEIGHT_MAX * sizeof(Entry*))
        if self.buckets == NULL or self.head == NULL:
            raise MemoryError("no memory for the key-value store")
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

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        cdef Parsed parsed
        cdef const char* reason
        if size and command[0] == TRANSACT:
            return self.transact(command + 1, size - 1, context.slot, reply)
        reason = parse(command, size, &parsed)
        if reason != NULL:
            return refuse(reply, reply.size, reason)
        return self.perform(&parsed, context.slot, reply)

    cdef uint64_t state_hash(self):
        return self.content

    # -- commands

    cdef int perform(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1:
        """One parsed command; cannot be refused."""
        cdef Entry* entry
        if command.op == SCAN:
            return self.scan(command, reply)
        if command.op >= CAS_VALUE:
            return self.perform_cas(command, slot, reply)
        entry = self.find(command.key)
        if entry == NULL and command.op != PUT and command.op != CREATE:
            return put_code(reply, ANSWER_NOT_FOUND)
        if command.op == GET:
            return put_value(reply, ANSWER_OK, entry)
        if command.op == CREATE and entry != NULL:
            return put_code(reply, ANSWER_EXISTS)
        if command.op == REMOVE:
            self.remove(entry)
        else:
            self.write(entry, command.key, command.value, slot)
        return put_code(reply, ANSWER_OK)

    cdef int perform_cas(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1:
        cdef Entry* entry = self.find(command.key)
        cdef bint holds
        if entry == NULL:
            return put_code(reply, ANSWER_NOT_FOUND)
        if command.op == CAS_VERSION:
            holds = entry.version == command.version
        else:
            holds = order(entry.value, entry.value_size, command.expected.data, command.expected.size) == 0
        if not holds:
            return put_value(reply, ANSWER_MISMATCH, entry)
        self.set_value(entry, command.value, slot)
        return put_code(reply, ANSWER_OK)

    cdef int scan(self, const Parsed* command, Bytes* reply) except -1:
        """Pairs with the prefix (`key`), after `expected`, in key order; cut by limit or bytes, and then says so."""
        cdef Slice prefix = command.key
        cdef Slice after = command.expected
        cdef Entry* entry
        cdef size_t start = reply.size
        cdef uint8_t more = 0
        cdef uint32_t count = 0
        cdef uint16_t key_size
        put_code(reply, ANSWER_OK)
        put_code(reply, 0)
        bytes_put(reply, &count, 4)
        if after.size and order(after.data, after.size, prefix.data, prefix.size) >= 0:
            entry = self.at_or_after(after, True)
        else:
            entry = self.at_or_after(prefix, False)
        while entry != NULL and entry.key_size >= prefix.size and memcmp(key_of(entry), prefix.data, prefix.size) == 0:
            if ((command.limit and count == command.limit)
                    or (count and reply.size - start + entry.value_size > SCAN_BYTES)):
                more = 1
                break
            key_size = <uint16_t>entry.key_size
            bytes_put(reply, &key_size, 2)
            bytes_put(reply, key_of(entry), key_size)
            bytes_put(reply, &entry.version, 8)
            bytes_put(reply, &entry.value_size, 4)
            bytes_put(reply, entry.value, entry.value_size)
            count += 1
            entry = forward_of(entry)[0]
        reply.data[start + 1] = more
        memcpy(reply.data + start + 2, &count, 4)
        return 0

    cdef int transact(self, const uint8_t* data, size_t size, uint64_t slot, Bytes* reply) except -1:
        """Compares, then one of two lists of commands: all of it, or a refusal and nothing."""
        cdef uint16_t[3] counts
        cdef const uint8_t* at = data
        cdef size_t left = size, start = reply.size, size_at, answer_start
        cdef const char* reason
        cdef const uint8_t* then_at
        cdef const uint8_t* else_at
        cdef size_t then_left, else_left
        cdef bint holds = True
        cdef uint32_t answer_size
        cdef Slice inner
        cdef Parsed parsed
        if not take(&at, &left, counts, 6):
            return refuse(reply, start, MALFORMED_TEXT)
        reason = self.judge(&at, &left, counts[0], &holds)
        if reason == NULL:
            then_at, then_left = at, left
            reason = self.check_branch(&at, &left, counts[1])
        if reason == NULL:
            else_at, else_left = at, left
            reason = self.check_branch(&at, &left, counts[2])
        if reason == NULL and left:
            reason = MALFORMED_TEXT
        if reason != NULL:
            return refuse(reply, start, reason)
        at, left = (then_at, then_left) if holds else (else_at, else_left)
        put_code(reply, ANSWER_OK if holds else ANSWER_ELSE)
        bytes_put(reply, &counts[1 if holds else 2], 2)
        for _ in range(counts[1 if holds else 2]):
            inner.data, inner.size = NULL, 0
            take_long(&at, &left, &inner)
            parse(inner.data, inner.size, &parsed)
            size_at = reply.size
            answer_size = 0
            bytes_put(reply, &answer_size, 4)
            answer_start = reply.size
            self.perform(&parsed, slot, reply)
            answer_size = <uint32_t>(reply.size - answer_start)
            memcpy(reply.data + size_at, &answer_size, 4)
        return 0

    cdef const char* judge(self, const uint8_t** at, size_t* left, uint16_t count, bint* holds) noexcept:
        """Reads the compares; `holds` says whether all do."""
        cdef uint8_t kind = 0
        cdef uint64_t version = 0
        cdef Slice key, value
        cdef Entry* entry
        for _ in range(count):
            if not (take(at, left, &kind, 1) and take_short(at, left, &key)):
                return MALFORMED_TEXT
            if check_key(key) != NULL:
                return KEY_TEXT
            entry = self.find(key)
            if kind == IS_THERE:
                holds[0] = holds[0] and entry != NULL
            elif kind == IS_MISSING:
                holds[0] = holds[0] and entry == NULL
            elif kind == VALUE_EQUALS:
                if not take_long(at, left, &value):
                    return MALFORMED_TEXT
                holds[0] = (holds[0] and entry != NULL
                            and order(entry.value, entry.value_size, value.data, value.size) == 0)
            elif kind == VERSION_EQUALS:
                if not take(at, left, &version, 8):
                    return MALFORMED_TEXT
                holds[0] = holds[0] and entry != NULL and entry.version == version
            else:
                return OP_TEXT
        return NULL

    cdef const char* check_branch(self, const uint8_t** at, size_t* left, uint16_t count) noexcept:
        """Parses a list of commands; none may be a scan or a transaction, and what they read is bounded."""
        cdef size_t reads = 0, bytes_read = 0, largest = 0
        cdef Slice inner
        cdef Parsed parsed
        cdef Entry* entry
        cdef const char* reason
        for _ in range(count):
            if not take_long(at, left, &inner):
                return MALFORMED_TEXT
            reason = parse(inner.data, inner.size, &parsed)
            if reason != NULL:
                return reason
            if parsed.op == SCAN:
                return OP_TEXT
            largest = max(largest, parsed.value.size)
            if parsed.op == GET or parsed.op >= CAS_VALUE:
                entry = self.find(parsed.key)
                reads += 1
                bytes_read += entry.value_size if entry != NULL else 0
        if bytes_read + reads * largest + count * <size_t>16 > TRANSACT_BYTES_MAX:
            return ANSWER_TEXT
        return NULL

    # -- the table and the list

    cdef Entry* find(self, Slice key) noexcept:
        cdef uint64_t hash = hash_bytes(self.seed, key.data, key.size)
        cdef Entry* entry = self.buckets[hash & (self.bucket_count - 1)]
        while entry != NULL:
            if entry.hash == hash and entry.key_size == key.size and memcmp(key_of(entry), key.data, key.size) == 0:
                return entry
            entry = entry.chain
        return NULL

    cdef int write(self, Entry* entry, Slice key, Slice value, uint64_t version) except -1:
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
        cdef uint64_t larger = self.bucket_count * 2, i
        cdef Entry** buckets = <Entry**>calloc(larger, sizeof(Entry*))
        cdef Entry* entry
        cdef Entry* next_entry
        if buckets == NULL:
            raise MemoryError("no memory for the key-value store's table")
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

    # -- queries

    def __len__(self):
        return self.count

    def items(self):
        """[(key, value, version)] in key order."""
        cdef Entry* entry = forward_of(self.head)[0]
        pairs = []
        while entry != NULL:
            pairs.append((<bytes>key_of(entry)[:entry.key_size], <bytes>entry.value[:entry.value_size], entry.version))
            entry = forward_of(entry)[0]
        return pairs

    def apply_repeat(self, uint64_t slot, list commands not None, uint64_t times):
        """Applies the commands in turn, `times` over, and drops the answers: for the benchmarks."""
        cdef Context context
        cdef Bytes reply
        cdef bytes command
        context.slot, context.time_ns, context.session = slot, 0, 0
        memset(&reply, 0, sizeof(Bytes))
        try:
            for _ in range(times):
                for command in commands:
                    reply.size = 0
                    context.slot += 1
                    self.apply(&context, <const uint8_t*>(<char*>command), len(command), &reply)
        finally:
            free(reply.data)
