# Writing frames: see writing.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.encoding cimport padded, store64, struct_pointer, write_bytes, write_list
from multipaxos.wire.messages cimport (
    BODY, COMMAND_DATA, PAYLOAD_BYTES_MAX, PHASE2A, PHASE2A_DATA, PVALUES_DATA, REPLY_DATA, RUN_SLOTS_MAX, SLOTS_END,
    Command, MessageKind, Pvalues, Rejoin, Reply, Watermark,
)

# -- each function appends one whole frame to `out`, or raises TooLarge and appends nothing

cdef int put_phase1a(Bytes* out, uint64_t ballot, uint64_t first) except -1
cdef int put_phase1b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark,
                     uint64_t incarnation, int64_t number, const Rejoin* rejoins, uint32_t rejoin_count,
                     const Pvalues* pvalues, uint32_t count) except -1
cdef int put_phase2b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1
cdef int put_decision(Bytes* out, const Watermark* decided) except -1
cdef int put_fetch(Bytes* out, uint64_t first, uint64_t end) except -1
cdef int put_fetched(Bytes* out, uint64_t first, uint64_t end, uint64_t mark, const Pvalues* pvalues,
                     uint32_t count) except -1
cdef int put_ping(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint voting) except -1
cdef int put_pong(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint leading, bint quorum,
                  const Watermark* decided) except -1
cdef int put_founding(Bytes* out, uint64_t incarnation, bint fresh, const uint64_t* incarnations,
                      uint32_t count) except -1
cdef int put_request(Bytes* out, const Command* commands, uint32_t count) except -1
cdef int put_response(Bytes* out, uint64_t session, const Reply* replies, uint32_t count) except -1
cdef int put_leading(Bytes* out, uint64_t ballot) except -1

# Raises ValueError for a run of no commands or over no slots, TooLarge for one that no reader would accept.
cdef int check_run(uint64_t first, const Command* commands, uint32_t count, size_t size) except -1


# -- bytes that one element adds to its list

# A command, with its payload, in a Request or a Phase2a.
cdef inline size_t command_bytes(const Command* command) noexcept:
    return 8 * (COMMAND_DATA + 1) + padded(command.size)


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


cdef inline size_t commands_list_bytes(const Command* commands, uint32_t count) noexcept nogil:
    cdef size_t total = 8 + <size_t>count * 8 * (COMMAND_DATA + 1)
    cdef uint32_t i
    for i in range(count):
        total += padded(commands[i].size)
    return total


cdef inline void write_commands(uint8_t* pointer, uint8_t* content, const Command* commands,
                                uint32_t count) noexcept nogil:
    cdef uint8_t* element = write_list(pointer, content, count, COMMAND_DATA, 1)
    cdef uint32_t i
    content = element + <size_t>count * 8 * (COMMAND_DATA + 1)
    for i in range(count):
        store64(element, commands[i].session)
        store64(element + 8, commands[i].sequence)
        store64(element + 16, commands[i].kind | (<uint64_t>commands[i].unacknowledged << 32))
        content = write_bytes(element + 24, content, commands[i].payload, commands[i].size)
        element += 8 * (COMMAND_DATA + 1)


# -- a phase2a frame is written into its run (see run.pxd), so this is inline

# Bytes of the frame. Raises as `check_run` does.
cdef inline size_t phase2a_size(uint64_t first, const Command* commands, uint32_t count) except 0:
    cdef size_t size = BODY + 8 * (PHASE2A_DATA + 1) + commands_list_bytes(commands, count)
    if size > PAYLOAD_BYTES_MAX or count - 1 >= RUN_SLOTS_MAX or first - 1 >= SLOTS_END - count:
        check_run(first, commands, count, size)
    return size


# Writes the frame of `size` bytes, as `phase2a_size` gave it.
cdef inline void write_phase2a(uint8_t* frame, size_t size, uint64_t ballot, uint64_t first, uint64_t time_ns,
                               const Watermark* decided, const Command* commands,
                               uint32_t count) noexcept nogil:
    cdef uint8_t* body = write_head(frame, size, PHASE2A, PHASE2A_DATA, 1)
    store64(body, ballot)
    store64(body + 8, first)
    store64(body + 16, time_ns)
    write_watermark(body + 24, decided)
    write_commands(body + 48, body + 56, commands, count)
