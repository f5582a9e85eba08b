"""Foreign: frames that are laid out in another way than ours are rewritten, as many as there is time for.

Theory. Cap'n Proto lets a sender lay out a message in many ways. The codec reads one; the shell rewrites the others
(`flatten`), at some 50 us a frame and 6 us a command, while all links wait. So all links together have a number of
bytes rewritten in a stretch of time. A link whose frame comes after that is late: it is read again when the next
stretch begins, the links in turn, and what it sends meanwhile is pending.

Rules. A frame counts its bytes and FOREIGN_FRAME_BYTES. Nothing of a late link is read out of order. One that has more
than LATE_BYTES_MAX pending then is refused.
"""

cimport cython

from libc.stdint cimport uint8_t

from cpython.bytes cimport PyBytes_FromStringAndSize

from multipaxos.node.context cimport Context
from multipaxos.node.limits cimport FOREIGN_BYTES, FOREIGN_FRAME_BYTES, FOREIGN_NS, LATE_BYTES_MAX, NEVER
from multipaxos.node.links cimport Link, Links


@cython.final
cdef class Foreign:
    """`flatten`: rewrites a frame (bytes to bytes, ValueError if it is no message)."""

    def __cinit__(self, Context context not None, Links links not None, flatten):
        self.context = context
        self.links = links
        self.flatten = flatten
        self.late = []
        self.due_ns = NEVER

    cdef bytes rewrite(self, Link link, const uint8_t* frame, size_t size):
        """A frame as our codec writes it. None: it is no message, and its link was refused; or it has to wait, and its
        link is late."""
        if self.context.now_ns >= self.next_ns:
            self.next_ns = self.context.now_ns + FOREIGN_NS
            self.left = FOREIGN_BYTES
        if not self.left:
            if link.pending.size > LATE_BYTES_MAX:
                self.links.refuse(link, "more frames of another layout than are read in time")
                return None
            link.is_late = True
            self.late.append(link)
            self.due_ns = self.next_ns
            return None
        self.left -= min(self.left, size + FOREIGN_FRAME_BYTES)
        self.frames += 1
        try:
            return self.flatten(PyBytes_FromStringAndSize(<const char*>frame, size))
        except ValueError:
            self.links.refuse(link, "a frame that is no message")
            return None

    cdef list take_late(self):
        """The links whose frames waited and may be read now."""
        cdef Link link
        cdef list late = self.late
        if self.context.now_ns < self.due_ns:
            return []
        self.late, self.due_ns = [], NEVER
        for link in late:
            link.is_late = False
        return late
