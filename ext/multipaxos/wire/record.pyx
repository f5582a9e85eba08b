"""Records: one run's frame as a disk keeps it, with the slots that are meant, and the judgement of what comes back.

Theory. The core makes a record when it stores a run, and is the only one that judges it when it comes back from a disk.
A record is a header of 40 bytes and the frame; its key is (first, index). Only this file and its header know the
layout: the shell, the simulator and the tests ask the functions at the end. There are two sums, because each part that
is whole limits what a damaged one can hide:

- the header is whole, or is with the sum that the frame has: it covered the header's slots [first, end);
- only the frame is whole, which its sum in the damaged header shows: it covered slots of that run;
- neither is: it covered at most RUN_SLOTS_MAX slots from its key's first one on.

Rules.
- A record is believed if both sums are right and the key is the header's. Of any other record nothing is believed but
  which slots it may have covered.
- `index` of a damaged record is its header's if that is whole, else its key's: only a record with a greater index makes
  it irrelevant for a slot.
- Only a header that is whole can say that a record ends below a slot.
- A batch comes from the core and is trusted: it is cut as its headers say, without a look at the sums.
"""

cimport cython
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from multipaxos.wire.crc cimport crc32c
from multipaxos.wire.messages cimport RUN_SLOTS_MAX, SLOTS_END
from multipaxos.wire.run cimport Run, run_drop, run_read

HEADER_BYTES = sizeof(RecordHeader)


# Is the header of a record of `size` bytes what the core made?
cdef bint is_header_whole(const RecordHeader* header, size_t size) noexcept:
    return (crc32c(<const uint8_t*>header, SUMMED) == header.header_sum and header.zero == 0
            and header.size == size - sizeof(RecordHeader) and 0 < header.first < header.end
            and header.end - header.first <= RUN_SLOTS_MAX)


cdef Judgement judge(uint64_t first, uint64_t index, const uint8_t* value, size_t size) except *:
    """Judges the record of `size` bytes under the key (first, index)."""
    cdef RecordHeader header
    cdef const uint8_t* frame = value + sizeof(header)
    cdef uint32_t frame_sum, sum_said
    cdef Verdict verdict
    if size < sizeof(header):
        return slots_of_key(first, index)
    memcpy(&header, value, sizeof(header))
    frame_sum, sum_said = crc32c(frame, size - sizeof(header)), header.frame_sum
    if is_header_whole(&header, size):
        verdict = WHOLE if frame_sum == sum_said and header.first == first and header.index == index else DAMAGED
        return Judgement(verdict, header.first, header.end, header.index, frame, size - sizeof(header))
    if frame_sum == sum_said:
        return slots_of_frame(first, index, frame, size - sizeof(header))
    header.frame_sum = frame_sum         # is it this field that is damaged?
    if is_header_whole(&header, size):
        return Judgement(DAMAGED, header.first, header.end, header.index, NULL, 0)
    return slots_of_key(first, index)


cdef Judgement slots_of_frame(uint64_t first, uint64_t index, const uint8_t* frame, size_t size) except *:
    """The header is damaged and the frame is whole: the record covered slots of its run."""
    cdef Run* run = run_read(frame, size)
    cdef uint64_t run_first, run_end
    if run == NULL:
        return slots_of_key(first, index)
    run_first, run_end = run.first, run.first + run.count
    run_drop(run)
    if not run_first <= first < run_end:
        return Judgement(LOST, first, first, index, NULL, 0)    # the key is damaged too
    return Judgement(DAMAGED, first, run_end, index, NULL, 0)


cdef Judgement slots_of_key(uint64_t first, uint64_t index) noexcept:
    """Only the key is left."""
    if not 0 < first < SLOTS_END - RUN_SLOTS_MAX:
        return Judgement(LOST, first, first, index, NULL, 0)
    return Judgement(DAMAGED, first, first + RUN_SLOTS_MAX, index, NULL, 0)


cdef bint take_header(RecordHeader* header, bytes value, Py_ssize_t at=0) except -1:
    """Copies the header at `at`; False if fewer bytes than that are left."""
    if len(value) - at < <Py_ssize_t>sizeof(RecordHeader):
        return False
    memcpy(header, <const char*>value + at, sizeof(RecordHeader))
    return True


# -- records for Python
def judgement_of(uint64_t first, uint64_t index, bytes value not None):
    """(verdict, first, end, index) of the record `value` under the key (first, index)."""
    cdef Judgement judged = judge(first, index, <const uint8_t*><const char*>value, len(value))
    return ("whole", "damaged", "lost")[judged.verdict], judged.first, judged.end, judged.index


def make_record(uint64_t first, uint64_t end, uint64_t index, bytes frame not None):
    """The bytes of a record, as the core makes them."""
    cdef RecordHeader header
    record_header(&header, first, end, index, <const uint8_t*><const char*>frame, len(frame))
    return (<const char*>&header)[:sizeof(header)] + frame


def parts_of(bytes value not None):
    """(first, end, index, frame) of a record both of whose sums are right; else None."""
    cdef RecordHeader header
    if not take_header(&header, value) or not is_header_whole(&header, len(value)):
        return None
    frame = value[sizeof(header):]
    if crc32c(<const uint8_t*><const char*>frame, len(frame)) != header.frame_sum:
        return None
    return header.first, header.end, header.index, frame


def ends_below(bytes head not None, size_t size, uint64_t slot):
    """Is it certain that a record of `size` bytes that begins with `head` covers only slots below `slot`?"""
    cdef RecordHeader header
    return take_header(&header, head) and is_header_whole(&header, size) and header.end <= slot


@cython.final
cdef class BatchRecords:
    """The records of a batch, one after another: (first, index, value)."""
    cdef bytes batch
    cdef Py_ssize_t at

    def __init__(self, bytes batch not None):
        self.batch = batch
        self.at = 0

    def __iter__(self):
        return self

    def __next__(self):
        cdef RecordHeader header
        cdef Py_ssize_t at = self.at
        if at == len(self.batch):
            raise StopIteration
        if not take_header(&header, self.batch, at):
            raise ValueError(f"a batch ends inside the header at byte {at}")
        self.at += sizeof(header) + header.size
        if self.at > len(self.batch):
            raise ValueError(f"a batch ends inside the record at byte {at}")
        return header.first, header.index, self.batch[at:self.at]


def parts_of_batch(bytes batch not None):
    """[(first, end, index, frame)] of the records of a batch."""
    parts = [parts_of(value) for _, _, value in BatchRecords(batch)]
    assert None not in parts, "the core made a record whose sums are wrong"
    return parts
