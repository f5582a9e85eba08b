"""The fields of C structs, converted to Python values and back: of messages, and of the structs in their lists.

Theory. A `Table` says once which fields a C struct has: the name, type and place of each. `value_at` and `set_value`
convert one field, to Python and from it; everything else here follows a table with these two. In Python a struct in a
list is a tuple, or a dict by the schema's names in snake_case.

Rules. To Python, bytes are copied. From Python they are not: a struct points into the `bytes` that it was made of. A
value that a field cannot hold is a TypeError, an OverflowError or a TooLarge. References to the parts of tuples are
borrowed, because no Python code runs meanwhile.
"""

from cpython.ref cimport Py_DECREF, PyObject
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset
from multipaxos.wire.encoding cimport List
from multipaxos.wire.messages cimport FRAME_BYTES_MAX, Command, Commands, Message, Pvalues, Reply
from multipaxos.wire.reading cimport command_at, number_at, pvalues_at, reply_at

from multipaxos.errors import TooLarge

cdef extern from "Python.h":         # as cpython's own declarations, but with references that are counted by hand
    PyObject* PyTuple_New(Py_ssize_t size) except NULL
    bint PyTuple_Check(PyObject* item) noexcept
    Py_ssize_t PyTuple_GET_SIZE(PyObject* item) noexcept
    PyObject* PyTuple_GET_ITEM(PyObject* item, Py_ssize_t index) noexcept
    void PyTuple_SET_ITEM(PyObject* item, Py_ssize_t index, PyObject* value) noexcept
    list PyList_New(Py_ssize_t size)
    Py_ssize_t PyList_GET_SIZE(object items) noexcept
    PyObject* PyList_GET_ITEM(object items, Py_ssize_t index) noexcept
    void PyList_SET_ITEM(object items, Py_ssize_t index, PyObject* value) noexcept
    bint PyBytes_Check(PyObject* data) noexcept
    PyObject* PyBytes_FromStringAndSize(const char* data, Py_ssize_t size) except NULL
    Py_ssize_t PyBytes_GET_SIZE(PyObject* data) noexcept
    char* PyBytes_AS_STRING(PyObject* data) noexcept
    PyObject* PyLong_FromUnsignedLongLong(unsigned long long value) except NULL
    PyObject* PyLong_FromUnsignedLong(unsigned long value) except NULL
    PyObject* PyLong_FromLong(long value) except NULL
    bint PyLong_Check(PyObject* value) noexcept
    PyObject* PyBool_FromLong(long value) except NULL
    int PyObject_IsTrue(PyObject* value) except -1

cdef union Element:                  # of any list
    Command command
    Reply reply
    Pvalues pvalues


# -- tables

cdef class Table:
    """The fields of one C struct, in the order of tuples."""

    def __cinit__(self):
        self.indexes, self.absent, self.elements = {}, {}, []

    cdef int add(self, str name, FieldType type, const void* struct_, const void* field,
                 const void* size=NULL, Table elements=None) except -1:
        """The next field: it lies at `field` in the example `struct_`, the number of its bytes at `size`."""
        self.types[self.count] = type
        self.places[self.count] = <const uint8_t*>field - <const uint8_t*>struct_
        self.size_places[self.count] = 0 if size == NULL else <const uint8_t*>size - <const uint8_t*>struct_
        self.indexes[name] = self.count
        self.absent[name] = b"" if type == DATA else 0
        self.elements.append(elements)
        self.count += 1
        return 0


cdef void read_command(const List* items, uint32_t index, void* out) noexcept:
    command_at(<const Commands*>items, index, <Command*>out)


cdef void read_reply(const List* items, uint32_t index, void* out) noexcept:
    reply_at(items, index, <Reply*>out)


cdef void read_pvalues(const List* items, uint32_t index, void* out) noexcept:
    pvalues_at(items, index, <Pvalues*>out)


cdef Table table_of(size_t struct_bytes, ElementReader element_at):
    cdef Table table = Table()
    table.struct_bytes = struct_bytes
    table.element_at = element_at
    return table


