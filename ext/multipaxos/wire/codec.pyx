"""The wire: every message between nodes and clients, read and written in place as Cap'n Proto frames.

Theory. A frame is a segment table and one segment. Our own layout is pre-order: a struct, then what its
pointers lead to, first to last, each followed by its own. pycapnp writes the same bytes for a message whose
fields are set in schema order, and its reader takes ours; ``schema`` rewrites what arrives in any other
layout (FOREIGN) into this one.

Rules. Bytes are hostile until ``decode`` said FINE: it checks every pointer, length and count, so the
``*_at`` readers need not. A frame yields no more bytes than it holds. Structs longer than ours come from a
newer schema (the rest is skipped), shorter ones from an older (missing fields are 0). HELLO, STATUS_REQUEST
and STATUS_REPLY are rare: only their root is checked here, pycapnp reads them. No field of a ``Message``
outlives the frame that it was read from.
"""

from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from multipaxos.wire.encoding cimport (
    List, Segment, Struct, WORD_ELEMENTS, bytes_at, check_bytes_of, field_at, list_pointer, load32, load64,
    padded, pointer_at, read_struct, read_structs, read_words, store64, struct_pointer, word_at, write_bytes,
    write_list,
)

cdef extern from "Python.h":         # as cpython's own declarations, but with borrowed references
    bint PyTuple_Check(PyObject* item) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject* item) noexcept
    PyObject* PyTuple_GET_ITEM(PyObject* item, Py_ssize_t index) noexcept
    Py_ssize_t PyList_GET_SIZE(object items) noexcept
    PyObject* PyList_GET_ITEM(object items, Py_ssize_t index) noexcept
    bint PyBytes_Check(PyObject* data) noexcept
    Py_ssize_t PyBytes_GET_SIZE(PyObject* data) noexcept
    char* PyBytes_AS_STRING(PyObject* data) noexcept
    unsigned long long PyLong_AsUnsignedLongLong(PyObject* value) except? 18446744073709551615

from multipaxos.errors import MultipaxosError, TooLarge

cdef enum:
    SEGMENTS_MAX = 512               # as Cap'n Proto's own readers have it
    # Bytes before a message's own struct: table, root pointer, discriminant, pointer.
    BODY = 32
    # Words of data and pointers of each struct in the schema, first those that stand in lists.
    COMMAND_DATA = 3
    REPLY_DATA = 3
    PVALUES_DATA = 2
    REJOIN_DATA = 3
    PHASE2A_DATA = 6
    PHASE2A_COMMANDS = BODY + 8 * (PHASE2A_DATA + 2)   # where a run's first command is: after pointer and tag


# -- growable buffers

cdef int bytes_reserve(Bytes* out, size_t more) except -1:
    if out.room - out.size >= more:
        return 0
    cdef size_t room = max(out.size + more, 2 * out.room, <size_t>256)
    cdef uint8_t* data = <uint8_t*>realloc(out.data, room)
    if data == NULL:
        raise MemoryError(f"no memory for a buffer of {room} bytes")
    out.data = data
    out.room = room
    return 0


cdef int bytes_put(Bytes* out, const void* source, size_t size) except -1:
    if size == 0:
        return 0
    bytes_reserve(out, size)
    memcpy(out.data + out.size, source, size)
    out.size += size
    return 0


cdef void bytes_free(Bytes* out) noexcept:
    free(out.data)
    out.data = NULL
    out.size = 0
    out.room = 0


cdef object bytes_take(Bytes* out):
    taken = PyBytes_FromStringAndSize(<char*>out.data, out.size)
    bytes_free(out)
    return taken


# -- framing

cdef Fault frame_size(const uint8_t* data, size_t available, size_t* size) noexcept:
    """Bytes of the first frame in `data`, left in `size`.

    They are set with FINE, and with PARTIAL if the segment table is whole; else 0. Frames of several segments
    have a size as well: it is `decode` that calls them FOREIGN.
    """
    cdef uint64_t segments, table, total
    cdef uint32_t i
    size[0] = 0
    if available < 4:
        return PARTIAL
    segments = <uint64_t>load32(data) + 1
    if segments > SEGMENTS_MAX:
        return MALFORMED
    table = padded(4 + 4 * segments)
    total = table
    for i in range(segments):
        if available < 8 + 4 * i:
            return PARTIAL
        total += 8 * <uint64_t>load32(data + 4 + 4 * i)
        if total > FRAME_BYTES_MAX:
            return OVERSIZED
    size[0] = total
    return FINE if total <= available else PARTIAL


cdef Fault decode(const uint8_t* frame, size_t size, Message* out) noexcept:
    """Checks one whole frame of `size` bytes and reads its message."""
    cdef size_t whole
    cdef Segment segment
    cdef Struct root, body
    cdef uint64_t kind
    cdef const uint8_t* pointer
    cdef Fault fault = frame_size(frame, size, &whole)
    if fault != FINE:
        return fault
    if whole != size:
        return MALFORMED
    if load32(frame) != 0:
        return FOREIGN
    segment.base = frame + 8
    segment.words = (size - 8) >> 3
    segment.next = 1
    if segment.words == 0:
        return MALFORMED
    fault = read_struct(&segment, segment.base, &root)
    if fault != FINE:
        return fault
    memset(out, 0, sizeof(Message))
    kind = word_at(&root, 0) & 0xFFFF
    if kind > STATUS_REPLY:
        return MALFORMED
    out.kind = <MessageKind>kind
    if kind == HELLO or kind == STATUS_REQUEST or kind == STATUS_REPLY:
        return FINE
    memset(&body, 0, sizeof(Struct))
    pointer = pointer_at(&root, 0)
    if pointer != NULL:
        fault = read_struct(&segment, pointer, &body)
        if fault != FINE:
            return fault
    return read_body(&segment, &body, size, out)


