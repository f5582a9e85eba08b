# Messages out of frames that are not whole or not in our layout: see receiving.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.foreign cimport Foreign
from multipaxos.node.links cimport Link, Links
from multipaxos.wire.encoding cimport FINE, Fault
from multipaxos.wire.messages cimport PIECE, Message

cdef struct Received:
    Message message
    const uint8_t* frame             # of the message
    size_t size


@cython.final
cdef class Receiving:
    cdef Context context
    cdef Links links
    cdef Foreign foreign
    cdef list frames                 # requests are views into these in a wake-up: rewritten ones, joined pieces

    # Is it for `dispatch` as it is? A peer's piece is not; a client's is, and is refused there.
    cdef inline bint is_whole(self, Link link, Fault fault, const Message* message) noexcept:
        return fault == FINE and (message.kind != PIECE or link.node_id < 0)

    cdef bint read(self, Link link, Fault fault, const uint8_t* frame, size_t size, Received* received) except -1
    cdef int keep(self, Link link, const uint8_t* data, size_t size, bint ended) except -1
    cdef int forget(self, Link link, size_t used) except -1