COMMANDS = table_of(sizeof(Command), read_command)
REPLIES = table_of(sizeof(Reply), read_reply)
PVALUES = table_of(sizeof(Pvalues), read_pvalues)
MESSAGE = table_of(sizeof(Message), NULL)


cdef int fill_element_tables() except -1:
    cdef Element at
    memset(&at, 0, sizeof(Element))
    COMMANDS.add("session", UINT64, &at, &at.command.session)
    COMMANDS.add("sequence", UINT64, &at, &at.command.sequence)
    COMMANDS.add("kind", UINT16, &at, &at.command.kind)
    COMMANDS.add("unacknowledged", UINT32, &at, &at.command.unacknowledged)
    COMMANDS.add("payload", DATA, &at, &at.command.payload, &at.command.size)
    COMMANDS.needed = COMMANDS.count
    COMMANDS.add("nonce", UINT64, &at, &at.command.nonce)
    REPLIES.add("sequence", UINT64, &at, &at.reply.sequence)
    REPLIES.add("slot", UINT64, &at, &at.reply.slot)
    REPLIES.add("status", UINT16, &at, &at.reply.status)
    REPLIES.add("data", DATA, &at, &at.reply.data, &at.reply.size)
    PVALUES.add("first", UINT64, &at, &at.pvalues.first)
    PVALUES.add("end", UINT64, &at, &at.pvalues.end)
    PVALUES.add("run", DATA, &at, &at.pvalues.run, &at.pvalues.size)
    REPLIES.needed, PVALUES.needed = REPLIES.count, PVALUES.count
    return 0


cdef int fill_message_table() except -1:
    cdef Message at
    memset(&at, 0, sizeof(Message))
    MESSAGE.add("ballot", UINT64, &at, &at.ballot)
    MESSAGE.add("first", UINT64, &at, &at.first)
    MESSAGE.add("end", UINT64, &at, &at.end)
    MESSAGE.add("mark", UINT64, &at, &at.mark)
    MESSAGE.add("time_ns", UINT64, &at, &at.time_ns)
    MESSAGE.add("nonce", UINT64, &at, &at.nonce)
    MESSAGE.add("slot_out", UINT64, &at, &at.slot_out)
    MESSAGE.add("incarnation", UINT64, &at, &at.incarnation)
    MESSAGE.add("session", UINT64, &at, &at.session)
    MESSAGE.add("state_slot", UINT64, &at, &at.state_slot)
    MESSAGE.add("state_hash", UINT64, &at, &at.state_hash)
    MESSAGE.add("voting", BOOLEAN, &at, &at.voting)
    MESSAGE.add("leading", BOOLEAN, &at, &at.leading)
    MESSAGE.add("quorum", BOOLEAN, &at, &at.quorum)
    MESSAGE.add("fresh", BOOLEAN, &at, &at.fresh)
    MESSAGE.add("decided_ballot", UINT64, &at, &at.decided.ballot)
    MESSAGE.add("decided_first", UINT64, &at, &at.decided.first)
    MESSAGE.add("decided_end", UINT64, &at, &at.decided.end)
    MESSAGE.add("commands", STRUCTS, &at, &at.commands, NULL, COMMANDS)
    MESSAGE.add("pvalues", STRUCTS, &at, &at.pvalues, NULL, PVALUES)
    MESSAGE.add("replies", STRUCTS, &at, &at.replies, NULL, REPLIES)
    MESSAGE.add("incarnations", NUMBERS, &at, &at.incarnations)
    MESSAGE.add("processes", NUMBERS, &at, &at.processes)
    MESSAGE.add("part", UINT64, &at, &at.part)
    MESSAGE.add("missing", UINT64, &at, &at.missing)
    MESSAGE.add("left", UINT32, &at, &at.left)
    MESSAGE.add("data", DATA, &at, &at.data, &at.size)
    return 0


