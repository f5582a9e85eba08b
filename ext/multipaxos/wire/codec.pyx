"""The codec for Python: every message as a frame and back, for the shell, tools, tests and benches.

Theory. The core reads and writes frames in C (`reading`, `writing`, `run`); here is the same for Python values, which
`fields` converts. A message is a dict with the schema's names in snake_case, and so is an element of a list; runs,
requests and responses are also read and written as plain tuples.

Rules. A frame that cannot be read raises a CodecError, whose `fault` says what is wrong. A value that a field cannot
hold raises a TypeError or an OverflowError, a message that no reader would accept a ValueError or a TooLarge. This
module is the face of the compiled wire: Python code imports the names of `reading` and `fields` from here.
"""

from cpython.buffer cimport Py_buffer, PyBUF_SIMPLE, PyBuffer_Release, PyObject_GetBuffer
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_take
from multipaxos.wire.fields cimport (
    COMMANDS, REPLIES, free_lists, rows_of, set_structs, set_value_of, value_of,
)
from multipaxos.wire.messages cimport (
    ACKNOWLEDGED, AHEAD, APPLY, CLOSE_SESSION, CUT_BYTES, DECISION, EXPIRED, FETCH, FETCHED, FOUNDING, FRAME_BYTES_MAX,
    KEY_BYTES_MAX, LEADING, NOOP, OK, OPEN_SESSION, OPENED, OVERLOADED, PAYLOAD_BYTES_MAX, PHASE1A, PHASE1B, PHASE2A,
    PHASE2B, PIECE, PING, PONG, RECONFIGURE, REFUSED, REQUEST, RESPONSE, RUN_BYTES_MAX, RUN_SLOTS_MAX, SETTING,
    SLOTS_END, VALUE_BYTES_MAX, Command, Message, MessageKind, Pvalues, Reply, Watermark, limits_fit,
)
from multipaxos.wire.reading cimport check, command_at, decode
from multipaxos.wire.run cimport Run, run_command, run_drop, run_hold, run_new, run_read, set_watermark
from multipaxos.wire.writing cimport (
    put_decision, put_fetch, put_fetched, put_founding, put_leading, put_phase1a, put_phase1b, put_phase2b, put_piece,
    put_ping, put_pong, put_request, put_response, put_status_request,
)

from enum import IntEnum

from multipaxos.wire.fields import ELEMENTS, FIELDS  # no-cython-lint: Python imports them from here
from multipaxos.wire.reading import FAULTS, CodecError, split  # no-cython-lint


# -- the facts of `messages`, for Python

KINDS = (
    "hello", "phase1a", "phase1b", "phase2a", "phase2b", "decision", "fetch", "fetched", "ping", "pong",
    "founding", "request", "response", "leading", "status_request", "status_reply", "piece",
)
globals().update(                    # a plain assignment would be to the C constant of that name
    FRAME_BYTES_MAX=FRAME_BYTES_MAX, VALUE_BYTES_MAX=VALUE_BYTES_MAX, KEY_BYTES_MAX=KEY_BYTES_MAX,
    PAYLOAD_BYTES_MAX=PAYLOAD_BYTES_MAX, RUN_BYTES_MAX=RUN_BYTES_MAX, RUN_SLOTS_MAX=RUN_SLOTS_MAX,
    SLOTS_END=SLOTS_END, CUT_BYTES=CUT_BYTES,
)
assert limits_fit()
CommandKind = IntEnum(
    "CommandKind",
    {
        "NOOP": NOOP, "APPLY": APPLY, "OPEN_SESSION": OPEN_SESSION, "RECONFIGURE": RECONFIGURE,
        "CLOSE_SESSION": CLOSE_SESSION, "SETTING": SETTING,
    },
    module=__name__,
)
ReplyStatus = IntEnum(
    "ReplyStatus",
    {
        "OK": OK, "REFUSED": REFUSED, "OPENED": OPENED, "AHEAD": AHEAD, "EXPIRED": EXPIRED,
        "OVERLOADED": OVERLOADED, "ACKNOWLEDGED": ACKNOWLEDGED,
    },
    module=__name__,
)


