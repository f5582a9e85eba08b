# Both ends of a fetch: see catch_up.pyx.
cimport cython

from libc.stdint cimport uint32_t, uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.journal cimport Journal
from multipaxos.node.leading cimport Leading
from multipaxos.node.limits cimport NEVER
from multipaxos.node.links cimport Link, Links
from multipaxos.node.output cimport Read
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.replica cimport Replica
from multipaxos.wire.messages cimport Message, Pvalues, Watermark
from multipaxos.wire.record cimport Judgement


@cython.final
cdef class Lookup:                   # a read of the log that is under way for a peer
    cdef uint64_t link               # of the peer that fetches
    cdef Read read


@cython.final
cdef class CatchUp:
    cdef Context context
    cdef Links links
    cdef Journal journal
    cdef Leading leading
    cdef Acceptor acceptor
    cdef Replica replica
    # watermarks
    cdef uint64_t scanned            # slots below this were compared with a watermark of scanned_ballot
    cdef uint64_t scanned_ballot
    # what we lack
    cdef uint64_t wanted_end         # slots below this are decided, and are fetched where we lack them
    cdef int source                  # the peer that is known to be ahead; -1: none
    cdef int asked                   # the peer that was asked last
    cdef uint64_t fetching           # first slot of the fetch that is on its way; 0: none
    cdef uint64_t fetch_due_ns       # the next fetch
    cdef uint64_t wait_ns            # from a fetch to the next one, if no answer comes
    # what peers lack
    cdef dict lookups                # token -> Lookup
    cdef set damaged                 # indexes of the records that were reported to be damaged
    cdef bint has_holes              # of our acceptor, when it was looked at last
    cdef list reads                  # [Read] since the last output

    cdef inline uint64_t due_ns(self) noexcept:
        return self.fetch_due_ns if self.replica.undecided < self.wanted_end else NEVER

    cdef int start(self) except -1
    cdef int want(self, uint64_t end, int source) except -1
    cdef int want_from(self, Link ahead) except -1
    cdef int on_watermark(self, Link link, const Watermark* decided) except -1
    cdef int settle(self) except -1
    cdef int fetch(self) except -1
    cdef Link whom_to_ask(self)
    cdef int on_fetched(self, Link link, const Message* message) except -1
    cdef int on_link_down(self, Link link) except -1
    cdef int on_fetch(self, Link link, const Message* message) except -1
    cdef int on_room(self, Link link) except -1
    cdef int answer(self, Link link, uint64_t first, uint64_t end) except -1
    cdef int send(self, Link link, uint64_t first, uint64_t end, const Pvalues* entries, uint32_t count) except -1
    cdef int answer_fetch(self, Link link, uint64_t first, uint64_t end) except -1
    cdef int look_up(self, Link link, uint64_t first, uint64_t end) except -1
    cdef int on_read(self, uint64_t token, bint ok, object data) except -1
    cdef int answer_from_disk(self, Link link, uint64_t first, uint64_t end, object records) except -1
    cdef int note_damaged(self, const Judgement* record) except -1
    cdef dict holders_of(self, uint64_t first, uint64_t end, object records)
    cdef list take_reads(self)
