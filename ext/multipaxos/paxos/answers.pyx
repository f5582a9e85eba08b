"""Answers: what became of a command, and to which link that is reported.

Theory. A command is applied on every replica, and its client is connected to one of them. An answer goes to the link
that last asked here in the command's session. For a session that the table holds that link is in the table
(`Session.link`). A client may also ask in a session that this replica does not know yet, because it is behind, and it
may ask for a session to be opened: `unknown` and `nonces` remember these links until the session is known. All of this
is volatile: a client asks again on a new link.

Answers of one wake-up are collected as `reports`. At its end the node sends them with `put`, one Response for each
stretch of reports to one link in one session, and calls `clear`.

Rules.
- An answer is copied when it is reported: the table may drop it within the same wake-up.
- A link gets the answers of a session only if it knows the session's nonce.
- Long answers, and those that are sent again, are bounded per wake-up (REPORT_BYTES_MAX), because clients may ask for
  them as often as they like.
- A link that does not read gets no further long answers, but `overloaded` in their place: its client sends the commands
  again when it has read what waits for it. A read is then executed again, and another command's answer is kept. So a
  link holds UNREAD_BYTES_MAX at most. Where all links together hold UNREAD_BYTES_SUM each may hold UNREAD_BYTES_LEAST,
  or one answer. What a link holds is what the shell has reported (`note_unread`), and the answers of this wake-up.
- `unknown` and `nonces` are bounded: they start again from nothing when they are full, and clients ask again.
"""

cimport cython

from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset

from multipaxos.paxos.array cimport array_grow
from multipaxos.paxos.limits cimport RUN_BYTES, UNKNOWN_MAX, UNREAD_BYTES_LEAST, UNREAD_BYTES_MAX, UNREAD_BYTES_SUM
from multipaxos.paxos.session_table cimport Outcome, status_without_session
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put
from multipaxos.wire.messages cimport OPEN_SESSION, OVERLOADED, RUN_SLOTS_MAX, Command, Reply
from multipaxos.wire.writing cimport put_response

from multipaxos.errors import InvariantViolation


cdef enum:
    KEPT_ROOM = 1 << 20              # of `data`, between wake-ups


cdef int remember(dict links, object key, uint64_t link) except -1:
    """Notes which link asks by `key`. When UNKNOWN_MAX links are noted all are forgotten: their clients ask again."""
    if len(links) >= UNKNOWN_MAX:
        links.clear()
    links[key] = link
    return 0