cdef inline Fault read_body(Segment* segment, const Struct* body, size_t size, Message* out) noexcept:
    if out.kind == PHASE2A:
        return read_phase2a(segment, body, size, out)
    if out.kind == PHASE1B:
        return read_phase1b(segment, body, out)
    if out.kind == FETCHED:
        return read_fetched(segment, body, out)
    if out.kind == REQUEST:
        return read_commands(segment, pointer_at(body, 0), &out.commands)
    if out.kind == RESPONSE:
        out.session = word_at(body, 0)
        return read_replies(segment, pointer_at(body, 0), &out.replies)
    if out.kind == FOUNDING:
        out.incarnation = word_at(body, 0)
        out.fresh = word_at(body, 1) & 1
        return read_words(segment, pointer_at(body, 0), &out.incarnations.base, &out.incarnations.count)
    return read_numbers(body, out)


cdef Fault read_numbers(const Struct* body, Message* out) noexcept:
    """The messages that have no pointers."""
    if out.kind == FETCH:
        out.first = word_at(body, 0)
        out.end = word_at(body, 1)
        return FINE if out.first <= out.end else MALFORMED
    out.ballot = word_at(body, 0)
    if out.kind == PHASE1A:
        out.first = word_at(body, 1)
    elif out.kind == PHASE2B:
        out.first = word_at(body, 1)
        out.end = word_at(body, 2)
        out.mark = word_at(body, 3)
        return FINE if out.first <= out.end else MALFORMED
    elif out.kind == DECISION:
        out.first = word_at(body, 1)
        out.end = word_at(body, 2)
        return read_watermark(body, 0, &out.decided)
    elif out.kind == PING:
        out.nonce = word_at(body, 1)
        out.slot_out = word_at(body, 2)
        out.voting = word_at(body, 3) & 1
    elif out.kind == PONG:
        out.nonce = word_at(body, 1)
        out.slot_out = word_at(body, 2)
        out.leading = word_at(body, 3) & 1
        out.quorum = (word_at(body, 3) >> 1) & 1
        return read_watermark(body, 4, &out.decided)
    return FINE


cdef inline Fault read_watermark(const Struct* body, uint32_t word, Watermark* out) noexcept:
    out.ballot = word_at(body, word)
    out.first = word_at(body, word + 1)
    out.end = word_at(body, word + 2)
    return FINE if out.first <= out.end else MALFORMED


cdef Fault read_phase2a(Segment* segment, const Struct* body, size_t size, Message* out) noexcept:
    cdef Fault fault
    out.ballot = word_at(body, 0)
    out.first = word_at(body, 1)
    out.time_ns = word_at(body, 2)
    fault = read_watermark(body, 3, &out.decided)
    if fault == FINE:
        fault = read_commands(segment, pointer_at(body, 0), &out.commands)
    if fault != FINE:
        return fault
    if size > RUN_BYTES_MAX or out.commands.count > RUN_SLOTS_MAX:
        return OVERSIZED
    if out.commands.stride < 8 * (COMMAND_DATA + 1) or body.data_words < PHASE2A_DATA:
        size += PHASE2A_COMMANDS + 8 * (COMMAND_DATA + 1) * <size_t>out.commands.count
        if size > RUN_BYTES_MAX:     # an older schema's frame grows when `run_from` writes it anew
            return OVERSIZED
    out.end = out.first + out.commands.count
    return FINE if out.first >= 1 and out.end > out.first else MALFORMED


cdef Fault read_phase1b(Segment* segment, const Struct* body, Message* out) noexcept:
    cdef List rejoins
    cdef Fault fault
    out.ballot = word_at(body, 0)
    out.first = word_at(body, 1)
    out.end = word_at(body, 2)
    out.mark = word_at(body, 3)
    out.incarnation = word_at(body, 4)
    out.number = <int64_t>word_at(body, 5)
    if out.first > out.end:
        return MALFORMED
    fault = read_structs(segment, pointer_at(body, 0), &rejoins)
    if fault != FINE:
        return fault
    out.rejoins.base = rejoins.base
    out.rejoins.count = rejoins.count
    out.rejoins.stride = rejoins.stride
    out.rejoins.data_bytes = rejoins.data_bytes
    return read_pvalues(segment, pointer_at(body, 1), &out.pvalues)


cdef Fault read_fetched(Segment* segment, const Struct* body, Message* out) noexcept:
    out.first = word_at(body, 0)
    out.end = word_at(body, 1)
    out.mark = word_at(body, 2)
    if out.first > out.end:
        return MALFORMED
    return read_pvalues(segment, pointer_at(body, 0), &out.pvalues)


cdef Fault read_commands(Segment* segment, const uint8_t* pointer, Commands* out) noexcept:
    cdef List commands
    cdef Fault fault = read_structs(segment, pointer, &commands)
    if fault != FINE:
        return fault
    out.base = commands.base
    out.count = commands.count
    out.stride = commands.stride
    out.data_bytes = commands.data_bytes
    return check_bytes_of(segment, &commands, PAYLOAD_BYTES_MAX)


cdef Fault read_replies(Segment* segment, const uint8_t* pointer, ReplyList* out) noexcept:
    cdef List replies
    cdef Fault fault = read_structs(segment, pointer, &replies)
    if fault != FINE:
        return fault
    out.base = replies.base
    out.count = replies.count
    out.stride = replies.stride
    out.data_bytes = replies.data_bytes
    return check_bytes_of(segment, &replies, FRAME_BYTES_MAX)


cdef Fault read_pvalues(Segment* segment, const uint8_t* pointer, PvaluesList* out) noexcept:
    cdef List pvalues
    cdef const uint8_t* element
    cdef uint32_t i
    cdef Fault fault = read_structs(segment, pointer, &pvalues)
    if fault != FINE:
        return fault
    for i in range(pvalues.count):
        element = pvalues.base + <size_t>i * pvalues.stride
        if field_at(element, pvalues.data_bytes, 0) > field_at(element, pvalues.data_bytes, 1):
            return MALFORMED
    out.base = pvalues.base
    out.count = pvalues.count
    out.stride = pvalues.stride
    out.data_bytes = pvalues.data_bytes
    return check_bytes_of(segment, &pvalues, RUN_BYTES_MAX)


# -- elements of checked lists

cdef inline const uint8_t* content_of(const uint8_t* element, uint32_t stride, uint32_t data_bytes,
                                      uint32_t* size) noexcept:
    if stride == data_bytes:         # a writer whose elements have no pointer
        size[0] = 0
        return element
    return bytes_at(element + data_bytes, size)