# -- messages that Python holds

cdef class Frame:
    """A decoded frame. Its message points into the buffer that this object holds."""

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


cdef class Draft:
    """A message to be written. Each of its lists is an array of structs, which this object owns."""

    cdef Message message
    cdef list held                   # the Python values that the structs point into

    def __cinit__(self, MessageKind kind):
        self.message.kind = kind
        self.held = []

    def __dealloc__(self):
        free_lists(&self.message)

    cdef bytes frame(self):
        cdef Message* m = &self.message
        cdef Bytes out = Bytes(NULL, 0, 0)
        cdef Run* run
        if m.kind == PHASE2A:
            run = run_new(m.ballot, m.first, m.time_ns, <Command*>m.commands.items.base, m.commands.items.count)
            set_watermark(run.frame, &m.decided)
            try:
                return PyBytes_FromStringAndSize(<char*>run.frame, run.size)
            finally:
                run_drop(run)
        try:
            put_message(&out, m)
            return bytes_take(&out)
        finally:
            bytes_free(&out)


cdef int put_message(Bytes* out, const Message* m) except -1:
    """Appends the frame of a draft's message, of every kind but PHASE2A."""
    cdef Watermark decided
    if m.kind == PHASE1A:
        return put_phase1a(out, m.ballot, m.first, m.part)
    if m.kind == PHASE1B:
        return put_phase1b(out, m.ballot, m.first, m.end, m.mark, <Pvalues*>m.pvalues.base, m.pvalues.count)
    if m.kind == PHASE2B:
        return put_phase2b(out, m.ballot, m.first, m.end, m.mark)
    if m.kind == DECISION:
        decided = Watermark(m.ballot, m.first, m.end)
        return put_decision(out, &decided)
    if m.kind == FETCH:
        return put_fetch(out, m.first, m.end)
    if m.kind == FETCHED:
        return put_fetched(out, m.first, m.end, m.mark, <Pvalues*>m.pvalues.base, m.pvalues.count)
    if m.kind == PING:
        return put_ping(out, m.ballot, m.nonce, m.slot_out, m.voting, m.state_slot, m.state_hash,
                        <uint64_t*>m.processes.base, m.processes.count)
    if m.kind == PONG:
        return put_pong(out, m.ballot, m.nonce, m.slot_out, m.leading, m.quorum, &m.decided, m.missing)
    if m.kind == FOUNDING:
        return put_founding(out, m.incarnation, m.fresh, <uint64_t*>m.incarnations.base, m.incarnations.count)
    if m.kind == REQUEST:
        return put_request(out, <Command*>m.commands.items.base, m.commands.items.count)
    if m.kind == RESPONSE:
        return put_response(out, m.session, <Reply*>m.replies.base, m.replies.count)
    if m.kind == LEADING:
        return put_leading(out, m.ballot)
    if m.kind == PIECE:
        return put_piece(out, m.left, m.data, m.size)
    return put_status_request(out, m.nonce)


# -- every message, as a dict

def encode(str kind not None, **fields):
    """The frame of a message of this kind. ``fields`` are those of ``FIELDS[kind]``; one that is not given is 0, False
    or empty. An element of a list is a dict with the fields of ``ELEMENTS``."""
    names = FIELDS.get(kind)
    if names is None:
        raise ValueError(f"this codec does not write {kind!r}: there are {', '.join(FIELDS)}; "
                         "multipaxos.wire.schema writes the others")
    cdef Draft draft = Draft(KINDS.index(kind))
    for name, value in fields.items():
        if name not in names:
            raise TypeError(f"{kind} has no field {name}: there are {', '.join(names)}")
        set_value_of(&draft.message, name, value, draft.held)
    return draft.frame()


def decode_message(frame):
    """The message of a frame as a dict: its ``kind``, and its fields in the form that ``encode`` accepts.

    Of "hello" and "status_reply" it gives the kind alone.
    """
    cdef Frame held = Frame(frame)
    kind = KINDS[held.message.kind]
    message = {"kind": kind}
    for name in FIELDS.get(kind, ()):
        message[name] = value_of(&held.message, name)
    return message


