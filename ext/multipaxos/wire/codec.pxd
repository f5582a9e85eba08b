# The wire in C: see codec.pyx.
from libc.stdint cimport int64_t, uint8_t, uint16_t, uint32_t, uint64_t

cdef enum:
    FRAME_BYTES_MAX = 4 << 20        # a whole frame, segment table included
    VALUE_BYTES_MAX = 1 << 20
    KEY_BYTES_MAX = 480
    PAYLOAD_BYTES_MAX = (2 << 20)    # one command's payload (a transaction holds several values)
    RUN_BYTES_MAX = 3 << 20          # a phase2a frame; so that a Fetched with one run fits a frame
    RUN_SLOTS_MAX = 1024             # commands in one run

# Discriminants of Message, in schema order.
cdef enum MessageKind:
    HELLO, PHASE1A, PHASE1B, PHASE2A, PHASE2B, DECISION, FETCH, FETCHED, PING, PONG, FOUNDING
    REQUEST, RESPONSE, LEADING, STATUS_REQUEST, STATUS_REPLY

cdef enum CommandKind:
    NOOP, APPLY, OPEN_SESSION, REJOIN

cdef enum ReplyStatus:
    OK, REFUSED, OPENED, AHEAD, EXPIRED, OVERLOADED, ACKNOWLEDGED

# What frame_size and decode return.
cdef enum Fault:
    FINE = 0
    PARTIAL = 1                      # more bytes are needed
    # Well-framed but not in our layout (several segments, out of order, far pointers): rewrite it with
    # pycapnp (schema.flatten) and decode again.
    FOREIGN = 2
    MALFORMED = 3                    # a pointer, length or count that does not hold
    OVERSIZED = 4

cdef struct Bytes:                   # a growable buffer
    uint8_t* data
    size_t size
    size_t room

cdef struct Command:
    uint64_t session
    uint64_t sequence
    uint16_t kind
    uint32_t unacknowledged
    uint32_t size
    const uint8_t* payload

cdef struct Commands:                # a checked List(Command) inside a frame; read with command_at
    const uint8_t* base              # first element
    uint32_t count
    uint32_t stride                  # bytes from one element to the next
    uint32_t data_bytes              # of an element's data section (a newer schema may have more)

cdef struct Pvalues:
    uint64_t first
    uint64_t end
    const uint8_t* run               # phase2a frame, itself not yet checked
    uint32_t size

cdef struct PvaluesList:
    const uint8_t* base
    uint32_t count
    uint32_t stride
    uint32_t data_bytes

cdef struct Rejoin:
    uint64_t node, slot, incarnation

cdef struct RejoinList:
    const uint8_t* base
    uint32_t count
    uint32_t stride
    uint32_t data_bytes

cdef struct Reply:
    uint64_t sequence, slot
    uint16_t status
    uint32_t size
    const uint8_t* data

cdef struct ReplyList:
    const uint8_t* base
    uint32_t count
    uint32_t stride
    uint32_t data_bytes

cdef struct NumberList:
    const uint8_t* base
    uint32_t count

cdef struct Watermark:               # [first, end) decided at ballot, everything below first decided too
    uint64_t ballot, first, end

cdef struct Message:                 # the fields of every kind; only those of `kind` are set
    MessageKind kind
    uint64_t ballot, first, end, mark, time_ns, nonce, slot_out, incarnation, session
    int64_t number
    bint voting, leading, quorum, fresh
    Watermark decided
    Commands commands                # PHASE2A, REQUEST
    PvaluesList pvalues              # PHASE1B, FETCHED
    RejoinList rejoins               # PHASE1B
    ReplyList replies                # RESPONSE
    NumberList incarnations          # FOUNDING

# -- growable buffers. A failed allocation raises MemoryError.
cdef int bytes_reserve(Bytes* out, size_t more) except -1
cdef int bytes_put(Bytes* out, const void* source, size_t size) except -1
cdef void bytes_free(Bytes* out) noexcept
cdef object bytes_take(Bytes* out)                 # a Python bytes of the content; the buffer is empty after