cdef void command_at(const Commands* commands, uint32_t index, Command* out) noexcept:
    cdef const uint8_t* element = commands.base + <size_t>index * commands.stride
    cdef uint64_t third = field_at(element, commands.data_bytes, 2)
    out.session = field_at(element, commands.data_bytes, 0)
    out.sequence = field_at(element, commands.data_bytes, 1)
    out.kind = <uint16_t>third
    out.unacknowledged = <uint32_t>(third >> 32)
    out.payload = content_of(element, commands.stride, commands.data_bytes, &out.size)


cdef void pvalues_at(const PvaluesList* pvalues, uint32_t index, Pvalues* out) noexcept:
    cdef const uint8_t* element = pvalues.base + <size_t>index * pvalues.stride
    out.first = field_at(element, pvalues.data_bytes, 0)
    out.end = field_at(element, pvalues.data_bytes, 1)
    out.run = content_of(element, pvalues.stride, pvalues.data_bytes, &out.size)


cdef void rejoin_at(const RejoinList* rejoins, uint32_t index, Rejoin* out) noexcept:
    cdef const uint8_t* element = rejoins.base + <size_t>index * rejoins.stride
    out.node = field_at(element, rejoins.data_bytes, 0)
    out.slot = field_at(element, rejoins.data_bytes, 1)
    out.incarnation = field_at(element, rejoins.data_bytes, 2)


cdef void reply_at(const ReplyList* replies, uint32_t index, Reply* out) noexcept:
    cdef const uint8_t* element = replies.base + <size_t>index * replies.stride
    out.sequence = field_at(element, replies.data_bytes, 0)
    out.slot = field_at(element, replies.data_bytes, 1)
    out.status = <uint16_t>field_at(element, replies.data_bytes, 2)
    out.data = content_of(element, replies.stride, replies.data_bytes, &out.size)


cdef uint64_t number_at(const NumberList* numbers, uint32_t index) noexcept:
    return load64(numbers.base + 8 * <size_t>index)


# -- writing

cdef size_t command_bytes(const Command* command) noexcept:
    return 8 * (COMMAND_DATA + 1) + padded(command.size)


cdef size_t reply_bytes(const Reply* reply) noexcept:
    return 8 * (REPLY_DATA + 1) + padded(reply.size)


cdef size_t pvalues_bytes(const Pvalues* pvalues) noexcept:
    return 8 * (PVALUES_DATA + 1) + padded(pvalues.size)


cdef inline uint8_t* write_head(uint8_t* frame, size_t size, MessageKind kind, uint64_t data_words,
                                uint64_t pointers) noexcept nogil:
    """What stands before the message's struct, in a frame of `size` bytes; returns where the struct goes."""
    store64(frame, <uint64_t>((size - 8) >> 3) << 32)
    store64(frame + 8, struct_pointer(0, 1, 1))
    store64(frame + 16, kind)
    store64(frame + 24, struct_pointer(0, data_words, pointers))
    return frame + BODY


cdef uint8_t* append_frame(Bytes* out, MessageKind kind, uint64_t data_words, uint64_t pointers,
                           size_t content) except NULL:
    """Room for a frame whose struct is followed by `content` bytes of lists; its head is written."""
    cdef size_t size = BODY + 8 * (data_words + pointers) + content
    cdef uint8_t* body
    if size > FRAME_BYTES_MAX:
        raise TooLarge(f"a frame of {size} bytes is over the limit of {FRAME_BYTES_MAX}: send less at once")
    bytes_reserve(out, size)
    body = write_head(out.data + out.size, size, kind, data_words, pointers)
    out.size += size
    return body


cdef inline void write_watermark(uint8_t* at, const Watermark* decided) noexcept nogil:
    store64(at, decided.ballot)
    store64(at + 8, decided.first)
    store64(at + 16, decided.end)


cdef int put_phase1a(Bytes* out, uint64_t ballot, uint64_t first) except -1:
    cdef uint8_t* body = append_frame(out, PHASE1A, 2, 0, 0)
    store64(body, ballot)
    store64(body + 8, first)
    return 0


cdef int put_phase1b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark,
                     uint64_t incarnation, int64_t number, const Rejoin* rejoins, uint32_t rejoin_count,
                     const Pvalues* pvalues, uint32_t count) except -1:
    cdef size_t rejoin_bytes = 8 + <size_t>rejoin_count * 8 * REJOIN_DATA
    cdef uint8_t* body = append_frame(out, PHASE1B, 6, 2, rejoin_bytes + pvalues_list_bytes(pvalues, count))
    cdef uint8_t* element
    cdef uint32_t i
    store64(body, ballot)
    store64(body + 8, first)
    store64(body + 16, end)
    store64(body + 24, mark)
    store64(body + 32, incarnation)
    store64(body + 40, <uint64_t>number)
    element = write_list(body + 48, body + 64, rejoin_count, REJOIN_DATA, 0)
    for i in range(rejoin_count):
        store64(element, rejoins[i].node)
        store64(element + 8, rejoins[i].slot)
        store64(element + 16, rejoins[i].incarnation)
        element += 8 * REJOIN_DATA
    write_pvalues(body + 56, element, pvalues, count)
    return 0


cdef size_t pvalues_list_bytes(const Pvalues* pvalues, uint32_t count) noexcept:
    cdef size_t total = 8
    cdef uint32_t i
    for i in range(count):
        total += pvalues_bytes(&pvalues[i])
    return total


cdef void write_pvalues(uint8_t* pointer, uint8_t* content, const Pvalues* pvalues, uint32_t count) noexcept:
    cdef uint8_t* element = write_list(pointer, content, count, PVALUES_DATA, 1)
    cdef uint32_t i
    content = element + <size_t>count * 8 * (PVALUES_DATA + 1)
    for i in range(count):
        store64(element, pvalues[i].first)
        store64(element + 8, pvalues[i].end)
        content = write_bytes(element + 16, content, pvalues[i].run, pvalues[i].size)
        element += 8 * (PVALUES_DATA + 1)


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


