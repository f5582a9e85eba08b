# Room for arrays and rings, for every C array of the core.
from libc.stdint cimport uint8_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memcpy

# `items` moved to where `least` of them fit, or more; `*room` becomes the number that fits. The caller asks only when
# `*room` is too small, and stores what is returned in place of `items` at once. Raises MemoryError; then `items` and
# `*room` are as they were.
cdef inline void* array_grow(void* items, uint64_t* room, uint64_t least, size_t item_bytes) except NULL:
    cdef uint64_t larger = max(least, (room[0] + 64) * 2)
    cdef void* grown = realloc(items, larger * item_bytes)
    if grown == NULL:
        raise MemoryError(f"no memory for {larger} items of {item_bytes} bytes")
    room[0] = larger
    return grown

# The same for a ring of `*room` items, a power of two or 0, whose item i lies at i & (*room - 1). Its items [head,
# tail) move to a ring of twice the room, at the start to one of `least`.
cdef inline void* ring_grow(void* items, uint64_t* room, uint64_t head, uint64_t tail, size_t item_bytes,
                            uint64_t least) except NULL:
    return ring_move(items, room, head, tail, item_bytes, max(least, room[0] * 2))

# Items [head, tail) of a ring move to one with room for `target`, a power of two that holds them.
cdef inline void* ring_move(void* items, uint64_t* room, uint64_t head, uint64_t tail, size_t item_bytes,
                            uint64_t target) except NULL:
    cdef uint64_t i
    cdef uint8_t* moved = <uint8_t*>malloc(target * item_bytes)
    if moved == NULL:
        raise MemoryError(f"no memory for {target} items of {item_bytes} bytes")
    for i in range(head, tail):
        memcpy(moved + (i & (target - 1)) * item_bytes, <uint8_t*>items + (i & (room[0] - 1)) * item_bytes, item_bytes)
    free(items)
    room[0] = target
    return moved
