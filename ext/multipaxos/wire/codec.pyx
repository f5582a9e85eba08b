"""The codec for Python: every message as tuples and dicts, for tools, tests and benches.

Theory. The core reads and writes frames in C (`reading`, `writing`, `run`); here are the same functions for Python
values. `encode` and `decode_message` handle every kind of message that the compiled codec knows, by the schema's names
in snake_case; runs, requests and responses also travel as plain tuples, because benches, traces and disks read many.

Rules. What cannot be read is a CodecError, which says how the frame is wrong (`fault`). What may not be written is a
TooLarge, or a TypeError, ValueError or OverflowError that names the field.
"""

from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.list cimport PyList_New, PyList_SET_ITEM
from cpython.ref cimport Py_INCREF, PyObject
from libc.stdint cimport UINT64_MAX, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_take
from multipaxos.wire.encoding cimport FINE, FOREIGN, MALFORMED, OVERSIZED, PARTIAL, Fault
from multipaxos.wire.messages cimport (
    ACKNOWLEDGED, AHEAD, APPLY, EXPIRED, FRAME_BYTES_MAX, KEY_BYTES_MAX, NOOP, OK, OPEN_SESSION, OPENED, OVERLOADED,
    PAYLOAD_BYTES_MAX, PHASE2A, REFUSED, REJOIN, REQUEST, RESPONSE, RUN_BYTES_MAX, RUN_SLOTS_MAX, SLOTS_END,
    VALUE_BYTES_MAX, Command, Commands, Message, MessageKind, Pvalues, PvaluesList, Rejoin, RejoinList, Reply,
    ReplyList, Watermark,
)
from multipaxos.wire.reading cimport (
    command_at, decode, frame_size, number_at, pvalues_at, rejoin_at, reply_at,
)
from multipaxos.wire.run cimport Run, run_command, run_drop, run_hold, run_new, run_read, set_watermark
from multipaxos.wire.writing cimport (
    put_decision, put_fetch, put_fetched, put_founding, put_leading, put_phase1a, put_phase1b, put_phase2b, put_ping,
    put_pong, put_request, put_response,
)

from multipaxos.errors import MultipaxosError, TooLarge

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


KINDS = (
    "hello", "phase1a", "phase1b", "phase2a", "phase2b", "decision", "fetch", "fetched", "ping", "pong",
    "founding", "request", "response", "leading", "status_request", "status_reply",
)
FAULTS = ("fine", "partial", "foreign", "malformed", "oversized")
globals().update(
    FRAME_BYTES_MAX=FRAME_BYTES_MAX, VALUE_BYTES_MAX=VALUE_BYTES_MAX, KEY_BYTES_MAX=KEY_BYTES_MAX,
    PAYLOAD_BYTES_MAX=PAYLOAD_BYTES_MAX, RUN_BYTES_MAX=RUN_BYTES_MAX, RUN_SLOTS_MAX=RUN_SLOTS_MAX,
    SLOTS_END=SLOTS_END,
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
    cdef Watermark watermark = watermark_from(decided)
    cdef Command* array = commands_from(commands)
    cdef Run* run = NULL
    try:
        run = run_new(ballot, first, time_ns, array, <uint32_t>len(commands))
        set_watermark(run.frame, &watermark)
        return bytes_of(run.frame, run.size)
    finally:
        free(array)
        if run != NULL:
            run_drop(run)


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
