# Reading frames: see reading.pyx. Elements of lists are read inline, because roles read each command.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from multipaxos.wire.encoding cimport Fault, List, bytes_at, field_at, load64
from multipaxos.wire.messages cimport (
    Command, Commands, Message, NumberList, Pvalues, PvaluesList, Reply, ReplyList,
)

# `data` and `frame` may be at any address (odd offsets are normal).
cdef Fault frame_size(const uint8_t* data, size_t available, size_t* size) noexcept
cdef Fault decode(const uint8_t* frame, size_t size, Message* out) noexcept

# Raises the CodecError that reports a fault to Python; nothing for FINE.
cdef int check(Fault fault) except -1

# -- elements of lists that `decode` has checked; these functions check nothing, not the index either

cdef inline const uint8_t* content_of(const uint8_t* element, uint32_t stride, uint32_t data_bytes,
                                      uint32_t* size) noexcept:
    if stride == data_bytes:         # a writer whose elements have no pointer
        size[0] = 0
        return element
    return bytes_at(element + data_bytes, size)


# The nonce that a command has an index of in its third word; 0 where the list has no such index.
cdef inline uint64_t nonce_of(const NumberList* nonces, uint64_t third) noexcept:
    cdef uint32_t index = <uint16_t>(third >> 16)
    return load64(nonces.base + 8 * <size_t>index) if index < nonces.count else 0


cdef inline void command_at(const Commands* commands, uint32_t index, Command* out) noexcept:
    cdef const List* items = &commands.items
    cdef const uint8_t* element = items.base + <size_t>index * items.stride
    cdef uint64_t third = field_at(element, items.data_bytes, 2)
    out.session = field_at(element, items.data_bytes, 0)
    out.sequence = field_at(element, items.data_bytes, 1)
    out.nonce = nonce_of(&commands.nonces, third)
    out.kind = <uint16_t>third
    out.unacknowledged = <uint32_t>(third >> 32)
    out.payload = content_of(element, items.stride, items.data_bytes, &out.size)


cdef inline void pvalues_at(const PvaluesList* pvalues, uint32_t index, Pvalues* out) noexcept:
    cdef const uint8_t* element = pvalues.base + <size_t>index * pvalues.stride
    out.first = field_at(element, pvalues.data_bytes, 0)
    out.end = field_at(element, pvalues.data_bytes, 1)
    out.run = content_of(element, pvalues.stride, pvalues.data_bytes, &out.size)


cdef inline void reply_at(const ReplyList* replies, uint32_t index, Reply* out) noexcept:
    cdef const uint8_t* element = replies.base + <size_t>index * replies.stride
    out.sequence = field_at(element, replies.data_bytes, 0)
    out.slot = field_at(element, replies.data_bytes, 1)
    out.status = <uint16_t>field_at(element, replies.data_bytes, 2)
    out.data = content_of(element, replies.stride, replies.data_bytes, &out.size)


cdef inline uint64_t number_at(const NumberList* numbers, uint32_t index) noexcept:
    return load64(numbers.base + 8 * <size_t>index)
