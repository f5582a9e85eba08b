# Cap'n Proto's encoding, as far as multipaxos uses it: one segment, structs, and lists of structs, of bytes and of
# 64-bit numbers. https://capnproto.org/encoding.html
#
# Rules. Memory is read and written with memcpy, because a frame may start at any address. A `Segment` gives out its
# words in rising order, and each word at most once: an object begins where the object before it ended, or later. So
# pointers cannot overlap; otherwise a small frame could unfold into a huge message. An object that begins before `next`
# is FOREIGN and not MALFORMED: a valid message may be laid out in another order, and pycapnp rewrites it within a
# traversal limit.
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    """
    #if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
    #error "multipaxos reads and writes its wire format in place and needs a little-endian machine"
    #endif
    """

# What reading returns.
cdef enum Fault:
    FINE = 0
    PARTIAL = 1                      # more bytes are needed
    # A valid frame, but not in our layout (several segments, another order, far pointers): `schema.flatten` rewrites
    # it with pycapnp, and the result can be decoded.
    FOREIGN = 2
    MALFORMED = 3                    # a pointer, length or count does not hold
    OVERSIZED = 4                    # over a limit

cdef enum ElementSize:               # of Cap'n Proto lists
    VOID_ELEMENTS = 0
    BYTE_ELEMENTS = 2
    WORD_ELEMENTS = 5
    STRUCT_ELEMENTS = 7

cdef struct Segment:
    const uint8_t* base
    int64_t words
    int64_t next                     # first word that no object has claimed

cdef struct Struct:                  # checked; all zero for a null pointer
    const uint8_t* data
    uint32_t data_words
    uint32_t pointers

cdef struct List:                    # checked; of structs, or of 64-bit numbers
    const uint8_t* base              # first element
    uint32_t count
    uint32_t stride                  # bytes from one element to the next
    uint32_t data_bytes              # of an element's data section (a newer schema may have more)


cdef inline uint64_t load64(const uint8_t* at) noexcept nogil:
    cdef uint64_t value
    memcpy(&value, at, 8)
    return value


cdef inline uint32_t load32(const uint8_t* at) noexcept nogil:
    cdef uint32_t value
    memcpy(&value, at, 4)
    return value


cdef inline void store64(uint8_t* at, uint64_t value) noexcept nogil:
    memcpy(at, &value, 8)


# -- pointers

cdef inline uint64_t struct_pointer(uint64_t offset, uint64_t data_words, uint64_t pointers) noexcept nogil:
    return (offset << 2) | (data_words << 32) | (pointers << 48)


cdef inline uint64_t list_pointer(uint64_t offset, ElementSize element, uint64_t count) noexcept nogil:
    return (offset << 2) | 1 | (<uint64_t>element << 32) | (count << 35)


cdef inline int64_t pointer_offset(uint64_t raw) noexcept nogil:
    return <int32_t><uint32_t>raw >> 2


cdef inline Fault fault_of_kind(uint64_t raw) noexcept nogil:
    """The fault of a pointer whose kind is not the expected one: a far pointer (2) leads to another segment."""
    return FOREIGN if raw & 3 == 2 else MALFORMED


cdef inline Fault claim(Segment* segment, const uint8_t* pointer, uint64_t raw, int64_t words,
                        const uint8_t** content) noexcept nogil:
    """Checks that the pointer `raw`, which stands at `pointer`, leads to `words` words of the segment that no other
    pointer has led to. `content` is set to the first of them."""
    cdef int64_t target = ((pointer - segment.base) >> 3) + 1 + pointer_offset(raw)
    if target < 0 or target + words > segment.words:
        return MALFORMED
    if target < segment.next:
        return FOREIGN
    segment.next = target + words
    content[0] = segment.base + 8 * target
    return FINE


cdef inline Fault read_struct(Segment* segment, const uint8_t* pointer, Struct* out) noexcept nogil:
    cdef uint64_t raw = load64(pointer)
    out.data_words = 0
    out.pointers = 0
    out.data = NULL
    if raw == 0:
        return FINE
    if raw & 3 != 0:
        return fault_of_kind(raw)
    cdef uint32_t data_words = (raw >> 32) & 0xFFFF
    cdef uint32_t pointers = raw >> 48
    if data_words + pointers == 0:   # an empty struct has no place: its offset is -1
        return FINE
    cdef Fault fault = claim(segment, pointer, raw, data_words + pointers, &out.data)
    if fault == FINE:
        out.data_words = data_words
        out.pointers = pointers
    return fault


cdef inline uint64_t word_at(const Struct* struct_, uint32_t index) noexcept nogil:
    """A word of the data section; 0, the default, where the writer's older schema had none."""
    return load64(struct_.data + 8 * index) if index < struct_.data_words else 0


cdef inline const uint8_t* pointer_at(const Struct* struct_, uint32_t index) noexcept nogil:
    """Where a pointer of the struct stands; NULL where the writer's older schema had none."""
    return struct_.data + 8 * (struct_.data_words + index) if index < struct_.pointers else NULL


