# Links to peers and clients: see links.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint32_t, uint64_t

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
    cdef uint64_t unsent             # bytes of bulk that were handed out, and are not known to have reached the kernel
    cdef Bytes arriving              # the beginning of a frame that comes in pieces
    cdef uint32_t arriving_left      # bytes of it that are still to come
    cdef size_t partial_bytes        # memory of `pending` that is counted, of a client
    cdef uint64_t begun_ns           # when the frame was begun that is pending
    # What is known of the peer.
    cdef uint64_t slot_out           # as it last reported
    cdef uint64_t heard_ns           # when it last reported that
    cdef uint64_t alive_ns           # it lived then, by our clock: it answered a ping that we sent then
    cdef uint64_t mark               # it has forgotten all slots below, as it reported in answer to a fetch
    cdef uint64_t reported_end       # decisions below this were reported to it in this reign
    cdef uint64_t forwarded_ns       # when it last forwarded a request: it has clients that wait; 0: never
    cdef bint is_reading             # records are being read from disk for it


@cython.final
cdef class Links:
    cdef dict links                  # by link id, clients and peers
    cdef list peers                  # by node id: Link or None
    cdef readonly tuple founders     # by node id: their incarnations; None: not known
    cdef list closes                 # [(link id, reason)] since the last output
    cdef dict status_requests        # by link id: the nonce of the newest request since the last output
    cdef readonly uint64_t bad_frames
    cdef readonly uint64_t partial_bytes     # of all clients' links: memory of the frames that they have begun
    cdef uint64_t partial_due_ns     # when a frame may have been begun for too long

    cdef Link add(self, Link link)
    cdef int set_founders(self, tuple founders) except -1
    cdef bint is_founder(self, Link link)
    cdef Link drop(self, uint64_t id)
    cdef int close(self, Link link, str reason) except -1
    cdef int refuse(self, Link link, str reason) except -1
    cdef size_t next_frame(self, Link link, const uint8_t* data, size_t size) except? 0
    cdef bytes on_piece(self, Link link, const Message* piece, size_t size)
    cdef list take_writes(self)
    cdef list take_bulk(self)
    cdef list cut(self, Link link)
    cdef int on_status_request(self, Link link, uint64_t nonce) except -1
    cdef list take_status_requests(self)
    cdef list take_closes(self)
    cdef int on_partial(self, Link link, bint ended, uint64_t now_ns) except -1
    cdef int end_partial(self, uint64_t now_ns) except -1