def piece_of(frame):
    """(bytes of the longer frame that are left, data) of a piece; None of any other frame."""
    cdef Frame held
    try:
        held = Frame(frame)
    except CodecError:
        return None
    if held.message.kind != PIECE:
        return None
    return held.message.left, PyBytes_FromStringAndSize(<const char*>held.message.data, held.message.size)


def uncut(frames):
    """(frames, pieces): the frames that these are, in the order in which they are whole; and the pieces of a frame that
    is not whole yet, to be put before the next ones. Raises CodecError where pieces do not fit."""
    whole, pieces, parts, due = [], [], [], 0
    for frame in frames:
        piece = piece_of(frame)
        if piece is None:
            whole.append(frame)
            continue
        left, data = piece
        if parts and len(data) + left != due:
            raise CodecError("a piece does not follow the one before it: close the link that brought it", "malformed")
        pieces.append(frame)
        parts.append(data)
        due = left
        if not left:
            whole.append(b"".join(parts))
            pieces, parts = [], []
    return whole, pieces


# -- runs, requests and responses, as tuples: benches, traces and disks read many

cdef Watermark watermark_from(tuple decided) except *:
    ballot, first, end = decided
    return Watermark(ballot, first, end)


def encode_phase2a(uint64_t ballot, uint64_t first, uint64_t time_ns, tuple decided not None,
                   list commands not None):
    """The frame of a run; ``decided`` is its watermark (ballot, first, end), a command is (session, sequence, kind,
    unacknowledged, payload, nonce), where the nonce may be left out: 0."""
    cdef Draft draft = Draft(PHASE2A)
    draft.message.ballot = ballot
    draft.message.first = first
    draft.message.time_ns = time_ns
    draft.message.decided = watermark_from(decided)
    set_structs(&draft.message.commands.items, commands, COMMANDS)
    return draft.frame()


def decode_phase2a(frame):
    """(ballot, first, time_ns, (decided ballot, first, end), commands), as ``encode_phase2a`` accepts them."""
    cdef Frame held = Frame(frame)
    cdef Message* message = &held.message
    held.expect(PHASE2A)
    decided = (message.decided.ballot, message.decided.first, message.decided.end)
    return message.ballot, message.first, message.time_ns, decided, rows_of(&message.commands.items, COMMANDS)


def encode_request(list commands not None):
    """The frame of a request; commands as in ``encode_phase2a``."""
    cdef Draft draft = Draft(REQUEST)
    set_structs(&draft.message.commands.items, commands, COMMANDS)
    return draft.frame()


def decode_request(frame):
    """The commands of a request."""
    cdef Frame held = Frame(frame)
    held.expect(REQUEST)
    return rows_of(&held.message.commands.items, COMMANDS)


def encode_response(uint64_t session, list replies not None):
    """The frame of a response; a reply is (sequence, slot, status, data)."""
    cdef Draft draft = Draft(RESPONSE)
    draft.message.session = session
    set_structs(&draft.message.replies, replies, REPLIES)
    return draft.frame()


def decode_response(frame):
    """(session, replies), as ``encode_response`` accepts them."""
    cdef Frame held = Frame(frame)
    held.expect(RESPONSE)
    return held.message.session, rows_of(&held.message.replies, REPLIES)


# -- what tests and benches see of the C side

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
        for i in range(message.commands.items.count):
            command_at(&message.commands, i, &command)
            total += command.sequence + command.nonce + command.size + (command.payload[0] if command.size else 0)
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
    commands = <Command*>malloc(message.commands.items.count * sizeof(Command))
    if commands == NULL:
        raise MemoryError("no memory for the commands of a run")
    try:
        for i in range(message.commands.items.count):
            command_at(&message.commands, i, &commands[i])
        for _ in range(times):
            run = run_new(message.ballot, message.first, message.time_ns, commands, message.commands.items.count)
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
        return PyBytes_FromStringAndSize(<char*>run.frame, run.size)
    finally:
        run_drop(run)