cdef int check_payloads(const Command* commands, uint32_t count) except -1:
    """Refuses what no reader would take."""
    cdef uint32_t i
    for i in range(count):
        if commands[i].size > PAYLOAD_BYTES_MAX:
            raise TooLarge(f"a command of {commands[i].size} bytes is over the limit of {PAYLOAD_BYTES_MAX}")
    return 0


cdef size_t phase2a_size(uint64_t first, const Command* commands, uint32_t count) except 0:
    """Bytes of the frame; refuses what no reader would take."""
    cdef size_t size = BODY + 8 * (PHASE2A_DATA + 1) + commands_list_bytes(commands, count)
    if count == 0 or first == 0 or first + count < first:
        raise ValueError(f"a run of {count} commands from slot {first}: make it one or more, from slot 1 on")
    if count > RUN_SLOTS_MAX or size > RUN_BYTES_MAX:
        raise TooLarge(f"a run of {count} commands and {size} bytes is over the limit of {RUN_SLOTS_MAX} "
                       f"commands or {RUN_BYTES_MAX} bytes: make it two")
    if size > PAYLOAD_BYTES_MAX:
        check_payloads(commands, count)
    return size


cdef inline void write_phase2a(uint8_t* frame, size_t size, uint64_t ballot, uint64_t first, uint64_t time_ns,
                               const Watermark* decided, const Command* commands,
                               uint32_t count) noexcept nogil:
    cdef uint8_t* body = write_head(frame, size, PHASE2A, PHASE2A_DATA, 1)
    store64(body, ballot)
    store64(body + 8, first)
    store64(body + 16, time_ns)
    write_watermark(body + 24, decided)
    write_commands(body + 48, body + 56, commands, count)


cdef int put_phase2a(Bytes* out, uint64_t ballot, uint64_t first, uint64_t time_ns, const Watermark* decided,
                     const Command* commands, uint32_t count) except -1:
    cdef size_t size = phase2a_size(first, commands, count)
    bytes_reserve(out, size)
    write_phase2a(out.data + out.size, size, ballot, first, time_ns, decided, commands, count)
    out.size += size
    return 0


cdef void set_watermark(uint8_t* phase2a_frame, const Watermark* decided) noexcept:
    write_watermark(phase2a_frame + BODY + 24, decided)


cdef int put_phase2b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1:
    cdef uint8_t* body = append_frame(out, PHASE2B, 4, 0, 0)
    store64(body, ballot)
    store64(body + 8, first)
    store64(body + 16, end)
    store64(body + 24, mark)
    return 0


cdef int put_decision(Bytes* out, const Watermark* decided) except -1:
    write_watermark(append_frame(out, DECISION, 3, 0, 0), decided)
    return 0


cdef int put_fetch(Bytes* out, uint64_t first, uint64_t end) except -1:
    cdef uint8_t* body = append_frame(out, FETCH, 2, 0, 0)
    store64(body, first)
    store64(body + 8, end)
    return 0


cdef int put_fetched(Bytes* out, uint64_t first, uint64_t end, uint64_t mark, const Pvalues* pvalues,
                     uint32_t count) except -1:
    cdef uint8_t* body = append_frame(out, FETCHED, 3, 1, pvalues_list_bytes(pvalues, count))
    store64(body, first)
    store64(body + 8, end)
    store64(body + 16, mark)
    write_pvalues(body + 24, body + 32, pvalues, count)
    return 0


cdef int put_ping(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint voting) except -1:
    cdef uint8_t* body = append_frame(out, PING, 4, 0, 0)
    store64(body, ballot)
    store64(body + 8, nonce)
    store64(body + 16, slot_out)
    store64(body + 24, voting != 0)
    return 0


cdef int put_pong(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint leading, bint quorum,
                  const Watermark* decided) except -1:
    cdef uint8_t* body = append_frame(out, PONG, 7, 0, 0)
    store64(body, ballot)
    store64(body + 8, nonce)
    store64(body + 16, slot_out)
    store64(body + 24, <uint64_t>(leading != 0) | (<uint64_t>(quorum != 0) << 1))
    write_watermark(body + 32, decided)
    return 0


cdef int put_founding(Bytes* out, uint64_t incarnation, bint fresh, const uint64_t* incarnations,
                      uint32_t count) except -1:
    cdef uint8_t* body = append_frame(out, FOUNDING, 2, 1, 8 * <size_t>count)
    store64(body, incarnation)
    store64(body + 8, fresh != 0)
    store64(body + 16, list_pointer(0, WORD_ELEMENTS, count))
    if count != 0:
        memcpy(body + 24, incarnations, 8 * <size_t>count)
    return 0


cdef int put_request(Bytes* out, const Command* commands, uint32_t count) except -1:
    cdef size_t content = commands_list_bytes(commands, count)
    cdef uint8_t* body
    if content > PAYLOAD_BYTES_MAX:
        check_payloads(commands, count)
    body = append_frame(out, REQUEST, 0, 1, content)
    write_commands(body, body + 8, commands, count)
    return 0


cdef int put_response(Bytes* out, uint64_t session, const Reply* replies, uint32_t count) except -1:
    cdef size_t total = 8
    cdef uint8_t* body
    cdef uint8_t* element
    cdef uint8_t* content
    cdef uint32_t i
    for i in range(count):
        total += reply_bytes(&replies[i])
    body = append_frame(out, RESPONSE, 1, 1, total)
    store64(body, session)
    element = write_list(body + 8, body + 16, count, REPLY_DATA, 1)
    content = element + <size_t>count * 8 * (REPLY_DATA + 1)
    for i in range(count):
        store64(element, replies[i].sequence)
        store64(element + 8, replies[i].slot)
        store64(element + 16, replies[i].status)
        content = write_bytes(element + 24, content, replies[i].data, replies[i].size)
        element += 8 * (REPLY_DATA + 1)
    return 0


cdef int put_leading(Bytes* out, uint64_t ballot) except -1:
    store64(append_frame(out, LEADING, 1, 0, 0), ballot)
    return 0


# -- runs

