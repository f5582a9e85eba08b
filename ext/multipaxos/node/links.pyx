"""Links: one connection each, to a peer or a client.

Theory. The shell names a connection by a number that it never uses twice. A link keeps the beginning of a frame whose
rest has not come, the bytes that are to leave, and what its peer last reported.

Bytes leave in two queues. *Control* leaves at once: pings, votes, watermarks, phases 1a, runs of small commands. *Bulk*
is whatever is long, or repeats what was sent before; the shell hands the next of its pieces to the kernel only when the
last one has left. So control waits for one piece at most, whatever waits on the link. The shell reports how many bytes
wait (`unsent`), and whoever produces bulk does so only while fewer than `budget` wait: as many as the link has carried
lately in a quarter of the election time-out. So what a link holds is little in time, however slow it is.

Rules.
- A peer has at most one link. What is known of a peer is forgotten with its link, because the peer may come back
  changed.
- What a peer says of the log counts only if the incarnation that its handshake proved is a founder's, and only once the
  founders are known. Whoever is none may ask.
- The frames of one queue keep their order; control overtakes bulk.
- No peer is told that a slot is decided whose phase 2a waits on its link: it would fetch what it is about to get
  (`told_end`).
- A frame of more than CUT_BYTES travels in pieces, each a frame of its own. Its pieces come in order, and those of the
  next frame after them. A piece is no longer than CUT_BYTES and its frame is longer, so a piece holds no piece.
- Frames that clients have begun are bounded in memory, for all clients together, and in time. Where it is too much, the
  link that holds most is closed; its client sends the frame again. Peers are few, and the protocol needs their frames.
- A bad frame closes its link and touches nothing else. The link is down at once: nothing more is received from it or
  sent on it. The node then tells the organs that the peer is gone.
"""

cimport cython

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport uint8_t, uint32_t, uint64_t
from libc.string cimport memset

from multipaxos.node.limits cimport (
    BUDGET_BYTES, BUDGET_BYTES_MAX, BUDGET_BYTES_MIN, FRAME_NS, NEVER, PARTIAL_BYTES_MAX, STATUS_LINKS_MAX, STATUS_NS,
)
from multipaxos.node.output cimport NOTHING
from multipaxos.wire.buffer cimport Bytes, bytes_free, bytes_put, bytes_take
from multipaxos.wire.encoding cimport FINE, FOREIGN, OVERSIZED, PARTIAL, Fault, load64
from multipaxos.wire.messages cimport BODY, CUT_BYTES, FRAME_BYTES_MAX, PHASE2A, PIECE_HEAD, Message
from multipaxos.wire.reading cimport frame_size
from multipaxos.wire.writing cimport put_piece

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Link:
    """`node_id` of the peer, -1 for a client; `incarnation` of the peer's data directory. The others are what the
    peer's hello told: the number that its process drew at its start, the newest semantics of the log and the version of
    the machine that it knows, its cluster's id and the slots that it refuses. `admin`: a client's link that proved the
    cluster's key."""

    def __cinit__(self, uint64_t id, int node_id, incarnation, *, process=0, bint admin=False, int semantics_max=1,
                  uint32_t machine_version=1, uint64_t cluster_id=0, tuple refused_slots=()):
        self.id = id
        self.node_id = node_id
        self.incarnation = incarnation
        self.process = process
        self.is_admin = admin
        self.semantics_max = semantics_max
        self.machine_version = machine_version
        self.cluster_id = cluster_id
        self.refused_slots = refused_slots
        self.is_up = True
        self.budget = BUDGET_BYTES
        self.runs = []
        memset(&self.pending, 0, sizeof(Bytes))
        memset(&self.outgoing, 0, sizeof(Bytes))
        memset(&self.bulk, 0, sizeof(Bytes))
        memset(&self.arriving, 0, sizeof(Bytes))

    def __dealloc__(self):
        bytes_free(&self.pending)
        bytes_free(&self.outgoing)
        bytes_free(&self.bulk)
        bytes_free(&self.arriving)

    cdef uint64_t first_waiting(self, uint64_t end) except? 0:
        """The first slot whose phase 2a waits here, at most `end`; there is one."""
        return min(end, <uint64_t>self.runs[0][1] if self.runs else self.uncut_first)


