# Records: see record.pyx.
from libc.stdint cimport uint8_t, uint32_t, uint64_t

from multipaxos.wire.crc cimport crc32c

cdef struct RecordHeader:
    uint64_t first, end              # the slots that are meant
    uint64_t index                   # of the records of a slot, the one with the greatest index holds
    uint32_t size                    # of the frame, in bytes
    uint32_t frame_sum               # CRC32C of the frame
    uint32_t header_sum              # CRC32C of all that stands before it
    uint32_t zero

cdef enum:
    SUMMED = 32                      # bytes of the header that its own sum covers


cdef inline void record_header(RecordHeader* header, uint64_t first, uint64_t end, uint64_t index,
                               const uint8_t* frame, uint32_t size) noexcept:
    header.first, header.end, header.index = first, end, index
    header.size, header.frame_sum = size, crc32c(frame, size)
    header.header_sum, header.zero = crc32c(<const uint8_t*>header, SUMMED), 0


cdef enum Verdict:
    WHOLE                            # both sums are right, and the key is the header's
    DAMAGED                          # it may cover [first, end), and nothing of it is believed
    LOST                             # damaged, and the slots that it covers cannot be told

cdef struct Judgement:
    Verdict verdict
    uint64_t first, end, index
    const uint8_t* frame             # of a whole record
    size_t size

cdef Judgement judge(uint64_t first, uint64_t index, const uint8_t* value, size_t size) except *
