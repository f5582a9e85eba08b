"""A node's core: receives bytes, ticks and the ends of jobs, hands them to the organs, and collects what is to be sent.

Theory. The core is a deterministic machine without IO, clock or randomness of its own: bytes, ticks and the ends of
jobs come in by seven verbs, effects go out as data (`Output`). The cast of the paper - acceptor, leader, replica - is
pure (`multipaxos.paxos`). Organs join the cast to links and disk, each with its own fields, handlers, timers and
invariants:

- `context`: who this node is, and what time it is; `links`: connections; `receiving`: their bytes become messages;
- `journal`: what has to become durable, and the answers that wait for it; `recovery`: what the disk held;
- `joining`: how the node comes to vote; `leading`: our own leader; `voting`: our own acceptor;
- `catch_up`: decisions that a node lacks; `pings`: which node leads, which are ahead; `serving`: requests and answers;
  `comparing`: replicas that differ; `report`: facts.

An organ calls only organs below it. Where something has to go up it is a returned value, and this file hands it on.

Rules.
- A handler (`on_...`) deals with one message only. What follows from all messages of a wake-up is done once, in
  `settle_wakeup`: verdicts of the scout and the commanders are acted upon, decisions applied, requests proposed or
  forwarded, gaps fetched.
- A timer is on when its organ's `due_ns` is not NEVER; this is written nowhere else.
- After a failed batch the node promises nothing more: every verb but `output` does nothing.
"""

cimport cython

from libc.stdint cimport uint8_t, uint64_t

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE

from multipaxos.machine.machine cimport Machine
from multipaxos.node.agreement cimport Agreement
from multipaxos.node.catch_up cimport CatchUp
from multipaxos.node.comparing cimport Comparing
from multipaxos.node.context cimport Context
from multipaxos.node.election cimport Election
from multipaxos.node.foreign cimport Foreign
from multipaxos.node.joining cimport Joining
from multipaxos.node.journal cimport Journal
from multipaxos.node.leading cimport Leading
from multipaxos.node.limits cimport IN_FLIGHT_BYTES, MILLISECOND_NS
from multipaxos.node.links cimport Link, Links
from multipaxos.node.output cimport NOTHING, ApplyJob, Output
from multipaxos.node.pings cimport Pings
from multipaxos.node.receiving cimport Received, Receiving
from multipaxos.node.recovery cimport founders_of, number_of, recover
from multipaxos.node.report cimport Report
from multipaxos.node.serving cimport Serving
from multipaxos.node.voting cimport Voting
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.leader cimport ACTIVE, Leader
from multipaxos.paxos.limits cimport PROMISE_BYTES, RING_WINDOWS, SPAN_MAX
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.roles cimport REPLICA
from multipaxos.wire.buffer cimport bytes_put
from multipaxos.wire.encoding cimport Fault
from multipaxos.wire.messages cimport (
    DECISION, FETCH, FETCHED, FOUNDING, PHASE1A, PHASE1B, PHASE2A, PHASE2B, PING, PONG, REQUEST,
    STATUS_REQUEST, Message,
)
from multipaxos.wire.reading cimport decode

import multipaxos.machine.semantics as known_semantics
import multipaxos.node.output as output

COPIED = "it runs on a copy of another process's data directory: end one of them, start the other one again"