@cython.final
cdef class Links:
    """All links of a node in a cluster of `nodes`; `quarter_ns`: a quarter of the election time-out."""

    def __cinit__(self, int nodes, uint64_t quarter_ns=125_000_000):
        self.quarter_ns = quarter_ns
        self.links = {}
        self.peers = [None] * nodes
        self.closes = []
        self.status_requests = {}
        self.status_due_ns = NEVER
        self.partial_due_ns = NEVER

    cdef Link add(self, Link link):
        """A handshake is done. Returns the older link of the same peer, which is closed by this, or None."""
        cdef Link old = None
        if link.node_id >= 0:
            old = self.peers[link.node_id]
            if old is not None:
                self.drop(old.id)
                self.closes.append((old.id, f"node {link.node_id} has a newer link"))
            self.peers[link.node_id] = link
            link.counts = self.is_founder(link)
        self.links[link.id] = link
        return old

    cdef int set_founders(self, tuple founders) except -1:
        """The founders of our cluster are known."""
        cdef Link link
        self.founders = founders
        for link in self.peers:
            if link is not None:
                link.counts = self.is_founder(link)
        return 0

    cdef bint is_founder(self, Link link):
        return self.founders is not None and link.incarnation == self.founders[link.node_id]

    cdef Link drop(self, uint64_t id):
        """The link is down; returns it, or None if it was down already."""
        cdef Link link = self.links.pop(id, None)
        if link is not None:
            link.is_up = False
            self.partial_bytes -= link.partial_bytes
            if link.node_id >= 0:
                self.peers[link.node_id] = None
        self.status_requests.pop(id, None)
        return link

    cdef int close(self, Link link, str reason) except -1:
        """Closes a link, for a reason that lies with us."""
        self.closes.append((link.id, reason))
        self.drop(link.id)
        return 0

    cdef int refuse(self, Link link, str reason) except -1:
        """Closes a link because of what the other side sent. Handlers return at once after it."""
        self.bad_frames += 1
        return self.close(link, reason)

    cdef size_t next_frame(self, Link link, const uint8_t* data, size_t size) except? 0:
        """The size of the frame that [data, data + size) begins with; 0 if the frame is not whole yet, or if the link
        was refused because these bytes cannot become one."""
        cdef size_t length = 0
        cdef Fault fault = frame_size(data, size, &length)
        if fault == PARTIAL:
            return 0
        if fault != FINE and fault != FOREIGN:
            self.refuse(link, "an oversized frame" if fault == OVERSIZED else "a malformed frame header")
            return 0
        return length if length <= size else 0

    cdef int on_partial(self, Link link, bint ended, uint64_t now_ns) except -1:
        """Bytes of a frame are pending on a link, or no longer. `ended`: a frame before it has ended now."""
        cdef Link other, greatest = link
        if link.node_id >= 0 or not link.is_up or not (link.pending.size or link.partial_bytes):
            return 0
        if not link.pending.size:
            bytes_free(&link.pending)
        elif ended or not link.partial_bytes:
            link.begun_ns = now_ns
            self.partial_due_ns = min(self.partial_due_ns, now_ns + FRAME_NS)
        self.partial_bytes += link.pending.room
        self.partial_bytes -= link.partial_bytes
        link.partial_bytes = link.pending.room
        if self.partial_bytes > PARTIAL_BYTES_MAX:
            for other in self.links.values():
                if other.partial_bytes > greatest.partial_bytes:
                    greatest = other
            self.close(greatest, "too many bytes of frames that were begun, in all")
        return 0

    cdef int end_partial(self, uint64_t now_ns) except -1:
        """Closes the links on which a frame was begun too long ago. Pings are the clock of this."""
        cdef Link link
        self.partial_due_ns = NEVER
        for link in list(self.links.values()):
            if not link.partial_bytes:
                continue
            if now_ns >= link.begun_ns + FRAME_NS:
                self.close(link, "a frame that was begun and did not end in time")
            else:
                self.partial_due_ns = min(self.partial_due_ns, link.begun_ns + FRAME_NS)
        return 0

    cdef bytes on_piece(self, Link link, const Message* piece, size_t size):
        """The next piece of a frame, itself a frame of `size` bytes. Returns the frame when it is whole; None before
        that, and if the link was refused."""
        cdef uint64_t total = link.arriving.size + <uint64_t>piece.size + piece.left
        if (size > CUT_BYTES or not piece.size or total <= CUT_BYTES or total > FRAME_BYTES_MAX
                or (link.arriving.size and <uint64_t>piece.size + piece.left != link.arriving_left)):
            self.refuse(link, "a piece that does not fit")
            return None
        bytes_put(&link.arriving, piece.data, piece.size)
        link.arriving_left = piece.left
        return None if piece.left else bytes_take(&link.arriving)

    cdef list take_writes(self):
        """[(link id, bytes)] of control that are to leave."""
        cdef Link link
        cdef list writes = NOTHING
        self.has_bulk = False
        for link in self.links.values():
            if link.outgoing.size:
                if writes is NOTHING:
                    writes = []
                writes.append((link.id, bytes_take(&link.outgoing)))
            if link.bulk.size:
                self.has_bulk = True
        return writes

    cdef list take_bulk(self, uint64_t now_ns):
        """[(link id, [frame, ...])] of bulk that are to leave, none of the frames longer than CUT_BYTES. Where
        `has_bulk` is false there are none."""
        cdef Link link
        cdef list bulk = NOTHING
        for link in self.peers:
            if link is not None and link.bulk.size:
                if bulk is NOTHING:
                    bulk = []
                if not link.unsent:
                    link.busy_ns, link.carried = now_ns, 0
                bulk.append((link.id, self.cut(link)))
        return bulk

    cdef list cut(self, Link link):
        """Takes the bulk of a link, as frames and pieces of frames."""
        cdef list frames = []
        cdef const uint8_t* at = link.bulk.data
        cdef const uint8_t* end = at + link.bulk.size
        cdef size_t size
        cdef uint64_t first, handed = 0
        cdef uint32_t part
        cdef Bytes piece = Bytes(NULL, 0, 0)
        try:
            while at < end:
                frame_size(at, end - at, &size)
                if load64(at + 16) == PHASE2A:
                    first = load64(at + BODY + 8)
                else:
                    first = 0
                if size <= CUT_BYTES:
                    frames.append(PyBytes_FromStringAndSize(<const char*>at, size))
                    handed += size
                    at += size
                    size = 0
                while size:
                    part = <uint32_t>min(size, <size_t>(CUT_BYTES - PIECE_HEAD))
                    size -= part
                    put_piece(&piece, <uint32_t>size, at, part)
                    handed += piece.size
                    frames.append(bytes_take(&piece))
                    at += part
                if first:
                    link.runs.append((link.handed + handed, first))
            link.handed += handed
            link.unsent += handed
            link.uncut_first = 0
        finally:
            bytes_free(&piece)
            bytes_free(&link.bulk)
        return frames

    cdef int on_backlog(self, Link link, uint64_t backlog, uint64_t now_ns) except -1:
        """So many bytes wait in the shell. What has left shows how much the link carries."""
        cdef uint64_t elapsed = now_ns - link.busy_ns
        if backlog < link.unsent:
            link.carried += link.unsent - backlog
            if link.is_promising():
                link.left_ns = now_ns
        link.unsent = backlog
        while link.runs and link.has_left(link.runs[0][0]):
            link.runs.pop(0)
        if elapsed >= self.quarter_ns:
            link.budget = <uint64_t>(<double>link.carried * self.quarter_ns / elapsed)
        elif not backlog and link.carried > link.budget // 2:
            link.budget *= 2             # that took less than a quarter of the time-out
        else:
            return 0
        link.budget = max(<uint64_t>BUDGET_BYTES_MIN, min(link.budget, <uint64_t>BUDGET_BYTES_MAX))
        link.busy_ns, link.carried = now_ns, 0
        return 0

    cdef uint64_t carry_ns(self, Link link, uint64_t size) noexcept:
        """How long the link takes for so many bytes, by its budget."""
        return <uint64_t>(<double>size * self.quarter_ns / link.budget)

    cdef int on_status_request(self, Link link, uint64_t nonce) except -1:
        """A client asks for the status. Of several requests in one wake-up the newest is answered."""
        self.status_requests[link.id] = nonce
        self.status_due_ns = self.status_ns
        return 0

    cdef list take_status_requests(self, uint64_t now_ns):
        """[(link id, nonce)] of clients that have asked for the status and are told it now; the others wait."""
        cdef list asked
        if now_ns < self.status_due_ns:
            return NOTHING
        self.status_ns = now_ns + STATUS_NS
        asked = list(self.status_requests.items())[:STATUS_LINKS_MAX]
        for link, _ in asked:
            del self.status_requests[link]
        self.status_due_ns = self.status_ns if self.status_requests else NEVER
        return asked

    cdef list take_closes(self):
        """[(link id, reason)] since the last call."""
        cdef list closes = self.closes
        if not closes:
            return NOTHING
        self.closes = []
        return closes

    # -- for tests
    def peer(self, int node_id):
        """The link to a node, or None."""
        return self.peers[node_id]

    def invariants(self):
        """A peer has one link, which is up and stands under its own id. What begun frames hold is counted."""
        cdef Link link
        cdef uint64_t partial_bytes = 0
        cdef int i
        for link in self.links.values():
            partial_bytes += link.partial_bytes
        if partial_bytes != self.partial_bytes:
            raise InvariantViolation(f"frames begun hold {partial_bytes} bytes, and {self.partial_bytes} are counted")
        for i in range(len(self.peers)):
            link = self.peers[i]
            if link is not None and (link.node_id != i or not link.is_up):
                raise InvariantViolation(f"link {link.id} of node {link.node_id} is down, or stands for node {i}")
            if link is not None and link.counts != self.is_founder(link):
                raise InvariantViolation(f"the word of node {i} counts, and it is no founder, or the reverse")
