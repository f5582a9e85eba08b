"""The key-value machine: create, get, update, put, remove, cas, scan, transact.

Theory. The machine parses a command, looks its key up in `table`, and appends the answer. The state's hash is the
table's: equal contents, equal hashes, no matter how they came about.

Rules.
- A version is the slot that last changed the key.
- The bytes of a command may be hostile: every length is checked before anything is done. A command that does not parse,
  or is over a limit, is refused with the reason, and nothing is changed.
- Reads are GET, SCAN and transactions of GETs only, by their bytes: they change nothing, also where they are refused.
- A transaction is parsed whole, and its answer is bounded, before any part of it is applied; then no part can fail.

The encodings of commands and answers are in docs/encodings.md.
"""

cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcmp, memcpy, memset

from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put
from multipaxos.machine.machine cimport Context, Machine
from multipaxos.machine.operations cimport (
    ANSWER_ELSE, ANSWER_EXISTS, ANSWER_MISMATCH, ANSWER_NOT_FOUND, ANSWER_OK, CAS_VALUE, CAS_VERSION, CREATE, GET,
    IS_MISSING, IS_THERE, PUT, REMOVE, SCAN, TRANSACT, VALUE_EQUALS, VERSION_EQUALS,
)
from multipaxos.machine.semantics cimport Semantics
from multipaxos.machine.table cimport Entry, Slice, Table, forward_of, key_of, order

cdef const char* MALFORMED_TEXT = "Malformed: the lengths do not fit the bytes; build commands with multipaxos.commands"
cdef const char* KEY_TEXT = "TooLarge: a key has 1 to 480 bytes"
cdef const char* VALUE_TEXT = "TooLarge: a value has at most 1048576 bytes"
cdef const char* OP_TEXT = "Malformed: no such operation here"
cdef const char* ANSWER_TEXT = "TooLarge: the transaction's answer could exceed 2 MiB; read fewer values in one"


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


cdef const char* check_key(Slice key, Semantics semantics) noexcept:
    return NULL if 1 <= key.size <= semantics.key_bytes_max else KEY_TEXT


cdef const char* parse(const uint8_t* data, size_t size, Semantics semantics, Parsed* out) noexcept:
    """Parses any command but a transaction; returns NULL, or why the command is refused."""
    cdef const uint8_t* at = data
    cdef size_t left = size
    cdef uint64_t longest = semantics.key_bytes_max
    memset(out, 0, sizeof(Parsed))
    if not take(&at, &left, &out.op, 1):
        return MALFORMED_TEXT
    if out.op == SCAN:
        if not (take_short(&at, &left, &out.key) and take_short(&at, &left, &out.expected)
                and take(&at, &left, &out.limit, 4) and left == 0):
            return MALFORMED_TEXT
        return NULL if out.key.size <= longest and out.expected.size <= longest else KEY_TEXT
    if out.op < CREATE or out.op > CAS_VERSION:
        return OP_TEXT
    if not take_short(&at, &left, &out.key):
        return MALFORMED_TEXT
    if check_key(out.key, semantics) != NULL:
        return KEY_TEXT
    if out.op == GET or out.op == REMOVE:
        return NULL if left == 0 else MALFORMED_TEXT
    if out.op == CAS_VALUE and not take_long(&at, &left, &out.expected):
        return MALFORMED_TEXT
    if out.op == CAS_VERSION and not take(&at, &left, &out.version, 8):
        return MALFORMED_TEXT
    take_slice(&at, &left, left, &out.value)
    return NULL if out.value.size <= semantics.value_bytes_max else VALUE_TEXT


cdef bint skip_compares(const uint8_t** at, size_t* left, uint16_t count) noexcept:
    """Goes on after the compares of a transaction; false if their lengths do not fit."""
    cdef uint8_t kind = 0
    cdef uint64_t version
    cdef Slice _
    for _i in range(count):
        if not (take(at, left, &kind, 1) and take_short(at, left, &_)):
            return False
        if kind == VALUE_EQUALS and not take_long(at, left, &_):
            return False
        if kind == VERSION_EQUALS and not take(at, left, &version, 8):
            return False
    return True


cdef bint only_gets(const uint8_t* data, size_t size) noexcept:
    """Does a transaction (its bytes after the operation) hold no command but GET, in both branches?"""
    cdef uint16_t[3] counts
    cdef const uint8_t* at = data
    cdef size_t left = size
    cdef Slice inner
    if not (take(&at, &left, counts, 6) and skip_compares(&at, &left, counts[0])):
        return False
    for _ in range(<uint32_t>counts[1] + counts[2]):
        if not take_long(&at, &left, &inner) or not inner.size or inner.data[0] != GET:
            return False
    return True


# -- answers

cdef inline int put_code(Bytes* reply, uint8_t code) except -1:
    return bytes_put(reply, &code, 1)


cdef int put_value(Bytes* reply, uint8_t code, Entry* entry) except -1:
    """code, version, value"""
    put_code(reply, code)
    bytes_put(reply, &entry.version, 8)
    return bytes_put(reply, entry.value, entry.value_size)


cdef int refuse(Bytes* reply, size_t start, const char* text) except -1:
    """Replaces what was written since `start` by the reason; returns 1, as `apply` does for a refusal."""
    cdef size_t size = 0
    while text[size]:
        size += 1
    reply.size = start
    bytes_put(reply, text, size)
    return 1