cdef inline Fault read_structs(Segment* segment, const uint8_t* pointer, List* out) noexcept nogil:
    """A list of structs, its elements' own pointers not yet checked. `pointer` may be NULL: an empty list."""
    out.base = NULL
    out.count = 0
    out.stride = 0
    out.data_bytes = 0
    cdef uint64_t raw = 0 if pointer == NULL else load64(pointer)
    if raw == 0:
        return FINE
    if raw & 3 != 1:
        return fault_of_kind(raw)
    if (raw >> 32) & 7 != STRUCT_ELEMENTS:
        # A list of numbers may stand for structs with one field each; a list of empty elements is an attack.
        return MALFORMED if (raw >> 32) & 7 == VOID_ELEMENTS else FOREIGN
    cdef int64_t words = raw >> 35
    cdef const uint8_t* tag_at
    cdef Fault fault = claim(segment, pointer, raw, words + 1, &tag_at)
    if fault != FINE:
        return fault
    cdef uint64_t tag = load64(tag_at)
    cdef uint64_t count = <uint32_t>tag >> 2
    cdef uint64_t data_words = (tag >> 32) & 0xFFFF
    cdef uint64_t pointers = tag >> 48
    if tag & 3 != 0 or count * (data_words + pointers) > <uint64_t>words:
        return MALFORMED
    if count != 0 and data_words + pointers == 0:
        return MALFORMED
    out.base = tag_at + 8
    out.count = <uint32_t>count
    out.stride = <uint32_t>(8 * (data_words + pointers))
    out.data_bytes = <uint32_t>(8 * data_words)
    return FINE


cdef inline Fault read_words(Segment* segment, const uint8_t* pointer, List* out) noexcept nogil:
    """A list of 64-bit numbers. `pointer` may be NULL: an empty list."""
    out.base = NULL
    out.count = 0
    out.stride = 8
    out.data_bytes = 8
    cdef uint64_t raw = 0 if pointer == NULL else load64(pointer)
    if raw == 0:
        return FINE
    if raw & 3 != 1:
        return fault_of_kind(raw)
    if (raw >> 32) & 7 != WORD_ELEMENTS:
        return FOREIGN if (raw >> 32) & 7 == STRUCT_ELEMENTS else MALFORMED
    cdef Fault fault = claim(segment, pointer, raw, raw >> 35, &out.base)
    if fault == FINE:
        out.count = <uint32_t>(raw >> 35)
    return fault


cdef inline Fault check_bytes(Segment* segment, const uint8_t* pointer, uint32_t bytes_max) noexcept nogil:
    """Checks that Data may be read with `bytes_at`."""
    cdef uint64_t raw = load64(pointer)
    cdef const uint8_t* content
    if raw == 0:
        return FINE
    if raw & 3 != 1:
        return fault_of_kind(raw)
    if (raw >> 32) & 7 != BYTE_ELEMENTS:
        return MALFORMED
    cdef uint64_t size = raw >> 35
    cdef Fault fault = claim(segment, pointer, raw, (size + 7) >> 3, &content)
    if fault == FINE and size > bytes_max:
        return OVERSIZED
    return fault


cdef inline Fault check_bytes_of(Segment* segment, const List* structs, uint32_t bytes_max) noexcept nogil:
    """Checks that the first pointer of every element, if elements have pointers, is Data that may be read."""
    cdef const uint8_t* pointer = structs.base + structs.data_bytes
    cdef Segment local = segment[0]  # its `next` stays in a register
    cdef Fault fault
    cdef uint32_t _
    if structs.stride == structs.data_bytes:
        return FINE
    for _ in range(structs.count):
        fault = check_bytes(&local, pointer, bytes_max)
        if fault != FINE:
            return fault
        pointer += structs.stride
    segment.next = local.next
    return FINE


cdef inline const uint8_t* bytes_at(const uint8_t* pointer, uint32_t* size) noexcept nogil:
    """The bytes of checked Data. A null pointer is read as no bytes, just after the pointer."""
    cdef uint64_t raw = load64(pointer)
    size[0] = <uint32_t>(raw >> 35)
    return pointer + 8 + 8 * pointer_offset(raw)


cdef inline uint64_t field_at(const uint8_t* element, uint32_t data_bytes, uint32_t word) noexcept nogil:
    """A word of a list element's data section; 0 where the writer's older schema had none."""
    return load64(element + 8 * word) if 8 * word < data_bytes else 0


# -- writing

cdef inline uint64_t padded(uint64_t size) noexcept nogil:
    return (size + 7) & ~<uint64_t>7


cdef inline uint8_t* write_bytes(uint8_t* pointer, uint8_t* content, const uint8_t* source,
                                 uint32_t size) noexcept nogil:
    """Writes Data at `content`, and its pointer at `pointer`; returns where the next object goes."""
    store64(pointer, list_pointer((content - pointer - 8) >> 3, BYTE_ELEMENTS, size))
    if size == 0:
        return content
    cdef uint64_t room = padded(size)
    store64(content + room - 8, 0)   # the padding, before the bytes that share its word
    memcpy(content, source, size)
    return content + room


cdef inline uint8_t* write_list(uint8_t* pointer, uint8_t* content, uint64_t count, uint64_t data_words,
                                uint64_t pointers) noexcept nogil:
    """Writes pointer and tag of a list of structs; returns where its first element goes."""
    cdef uint64_t offset = (content - pointer - 8) >> 3
    store64(pointer, list_pointer(offset, STRUCT_ELEMENTS, count * (data_words + pointers)))
    store64(content, struct_pointer(count, data_words, pointers))
    return content + 8
