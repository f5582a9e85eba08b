"""Writing frames: one function per kind of message, in our own layout.

Theory. pycapnp writes the same bytes for a message whose fields are set in schema order, and its reader accepts ours
(tests hold the codec to both). Each `put_...` computes the size of its frame first, reserves it once, and then writes
it front to back.

Rules. Nothing is written that no reader would accept: what is over a limit raises TooLarge before a byte of it is
appended. Every frame has one segment, and its size is a whole number of words.
"""

from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy
from multipaxos.wire.buffer cimport Bytes, bytes_reserve
from multipaxos.wire.encoding cimport WORD_ELEMENTS, list_pointer, padded, store64, write_bytes, write_list
from multipaxos.wire.messages cimport (
    BODY, DECISION, FETCH, FETCHED, FOUNDING, FRAME_BYTES_MAX, LEADING, NO_NONCE, PAYLOAD_BYTES_MAX, PHASE1A, PHASE1B,
    PHASE2B, PIECE, PING, PONG, PVALUES_DATA, REPLY_DATA, REQUEST, RESPONSE, RUN_BYTES_MAX, RUN_SLOTS_MAX,
    STATUS_REQUEST, Command, MessageKind, Pvalues, Reply, Watermark,
)

from multipaxos.errors import TooLarge


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


cdef int put_phase1a(Bytes* out, uint64_t ballot, uint64_t first, uint64_t part) except -1:
    cdef uint8_t* body = append_frame(out, PHASE1A, 3, 0, 0)
    store64(body, ballot)
    store64(body + 8, first)
    store64(body + 16, part)
    return 0


cdef int put_phase1b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark,
                     const Pvalues* pvalues, uint32_t count) except -1:
    cdef uint8_t* body = append_frame(out, PHASE1B, 4, 1, pvalues_list_bytes(pvalues, count))
    store64(body, ballot)
    store64(body + 8, first)
    store64(body + 16, end)
    store64(body + 24, mark)
    write_pvalues(body + 32, body + 40, pvalues, count)
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


cdef int check_payloads(const Command* commands, uint32_t count) except -1:
    """Refuses a payload that no reader would accept."""
    cdef uint32_t i
    for i in range(count):
        if commands[i].size > PAYLOAD_BYTES_MAX:
            raise TooLarge(f"a command of {commands[i].size} bytes is over the limit of {PAYLOAD_BYTES_MAX}")
    return 0


cdef int check_run(uint64_t first, const Command* commands, uint32_t count, size_t size) except -1:
    if count == 0 or first == 0 or first + count < first:
        raise ValueError(f"a run of {count} commands from slot {first}: make it one or more, from slot 1 on")
    if count > RUN_SLOTS_MAX or size > RUN_BYTES_MAX:
        raise TooLarge(f"a run of {count} commands and {size} bytes is over the limit of {RUN_SLOTS_MAX} "
                       f"commands or {RUN_BYTES_MAX} bytes: make it two")
    return check_payloads(commands, count)


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


cdef int put_ping(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint voting, uint64_t state_slot,
                  uint64_t state_hash, const uint64_t* processes, uint32_t count) except -1:
    cdef uint8_t* body = append_frame(out, PING, 6, 1, 8 * <size_t>count)
    store64(body, ballot)
    store64(body + 8, nonce)
    store64(body + 16, slot_out)
    store64(body + 24, voting != 0)
    store64(body + 32, state_slot)
    store64(body + 40, state_hash)
    write_numbers(body + 48, processes, count)
    return 0


cdef int put_pong(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint leading, bint quorum,
                  const Watermark* decided, uint64_t missing) except -1:
    cdef uint8_t* body = append_frame(out, PONG, 8, 0, 0)
    store64(body, ballot)
    store64(body + 8, nonce)
    store64(body + 16, slot_out)
    store64(body + 24, <uint64_t>(leading != 0) | (<uint64_t>(quorum != 0) << 1))
    write_watermark(body + 32, decided)
    store64(body + 56, missing)
    return 0


cdef void write_numbers(uint8_t* pointer, const uint64_t* numbers, uint32_t count) noexcept:
    """Writes a list of numbers just behind its pointer."""
    store64(pointer, list_pointer(0, WORD_ELEMENTS, count))
    if count != 0:
        memcpy(pointer + 8, numbers, 8 * <size_t>count)


cdef int put_founding(Bytes* out, uint64_t incarnation, bint fresh, const uint64_t* incarnations,
                      uint32_t count) except -1:
    cdef uint8_t* body = append_frame(out, FOUNDING, 2, 1, 8 * <size_t>count)
    store64(body, incarnation)
    store64(body + 8, fresh != 0)
    write_numbers(body + 16, incarnations, count)
    return 0


cdef int put_request(Bytes* out, const Command* commands, uint32_t count) except -1:
    cdef uint32_t nonces
    cdef size_t content = commands_lists_bytes(commands, count, &nonces)
    cdef uint8_t* body
    if content > PAYLOAD_BYTES_MAX:
        check_payloads(commands, count)
    if nonces > NO_NONCE:
        raise TooLarge(f"a request of {nonces} sessions is over the limit of {<int>NO_NONCE}: make it two")
    body = append_frame(out, REQUEST, 0, 2, content)
    write_commands(body, out.data + out.size, commands, count, nonces)
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


cdef int put_status_request(Bytes* out, uint64_t nonce) except -1:
    store64(append_frame(out, STATUS_REQUEST, 1, 0, 0), nonce)
    return 0


cdef int put_piece(Bytes* out, uint32_t left, const uint8_t* data, uint32_t size) except -1:
    cdef uint8_t* body = append_frame(out, PIECE, 1, 1, padded(size))
    store64(body, left)
    write_bytes(body + 8, body + 16, data, size)
    return 0