cdef Run* run_room(uint64_t ballot, uint64_t first, uint64_t time_ns, uint32_t count,
                   size_t size) except NULL:
    """A run whose frame, of our own layout, is still to be written."""
    cdef Run* run = <Run*>malloc(sizeof(Run) + size)
    if run == NULL:
        raise MemoryError(f"no memory for a run of {size} bytes")
    run.references = 1
    run.ballot = ballot
    run.first = first
    run.time_ns = time_ns
    run.count = count
    run.size = <uint32_t>size
    run.frame = <uint8_t*>run + sizeof(Run)
    run.commands.base = run.frame + PHASE2A_COMMANDS
    run.commands.count = count
    run.commands.stride = 8 * (COMMAND_DATA + 1)
    run.commands.data_bytes = 8 * COMMAND_DATA
    return run


cdef Run* run_new(uint64_t ballot, uint64_t first, uint64_t time_ns, const Command* commands,
                  uint32_t count) except NULL:
    cdef Watermark nothing = Watermark(0, 0, 0)
    cdef size_t size = phase2a_size(first, commands, count)
    cdef Run* run = run_room(ballot, first, time_ns, count, size)
    write_phase2a(run.frame, size, ballot, first, time_ns, &nothing, commands, count)
    return run


cdef Run* run_read(const uint8_t* frame, size_t size) except? NULL:
    cdef Message message
    if decode(frame, size, &message) != FINE or message.kind != PHASE2A:
        return NULL
    return run_from(&message, frame, size)


cdef Run* run_from(const Message* phase2a, const uint8_t* frame, size_t size) except NULL:
    cdef uint32_t count = phase2a.commands.count
    cdef Command* commands
    cdef Run* run
    cdef uint32_t i
    if is_our_layout(&phase2a.commands, frame, size):
        run = run_room(phase2a.ballot, phase2a.first, phase2a.time_ns, count, size)
        memcpy(run.frame, frame, size)
        return run
    commands = <Command*>malloc(count * sizeof(Command))
    if commands == NULL:
        raise MemoryError(f"no memory for a run of {count} commands")
    try:
        for i in range(count):
            command_at(&phase2a.commands, i, &commands[i])
        run = run_new(phase2a.ballot, phase2a.first, phase2a.time_ns, commands, count)
    finally:
        free(commands)
    set_watermark(run.frame, &phase2a.decided)
    return run


cdef bint is_our_layout(const Commands* commands, const uint8_t* frame, size_t size) noexcept:
    """Is the checked phase2a `frame` laid out as `write_phase2a` does it?"""
    cdef uint8_t[BODY] head
    cdef const uint8_t* pointer
    cdef size_t total = PHASE2A_COMMANDS
    cdef uint32_t _
    if commands.base != frame + PHASE2A_COMMANDS or commands.data_bytes != 8 * COMMAND_DATA:
        return False
    if commands.stride != 8 * (COMMAND_DATA + 1):
        return False
    write_head(head, size, PHASE2A, PHASE2A_DATA, 1)
    if memcmp(head, frame, BODY) != 0:
        return False
    # Objects don't overlap and come in order: there are no gaps if they fill the frame.
    pointer = commands.base + 8 * COMMAND_DATA
    for _ in range(commands.count):
        total += commands.stride + padded(load64(pointer) >> 35)
        pointer += commands.stride
    return total == size


cdef void run_free(Run* run) noexcept:
    free(run)


# -- the same for Python: tests, benches and tools

KINDS = (
    "hello", "phase1a", "phase1b", "phase2a", "phase2b", "decision", "fetch", "fetched", "ping", "pong",
    "founding", "request", "response", "leading", "status_request", "status_reply",
)
FAULTS = ("fine", "partial", "foreign", "malformed", "oversized")
globals().update(
    FRAME_BYTES_MAX=FRAME_BYTES_MAX, VALUE_BYTES_MAX=VALUE_BYTES_MAX, KEY_BYTES_MAX=KEY_BYTES_MAX,
    PAYLOAD_BYTES_MAX=PAYLOAD_BYTES_MAX, RUN_BYTES_MAX=RUN_BYTES_MAX, RUN_SLOTS_MAX=RUN_SLOTS_MAX,
)
COMMAND_KINDS = {"noop": NOOP, "apply": APPLY, "open_session": OPEN_SESSION, "rejoin": REJOIN}
REPLY_STATUSES = {
    "ok": OK, "refused": REFUSED, "opened": OPENED, "ahead": AHEAD, "expired": EXPIRED,
    "overloaded": OVERLOADED, "acknowledged": ACKNOWLEDGED,
}


class CodecError(MultipaxosError, ValueError):
    """A frame that is none of ours; ``fault`` says which way: one of ``FAULTS`` except "fine"."""

    def __init__(self, message, fault):
        super().__init__(message)
        self.fault = fault


_EXPLANATIONS = {
    PARTIAL: "the frame ends too early: wait for the rest of it",
    FOREIGN: "the frame is not in the layout of this codec: rewrite it with multipaxos.wire.schema.flatten",
    MALFORMED: "a pointer, length, count or range in the frame does not hold: close the link that brought it",
    OVERSIZED: "the frame or a part of it is over its limit: close the link that brought it",
}


cdef int check(Fault fault) except -1:
    if fault != FINE:
        raise CodecError(_EXPLANATIONS[fault], FAULTS[fault])
    return 0


cdef class Frame:
    """A decoded frame that a Python object holds: only inside the functions below."""
    cdef Py_buffer view
    cdef Message message

    def __cinit__(self, source):
        PyObject_GetBuffer(source, &self.view, PyBUF_SIMPLE)
        check(decode(<const uint8_t*>self.view.buf, self.view.len, &self.message))

    def __dealloc__(self):
        PyBuffer_Release(&self.view)

    cdef int expect(self, MessageKind kind) except -1:
        if self.message.kind != kind:
            raise CodecError(f"the frame holds {KINDS[self.message.kind]}, not {KINDS[kind]}", "malformed")
        return 0


cdef inline bytes bytes_of(const uint8_t* data, size_t size):
    return PyBytes_FromStringAndSize(<const char*>data, size)


cdef inline const uint8_t* view_of(PyObject* data, uint32_t* size) except NULL:
    if not PyBytes_Check(data):
        raise TypeError(f"a payload has to be bytes, not {type(<object>data).__name__}")
    if PyBytes_GET_SIZE(data) > FRAME_BYTES_MAX:
        raise TooLarge(f"{PyBytes_GET_SIZE(data)} bytes are over the limit of a frame, {FRAME_BYTES_MAX}")
    size[0] = <uint32_t>PyBytes_GET_SIZE(data)
    return <const uint8_t*>PyBytes_AS_STRING(data)