@cython.final
cdef class KeyValue(Machine):
    """The machine. `seed` places keys in the table and changes nothing that can be observed."""

    def __cinit__(self, uint64_t seed=0):
        self.table = Table(seed)

    cdef int apply(self, const Context* context, const uint8_t* command, size_t size, Bytes* reply) except -1:
        cdef Parsed parsed
        cdef const char* reason
        if size and command[0] == TRANSACT:
            return self.transact(command + 1, size - 1, context.slot, reply)
        reason = parse(command, size, self.semantics, &parsed)
        if reason != NULL:
            return refuse(reply, reply.size, reason)
        return self.perform(&parsed, context.slot, reply)

    cdef bint is_read(self, const uint8_t* command, size_t size) noexcept:
        if not size:
            return False
        if command[0] == TRANSACT:
            return only_gets(command + 1, size - 1)
        return command[0] == GET or command[0] == SCAN

    cdef uint64_t state_hash(self):
        return self.table.content

    # -- commands

    cdef int perform(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1:
        """One parsed command; cannot be refused."""
        cdef Entry* entry
        if command.op == SCAN:
            return self.scan(command, reply)
        if command.op >= CAS_VALUE:
            return self.perform_cas(command, slot, reply)
        entry = self.table.find(command.key)
        if entry == NULL and command.op != PUT and command.op != CREATE:
            return put_code(reply, ANSWER_NOT_FOUND)
        if command.op == GET:
            return put_value(reply, ANSWER_OK, entry)
        if command.op == CREATE and entry != NULL:
            return put_code(reply, ANSWER_EXISTS)
        if command.op == REMOVE:
            self.table.remove(entry)
        else:
            self.table.write(entry, command.key, command.value, slot)
        return put_code(reply, ANSWER_OK)

    cdef int perform_cas(self, const Parsed* command, uint64_t slot, Bytes* reply) except -1:
        cdef Entry* entry = self.table.find(command.key)
        cdef bint holds
        if entry == NULL:
            return put_code(reply, ANSWER_NOT_FOUND)
        if command.op == CAS_VERSION:
            holds = entry.version == command.version
        else:
            holds = order(entry.value, entry.value_size, command.expected.data, command.expected.size) == 0
        if not holds:
            return put_value(reply, ANSWER_MISMATCH, entry)
        self.table.set_value(entry, command.value, slot)
        return put_code(reply, ANSWER_OK)

    cdef int scan(self, const Parsed* command, Bytes* reply) except -1:
        """Pairs with the prefix (`key`), after `expected`, in key order. `more` is set if the limit or the bytes end
        the answer before the last pair."""
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
            entry = self.table.at_or_after(after, True)
        else:
            entry = self.table.at_or_after(prefix, False)
        while entry != NULL and entry.key_size >= prefix.size and memcmp(key_of(entry), prefix.data, prefix.size) == 0:
            if ((command.limit and count == command.limit)
                    or (count and reply.size - start + entry.value_size > self.semantics.scan_bytes)):
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
        """Compares, then one of two lists of commands. Applies the whole list, or refuses and applies nothing."""
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
            parse(inner.data, inner.size, self.semantics, &parsed)
            size_at = reply.size
            answer_size = 0
            bytes_put(reply, &answer_size, 4)
            answer_start = reply.size
            self.perform(&parsed, slot, reply)
            answer_size = <uint32_t>(reply.size - answer_start)
            memcpy(reply.data + size_at, &answer_size, 4)
        return 0

    cdef const char* judge(self, const uint8_t** at, size_t* left, uint16_t count, bint* holds) noexcept:
        """Reads the compares; `holds` becomes whether all of them hold. Returns NULL, or why they are refused."""
        cdef uint8_t kind = 0
        cdef uint64_t version = 0
        cdef Slice key, value
        cdef Entry* entry
        for _ in range(count):
            if not (take(at, left, &kind, 1) and take_short(at, left, &key)):
                return MALFORMED_TEXT
            if check_key(key, self.semantics) != NULL:
                return KEY_TEXT
            entry = self.table.find(key)
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
        """Parses a list of commands; none may be a scan or a transaction, and what they read is bounded. Returns NULL,
        or why they are refused."""
        cdef size_t reads = 0, bytes_read = 0, largest = 0
        cdef Slice inner
        cdef Parsed parsed
        cdef Entry* entry
        cdef const char* reason
        for _ in range(count):
            if not take_long(at, left, &inner):
                return MALFORMED_TEXT
            reason = parse(inner.data, inner.size, self.semantics, &parsed)
            if reason != NULL:
                return reason
            if parsed.op == SCAN:
                return OP_TEXT
            largest = max(largest, parsed.value.size)
            if parsed.op == GET or parsed.op >= CAS_VALUE:
                entry = self.table.find(parsed.key)
                reads += 1
                bytes_read += entry.value_size if entry != NULL else 0
        if bytes_read + reads * largest + count * <size_t>16 > self.semantics.transact_bytes_max:
            return ANSWER_TEXT
        return NULL

    # -- queries

    def __len__(self):
        return self.table.count

    def items(self):
        """[(key, value, version)] in key order."""
        return self.table.items()

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
            bytes_free(&reply)
