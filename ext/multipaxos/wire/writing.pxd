# Writing frames: see writing.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.encoding cimport (
    WORD_ELEMENTS, list_pointer, padded, store64, struct_pointer, write_bytes, write_list,
)
from multipaxos.wire.messages cimport (
    BODY, COMMAND_BYTES, COMMAND_DATA, NO_NONCE, PAYLOAD_BYTES_MAX, PHASE2A, PHASE2A_DATA, PVALUES_DATA, REPLY_DATA,
    RUN_SLOTS_MAX, SLOTS_END, Command, MessageKind, Pvalues, Reply, Watermark,
)

# -- each function appends one whole frame to `out`, or raises TooLarge and appends nothing

cdef int put_phase1a(Bytes* out, uint64_t ballot, uint64_t first, uint64_t part) except -1
cdef int put_phase1b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark,
                     const Pvalues* pvalues, uint32_t count) except -1
cdef int put_phase2b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1
cdef int put_decision(Bytes* out, const Watermark* decided) except -1
cdef int put_fetch(Bytes* out, uint64_t first, uint64_t end) except -1
cdef int put_fetched(Bytes* out, uint64_t first, uint64_t end, uint64_t mark, const Pvalues* pvalues,
                     uint32_t count) except -1
cdef int put_ping(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint voting, uint64_t state_slot,
                  uint64_t state_hash, const uint64_t* processes, uint32_t count) except -1
cdef int put_pong(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint leading, bint quorum,
                  const Watermark* decided, uint64_t missing) except -1
cdef int put_founding(Bytes* out, uint64_t incarnation, bint fresh, const uint64_t* incarnations,
                      uint32_t count) except -1
cdef int put_request(Bytes* out, const Command* commands, uint32_t count) except -1
cdef int put_response(Bytes* out, uint64_t session, const Reply* replies, uint32_t count) except -1
cdef int put_leading(Bytes* out, uint64_t ballot) except -1
cdef int put_status_request(Bytes* out, uint64_t nonce) except -1
cdef int put_piece(Bytes* out, uint32_t left, const uint8_t* data, uint32_t size) except -1

# Raises ValueError for a run of no commands or over no slots, TooLarge for one that no reader would accept. `size`
# counts a nonce for each command.
cdef int check_run(uint64_t first, const Command* commands, uint32_t count, size_t size) except -1


# -- bytes that one element adds to its list

# A command, with its payload and without the nonce of its session, in a Request or a Phase2a.
cdef inline size_t command_bytes(const Command* command) noexcept:
    return COMMAND_BYTES + padded(command.size)


cdef inline size_t reply_bytes(const Reply* reply) noexcept:
    return 8 * (REPLY_DATA + 1) + padded(reply.size)


cdef inline size_t pvalues_bytes(const Pvalues* pvalues) noexcept:
    return 8 * (PVALUES_DATA + 1) + padded(pvalues.size)


# -- parts of frames

# What stands before the message's struct, in a frame of `size` bytes; returns where the struct goes.
cdef inline uint8_t* write_head(uint8_t* frame, size_t size, MessageKind kind, uint64_t data_words,
                                uint64_t pointers) noexcept nogil:
    store64(frame, <uint64_t>((size - 8) >> 3) << 32)
    store64(frame + 8, struct_pointer(0, 1, 1))
    store64(frame + 16, kind)
    store64(frame + 24, struct_pointer(0, data_words, pointers))
    return frame + BODY


cdef inline void write_watermark(uint8_t* at, const Watermark* decided) noexcept nogil:
    store64(at, decided.ballot)
    store64(at + 8, decided.first)
    store64(at + 16, decided.end)


# -- commands, and the list of their sessions' nonces
#
# A nonce is written once for a stretch of commands of one session, and again only if none of the newest
# NONCES_LOOKED_AT is equal. Both passes over the commands, the one that counts and the one that writes, number nonces
# by `nonce_index`, so they agree.

cdef enum:
    NONCES_LOOKED_AT = 4             # a power of two

