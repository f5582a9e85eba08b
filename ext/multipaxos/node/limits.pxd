# The limits of the node's organs that stand in more than one file or are related to others: times and sizes.
#
# A relation is an enumerator 1 // (condition): where the condition does not hold the C compiler stops at the division
# by zero. Limits of frames are in wire/messages.pxd, those of the cast in paxos/limits.pxd.
from libc.stdint cimport uint64_t

from multipaxos.wire.messages cimport FRAME_BYTES_MAX, RUN_BYTES_MAX

cdef extern from *:
    """
    #define NEVER UINT64_MAX
    #define FRAME_NS UINT64_C(60000000000)
    """
    const uint64_t NEVER             # the due time of a timer that is off
    const uint64_t FRAME_NS          # in which a client's frame has to come: the longest one at 70 KB a second

cdef enum:
    MILLISECOND_NS = 1000000
    DECISION_DELAY_NS = 5 * MILLISECOND_NS     # a decision waits so long for a phase 2a to travel on
    RING_DELAY_NS = 5 * MILLISECOND_NS         # a fetch waits so long for room in the rings
    RETRY_NS = 100 * MILLISECOND_NS            # scouts, commanders and fetches send again what was not answered,
    RETRY_NS_MAX = 1600 * MILLISECOND_NS       # first after RETRY_NS, then each time after twice as long, up to this
    FORWARD_RETRY_NS = 500 * MILLISECOND_NS    # a replica forwards again what was not applied, likewise,
    FORWARD_RETRY_NS_MAX = 2000 * MILLISECOND_NS   # up to this
    FORWARDER_NS = 1000 * MILLISECOND_NS       # a peer that forwarded a request so lately has clients that wait
    IDLE_NS = 1000 * MILLISECOND_NS            # META_DECIDED is put when nothing was decided for so long
    ALLOWANCE_NS = 1000 * MILLISECOND_NS       # what one client may ask for (paxos/limits.pxd) it may so often
    STATUS_NS = 20 * MILLISECOND_NS            # between two answers to requests for the status
    STATUS_LINKS_MAX = 16            # that are answered at a time, so that they cost no more than a tenth of the time
    FOREIGN_NS = 50 * MILLISECOND_NS           # in which all links together may have so many bytes rewritten of frames
    FOREIGN_BYTES = 128 << 10        # that are laid out in another way: 25 ms, at 6 us a command
    FOREIGN_FRAME_BYTES = 1 << 10    # that each of them counts beside its own
    LATE_BYTES_MAX = 2 * FRAME_BYTES_MAX       # that a link whose frames wait for that may have pending
    FETCH_BYTES = 1 << 20            # of one answer to a fetch, or one run
    FETCH_ENTRIES = 4096             # of one answer to a fetch
    ENTRY_BYTES_MAX = 64             # of one entry in such an answer, without its run
    PARTIAL_BYTES_MAX = 128 << 20    # memory of frames that clients have begun: some 64 values of 1 MiB
    IN_FLIGHT_BYTES = 8 << 20        # of undecided proposals: 0.7 s of a link of 100 Mbit/s, and an election carries it
    FLIGHT_BYTES_MIN = 256 << 10     # what a leader may have undecided, however long it takes: one full run
    BUDGET_BYTES = 128 << 10         # of bulk that may wait on a new link
    BUDGET_BYTES_MIN = 32 << 10      # on a slow one: half a piece, so that the next one is there when one has left
    BUDGET_BYTES_MAX = 1 << 20       # on any: what memory and a link that breaks cost for each peer

cdef enum:
    PATIENT_TIMEOUTS = 4             # election time-outs that bytes on their way put off a judgement, after a true sign
    KEEP_TIMEOUTS = 2                # election time-outs that rings keep what a scout pulls, after its last question

cdef enum:                           # the relations
    PARTIAL_FRAMES_FIT = 1 // (PARTIAL_BYTES_MAX >= 16 * FRAME_BYTES_MAX)
    DECISIONS_TRAVEL_BEFORE_RETRIES = 1 // (DECISION_DELAY_NS < RETRY_NS)
    FETCHES_FIT_FRAMES = 1 // (2 * FETCH_BYTES + FETCH_ENTRIES * ENTRY_BYTES_MAX < FRAME_BYTES_MAX)
    A_FETCHED_RUN_FITS_A_FRAME = 1 // (RUN_BYTES_MAX + FETCH_ENTRIES * ENTRY_BYTES_MAX < FRAME_BYTES_MAX)
