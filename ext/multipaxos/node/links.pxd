# Links to peers and clients: see links.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t

from multipaxos.node.limits cimport NEVER
from multipaxos.paxos.requests cimport Allowance
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Message


@cython.final
cdef class Link:
    cdef readonly uint64_t id
    cdef readonly int node_id        # -1: a client
    cdef readonly object incarnation
    cdef readonly object process     # the number that the peer's process drew at its start; 0: a client
    cdef readonly bint is_admin      # a client's link that proved the cluster's key
    cdef readonly int semantics_max  # the newest semantics of the log that the peer knows
    cdef readonly uint32_t machine_version   # of the peer's machine
    cdef readonly uint64_t cluster_id    # of the peer, when the link came up; 0: it had none
    cdef readonly tuple refused_slots    # of the peer, when the link came up
    cdef readonly bint counts        # a peer whose incarnation is known to be a founder's: its word on the log counts
    cdef readonly bint is_up
    cdef Bytes pending               # the beginning of a frame whose rest has not come
    cdef Bytes outgoing              # control: frames that leave at once
    cdef Bytes bulk                  # frames that give way to control
    cdef readonly uint64_t unsent    # bytes that were handed out, and have not reached the kernel as far as is known
    cdef readonly uint64_t budget    # bulk is produced while fewer bytes wait
    cdef uint64_t handed             # bytes of bulk handed out so far
    cdef uint64_t busy_ns            # since when bytes wait, or since when `carried` counts
    cdef uint64_t carried            # bytes that have left since then
    cdef list runs                   # [(`handed` after it, its first slot)] of the phases 2a that wait, in order
    cdef uint64_t uncut_first        # first slot of the first phase 2a in `bulk`; 0: none
    cdef Bytes arriving              # the beginning of a frame that comes in pieces
    cdef uint32_t arriving_left      # bytes of it that are still to come
    cdef size_t partial_bytes        # memory of `pending` that is counted, of a client
    cdef uint64_t begun_ns           # when the frame was begun that is pending
    cdef Allowance allowance         # a client's
    cdef uint64_t allowance_ns       # when it was given
    cdef bint is_late                # whole frames are pending: they are read when their turn comes
    # What is known of the peer.
    cdef uint64_t slot_out           # as it last reported
    cdef uint64_t heard_ns           # when it last reported that
    cdef uint64_t arrived_ns         # when bytes of a frame came last that was not whole then
    cdef uint64_t alive_ns           # it lived then, by our clock: it answered a ping that we sent then
    cdef uint64_t led_ballot         # at which it leads with its quorum, as its last pong said; 0: it said otherwise
    cdef uint64_t led_ns             # when that pong came
    cdef uint64_t mark               # it has forgotten all slots below, as it reported in answer to a fetch
    cdef uint64_t reported_end       # decisions below this were reported to it in this reign
    cdef uint64_t forwarded_ns       # when it last forwarded a request: it has clients that wait; 0: never
    cdef bint is_reading             # records are being read from disk for it
    # What was sent to it, and is not repeated behind its own copy.
    cdef uint64_t sent_end           # phases 2a of this reign: those of the slots below were sent to it
    cdef uint64_t probe_ns           # a ping that left then shows, when it is answered, that they have arrived;
    cdef uint64_t probe_end          # those of the slots below this. 0: no such ping was sent
    cdef bint must_ping              # such a ping is to leave now
    cdef uint64_t asked_first        # a fetch of [asked_first, asked_end) waits for room on this link; 0: none
    cdef uint64_t asked_end
    cdef uint64_t answered_first     # the fetch that was answered last, and `place` after the answer
    cdef uint64_t answered_place
    cdef uint64_t promised_ballot    # the part of a phase 1b that was sent last, and `place` after it
    cdef uint64_t promised_part
    cdef uint64_t promised_place     # NEVER: it waits for the disk
    cdef uint64_t promised_ns        # when it was asked for; 0: it was asked for before
    cdef uint64_t left_ns            # when bytes left last while a part was on its way

    # Bytes of bulk that wait here or in the shell.
    cdef inline uint64_t waiting(self) noexcept:
        return self.unsent + self.bulk.size

    # May more bulk be produced for this link?
    cdef inline bint has_room(self) noexcept:
        return self.waiting() < self.budget

    # The end of what was produced for this link, and whether everything before such an end has left.
    cdef inline uint64_t place(self) noexcept:
        return self.handed + self.bulk.size

    cdef inline bint has_left(self, uint64_t place) noexcept:
        return self.handed >= place + self.unsent

    # Is a part of a phase 1b on its way to this peer?
    cdef inline bint is_promising(self) noexcept:
        return self.promised_place != NEVER and not self.has_left(self.promised_place)

    # Of the slots below `end` those that this peer may be told of.
    cdef inline uint64_t told_end(self, uint64_t end) except? 0:
        return self.first_waiting(end) if self.uncut_first or self.runs else end

    cdef uint64_t first_waiting(self, uint64_t end) except? 0


@cython.final
cdef class Links:
    cdef dict links                  # by link id, clients and peers
    cdef list peers                  # by node id: Link or None
    cdef bint has_bulk               # did the last `take_writes` see bulk?
    cdef readonly tuple founders     # by node id: their incarnations; None: not known
    cdef list closes                 # [(link id, reason)] since the last output
    cdef uint64_t status_ns          # the status is not told before
    cdef uint64_t status_due_ns      # it is told then
    cdef dict status_requests        # by link id: the nonce of the newest request since the last output
    cdef readonly uint64_t bad_frames
    cdef readonly uint64_t partial_bytes     # of all clients' links: memory of the frames that they have begun
    cdef uint64_t partial_due_ns     # when a frame may have been begun for too long
    cdef uint64_t quarter_ns         # of the election time-out

    cdef Link add(self, Link link)
    cdef int set_founders(self, tuple founders) except -1
    cdef bint is_founder(self, Link link)
    cdef Link drop(self, uint64_t id)
    cdef int close(self, Link link, str reason) except -1
    cdef int refuse(self, Link link, str reason) except -1
    cdef size_t next_frame(self, Link link, const uint8_t* data, size_t size) except? 0
    cdef bytes on_piece(self, Link link, const Message* piece, size_t size)
    cdef list take_writes(self)
    cdef list take_bulk(self, uint64_t now_ns)
    cdef list cut(self, Link link)
    cdef int on_backlog(self, Link link, uint64_t backlog, uint64_t now_ns) except -1
    cdef uint64_t carry_ns(self, Link link, uint64_t size) noexcept
    cdef int on_status_request(self, Link link, uint64_t nonce) except -1
    cdef list take_status_requests(self, uint64_t now_ns)
    cdef list take_closes(self)
    cdef int on_partial(self, Link link, bint ended, uint64_t now_ns) except -1
    cdef int end_partial(self, uint64_t now_ns) except -1