cdef inline uint64_t number_up_to(PyObject* value, uint64_t greatest) except? 18446744073709551615:
    cdef uint64_t number = PyLong_AsUnsignedLongLong(value)
    if number > greatest:
        raise OverflowError(f"{number} is more than the field can hold: {greatest}")
    return number


cdef void* room_for(size_t count, size_t each) except NULL:
    cdef void* room = malloc((count + 1) * each)
    if room == NULL:
        raise MemoryError(f"no memory for {count} elements")
    return room


# Lists of tuples to arrays that point into the tuples' bytes: the caller holds the list, and frees the array.

# They read tuples by place and without references of their own: no Python code runs in between.

cdef inline PyObject* part(PyObject* item, Py_ssize_t index) noexcept:
    return PyTuple_GET_ITEM(item, index)


cdef inline int expect_tuple(PyObject* item, Py_ssize_t size) except -1:
    if not PyTuple_Check(item) or PyTuple_GET_SIZE(item) != size:
        raise TypeError(f"an element has to be a tuple of {size}, not {<object>item!r}")
    return 0


cdef Command* commands_from(list items) except NULL:
    cdef Command* commands = <Command*>room_for(PyList_GET_SIZE(items), sizeof(Command))
    cdef Command* command = commands
    cdef PyObject* item
    cdef Py_ssize_t i
    try:
        for i in range(PyList_GET_SIZE(items)):
            item = PyList_GET_ITEM(items, i)
            expect_tuple(item, 5)
            command.session = number_up_to(part(item, 0), UINT64_MAX)
            command.sequence = number_up_to(part(item, 1), UINT64_MAX)
            command.kind = <uint16_t>number_up_to(part(item, 2), 0xFFFF)
            command.unacknowledged = <uint32_t>number_up_to(part(item, 3), 0xFFFFFFFF)
            command.payload = view_of(part(item, 4), &command.size)
            command += 1
    except BaseException:
        free(commands)
        raise
    return commands


cdef Reply* replies_from(list items) except NULL:
    cdef Reply* replies = <Reply*>room_for(PyList_GET_SIZE(items), sizeof(Reply))
    cdef Reply* reply = replies
    cdef PyObject* item
    cdef Py_ssize_t i
    try:
        for i in range(PyList_GET_SIZE(items)):
            item = PyList_GET_ITEM(items, i)
            expect_tuple(item, 4)
            reply.sequence = number_up_to(part(item, 0), UINT64_MAX)
            reply.slot = number_up_to(part(item, 1), UINT64_MAX)
            reply.status = <uint16_t>number_up_to(part(item, 2), 0xFFFF)
            reply.data = view_of(part(item, 3), &reply.size)
            reply += 1
    except BaseException:
        free(replies)
        raise
    return replies


cdef Pvalues* pvalues_from(list items) except NULL:
    cdef Pvalues* pvalues = <Pvalues*>room_for(len(items), sizeof(Pvalues))
    cdef Pvalues* each = pvalues
    cdef tuple item
    try:
        for item in items:
            expect_tuple(<PyObject*>item, 3)
            each.first = item[0]
            each.end = item[1]
            each.run = view_of(part(<PyObject*>item, 2), &each.size)
            each += 1
    except BaseException:
        free(pvalues)
        raise
    return pvalues


cdef Rejoin* rejoins_from(list items) except NULL:
    cdef Rejoin* rejoins = <Rejoin*>room_for(len(items), sizeof(Rejoin))
    cdef Rejoin* rejoin = rejoins
    try:
        for node, slot, incarnation in items:
            rejoin.node = node
            rejoin.slot = slot
            rejoin.incarnation = incarnation
            rejoin += 1
    except BaseException:
        free(rejoins)
        raise
    return rejoins


cdef uint64_t* numbers_from(list items) except NULL:
    cdef uint64_t* numbers = <uint64_t*>room_for(len(items), sizeof(uint64_t))
    cdef uint64_t* number = numbers
    try:
        for item in items:
            number[0] = item
            number += 1
    except BaseException:
        free(numbers)
        raise
    return numbers


cdef list commands_to(const Commands* commands):
    cdef list items = PyList_New(commands.count)
    cdef Command command
    cdef tuple item
    cdef uint32_t i
    for i in range(commands.count):
        command_at(commands, i, &command)
        item = (command.session, command.sequence, command.kind, command.unacknowledged,
                bytes_of(command.payload, command.size))
        Py_INCREF(item)              # PyList_SET_ITEM takes a reference over
        PyList_SET_ITEM(items, i, item)
    return items


cdef list replies_to(const ReplyList* replies):
    cdef list items = PyList_New(replies.count)
    cdef Reply reply
    cdef tuple item
    cdef uint32_t i
    for i in range(replies.count):
        reply_at(replies, i, &reply)
        item = (reply.sequence, reply.slot, reply.status, bytes_of(reply.data, reply.size))
        Py_INCREF(item)
        PyList_SET_ITEM(items, i, item)
    return items


cdef list pvalues_to(const PvaluesList* pvalues):
    cdef Pvalues each
    cdef uint32_t i
    items = []
    for i in range(pvalues.count):
        pvalues_at(pvalues, i, &each)
        items.append((each.first, each.end, bytes_of(each.run, each.size)))
    return items


cdef list rejoins_to(const RejoinList* rejoins):
    cdef Rejoin rejoin
    cdef uint32_t i
    items = []
    for i in range(rejoins.count):
        rejoin_at(rejoins, i, &rejoin)
        items.append((rejoin.node, rejoin.slot, rejoin.incarnation))
    return items


cdef Watermark watermark_from(tuple decided) except *:
    ballot, first, end = decided
    return Watermark(ballot, first, end)


# Runs, requests and responses, whose speed matters to benches, on plain tuples.