@cython.final
cdef class Node:
    """One node's core; `docs/design.md` has the contract.

    `roles`: of every node, bits 1 replica, 2 leader, 4 acceptor. `meta`, `records`: what the storage holds. `flatten`:
    rewrites a frame that is laid out differently (bytes to bytes, ValueError if it is no message). `cluster`: its name.
    `window`: a power of two, one value for the whole cluster. `ring_bytes`: what the slots kept in memory may take.
    `in_flight_bytes`: of undecided proposals, above which a leader proposes nothing; `part_bytes`: of a phase 1b.
    `versions`: of the semantics, as far as this program knows them. Raises CorruptLog if `meta` or `records` are not
    what a node writes, LogTooNew if they demand other semantics.
    """

    def __init__(self, *, int node_id, roles, QuorumSystem quorums not None, incarnation, seed, Machine machine,
                 meta, records, flatten, str cluster="", uint64_t window=8192, uint64_t ring_bytes=256 << 20,
                 uint64_t in_flight_bytes=IN_FLIGHT_BYTES, uint64_t part_bytes=PROMISE_BYTES,
                 uint64_t election_timeout_ns=500 * MILLISECOND_NS, uint64_t ping_interval_ns=100 * MILLISECOND_NS,
                 tuple versions not None=known_semantics.VERSIONS):
        cdef uint64_t capacity = RING_WINDOWS * window
        cdef uint64_t ballot = number_of(meta, output.META_BALLOT, 0)
        cdef tuple founders = founders_of(meta, len(roles), cluster)
        cdef Agreement agreement = Agreement(node_id, [i for i, role in enumerate(roles) if role & REPLICA])
        cdef Context context
        if capacity + window > SPAN_MAX:
            raise ValueError(f"window {window} is too large: a scout merges at most {SPAN_MAX} slots")
        self.machine, self.failed = machine, ""
        self.context = context = Context(cluster, node_id, roles, incarnation, window)
        self.election = Election(election_timeout_ns, seed, quorums)
        self.acceptor = Acceptor(capacity, ballot, number_of(meta, output.META_MARK, 1),
                                 founders is not None and context.is_acceptor, part_bytes)
        self.leader = Leader(node_id, quorums, capacity)
        self.replica = Replica(machine if context.is_replica else None, capacity, window, ring_bytes // 4, versions)
        self.links = Links(context.nodes, election_timeout_ns // 4)
        self.foreign = Foreign(context, self.links, flatten)
        self.receiving = Receiving(context, self.links, self.foreign)
        self.journal = Journal(self.acceptor, self.replica, ballot, number_of(meta, output.META_DECIDED, 1), ring_bytes)
        self.replica.refuse(output.numbers(meta.get(output.META_REFUSED, b"")))
        recover(self.journal, records)
        self.joining = Joining(context, self.links, self.journal, self.acceptor, self.election, founders,
                               number_of(meta, output.META_CLUSTER, 0), self.replica.refused, ping_interval_ns)
        self.leading = Leading(context, self.links, self.journal, self.joining, self.election, agreement,
                               self.acceptor, self.leader, self.replica, in_flight_bytes)
        self.catch_up = CatchUp(context, self.links, self.journal, self.leading, self.acceptor, self.replica)
        self.voter = Voting(context, self.links, self.journal, self.leading, self.catch_up, self.election,
                            self.acceptor, self.leader)
        self.serving = Serving(context, self.links, self.leading, agreement, self.leader, self.replica)
        self.comparing = Comparing(context, self.leading, self.serving, self.replica, agreement)
        self.pings = Pings(context, self.links, self.journal, self.leading, self.catch_up, self.election,
                           self.comparing, self.acceptor, self.leader, self.replica, ping_interval_ns)
        self.report = Report(context, self.links, self.foreign, self.joining, self.leading, self.comparing,
                             self.acceptor, self.leader, self.replica)

    # == verbs

    def receive(self, uint64_t link, bytes data not None):
        """A whole chunk as the socket gave it."""
        cdef Link source = self.links.links.get(link)
        cdef const uint8_t* start = <const uint8_t*>PyBytes_AS_STRING(data)
        cdef size_t size = PyBytes_GET_SIZE(data), used = 0
        if source is None or self.failed:
            return
        if source.pending.size:
            bytes_put(&source.pending, start, size)
            if not source.is_late:
                self.read_pending(source)
        else:
            self.consume(source, start, size, &used)
            self.settle_wakeup()
            if used < size or source.partial_bytes or self.receiving.frames:
                self.receiving.keep(source, start + used, size - used, used > 0)

    cdef int read_pending(self, Link link) except -1:
        """Handles the whole frames among the bytes that a link has pending."""
        cdef size_t used = 0
        self.consume(link, link.pending.data, link.pending.size, &used)
        self.settle_wakeup()
        return self.receiving.forget(link, used)

    def tick(self, uint64_t now_ns, uint64_t utc_ns):
        """Time: `now_ns` of a clock that counts suspension and never goes back, `utc_ns` of the calendar."""
        cdef bint first = self.context.now_ns == 0
        if now_ns < self.context.now_ns or self.failed:
            return
        self.context.now_ns, self.context.utc_ns = now_ns, utc_ns
        if first:
            self.start_timers()
        if now_ns >= self.due_ns():
            self.on_timers()
            self.settle_wakeup()

    def output(self):
        """What is to be done; see `Output`."""
        cdef Output made = Output.__new__(Output)  # without its `__init__`: this is called several times per wake-up
        made.writes = self.links.take_writes()
        made.bulk = self.links.take_bulk(self.context.now_ns) if self.links.has_bulk else NOTHING
        if not self.failed:
            made.batch = self.journal.next_batch(self.context.now_ns)
            made.job = self.next_job()
        made.reads = self.catch_up.take_reads()
        made.closes = self.links.take_closes()
        made.events = self.context.take_events()
        made.status_requests = self.links.take_status_requests(self.context.now_ns)
        made.failed = self.failed
        made.look()
        return made

    cdef ApplyJob next_job(self):
        """Commands that the user's machine is to apply now, or None."""
        if self.replica.jobs is None or not self.replica.jobs.take():
            return None
        self.job_token = self.journal.new_token()
        return ApplyJob(self.job_token, self.replica.jobs.commands, self.replica.jobs.answer_bytes_max)

    def done(self, uint64_t token, bint ok, data=None):
        """The job of that token has ended: a batch is durable, or `data` is what a read gave, or the answers of the
        machine; not `ok`: it failed."""
        if self.failed:
            return
        if token == self.journal.batch_token and token:
            if not ok:
                self.failed = "the storage failed: nothing more is promised; mend the disk and start this node again"
                return
            self.journal.on_durable()
            if self.joining.on_durable():
                self.replica.refuse(self.joining.refused_slots)
            self.release()
            self.settle_wakeup()
        elif token == self.job_token and token:
            if not ok:
                self.failed = "the machine stopped: nothing more is applied or promised"
                return
            self.job_token = 0
            self.replica.jobs.on_answers(data)
            self.settle_wakeup()
        else:
            self.catch_up.on_read(token, ok, data)

    def link_up(self, uint64_t link, int node_id, incarnation, **told):
        """A handshake is done; `node_id` -1 is a client. `told`: what its hello told, see `Link`."""
        cdef Link old, new = Link(link, node_id, incarnation, **told)
        if self.failed:
            return
        old = self.links.add(new)
        if old is not None:
            self.on_peer_gone(old)
        if node_id >= 0:
            if self.pings.copies.is_refused(new.process):
                self.links.close(new, COPIED)
                return
            self.pings.copies.forget(node_id)
            self.joining.on_link_up(new)
            if not new.is_up:            # it was refused
                self.on_peer_gone(new)
                return
            self.comparing.on_link_up(new)
            self.pings.soon()
            self.leading.greet(new)
        self.serving.on_link_up(new)

    def link_down(self, uint64_t link):
        """The connection is gone."""
        cdef Link gone = self.links.drop(link)
        self.replica.answers.note_unread(link, 0)
        if gone is not None:
            self.on_peer_gone(gone)

    def link_backlog(self, uint64_t link, uint64_t backlog):
        """So many bytes of what was handed out have not reached the kernel; see `docs/design.md`."""
        cdef Link peer = self.links.links.get(link)
        if peer is not None and peer.node_id < 0:
            self.replica.answers.note_unread(link, backlog)
        elif peer is not None and not self.failed:
            self.links.on_backlog(peer, backlog, self.context.now_ns)
            self.catch_up.on_room(peer)
            self.leading.on_room(peer)
            self.settle_wakeup()

    # == frames

    cdef int consume(self, Link link, const uint8_t* data, size_t size, size_t* used) except -1:
        """Handles every whole frame of [data, data + size)."""
        cdef size_t length
        while used[0] < size:
            length = self.links.next_frame(link, data + used[0], size - used[0])
            if length:
                self.on_frame(link, data + used[0], length)
                if link.is_late:
                    return 0
            if not link.is_up:           # it was refused
                used[0] = size
                return self.on_peer_gone(link)
            if not length:
                link.arrived_ns = self.context.now_ns
                return 0
            used[0] += length
        return 0

    cdef int on_frame(self, Link link, const uint8_t* frame, size_t size) except -1:
        cdef Received received
        cdef Fault fault = decode(frame, size, &received.message)
        if self.receiving.is_whole(link, fault, &received.message):
            return self.dispatch(link, &received.message, frame, size)
        if self.receiving.read(link, fault, frame, size, &received):
            return self.dispatch(link, &received.message, received.frame, received.size)
        return 0

    cdef int dispatch(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1:
        if message.kind == REQUEST:
            return self.serving.on_request(link, message)
        if link.node_id < 0:
            if message.kind == STATUS_REQUEST:
                return self.links.on_status_request(link, message.nonce)
            return self.links.refuse(link, "a peer's message from a client")
        if not self.leading.may_be(message.ballot) or not self.leading.may_be(message.decided.ballot):
            return self.links.refuse(link, "a ballot that no leader makes")
        if not link.counts:
            return self.on_stranger(link, message)
        if message.kind == PHASE2A:
            return self.voter.on_phase2a(link, message, frame, size)
        if message.kind == PHASE2B:
            return self.leading.on_phase2b(link, message)
        if message.kind == DECISION:
            return self.catch_up.on_watermark(link, &message.decided)
        if message.kind == PHASE1A:
            return self.pings.send_pong(link, 0) if self.voter.on_phase1a(link, message) else 0
        if message.kind == PHASE1B:
            return self.leading.on_phase1b(link, message)
        if message.kind == PING:
            return self.on_founders_ping(link, message)
        if message.kind == PONG:
            return self.pings.on_pong(link, message)
        if message.kind == FETCHED:
            return self.catch_up.on_fetched(link, message)
        return self.on_question(link, message)

    cdef int on_stranger(self, Link link, const Message* message) except -1:
        """A message of a peer that is no known founder: it may ask, and neither scouts nor leads."""
        if message.kind in (PHASE1A, PHASE2A) and self.links.founders is not None:
            return self.links.refuse(link, "a proposal from an incarnation that founded nothing")
        if message.kind in (PHASE1A, PHASE1B, PHASE2A, PHASE2B, DECISION, FETCHED, PONG):
            return 0
        if message.kind == PING:
            return self.pings.on_ping(link, message)
        return self.on_question(link, message)

    cdef int on_question(self, Link link, const Message* message) except -1:
        if message.kind == FETCH:
            return self.catch_up.on_fetch(link, message)
        elif message.kind == FOUNDING:
            return self.joining.on_founding(link, message)
        return self.links.refuse(link, f"message {<int>message.kind}, which peers do not send")

    cdef int on_founders_ping(self, Link link, const Message* message) except -1:
        cdef Link copied = self.pings.copy_in(link, message)
        if copied is not None:
            self.links.close(copied, COPIED)
            self.on_peer_gone(copied)
        return self.pings.on_ping(link, message) if link.is_up else 0

    cdef int on_peer_gone(self, Link link) except -1:
        """A link is down; a client's does not matter here."""
        if link.node_id < 0:
            return 0
        self.joining.on_link_down(link)
        self.catch_up.on_link_down(link)
        return self.leading.on_link_down(link)

    # == time

    cdef int start_timers(self) except -1:
        self.leading.start()
        self.catch_up.start()
        self.pings.soon()
        return self.joining.start()

    cdef uint64_t due_ns(self) noexcept:
        cdef uint64_t due = min(self.foreign.due_ns, self.links.status_due_ns)
        due = min(due, min(self.catch_up.due_ns(), self.journal.due_ns()))
        return min(due, min(self.pings.due_ns(), self.leading.due_ns()))

    def next_tick_ns(self):
        """The moment by which `tick` has to be called at the latest."""
        return self.due_ns()

    cdef int on_timers(self) except -1:
        """Runs the timers that are due, but for a fetch: see `settle_wakeup`."""
        cdef Link ahead = None
        for ahead in self.foreign.take_late():
            if ahead.is_up:
                self.read_pending(ahead)
        if self.context.now_ns >= self.pings.due_ns():
            self.pings.send_pings()
            self.leading.on_ping_due()
            self.joining.on_ping_due()
        if self.context.now_ns >= self.leading.due_ns():
            ahead = self.leading.on_due()
        return self.catch_up.want_from(ahead) if ahead is not None else 0

    # == once per wake-up

    cdef int settle_wakeup(self) except -1:
        self.leading.act_on_verdicts()
        while True:
            self.replica.perform()
            self.leading.advance()
            self.release()
            if not self.leading.has_verdicts():
                break
            self.leading.act_on_verdicts()
        if self.leader.state == ACTIVE:
            self.catch_up.want(self.leader.commanders.start, -1)
        self.serving.settle()
        self.leading.settle()
        self.catch_up.settle()
        self.journal.settle(self.context.now_ns)
        self.journal.drop_applied(self.context.now_ns)
        return 0

    cdef int release(self) except -1:
        self.voter.release()
        return self.leading.on_durable()

    # == queries

    @property
    def node_id(self):
        """The id of this node."""
        return self.context.node_id

    @property
    def cluster_id(self):
        """The id of the cluster to which this node belongs, as its disk has it; 0: none yet."""
        return self.joining.cluster_id

    @property
    def refused_slots(self):
        """The slots in which no command is applied, in order."""
        return self.joining.refused_slots

    @property
    def slot_out(self):
        """The next slot to be applied here."""
        return self.replica.slot_out

    @property
    def voting(self):
        """Does its acceptor vote? Only with a durable voter record."""
        return bool(self.acceptor.voting)

    def command_at(self, uint64_t slot):
        """(kind, session, sequence, payload) decided in a slot, or None where it is not in memory."""
        return self.replica.decision_at(slot)

    def status(self):
        """Facts about this node, for `multipaxos status`."""
        return self.report.status()

    def invariants(self):
        """Raises InvariantViolation where a rule of the protocol does not hold inside this node."""
        self.acceptor.invariants()
        self.leader.invariants()
        self.replica.invariants()
        self.links.invariants()
        self.journal.invariants()
        self.joining.invariants()
        self.leading.invariants()
        self.catch_up.invariants()
        self.voter.invariants()
