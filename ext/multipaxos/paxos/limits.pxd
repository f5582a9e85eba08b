# The limits of the cast that stand in more than one file, with the relations between them.
#
# A relation is an enumerator 1 // (condition): where the condition does not hold the C compiler stops at the division
# by zero. Limits of the wire (frames, runs, keys, values) are in wire/messages.pxd.
from multipaxos.wire.messages cimport FRAME_BYTES_MAX, RUN_BYTES_MAX, RUN_SLOTS_MAX, VALUE_BYTES_MAX

cdef enum:
    ACCEPTORS_MAX = 64               # a vote mask has one bit for each
    RUN_BYTES = 256 << 10            # the core ends a run or a request that it fills here, or after one larger command
    PROMISE_BYTES = 1 << 20          # one part of a phase 1b stays below this, or holds a single run

    # A client's. What replicas judge sessions by is in machine/semantics.pyx.
    UNACKNOWLEDGED_MAX = 16384       # commands in flight in one session: a power of two
    RINGS_MAX = 1 << 19              # answers that the rings of all sessions have room for, before one shrinks

    # One replica's memory for those that ask it. Volatile.
    REQUESTS_MAX = 1 << 17           # requests without a slot; above this clients are answered `overloaded`,
    REQUESTS_BYTES_MAX = 64 << 20    # and one client where what it has waiting is more than what is free of either
    # Of long answers, and of those that are sent again, in one wake-up; of the latter to one link, in a second.
    REPORT_BYTES_MAX = 16 << 20
    READ_AGAIN_BYTES = 1 << 10       # that a read counts there which has to be executed again
    OPENINGS_MAX = 64                # sessions that one link may open in a second; a client needs one
    LONG_ANSWER_BYTES = 1 << 10      # longer answers give way to `overloaded` where a link leaves much unread:
    UNREAD_BYTES_MAX = 8 << 20       # on one link: seven large values, which a fast link takes in milliseconds
    UNREAD_BYTES_SUM = 32 << 20      # on all links; where they hold so much,
    UNREAD_BYTES_LEAST = 1 << 20     # each link may hold this
    UNKNOWN_MAX = 1 << 16            # sessions, or nonces of openings, that are not known yet and that a link asks for

    # A job of a machine that runs elsewhere.
    JOB_SLOTS = 1024
    JOB_BYTES = 1 << 20              # of its commands, or one larger command more

    # Slots.
    WINDOW_MAX = 1 << 16             # the largest WINDOW that a configuration may have
    RING_WINDOWS = 4                 # a ring spans this many times WINDOW
    SPAN_MAX = 1 << 19               # slots above a scout's first that its merge of pvalues holds

cdef enum:                           # the relations
    RUNS_FIT_FRAMES = 1 // (RUN_BYTES_MAX - RUN_BYTES > 0)
    PROMISES_FIT_FRAMES = 1 // (PROMISE_BYTES + RUN_BYTES_MAX <= FRAME_BYTES_MAX)
    UNACKNOWLEDGED_FIT_A_RING = 1 // ((UNACKNOWLEDGED_MAX & (UNACKNOWLEDGED_MAX - 1)) == 0)
    ONE_SESSION_FITS_THE_QUEUE = 1 // (2 * UNACKNOWLEDGED_MAX <= REQUESTS_MAX)
    ONE_RUN_FITS_A_SESSION = 1 // (UNACKNOWLEDGED_MAX - RUN_SLOTS_MAX >= 0)
    SCOUTS_MERGE_WHAT_RINGS_HOLD = 1 // ((RING_WINDOWS + 1) * WINDOW_MAX <= SPAN_MAX)
    A_LARGE_VALUE_CAN_BE_READ = 1 // (UNREAD_BYTES_MAX - VALUE_BYTES_MAX >= 0)
    SOME_LINKS_FIT_THE_SUM = 1 // (UNREAD_BYTES_SUM >= 4 * UNREAD_BYTES_MAX)
