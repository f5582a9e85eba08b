# A run: commands for slots [first, first + count), as one phase2a frame in our own layout.
#
# Theory. The frame that brought the commands, the rows of every ring and the durable record share the same bytes: a run
# is one allocation, shared by reference count.
#
# Rules. A run's frame never changes, except that a leader sets its watermark just before it sends the frame. A row or a
# queue that keeps a run holds a reference to it (`run_hold`), and drops each reference once (`run_drop`).
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memcmp, memcpy
from multipaxos.wire.encoding cimport FINE, bytes_at, load64, padded
from multipaxos.wire.messages cimport (
    BODY, COMMAND_BYTES, COMMAND_DATA, PHASE2A, PHASE2A_COMMANDS, PHASE2A_DATA, Command, Commands, Message, Watermark,
)
from multipaxos.wire.reading cimport command_at, decode, nonce_of
from multipaxos.wire.writing cimport phase2a_size, write_head, write_phase2a, write_watermark

cdef struct Run:
    uint64_t references
    uint64_t ballot, first, time_ns
    uint32_t count                   # slots [first, first + count)
    uint32_t size                    # of the frame
    Commands commands                # points into frame
    uint8_t* frame                   # allocated together with the Run


cdef inline Run* run_hold(Run* run) noexcept:
    run.references += 1
    return run


cdef inline void run_drop(Run* run) noexcept:
    run.references -= 1
    if run.references == 0:
        free(run)


# The command of one of the run's slots: as `command_at`, but the layout is known.
cdef inline void run_command(const Run* run, uint64_t slot, Command* out) noexcept:
    cdef const uint8_t* element = run.frame + PHASE2A_COMMANDS + COMMAND_BYTES * <size_t>(slot - run.first)
    cdef uint64_t third = load64(element + 16)
    out.session = load64(element)
    out.sequence = load64(element + 8)
    out.nonce = nonce_of(&run.commands.nonces, third)
    out.kind = <uint16_t>third
    out.unacknowledged = <uint32_t>(third >> 32)
    out.payload = bytes_at(element + 24, &out.size)


# Overwrites the watermark of a phase2a frame in our own layout, and nothing else.
cdef inline void set_watermark(uint8_t* phase2a_frame, const Watermark* decided) noexcept:
    write_watermark(phase2a_frame + BODY + 24, decided)


# -- making runs; each comes with one reference

# A run whose frame is still to be written, with this many nonces.
cdef inline Run* run_room(uint64_t ballot, uint64_t first, uint64_t time_ns, uint32_t count, uint32_t nonces,
                          size_t size) except NULL:
    cdef Run* run = <Run*>malloc(sizeof(Run) + size)
    if run == NULL:
        raise MemoryError(f"no memory for a run of {size} bytes")
    run.references = 1
    run.ballot = ballot
    run.first = first
    run.time_ns = time_ns
    run.count = count
    run.size = <uint32_t>size
    run.frame = <uint8_t*>run + sizeof(Run)
    run.commands.items.base = run.frame + PHASE2A_COMMANDS
    run.commands.items.count = count
    run.commands.items.stride = COMMAND_BYTES
    run.commands.items.data_bytes = 8 * COMMAND_DATA
    run.commands.nonces.base = run.frame + size - 8 * <size_t>nonces
    run.commands.nonces.count = nonces
    return run


# Of these commands, with a watermark of zeros. Raises ValueError and TooLarge as `phase2a_size` does.
cdef inline Run* run_new(uint64_t ballot, uint64_t first, uint64_t time_ns, const Command* commands,
                         uint32_t count) except NULL:
    cdef Watermark nothing = Watermark(0, 0, 0)
    cdef uint32_t nonces
    cdef size_t size = phase2a_size(first, commands, count, &nonces)
    cdef Run* run = run_room(ballot, first, time_ns, count, nonces, size)
    write_phase2a(run.frame, size, ballot, first, time_ns, &nothing, commands, count, nonces)
    return run


# Is the checked phase2a `frame` laid out as `write_phase2a` does it?
cdef inline bint is_our_layout(const Commands* commands, const uint8_t* frame, size_t size) noexcept:
    cdef uint8_t[BODY] head
    cdef const uint8_t* pointer
    cdef size_t total = PHASE2A_COMMANDS + 8 * <size_t>commands.nonces.count
    cdef uint32_t _
    if commands.items.base != frame + PHASE2A_COMMANDS or commands.items.data_bytes != 8 * COMMAND_DATA:
        return False
    if commands.items.stride != COMMAND_BYTES:
        return False
    write_head(head, size, PHASE2A, PHASE2A_DATA, 2)
    if memcmp(head, frame, BODY) != 0:
        return False
    # Objects don't overlap and come in order: there are no gaps if they fill the frame.
    pointer = commands.items.base + 8 * COMMAND_DATA
    for _ in range(commands.items.count):
        total += COMMAND_BYTES + padded(load64(pointer) >> 35)
        pointer += COMMAND_BYTES
    return total == size


# Of a frame that was just decoded: a copy of its bytes, or the same commands in our own layout.
cdef inline Run* run_from(const Message* phase2a, const uint8_t* frame, size_t size) except NULL:
    cdef uint32_t count = phase2a.commands.items.count
    cdef Command* commands
    cdef Run* run
    cdef uint32_t i
    if is_our_layout(&phase2a.commands, frame, size):
        run = run_room(phase2a.ballot, phase2a.first, phase2a.time_ns, count, phase2a.commands.nonces.count, size)
        memcpy(run.frame, frame, size)
        return run
    commands = <Command*>malloc(count * sizeof(Command))
    if commands == NULL:
        raise MemoryError(f"no memory for a run of {count} commands")
    try:
        for i in range(count):
            command_at(&phase2a.commands, i, &commands[i])
        run = run_new(phase2a.ballot, phase2a.first, phase2a.time_ns, commands, count)
    finally:
        free(commands)
    set_watermark(run.frame, &phase2a.decided)
    return run


# Of a frame that is not yet checked. NULL without an exception: it is not a valid phase2a.
cdef inline Run* run_read(const uint8_t* frame, size_t size) except? NULL:
    cdef Message message
    if decode(frame, size, &message) != FINE or message.kind != PHASE2A:
        return NULL
    return run_from(&message, frame, size)