# -- reading. `frame` may be at any address (odd offsets are normal).
cdef Fault frame_size(const uint8_t* data, size_t available, size_t* size) noexcept
cdef Fault decode(const uint8_t* frame, size_t size, Message* out) noexcept
# Of lists that decode has checked; no checks of their own.
cdef void command_at(const Commands* commands, uint32_t index, Command* out) noexcept
cdef void pvalues_at(const PvaluesList* pvalues, uint32_t index, Pvalues* out) noexcept
cdef void rejoin_at(const RejoinList* rejoins, uint32_t index, Rejoin* out) noexcept
cdef void reply_at(const ReplyList* replies, uint32_t index, Reply* out) noexcept
cdef uint64_t number_at(const NumberList* numbers, uint32_t index) noexcept

# -- writing: each appends one whole frame to `out`.
cdef int put_phase1a(Bytes* out, uint64_t ballot, uint64_t first) except -1
cdef int put_phase1b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark,
                     uint64_t incarnation, int64_t number, const Rejoin* rejoins, uint32_t rejoin_count,
                     const Pvalues* pvalues, uint32_t count) except -1
cdef int put_phase2a(Bytes* out, uint64_t ballot, uint64_t first, uint64_t time_ns, const Watermark* decided,
                     const Command* commands, uint32_t count) except -1
cdef int put_phase2b(Bytes* out, uint64_t ballot, uint64_t first, uint64_t end, uint64_t mark) except -1
cdef int put_decision(Bytes* out, const Watermark* decided) except -1
cdef int put_fetch(Bytes* out, uint64_t first, uint64_t end) except -1
cdef int put_fetched(Bytes* out, uint64_t first, uint64_t end, uint64_t mark, const Pvalues* pvalues,
                     uint32_t count) except -1
cdef int put_ping(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint voting) except -1
cdef int put_pong(Bytes* out, uint64_t ballot, uint64_t nonce, uint64_t slot_out, bint leading, bint quorum,
                  const Watermark* decided) except -1
cdef int put_founding(Bytes* out, uint64_t incarnation, bint fresh, const uint64_t* incarnations,
                      uint32_t count) except -1
cdef int put_request(Bytes* out, const Command* commands, uint32_t count) except -1
cdef int put_response(Bytes* out, uint64_t session, const Reply* replies, uint32_t count) except -1
cdef int put_leading(Bytes* out, uint64_t ballot) except -1

# Bytes that a command, with its payload, adds to a Request or Phase2a; a reply to a Response; a Pvalues to
# its list.
cdef size_t command_bytes(const Command* command) noexcept
cdef size_t reply_bytes(const Reply* reply) noexcept
cdef size_t pvalues_bytes(const Pvalues* pvalues) noexcept
# Overwrites the watermark of a phase2a frame in our own layout (as put_phase2a wrote it), and only that.
cdef void set_watermark(uint8_t* phase2a_frame, const Watermark* decided) noexcept

# -- a run: one phase2a frame in our own layout, shared by reference count. The bytes that brought the
# commands, the rows of every ring and the durable record are these same bytes.
cdef struct Run:
    uint64_t references
    uint64_t ballot, first, time_ns
    uint32_t count                   # slots [first, first + count)
    uint32_t size                    # of the frame
    Commands commands                # points into frame
    uint8_t* frame                   # allocated together with the Run

cdef Run* run_new(uint64_t ballot, uint64_t first, uint64_t time_ns, const Command* commands,
                  uint32_t count) except NULL
# NULL without an exception: not a valid phase2a.
cdef Run* run_read(const uint8_t* frame, size_t size) except? NULL
# Of one just decoded.
cdef Run* run_from(const Message* phase2a, const uint8_t* frame, size_t size) except NULL
cdef void run_free(Run* run) noexcept

cdef inline Run* run_hold(Run* run) noexcept:
    run.references += 1
    return run

cdef inline void run_drop(Run* run) noexcept:
    run.references -= 1
    if run.references == 0:
        run_free(run)

cdef inline void run_command(const Run* run, uint64_t slot, Command* out) noexcept:
    command_at(&run.commands, <uint32_t>(slot - run.first), out)
