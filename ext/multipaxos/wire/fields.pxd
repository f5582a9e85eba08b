# The fields of C structs, converted to Python values and back: see fields.pyx.
from libc.stdint cimport uint32_t
from multipaxos.wire.encoding cimport List
from multipaxos.wire.messages cimport Message

cdef enum:
    FIELDS_MAX = 32                  # of one struct

cdef enum FieldType:
    UINT64, UINT32, UINT16, BOOLEAN
    DATA                             # a pointer to bytes; their number is a uint32_t elsewhere in the struct
    STRUCTS, NUMBERS                 # a List, or a struct that begins with one

ctypedef void (*ElementReader)(const List* items, uint32_t index, void* out) noexcept


cdef class Table:
    cdef Py_ssize_t count
    cdef Py_ssize_t needed           # a tuple may leave out the fields after these
    cdef FieldType[FIELDS_MAX] types
    cdef size_t[FIELDS_MAX] places   # bytes from the start of the struct
    cdef size_t[FIELDS_MAX] size_places  # DATA: of the number of bytes
    cdef dict indexes                # by name
    cdef dict absent                 # by name: the value of a field that is not given
    cdef list elements               # STRUCTS: the Table of the list's structs; None of other fields
    cdef size_t struct_bytes
    cdef ElementReader element_at    # reads one struct of a checked list; NULL of Message, which stands in no list

    cdef int add(self, str name, FieldType type, const void* struct_, const void* field,
                 const void* size=*, Table elements=*) except -1


cdef Table COMMANDS, REPLIES, PVALUES, MESSAGE

# The structs of a checked list, as tuples. Where a list is part of a struct, as in Commands, it is the first part.
cdef list rows_of(const List* items, Table table)
# Makes `base` of the list an array of structs, made of tuples. They point into the tuples' bytes: the caller holds
# `rows` as long as the array, and frees the array with `free_lists`.
cdef int set_structs(List* items, list rows, Table table) except -1

# The Python value of a field; an element of a list of structs is a dict.
cdef object value_of(const Message* message, str name)
# Sets a field. A message that was filled so is freed with `free_lists`; what its lists point into is added to `held`.
cdef int set_value_of(Message* message, str name, object value, list held) except -1
cdef void free_lists(Message* message) noexcept
