"""Reading frames: how long one is, and what message it holds.

Theory. A frame is a segment table and one segment. `decode` checks a whole frame once and leaves its message as a
struct that points into the frame: nothing is copied or allocated. Our own layout is in order: a struct, then what its
pointers lead to, first to last, each followed by its own. A frame in any other valid layout is FOREIGN:
`schema.flatten` rewrites it into this one.

Rules. Bytes are hostile until `decode` has returned FINE: it checks every pointer, length and count, so the `*_at`
functions need not. A frame yields no more bytes than it holds. A struct longer than ours comes from a newer schema (the
rest is skipped), a shorter one from an older schema (missing fields are 0). HELLO and STATUS_REPLY are rare: only their
root is checked here, and pycapnp reads them.
"""

from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset
from multipaxos.wire.encoding cimport (
    FINE, FOREIGN, MALFORMED, OVERSIZED, PARTIAL, Fault, Segment, Struct, bytes_at, check_bytes, check_bytes_of,
    field_at, load32, padded, pointer_at, read_struct, read_structs, read_words, word_at,
)
from multipaxos.wire.messages cimport (
    COMMAND_BYTES, DECISION, FETCH, FETCHED, FOUNDING, FRAME_BYTES_MAX, HELLO, PAYLOAD_BYTES_MAX, PHASE1A, PHASE1B,
    PHASE2A, PHASE2A_COMMANDS, PHASE2A_DATA, PHASE2B, PIECE, PING, PONG, REQUEST, RESPONSE, RUN_BYTES_MAX,
    RUN_SLOTS_MAX, STATUS_REPLY, STATUS_REQUEST, Commands, Message, MessageKind, PvaluesList, ReplyList, Watermark,
)

from multipaxos.errors import MultipaxosError

cdef enum:
    SEGMENTS_MAX = 512               # as in Cap'n Proto's own readers