def encode_phase2a(uint64_t ballot, uint64_t first, uint64_t time_ns, tuple decided not None,
                   list commands not None):
    """The frame of a run; commands are (session, sequence, kind, unacknowledged, payload)."""
    cdef Bytes out = Bytes(NULL, 0, 0)
    cdef Watermark watermark = watermark_from(decided)
    cdef Command* array = commands_from(commands)
    try:
        put_phase2a(&out, ballot, first, time_ns, &watermark, array, <uint32_t>len(commands))
        return bytes_take(&out)
    finally:
        free(array)
        bytes_free(&out)


def decode_phase2a(frame):
    """(ballot, first, time_ns, (decided ballot, first, end), commands), as ``encode_phase2a`` takes them."""
    cdef Frame held = Frame(frame)
    cdef Message* message = &held.message
    held.expect(PHASE2A)
    decided = (message.decided.ballot, message.decided.first, message.decided.end)
    return message.ballot, message.first, message.time_ns, decided, commands_to(&message.commands)


def encode_request(list commands not None):
    """The frame of a request; commands as in ``encode_phase2a``."""
    cdef Bytes out = Bytes(NULL, 0, 0)
    cdef Command* array = commands_from(commands)
    try:
        put_request(&out, array, <uint32_t>len(commands))
        return bytes_take(&out)
    finally:
        free(array)
        bytes_free(&out)


def decode_request(frame):
    """The commands of a request."""
    cdef Frame held = Frame(frame)
    held.expect(REQUEST)
    return commands_to(&held.message.commands)


def encode_response(uint64_t session, list replies not None):
    """The frame of a response; replies are (sequence, slot, status, data)."""
    cdef Bytes out = Bytes(NULL, 0, 0)
    cdef Reply* array = replies_from(replies)
    try:
        put_response(&out, session, array, <uint32_t>len(replies))
        return bytes_take(&out)
    finally:
        free(array)
        bytes_free(&out)


def decode_response(frame):
    """(session, replies), as ``encode_response`` takes them."""
    cdef Frame held = Frame(frame)
    held.expect(RESPONSE)
    return held.message.session, replies_to(&held.message.replies)


# Every message, by the schema's names in snake_case. Elements of lists are dicts.

COMMAND_FIELDS = ("session", "sequence", "kind", "unacknowledged", "payload")
REPLY_FIELDS = ("sequence", "slot", "status", "data")
PVALUES_FIELDS = ("first", "end", "run")
REJOIN_FIELDS = ("node", "slot", "incarnation")


def _tuples(items, names):
    absent = {"payload": b"", "data": b"", "run": b""}
    rows = []
    for item in items:
        strange = item.keys() - set(names)
        if strange:
            raise TypeError(f"no such field: {', '.join(sorted(strange))}; there are {', '.join(names)}")
        rows.append(tuple([item.get(name, absent.get(name, 0)) for name in names]))
    return rows


def _dicts(rows, names):
    return [dict(zip(names, row)) for row in rows]


def _put_numbers(kind, uint64_t ballot=0, uint64_t first=0, uint64_t end=0, uint64_t mark=0, uint64_t nonce=0,
                 uint64_t slot_out=0, bint voting=False, bint leading=False, bint quorum=False,
                 uint64_t decided_ballot=0, uint64_t decided_first=0, uint64_t decided_end=0):
    cdef Bytes out = Bytes(NULL, 0, 0)
    cdef Watermark decided = Watermark(decided_ballot, decided_first, decided_end)
    try:
        if kind == "phase1a":
            put_phase1a(&out, ballot, first)
        elif kind == "phase2b":
            put_phase2b(&out, ballot, first, end, mark)
        elif kind == "decision":
            decided = Watermark(ballot, first, end)
            put_decision(&out, &decided)
        elif kind == "fetch":
            put_fetch(&out, first, end)
        elif kind == "ping":
            put_ping(&out, ballot, nonce, slot_out, voting)
        elif kind == "pong":
            put_pong(&out, ballot, nonce, slot_out, leading, quorum, &decided)
        else:
            put_leading(&out, ballot)
        return bytes_take(&out)
    finally:
        bytes_free(&out)


def _encode_phase1b(uint64_t ballot=0, uint64_t first=0, uint64_t end=0, uint64_t mark=0,
                    uint64_t incarnation=0, int64_t number=0, rejoins=(), pvalues=()):
    cdef Bytes out = Bytes(NULL, 0, 0)
    cdef Rejoin* rejoin_array = NULL
    cdef Pvalues* array = NULL
    cdef list rejoin_rows = _tuples(rejoins, REJOIN_FIELDS)
    cdef list rows = _tuples(pvalues, PVALUES_FIELDS)
    try:
        rejoin_array = rejoins_from(rejoin_rows)
        array = pvalues_from(rows)
        put_phase1b(&out, ballot, first, end, mark, incarnation, number,
                    rejoin_array, <uint32_t>len(rejoin_rows), array, <uint32_t>len(rows))
        return bytes_take(&out)
    finally:
        free(rejoin_array)
        free(array)
        bytes_free(&out)


def _encode_fetched(uint64_t first=0, uint64_t end=0, uint64_t mark=0, pvalues=()):
    cdef Bytes out = Bytes(NULL, 0, 0)
    cdef list rows = _tuples(pvalues, PVALUES_FIELDS)
    cdef Pvalues* array = pvalues_from(rows)
    try:
        put_fetched(&out, first, end, mark, array, <uint32_t>len(rows))
        return bytes_take(&out)
    finally:
        free(array)
        bytes_free(&out)


def _encode_founding(uint64_t incarnation=0, bint fresh=False, incarnations=()):
    cdef Bytes out = Bytes(NULL, 0, 0)
    cdef list items = list(incarnations)
    cdef uint64_t* array = numbers_from(items)
    try:
        put_founding(&out, incarnation, fresh, array, <uint32_t>len(items))
        return bytes_take(&out)
    finally:
        free(array)
        bytes_free(&out)


