"""The wire: every message between nodes and clients, read and written in place as Cap'n Proto frames.

Theory. A frame is a segment table and one segment. Our own layout is pre-order: a struct, then what its pointers lead
to, first to last, each followed by its own. pycapnp writes the same bytes for a message whose fields are set in schema
order, and its reader takes ours; ``schema`` rewrites what arrives in any other layout (FOREIGN) into this one.

Rules. Bytes are hostile until ``decode`` said FINE: it checks every pointer, length and count, so the ``*_at`` readers
need not. A frame yields no more bytes than it holds. Structs longer than ours come from a newer schema (the rest is
skipped), shorter ones from an older (missing fields are 0). HELLO, STATUS_REQUEST and STATUS_REPLY are rare: only
their root is checked here, pycapnp reads them. No field of a ``Message`` outlives the frame that it was read from.
"""

from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.long cimport PyLong_AsUnsignedLongLong
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcmp, memcpy, memset
from multipaxos.wire cimport (
    List, Segment, Struct, WORD_ELEMENTS, bytes_at, check_bytes_of, field_at, list_pointer, load16, load32, load64,
    padded, pointer_at, read_struct, read_structs, read_words, store64, struct_pointer, word_at, write_bytes,
    write_list,
)

from multipaxos.errors import MultipaxosError, TooLarge

cdef enum:
    SEGMENTS_MAX = 512               # as Cap'n Proto's own readers have it
    BODY = 32                        # bytes before a message's own struct: table, root pointer, discriminant, pointer
    HEAD_WORDS = 3                   # of them, those inside the segment
    # Words of data and pointers of each struct in the schema, first those that stand in lists.
    COMMAND_DATA = 3
    REPLY_DATA = 3
    PVALUES_DATA = 2
    REJOIN_DATA = 3
    PHASE2A_DATA = 6
    PHASE2A_COMMANDS = BODY + 8 * (PHASE2A_DATA + 2)   # where the first command of a run is: after pointer and tag


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
    """Bytes of the first frame in `data`: set with FINE, and with PARTIAL if the segment table is whole, else 0.

    Frames of several segments have a size as well: it is `decode` that calls them FOREIGN.
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
    """What stands before the message's own struct, in a frame of `size` bytes; returns where that struct goes."""
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


cdef int put_phase1b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark, uint64_t incarnation,
                     int64_t number, const Rejoin* rejoins, uint32_t rejoin_count,
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


cdef size_t phase2a_size(uint64_t first, const Command* commands, uint32_t count) except 0:
    """Bytes of the frame; refuses what no reader would take."""
    cdef size_t size = BODY + 8 * (PHASE2A_DATA + 1) + commands_list_bytes(commands, count)
    if count == 0 or first == 0 or first + count < first:
        raise ValueError(f"a run of {count} commands from slot {first}: it needs one at least, and slots from 1 on")
    if count > RUN_SLOTS_MAX or size > RUN_BYTES_MAX:
        raise TooLarge(f"a run of {count} commands and {size} bytes is over the limit of {RUN_SLOTS_MAX} commands or "
                       f"{RUN_BYTES_MAX} bytes: make it two")
    return size


cdef inline void write_phase2a(uint8_t* frame, size_t size, uint64_t ballot, uint64_t first, uint64_t time_ns,
                               const Watermark* decided, const Command* commands, uint32_t count) noexcept nogil:
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
    cdef uint8_t* body = append_frame(out, REQUEST, 0, 1, commands_list_bytes(commands, count))
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

cdef Run* run_room(uint64_t ballot, uint64_t first, uint64_t time_ns, uint32_t count, size_t size) except NULL:
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


cdef Run* run_new(uint64_t ballot, uint64_t first, uint64_t time_ns, const Command* commands, uint32_t count) except NULL:
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
    cdef uint32_t i
    if commands.base != frame + PHASE2A_COMMANDS or commands.data_bytes != 8 * COMMAND_DATA:
        return False
    if commands.stride != 8 * (COMMAND_DATA + 1):
        return False
    write_head(head, size, PHASE2A, PHASE2A_DATA, 1)
    if memcmp(head, frame, BODY) != 0:
        return False
    # Objects don't overlap and come in order: there are no gaps if they fill the frame.
    pointer = commands.base + 8 * COMMAND_DATA
    for i in range(commands.count):
        total += commands.stride + padded(load64(pointer) >> 35)
        pointer += commands.stride
    return total == size


cdef void run_free(Run* run) noexcept:
    free(run)