cdef Fault frame_size(const uint8_t* data, size_t available, size_t* size) noexcept:
    """Bytes of the first frame in `data`, left in `size`.

    `size` is set with FINE, and with PARTIAL if the segment table is whole; else it is 0. Frames of several segments
    have a size as well: only `decode` calls them FOREIGN.
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
    if kind > PIECE:
        return MALFORMED
    out.kind = <MessageKind>kind
    if kind == HELLO or kind == STATUS_REPLY:
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
        return read_commands(segment, body, &out.commands)
    if out.kind == RESPONSE:
        out.session = word_at(body, 0)
        return read_replies(segment, pointer_at(body, 0), &out.replies)
    if out.kind == FOUNDING:
        out.incarnation = word_at(body, 0)
        out.fresh = word_at(body, 1) & 1
        return read_words(segment, pointer_at(body, 0), &out.incarnations)
    if out.kind == PING:
        return read_ping(segment, body, out)
    if out.kind == PIECE:
        return read_piece(segment, body, out)
    return read_numbers(body, out)


cdef Fault read_numbers(const Struct* body, Message* out) noexcept:
    """The messages that have no pointers."""
    if out.kind == FETCH:
        out.first = word_at(body, 0)
        out.end = word_at(body, 1)
        return FINE if out.first <= out.end else MALFORMED
    if out.kind == STATUS_REQUEST:
        out.nonce = word_at(body, 0)
        return FINE
    out.ballot = word_at(body, 0)
    if out.kind == PHASE1A:
        out.first = word_at(body, 1)
        out.part = word_at(body, 2)
    elif out.kind == PHASE2B:
        out.first = word_at(body, 1)
        out.end = word_at(body, 2)
        out.mark = word_at(body, 3)
        return FINE if out.first <= out.end else MALFORMED
    elif out.kind == DECISION:
        out.first = word_at(body, 1)
        out.end = word_at(body, 2)
        return read_watermark(body, 0, &out.decided)
    elif out.kind == PONG:
        out.nonce = word_at(body, 1)
        out.slot_out = word_at(body, 2)
        out.leading = word_at(body, 3) & 1
        out.quorum = (word_at(body, 3) >> 1) & 1
        out.missing = word_at(body, 7)
        return read_watermark(body, 4, &out.decided)
    return FINE


cdef Fault read_ping(Segment* segment, const Struct* body, Message* out) noexcept:
    out.ballot = word_at(body, 0)
    out.nonce = word_at(body, 1)
    out.slot_out = word_at(body, 2)
    out.voting = word_at(body, 3) & 1
    out.state_slot = word_at(body, 4)
    out.state_hash = word_at(body, 5)
    return read_words(segment, pointer_at(body, 0), &out.processes)


cdef Fault read_piece(Segment* segment, const Struct* body, Message* out) noexcept:
    cdef const uint8_t* pointer = pointer_at(body, 0)
    cdef Fault fault = FINE
    out.left = <uint32_t>word_at(body, 0)
    if pointer != NULL:
        fault = check_bytes(segment, pointer, FRAME_BYTES_MAX)
        if fault == FINE:
            out.data = bytes_at(pointer, &out.size)
    return fault


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
        fault = read_commands(segment, body, &out.commands)
    if fault != FINE:
        return fault
    if out.commands.items.count > RUN_SLOTS_MAX:
        return OVERSIZED
    # A run counts a nonce for each command, as the writer does: `run_from` may write another list of nonces.
    size += 8 * <size_t>(out.commands.items.count - out.commands.nonces.count)
    if out.commands.items.stride < COMMAND_BYTES or body.data_words < PHASE2A_DATA or body.pointers < 2:
        # A frame of an older schema grows when `run_from` writes it in our layout.
        size += PHASE2A_COMMANDS + COMMAND_BYTES * <size_t>out.commands.items.count
    if size > RUN_BYTES_MAX:
        return OVERSIZED
    out.end = out.first + out.commands.items.count
    return FINE if out.first >= 1 and out.end > out.first else MALFORMED


cdef Fault read_phase1b(Segment* segment, const Struct* body, Message* out) noexcept:
    out.ballot = word_at(body, 0)
    out.first = word_at(body, 1)
    out.end = word_at(body, 2)
    out.mark = word_at(body, 3)
    return read_pvalues(segment, pointer_at(body, 0), &out.pvalues) if out.first <= out.end else MALFORMED


cdef Fault read_fetched(Segment* segment, const Struct* body, Message* out) noexcept:
    out.first = word_at(body, 0)
    out.end = word_at(body, 1)
    out.mark = word_at(body, 2)
    if out.first > out.end:
        return MALFORMED
    return read_pvalues(segment, pointer_at(body, 0), &out.pvalues)


cdef Fault read_commands(Segment* segment, const Struct* body, Commands* out) noexcept:
    """The first two pointers of the body: commands, and the nonces of their sessions, no more than commands."""
    cdef Fault fault = read_structs(segment, pointer_at(body, 0), &out.items)
    if fault == FINE:
        fault = check_bytes_of(segment, &out.items, PAYLOAD_BYTES_MAX)
    if fault == FINE:
        fault = read_words(segment, pointer_at(body, 1), &out.nonces)
    if fault == FINE and out.nonces.count > out.items.count:
        return MALFORMED
    return fault


cdef Fault read_replies(Segment* segment, const uint8_t* pointer, ReplyList* out) noexcept:
    cdef Fault fault = read_structs(segment, pointer, out)
    return check_bytes_of(segment, out, FRAME_BYTES_MAX) if fault == FINE else fault


cdef Fault read_pvalues(Segment* segment, const uint8_t* pointer, PvaluesList* out) noexcept:
    cdef const uint8_t* element
    cdef uint32_t i
    cdef Fault fault = read_structs(segment, pointer, out)
    if fault != FINE:
        return fault
    for i in range(out.count):
        element = out.base + <size_t>i * out.stride
        if field_at(element, out.data_bytes, 0) > field_at(element, out.data_bytes, 1):
            return MALFORMED
    return check_bytes_of(segment, out, RUN_BYTES_MAX)


# -- for Python

FAULTS = ("fine", "partial", "foreign", "malformed", "oversized")


class CodecError(MultipaxosError, ValueError):
    """A frame that cannot be read; ``fault`` says what is wrong: one of ``FAULTS`` except "fine"."""

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
            frames.append(PyBytes_FromStringAndSize(<const char*>at, size))
            at += size
            left -= size
            fault = frame_size(at, left, &size)
        if fault != PARTIAL:
            check(fault)
        return frames, PyBytes_FromStringAndSize(<const char*>at, left)
    finally:
        PyBuffer_Release(&view)