cdef struct Nonces:
    uint64_t[NONCES_LOOKED_AT] newest    # nonce number i at i modulo this
    uint32_t count                       # of nonces so far


# The index of a nonce in the list, to whose end it is added if it has to be.
cdef inline uint32_t nonce_index(Nonces* nonces, uint64_t nonce) noexcept nogil:
    cdef uint32_t i
    if nonce == 0:
        return NO_NONCE
    for i in range(min(nonces.count, <uint32_t>NONCES_LOOKED_AT)):
        if nonces.newest[(nonces.count - 1 - i) & (NONCES_LOOKED_AT - 1)] == nonce:
            return nonces.count - 1 - i
    nonces.newest[nonces.count & (NONCES_LOOKED_AT - 1)] = nonce
    nonces.count += 1
    return nonces.count - 1


# Bytes of both lists; `nonces` is how many nonces there are.
cdef inline size_t commands_lists_bytes(const Command* commands, uint32_t count, uint32_t* nonces) noexcept nogil:
    cdef size_t total = 8 + <size_t>count * COMMAND_BYTES
    cdef uint64_t last = 0
    cdef Nonces seen
    cdef uint32_t i
    seen.count = 0
    for i in range(count):
        total += padded(commands[i].size)
        if commands[i].nonce != last:
            last = commands[i].nonce
            nonce_index(&seen, last)
    nonces[0] = seen.count
    return total + 8 * <size_t>seen.count


# Writes both lists behind the two `pointers` to them, up to the frame's `end`.
cdef inline void write_commands(uint8_t* pointers, uint8_t* end, const Command* commands, uint32_t count,
                                uint32_t nonces) noexcept nogil:
    cdef uint8_t* element = write_list(pointers, pointers + 16, count, COMMAND_DATA, 1)
    cdef uint8_t* content = element + <size_t>count * COMMAND_BYTES
    cdef uint8_t* numbers = end - 8 * <size_t>nonces
    cdef uint64_t last = 0
    cdef uint32_t index = NO_NONCE
    cdef Nonces seen
    cdef uint32_t i
    seen.count = 0
    for i in range(count):
        if commands[i].nonce != last:
            last = commands[i].nonce
            index = nonce_index(&seen, last)
            if index + 1 == seen.count:
                store64(numbers + 8 * <size_t>index, last)
        store64(element, commands[i].session)
        store64(element + 8, commands[i].sequence)
        store64(element + 16, commands[i].kind | (<uint64_t>index << 16)
                | (<uint64_t>commands[i].unacknowledged << 32))
        content = write_bytes(element + 24, content, commands[i].payload, commands[i].size)
        element += COMMAND_BYTES
    store64(pointers + 8, list_pointer((numbers - pointers - 16) >> 3, WORD_ELEMENTS, nonces))


# -- a phase2a frame is written into its run (see run.pxd), so this is inline

# Bytes of the frame; `nonces` is how many nonces it lists. Raises as `check_run` does.
cdef inline size_t phase2a_size(uint64_t first, const Command* commands, uint32_t count, uint32_t* nonces) except 0:
    cdef size_t size = BODY + 8 * (PHASE2A_DATA + 2) + commands_lists_bytes(commands, count, nonces)
    if size > PAYLOAD_BYTES_MAX or count - 1 >= RUN_SLOTS_MAX or first - 1 >= SLOTS_END - count:
        check_run(first, commands, count, size + 8 * <size_t>(count - nonces[0]))
    return size


# Writes the frame of `size` bytes with `nonces` nonces, as `phase2a_size` gave them.
cdef inline void write_phase2a(uint8_t* frame, size_t size, uint64_t ballot, uint64_t first, uint64_t time_ns,
                               const Watermark* decided, const Command* commands, uint32_t count,
                               uint32_t nonces) noexcept nogil:
    cdef uint8_t* body = write_head(frame, size, PHASE2A, PHASE2A_DATA, 2)
    store64(body, ballot)
    store64(body + 8, first)
    store64(body + 16, time_ns)
    write_watermark(body + 24, decided)
    write_commands(body + 48, frame + size, commands, count, nonces)