@cython.final
cdef class Answers:
    """The answers of one replica's wake-up, and the links that wait for others."""

    def __cinit__(self):
        self.unknown = {}
        self.nonces = {}
        self.unread, self.given = {}, {}
        memset(&self.data, 0, sizeof(Bytes))

    def __dealloc__(self):
        free(self.reports)
        bytes_free(&self.data)

    # -- which link asks
    cdef int expect_session(self, uint64_t id, uint64_t nonce, uint64_t link) except -1:
        """A link asks in a session that is not known here yet, or no longer."""
        return remember(self.unknown, (id, nonce), link)

    cdef int expect_opening(self, uint64_t nonce, uint64_t link) except -1:
        """A link asks for a session to be opened."""
        return remember(self.nonces, nonce, link)

    # -- reports
    cdef int report(self, uint64_t link, const Outcome* outcome, uint64_t sequence) except -1:
        """An answer to the command of that sequence; its bytes are copied."""
        cdef Report* report
        if self.count == self.room:
            self.reports = <Report*>array_grow(self.reports, &self.room, self.count + 1, sizeof(Report))
        report = &self.reports[self.count]
        report.link = link
        report.session = outcome.session
        report.reply.sequence = sequence
        report.reply.slot = outcome.slot
        report.reply.status = outcome.status
        report.reply.size = outcome.size
        report.reply.data = <const uint8_t*><size_t>self.data.size
        if outcome.size:
            bytes_put(&self.data, outcome.data, outcome.size)
        self.count += 1
        return 0

    cdef int report_applied(self, const Command* command, const Outcome* outcome) except -1:
        """A command was applied: its answer goes to the link that asks for it here, if there is one."""
        if command.kind == OPEN_SESSION:
            return self.report_opened(command, outcome)
        if not outcome.known:
            return self.report_gone(command, outcome.slot) if self.unknown else 0
        if not outcome.link:
            return 0
        if outcome.again and not self.may_repeat(outcome.size):
            return self.report_status(outcome.link, command, OVERLOADED, 0)  # the client asks again, after a pause
        if self.is_long(outcome.size) and not self.may_give(outcome.link, outcome.size):
            self.withheld += 1
            return self.report_status(outcome.link, command, OVERLOADED, 0)
        return self.report(outcome.link, outcome, command.sequence)

    cdef bint may_give(self, uint64_t link, uint64_t size) except -1:
        """May this link get a long answer now? Then it holds it from now on."""
        cdef uint64_t held = self.unread.get(link, 0)
        cdef uint64_t bound = UNREAD_BYTES_MAX if self.unread_bytes + size <= UNREAD_BYTES_SUM else UNREAD_BYTES_LEAST
        if (held and held + size > bound) or (self.data.size and not self.may_repeat(size)):
            return False
        self.unread[link] = held + size
        self.unread_bytes += size
        self.given[link] = size + <uint64_t>self.given.get(link, 0)
        return True

    cdef int note_unread(self, uint64_t link, uint64_t held_bytes) except -1:
        """A link holds so many bytes of answers that it has not read; 0: none, or it is gone. Between wake-ups."""
        self.unread_bytes += held_bytes
        self.unread_bytes -= <uint64_t>self.unread.pop(link, 0)
        if held_bytes:
            self.unread[link] = held_bytes
        return 0

    cdef int report_opened(self, const Command* command, const Outcome* outcome) except -1:
        """A session was opened, or a nonce asked for again: the link that waits for it gets its answers from now on."""
        cdef uint64_t link
        if self.unknown and outcome.opened != NULL:
            link = self.unknown.pop((outcome.session, command.sequence), 0)
            if link:
                outcome.opened.link = link
        if self.nonces:
            link = self.nonces.pop(command.sequence, 0)
            if link and outcome.opened != NULL:
                outcome.opened.link = link
                return self.report(link, outcome, command.sequence)
        return 0

    cdef int report_gone(self, const Command* command, uint64_t slot) except -1:
        """A command's session does not live, or was evicted while the command waited: the link that asks in it is
        told so. The slot, never 0, says that the command was not judged on arrival."""
        cdef uint64_t link = self.unknown.get((command.session, command.nonce), 0)
        return self.report_status(link, command, status_without_session(command), slot) if link else 0

    cdef int report_status(self, uint64_t link, const Command* command, uint16_t status, uint64_t slot) except -1:
        """A status alone, without an answer of the machine."""
        cdef Outcome outcome
        memset(&outcome, 0, sizeof(Outcome))
        outcome.session, outcome.status, outcome.slot = command.session, status, slot
        return self.report(link, &outcome, command.sequence)

    cdef uint64_t put(self, Bytes* out, uint64_t at) except? 0:
        """Appends one Response with the reports from `at` on that are of one link and session; returns the place of the
        next report."""
        cdef Reply* replies
        cdef uint64_t link = self.reports[at].link, session = self.reports[at].session
        cdef uint32_t count = 0
        cdef uint64_t size = 0
        replies = <Reply*>malloc(RUN_SLOTS_MAX * sizeof(Reply))
        if replies == NULL:
            raise MemoryError("no memory for answers")
        try:
            while (at < self.count and count < RUN_SLOTS_MAX and size < RUN_BYTES
                   and self.reports[at].link == link and self.reports[at].session == session):
                replies[count] = self.reports[at].reply
                replies[count].data = self.data.data + <size_t>replies[count].data
                size += replies[count].size
                count += 1
                at += 1
            put_response(out, session, replies, count)
        finally:
            free(replies)
        return at

    cdef int clear(self) except -1:
        """All reports of this wake-up are put, or their links are gone. What a link does not read of them the shell
        will report."""
        self.count = 0
        if self.data.room > KEPT_ROOM:
            bytes_free(&self.data)
        self.data.size = 0
        if self.given:
            for link, size in self.given.items():
                self.note_unread(link, <uint64_t>self.unread[link] - <uint64_t>size)
            self.given.clear()
        return 0

    def invariants(self):
        """Between wake-ups no answer waits, and what is remembered is bounded."""
        if self.count or self.data.size:
            raise InvariantViolation(f"{self.count} answers were left unsent when the wake-up ended")
        if len(self.unknown) > UNKNOWN_MAX or len(self.nonces) > UNKNOWN_MAX:
            raise InvariantViolation(f"more than {UNKNOWN_MAX} links wait for sessions that are not known")
        if self.given or sum(self.unread.values()) != self.unread_bytes:
            raise InvariantViolation(f"links hold {self.unread} bytes of answers, and {self.unread_bytes} are counted")
