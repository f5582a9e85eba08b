"""Receiving: bytes of a link that are more than whole frames in our layout become messages too.

Theory. Most frames are whole in their chunk and decoded where they lie: `node` does that. Here is what is done with
the others.

Rules.
- Bytes of a frame that is not whole are pending. So are whole frames of a link whose turn to be rewritten has not come
  (`foreign`): nothing behind them is read before them.
- Pieces of a longer frame are joined, on links of peers only. What was joined or rewritten lives until the wake-up
  ends, because requests are views into it.
- Bytes that are no message refuse the link, and nothing behind them is read.
"""

cimport cython

from libc.stdint cimport uint8_t
from libc.string cimport memmove

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from multipaxos.node.context cimport Context
from multipaxos.node.foreign cimport Foreign
from multipaxos.node.links cimport Link, Links
from multipaxos.wire.buffer cimport bytes_put
from multipaxos.wire.encoding cimport FINE, FOREIGN, Fault
from multipaxos.wire.reading cimport decode


@cython.final
cdef class Receiving:

    def __cinit__(self, Context context not None, Links links not None, Foreign foreign not None):
        self.context = context
        self.links = links
        self.foreign = foreign
        self.frames = []

    cdef bint read(self, Link link, Fault fault, const uint8_t* frame, size_t size, Received* received) except -1:
        """Makes a message of a frame that is not whole (`is_whole`). False: there is none, because the
        link is late or was refused, or the frame of the piece is not whole yet."""
        cdef bytes other
        if fault == FOREIGN:
            other = self.foreign.rewrite(link, frame, size)
        elif fault == FINE:
            link.arrived_ns = self.context.now_ns
            other = self.links.on_piece(link, &received.message, size)
        else:
            other = None
            self.links.refuse(link, "a malformed message")
        if other is None:
            return False
        self.frames.append(other)
        received.frame, received.size = <const uint8_t*>PyBytes_AS_STRING(other), PyBytes_GET_SIZE(other)
        fault = decode(received.frame, received.size, &received.message)
        if self.is_whole(link, fault, &received.message):
            return True
        return self.read(link, fault, received.frame, received.size, received)

    # -- what is pending
    cdef int keep(self, Link link, const uint8_t* data, size_t size, bint ended) except -1:
        """The end of a wake-up in which nothing was pending: these bytes are now. `ended`: a frame before them has."""
        if size and link.is_up:
            bytes_put(&link.pending, data, size)
        self.links.on_partial(link, ended, self.context.now_ns)
        if self.frames:
            self.frames.clear()
        return 0

    cdef int forget(self, Link link, size_t used) except -1:
        """The end of a wake-up in which so many of the bytes that were pending have been read."""
        if used:
            memmove(link.pending.data, link.pending.data + used, link.pending.size - used)
            link.pending.size -= used
        self.links.on_partial(link, used > 0 or link.is_late, self.context.now_ns)
        self.frames.clear()
        return 0