fill_element_tables()
fill_message_table()
FIELDS = {
    "phase1a": ("ballot", "first", "part"),
    "phase1b": ("ballot", "first", "end", "mark", "pvalues"),
    "phase2a": ("ballot", "first", "time_ns", "decided_ballot", "decided_first", "decided_end", "commands"),
    "phase2b": ("ballot", "first", "end", "mark"),
    "decision": ("ballot", "first", "end"),
    "fetch": ("first", "end"),
    "fetched": ("first", "end", "mark", "pvalues"),
    "ping": ("ballot", "nonce", "slot_out", "voting", "state_slot", "state_hash", "processes"),
    "pong": (
        "ballot", "nonce", "slot_out", "leading", "quorum", "decided_ballot", "decided_first", "decided_end",
        "missing",
    ),
    "founding": ("incarnation", "fresh", "incarnations"),
    "request": ("commands",),
    "response": ("session", "replies"),
    "leading": ("ballot",),
    "status_request": ("nonce",),
    "piece": ("left", "data"),
}
ELEMENTS = {
    "commands": tuple(COMMANDS.indexes), "replies": tuple(REPLIES.indexes), "pvalues": tuple(PVALUES.indexes),
}


# -- one field

cdef inline PyObject* value_at(Table table, Py_ssize_t i, const uint8_t* struct_) except NULL:
    """A new reference to the Python value of a field that is no list."""
    cdef const uint8_t* place = struct_ + table.places[i]
    cdef FieldType type = table.types[i]
    if type == UINT64:
        return PyLong_FromUnsignedLongLong((<const uint64_t*>place)[0])
    elif type == UINT32:
        return PyLong_FromUnsignedLong((<const uint32_t*>place)[0])
    elif type == UINT16:
        return PyLong_FromLong((<const uint16_t*>place)[0])
    elif type == BOOLEAN:
        return PyBool_FromLong((<const bint*>place)[0])
    return PyBytes_FromStringAndSize((<const char**>place)[0], (<const uint32_t*>(struct_ + table.size_places[i]))[0])


cdef inline int set_value(Table table, Py_ssize_t i, uint8_t* struct_, PyObject* value) except -1:
    """Sets a field that is no list."""
    cdef uint8_t* place = struct_ + table.places[i]
    cdef FieldType type = table.types[i]
    if type == UINT64:
        (<uint64_t*>place)[0] = number_of(value)
    elif type == UINT32:
        (<uint32_t*>place)[0] = <uint32_t>number_up_to(value, 0xFFFFFFFF)
    elif type == UINT16:
        (<uint16_t*>place)[0] = <uint16_t>number_up_to(value, 0xFFFF)
    elif type == BOOLEAN:
        (<bint*>place)[0] = PyObject_IsTrue(value)
    else:
        (<const uint8_t**>place)[0] = view_of(value, <uint32_t*>(struct_ + table.size_places[i]))
    return 0


cdef inline uint64_t number_of(PyObject* value) except? 18446744073709551615:
    if not PyLong_Check(value):
        refuse_type(<object>value)
    return <uint64_t><object>value


cdef int refuse_type(object value) except -1:
    raise TypeError(f"a number has to be an int, not {type(value).__name__}")


cdef inline uint64_t number_up_to(PyObject* value, uint64_t greatest) except? 18446744073709551615:
    cdef uint64_t number = number_of(value)
    if number > greatest:
        refuse_number(number, greatest)
    return number


cdef int refuse_number(uint64_t number, uint64_t greatest) except -1:
    raise OverflowError(f"{number} is more than the field can hold: {greatest}")


cdef inline const uint8_t* view_of(PyObject* data, uint32_t* size) except NULL:
    if not PyBytes_Check(data) or PyBytes_GET_SIZE(data) > FRAME_BYTES_MAX:
        refuse_bytes(<object>data)
    size[0] = <uint32_t>PyBytes_GET_SIZE(data)
    return <const uint8_t*>PyBytes_AS_STRING(data)


cdef int refuse_bytes(object data) except -1:
    if not isinstance(data, bytes):
        raise TypeError(f"a payload has to be bytes, not {type(data).__name__}")
    raise TooLarge(f"{len(data)} bytes are over the limit of a frame, {FRAME_BYTES_MAX}")


# -- lists

