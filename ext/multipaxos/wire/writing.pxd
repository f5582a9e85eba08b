# Writing frames: see writing.pyx.
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.encoding cimport padded, store64, struct_pointer
from multipaxos.wire.messages cimport (
    BODY, COMMAND_DATA, PVALUES_DATA, REPLY_DATA, Command, MessageKind, Pvalues, Rejoin, Reply, Watermark,
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

# -- a phase2a frame is written into its run: see run.pxd

# Bytes of the frame. Raises ValueError for no commands or slots past the last, TooLarge for more than a run may hold.
cdef size_t phase2a_size(uint64_t first, const Command* commands, uint32_t count) except 0
# Writes the frame of `size` bytes, as `phase2a_size` gave it.
cdef void write_phase2a(uint8_t* frame, size_t size, uint64_t ballot, uint64_t first, uint64_t time_ns,
                        const Watermark* decided, const Command* commands, uint32_t count) noexcept nogil


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
