# A buffer that grows: frames and answers are appended to it, and its content is handed to Python as `bytes`.
#
# Rules. A zeroed `Bytes` is an empty buffer. A failed allocation raises MemoryError and leaves the buffer as it
# was. `data` moves whenever the buffer grows: a pointer into it is good until the next `bytes_reserve` or `bytes_put`.
from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t
from libc.stdlib cimport free, realloc
from libc.string cimport memcpy

cdef struct Bytes:
    uint8_t* data
    size_t size                      # bytes written
    size_t room                      # bytes allocated


# Makes room for `more` bytes behind the content.
cdef inline int bytes_reserve(Bytes* out, size_t more) except -1:
    if out.room - out.size >= more:
        return 0
    cdef size_t room = max(out.size + more, 2 * out.room, <size_t>256)
    cdef uint8_t* data = <uint8_t*>realloc(out.data, room)
    if data == NULL:
        raise MemoryError(f"no memory for a buffer of {room} bytes")
    out.data = data
    out.room = room
    return 0


# Appends `size` bytes.
cdef inline int bytes_put(Bytes* out, const void* source, size_t size) except -1:
    if size == 0:
        return 0
    bytes_reserve(out, size)
    memcpy(out.data + out.size, source, size)
    out.size += size
    return 0


# Frees the memory; the buffer is empty after, and may be used again.
cdef inline void bytes_free(Bytes* out) noexcept:
    free(out.data)
    out.data = NULL
    out.size = 0
    out.room = 0


# The content as a Python `bytes`; the buffer is empty after.
cdef inline object bytes_take(Bytes* out):
    taken = PyBytes_FromStringAndSize(<char*>out.data, out.size)
    bytes_free(out)
    return taken