cdef list rows_of(const List* items, Table table):
    cdef list rows = PyList_New(items.count)
    cdef Element element
    cdef PyObject* row
    cdef uint32_t i
    cdef Py_ssize_t j
    for i in range(items.count):
        table.element_at(items, i, &element)
        row = PyTuple_New(table.count)
        PyList_SET_ITEM(rows, i, row)
        for j in range(table.count):
            PyTuple_SET_ITEM(row, j, value_at(table, j, <const uint8_t*>&element))
    return rows


cdef list rows_from(items, Table table):
    """Tuples of dicts; a field that is not given is 0 or empty."""
    rows = []
    for item in items:
        row = table.absent | item
        if len(row) != table.count:
            strange = ", ".join(sorted(row.keys() - table.absent.keys()))
            raise TypeError(f"no such field: {strange}; there are {', '.join(table.absent)}")
        rows.append(tuple(row.values()))
    return rows


cdef int set_structs(List* items, list rows, Table table) except -1:
    cdef uint8_t* array = <uint8_t*>room_for(PyList_GET_SIZE(rows), table.struct_bytes)
    cdef uint8_t* struct_ = array
    cdef PyObject* row
    cdef Py_ssize_t i, j
    items.base = array
    items.count = <uint32_t>PyList_GET_SIZE(rows)
    for i in range(PyList_GET_SIZE(rows)):
        row = PyList_GET_ITEM(rows, i)
        if not PyTuple_Check(row) or not table.needed <= PyTuple_GET_SIZE(row) <= table.count:
            raise TypeError(f"an element has to be a tuple of {table.needed} to {table.count}, not {<object>row!r}")
        for j in range(PyTuple_GET_SIZE(row)):
            set_value(table, j, struct_, PyTuple_GET_ITEM(row, j))
        struct_ += table.struct_bytes
    return 0


cdef int set_numbers(List* items, list numbers) except -1:
    cdef uint64_t* array = <uint64_t*>room_for(PyList_GET_SIZE(numbers), sizeof(uint64_t))
    cdef Py_ssize_t i
    items.base = <uint8_t*>array
    items.count = <uint32_t>PyList_GET_SIZE(numbers)
    for i in range(PyList_GET_SIZE(numbers)):
        array[i] = number_of(PyList_GET_ITEM(numbers, i))
    return 0


cdef void* room_for(size_t count, size_t each) except NULL:
    cdef void* room = calloc(count + 1, each)
    if room == NULL:
        raise MemoryError(f"no memory for {count} elements")
    return room


# -- messages

cdef object value_of(const Message* message, str name):
    cdef Py_ssize_t index = MESSAGE.indexes[name]
    cdef const List* items = <const List*>(<const uint8_t*>message + MESSAGE.places[index])
    cdef Table table
    cdef uint32_t i
    if MESSAGE.types[index] == STRUCTS:
        table = MESSAGE.elements[index]
        return [dict(zip(table.indexes, row)) for row in rows_of(items, table)]
    if MESSAGE.types[index] == NUMBERS:
        return [number_at(items, i) for i in range(items.count)]
    value = <object>value_at(MESSAGE, index, <const uint8_t*>message)
    Py_DECREF(value)                 # `value_at` returned a reference of its own
    return value


cdef int set_value_of(Message* message, str name, object value, list held) except -1:
    cdef Py_ssize_t index = MESSAGE.indexes[name]
    cdef List* items = <List*>(<uint8_t*>message + MESSAGE.places[index])
    if MESSAGE.types[index] == STRUCTS:
        rows = rows_from(value, MESSAGE.elements[index])
        held.append(rows)
        return set_structs(items, rows, MESSAGE.elements[index])
    if MESSAGE.types[index] == NUMBERS:
        return set_numbers(items, list(value))
    return set_value(MESSAGE, index, <uint8_t*>message, <PyObject*>value)


cdef void free_lists(Message* message) noexcept:
    free(<void*>message.commands.items.base)
    free(<void*>message.pvalues.base)
    free(<void*>message.replies.base)
    free(<void*>message.incarnations.base)
    free(<void*>message.processes.base)