FIELDS = {
    "phase1a": ("ballot", "first"),
    "phase1b": ("ballot", "first", "end", "mark", "incarnation", "number", "rejoins", "pvalues"),
    "phase2a": ("ballot", "first", "time_ns", "decided_ballot", "decided_first", "decided_end", "commands"),
    "phase2b": ("ballot", "first", "end", "mark"),
    "decision": ("ballot", "first", "end"),
    "fetch": ("first", "end"),
    "fetched": ("first", "end", "mark", "pvalues"),
    "ping": ("ballot", "nonce", "slot_out", "voting"),
    "pong": (
        "ballot", "nonce", "slot_out", "leading", "quorum", "decided_ballot", "decided_first", "decided_end",
    ),
    "founding": ("incarnation", "fresh", "incarnations"),
    "request": ("commands",),
    "response": ("session", "replies"),
    "leading": ("ballot",),
}


def encode(str kind not None, **fields):
    """The frame of a message: ``kind`` and fields by the schema's names, in snake_case; absent ones are 0."""
    names = FIELDS.get(kind)
    if names is None:
        raise ValueError(f"this codec does not write {kind!r}: there are {', '.join(FIELDS)}; "
                         "multipaxos.wire.schema writes the others")
    strange = fields.keys() - set(names)
    if strange:
        raise TypeError(f"{kind} has no field {', '.join(sorted(strange))}: there are {', '.join(names)}")
    if kind == "phase2a":
        numbers = [fields.get(name, 0) for name in names[:6]]
        rows = _tuples(fields.get("commands", ()), COMMAND_FIELDS)
        return encode_phase2a(*numbers[:3], tuple(numbers[3:]), rows)
    if kind == "request":
        return encode_request(_tuples(fields.get("commands", ()), COMMAND_FIELDS))
    if kind == "response":
        return encode_response(fields.get("session", 0), _tuples(fields.get("replies", ()), REPLY_FIELDS))
    if kind == "phase1b":
        return _encode_phase1b(**fields)
    if kind == "fetched":
        return _encode_fetched(**fields)
    if kind == "founding":
        return _encode_founding(**fields)
    return _put_numbers(kind, **fields)


def decode_message(frame):
    """The message of a frame as a dict: its kind, and its fields as ``encode`` takes them.

    Of "hello", "status_request" and "status_reply" it gives the kind alone.
    """
    cdef Frame held = Frame(frame)
    cdef Message* message = &held.message
    cdef uint32_t i
    kind = KINDS[message.kind]
    values = {
        "ballot": message.ballot, "first": message.first, "end": message.end, "mark": message.mark,
        "time_ns": message.time_ns, "nonce": message.nonce, "slot_out": message.slot_out,
        "incarnation": message.incarnation, "session": message.session, "number": message.number,
        "voting": bool(message.voting), "leading": bool(message.leading), "quorum": bool(message.quorum),
        "fresh": bool(message.fresh), "decided_ballot": message.decided.ballot,
        "decided_first": message.decided.first, "decided_end": message.decided.end,
        "commands": _dicts(commands_to(&message.commands), COMMAND_FIELDS),
        "pvalues": _dicts(pvalues_to(&message.pvalues), PVALUES_FIELDS),
        "rejoins": _dicts(rejoins_to(&message.rejoins), REJOIN_FIELDS),
        "replies": _dicts(replies_to(&message.replies), REPLY_FIELDS),
        "incarnations": [number_at(&message.incarnations, i) for i in range(message.incarnations.count)],
    }
    return {"kind": kind} | {name: values[name] for name in FIELDS.get(kind, ())}


def split(data):
    """The whole frames at the start of a byte stream, and the rest."""
    cdef Py_buffer view
    cdef const uint8_t* at
    cdef size_t left, size
    cdef Fault fault
    frames = []
    PyObject_GetBuffer(data, &view, PyBUF_SIMPLE)
    try:
        at = <const uint8_t*>view.buf
        left = view.len
        fault = frame_size(at, left, &size)
        while fault == FINE:
            frames.append(bytes_of(at, size))
            at += size
            left -= size
            fault = frame_size(at, left, &size)
        if fault != PARTIAL:
            check(fault)
        return frames, bytes_of(at, left)
    finally:
        PyBuffer_Release(&view)


# What tests and benches need to see of the C side.

def decode_repeat(frame, uint64_t times):
    """Decodes a phase2a frame `times` over and reads its commands; returns a sum over what it read."""
    cdef Frame held = Frame(frame)
    cdef const uint8_t* data = <const uint8_t*>held.view.buf
    cdef Message message
    cdef Command command
    cdef uint64_t total = 0
    cdef uint64_t _
    cdef uint32_t i
    held.expect(PHASE2A)
    for _ in range(times):
        check(decode(data, held.view.len, &message))
        for i in range(message.commands.count):
            command_at(&message.commands, i, &command)
            total += command.sequence + command.size + (command.payload[0] if command.size else 0)
    return total


def encode_repeat(frame, uint64_t times):
    """Makes a run of a phase2a frame's commands `times` over, as a leader does; returns the bytes written."""
    cdef Frame held = Frame(frame)
    cdef Message* message = &held.message
    cdef Command* commands
    cdef Run* run
    cdef uint64_t total = 0
    cdef uint64_t _
    cdef uint32_t i
    held.expect(PHASE2A)
    commands = <Command*>room_for(message.commands.count, sizeof(Command))
    try:
        for i in range(message.commands.count):
            command_at(&message.commands, i, &commands[i])
        for _ in range(times):
            run = run_new(message.ballot, message.first, message.time_ns, commands, message.commands.count)
            total += run.size
            run_drop(run)
    finally:
        free(commands)
    return total


def run_frame(frame, decided=None):
    """The frame that a run read from `frame` holds, its watermark set to `decided`; None if it is no run."""
    cdef Py_buffer view
    cdef Watermark watermark
    cdef Command command
    cdef Run* run
    PyObject_GetBuffer(frame, &view, PyBUF_SIMPLE)
    try:
        run = run_read(<const uint8_t*>view.buf, view.len)
    finally:
        PyBuffer_Release(&view)
    if run == NULL:
        return None
    try:
        if decided is not None:
            watermark = watermark_from(decided)
            set_watermark(run.frame, &watermark)
        run_command(run_hold(run), run.first + run.count - 1, &command)
        run_drop(run)
        if command.payload + command.size > run.frame + run.size:
            raise AssertionError("a run's last command reaches beyond its frame")
        return bytes_of(run.frame, run.size)
    finally:
        run_drop(run)
