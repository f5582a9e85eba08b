# The messages as C structs, after the schema `src/multipaxos/wire/multipaxos.capnp`: kinds, fields, limits.
#
# Rules. Enumerators have the schema's numbers, in its order. Fields have the schema's names. No field of a `Message`
# outlives the frame that it was read from: its lists and payloads point into that frame.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from multipaxos.wire.encoding cimport List

cdef extern from *:
    """
    #define SLOTS_END UINT64_MAX
    """
    const uint64_t SLOTS_END         # exclusive end of all slots: of a phase 1b's last part; first = end in a refusal

cdef enum:
    FRAME_BYTES_MAX = 4 << 20        # a whole frame, segment table included
    VALUE_BYTES_MAX = 1 << 20
    KEY_BYTES_MAX = 480
    PAYLOAD_BYTES_MAX = 2 << 20      # one command's payload (a transaction holds several values)
    RUN_BYTES_MAX = 3 << 20          # a phase2a frame; so that a Fetched with one run fits a frame
    RUN_SLOTS_MAX = 1024             # commands in one run
    CUT_BYTES = 64 << 10             # a longer frame between nodes travels in pieces, each a frame of at most this

# Discriminants of Message.
cdef enum MessageKind:
    HELLO, PHASE1A, PHASE1B, PHASE2A, PHASE2B, DECISION, FETCH, FETCHED, PING, PONG, FOUNDING
    REQUEST, RESPONSE, LEADING, STATUS_REQUEST, STATUS_REPLY, PIECE

cdef enum CommandKind:
    NOOP, APPLY, OPEN_SESSION, RECONFIGURE, CLOSE_SESSION, SETTING

cdef enum ReplyStatus:
    OK, REFUSED, OPENED, AHEAD, EXPIRED, OVERLOADED, ACKNOWLEDGED

cdef enum:
    # Bytes before a message's own struct: segment table, root pointer, discriminant, pointer.
    BODY = 32
    # Words in the data section of those structs that stand in lists, and of Phase2a.
    COMMAND_DATA = 3
    REPLY_DATA = 3
    PVALUES_DATA = 2
    PHASE2A_DATA = 6
    PHASE2A_COMMANDS = BODY + 8 * (PHASE2A_DATA + 3)   # where a run's first command is: after two pointers and a tag
    COMMAND_BYTES = 8 * (COMMAND_DATA + 1)             # of a command without its payload and its nonce
    PIECE_HEAD = BODY + 8 * 2        # of a piece, before its data
    NO_NONCE = 0xFFFF                # the index that no list of nonces has

# How the limits relate: the largest value fits a command, a command a run, a run a Fetched and a Phase1b.
cdef inline bint limits_fit() noexcept:
    return (
        KEY_BYTES_MAX + VALUE_BYTES_MAX < PAYLOAD_BYTES_MAX
        and PHASE2A_COMMANDS + COMMAND_BYTES + 8 + PAYLOAD_BYTES_MAX <= RUN_BYTES_MAX
        and PHASE2A_COMMANDS + (COMMAND_BYTES + 8) * RUN_SLOTS_MAX <= RUN_BYTES_MAX
        and <int>RUN_SLOTS_MAX < <int>NO_NONCE
        and BODY + 128 + 8 * (PVALUES_DATA + 1) + RUN_BYTES_MAX <= FRAME_BYTES_MAX
    )


cdef struct Command:
    uint64_t session
    uint64_t sequence
    uint64_t nonce                   # of the session; 0, which fits no session, where the frame has none
    uint16_t kind
    uint32_t unacknowledged
    uint32_t size
    const uint8_t* payload

cdef struct Reply:
    uint64_t sequence, slot
    uint16_t status
    uint32_t size
    const uint8_t* data

cdef struct Pvalues:                 # the slots [first, end) of a run
    uint64_t first
    uint64_t end
    const uint8_t* run               # phase2a frame, itself not yet checked
    uint32_t size

cdef struct Watermark:               # [first, end) decided at ballot, everything below first decided too
    uint64_t ballot, first, end

# Lists inside a frame, checked by `decode`; their elements are read with the `*_at` functions of `reading`.
ctypedef List ReplyList
ctypedef List PvaluesList
ctypedef List NumberList             # of uint64_t

cdef struct Commands:
    List items
    NumberList nonces                # a command has the index of its session's nonce in this list

cdef struct Message:                 # the fields of every kind; only those of `kind` are set
    MessageKind kind
    uint64_t ballot, first, end, mark, time_ns, nonce, slot_out, incarnation, session, state_slot, state_hash
    uint64_t part, missing
    bint voting, leading, quorum, fresh
    Watermark decided
    Commands commands                # PHASE2A, REQUEST
    PvaluesList pvalues              # PHASE1B, FETCHED
    ReplyList replies                # RESPONSE
    NumberList incarnations          # FOUNDING
    NumberList processes             # PING
    uint32_t left, size              # PIECE, as `data`
    const uint8_t* data
