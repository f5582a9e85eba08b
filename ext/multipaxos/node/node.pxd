# A node's core: see node.pyx.
cimport cython

from libc.stdint cimport uint8_t, uint64_t

from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.wire.buffer cimport Bytes
from multipaxos.wire.messages cimport Message
from multipaxos.wire.run cimport Run
from multipaxos.node.election cimport Election
from multipaxos.paxos.commander cimport Commanders
from multipaxos.paxos.leader cimport Leader
from multipaxos.paxos.quorum cimport QuorumSystem
from multipaxos.paxos.replica cimport Replica

cdef struct Ack:                     # a phase 2b that waits for a batch to be durable
    uint64_t batch
    uint64_t ballot, first, end
    int node


@cython.final
cdef class Link:
    cdef readonly uint64_t id
    cdef readonly int node           # -1: a client
    cdef readonly object incarnation
    cdef Bytes pending               # a frame that has not wholly come
    cdef Bytes outgoing
    cdef uint64_t slot_out           # of the peer, as it last said
    cdef uint64_t heard_ns           # when it last said so
    cdef uint64_t mark               # the peer has forgotten what lies below, as it last said in answer to a fetch
    cdef uint64_t told_end           # decisions up to here were told to it
    cdef uint64_t forwards_ns        # when it last forwarded a request: it has clients that wait
    cdef bint reading                # a read for it is under way


@cython.final
cdef class Node:
    cdef readonly int id
    cdef readonly int nodes
    cdef list roles
    cdef readonly QuorumSystem quorums
    cdef readonly object incarnation
    cdef readonly Acceptor acceptor
    cdef readonly Leader leader
    cdef Commanders commanders       # the leader's
    cdef readonly Replica replica
    cdef readonly Election election
    cdef readonly object founding
    cdef object machine
    cdef object flatten
    cdef bint is_replica, is_leader, is_acceptor
    cdef uint64_t window, ring_bytes
    cdef uint64_t now_ns, utc_ns, ping_interval_ns
    cdef readonly uint64_t known_ballot      # highest ballot seen anywhere
    cdef readonly uint64_t leading_ballot    # of the leader that was last seen to lead
    cdef uint64_t led_ns             # when one last said to lead at the highest ballot we know, with its quorum
    # links
    cdef dict links
    cdef list peers                  # by node id: Link or None
    # durability
    cdef Bytes records
    cdef dict meta
    cdef uint64_t gathering          # number of the batch that gathers
    cdef readonly uint64_t durable   # newest durable batch
    cdef uint64_t batch_token, next_token
    cdef uint64_t decided_put        # value of meta "decided" in the newest batch
    cdef uint64_t durable_out        # slot_out of the newest durable batch
    cdef uint64_t emitted_out
    cdef uint64_t founding_batch     # the voter record is in this batch; 0 none
    cdef uint64_t scout_batch        # the scout's ballot is in this batch; 0: asked already
    cdef Ack* acks
    cdef uint64_t acks_count, acks_room
    cdef list promises               # (batch, node, bytes): phase 1b that wait
    cdef Bytes scratch
    # catching up
    cdef uint64_t scanned, scanned_ballot
    cdef uint64_t fetch_end
    cdef uint64_t adopted_ns           # when our scout's ballot was adopted
    cdef uint64_t ballot_put           # the greatest ballot put among the metadata
    cdef uint64_t fetching             # first slot of the fetch that is on its way; 0: none
    cdef uint64_t fetch_due_ns
    cdef int fetch_source            # who is known to be further; -1: nobody
    cdef int fetch_asked             # who was asked last
    cdef dict reads
    # timers
    cdef uint64_t ping_due_ns, resend_due_ns, decision_due_ns, forward_due_ns, founding_due_ns, scout_due_ns
    cdef list closes, events, keep
    cdef readonly str failed
    cdef readonly uint64_t bad_frames

    cdef int consume(self, Link link, const uint8_t* data, size_t size, size_t* used) except -1
    cdef int on_frame(self, Link link, const uint8_t* frame, size_t size) except -1
    cdef int dispatch(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1
    cdef int note(self, str kind, uint64_t ballot, uint64_t slot, str text) except -1
    cdef int refuse(self, Link link, str reason) except -1
    cdef int on_phase1a(self, Link link, const Message* message) except -1
    cdef int on_phase1b(self, Link link, const Message* message) except -1
    cdef int on_phase2a(self, Link link, const Message* message, const uint8_t* frame, size_t size) except -1
    cdef int on_phase2b(self, Link link, const Message* message) except -1
    cdef int on_fetch(self, Link link, const Message* message) except -1
    cdef int on_fetched(self, Link link, const Message* message) except -1
    cdef int on_ping(self, Link link, const Message* message) except -1
    cdef int on_pong(self, Link link, const Message* message) except -1
    cdef int on_founding(self, Link link, const Message* message) except -1
    cdef int on_request(self, Link link, const Message* message) except -1
    cdef int on_watermark(self, int source, uint64_t ballot, uint64_t first, uint64_t end) except -1
    cdef int see_ballot(self, uint64_t ballot) except -1
    cdef int see_leading(self, uint64_t ballot) except -1
    cdef int record(self, Run* run, uint64_t first, uint64_t end) except -1
    cdef int record_part(self, Run* run, uint64_t first, uint64_t end) except -1
    cdef uint64_t newest_batch(self) noexcept
    cdef int put_meta(self, bytes key, object value) except -1
    cdef int put_ballot(self, uint64_t ballot) except -1
    cdef int hold_ack(self, int node, uint64_t ballot, uint64_t first, uint64_t end) except -1
    cdef int hold_promise(self, int node, bytes data) except -1
    cdef int release(self) except -1
    cdef int release_acks(self) except -1
    cdef int put_ack(self, int node, uint64_t ballot, uint64_t first, uint64_t end) except -1
    cdef int after(self) except -1
    cdef int act_on_verdicts(self) except -1
    cdef int on_adopted(self) except -1
    cdef int on_preempted(self, uint64_t ballot) except -1
    cdef int on_decided(self) except -1
    cdef int take(self, Run* run) except -1
    cdef int send_run(self, Run* run) except -1
    cdef int send_run_to(self, Link link, Run* run) except -1
    cdef int propose(self) except -1
    cdef int forward(self) except -1
    cdef int fetch(self) except -1
    cdef Link source(self)
    cdef int put_answers(self) except -1
    cdef int answer_fetch(self, Link link, uint64_t first, uint64_t end) except -1
    cdef int resend(self) except -1
    cdef int resend_to_self(self) except -1
    cdef int resend_to(self, Link link) except -1
    cdef int send_decisions(self, bint all_links) except -1
    cdef int send_ping(self) except -1
    cdef int send_pong(self, Link link, uint64_t nonce) except -1
    cdef int send_founding(self, Link link) except -1
    cdef int send_scout(self) except -1
    cdef int scout(self) except -1
    cdef int step_down(self, str why) except -1
    cdef int on_timers(self) except -1
    cdef bint may_lead(self) noexcept
    cdef int trim(self) except -1
    cdef int founded(self) except -1
    cdef int load(self, object records) except -1
    cdef int load_record(self, Run* run, uint64_t first, uint64_t end, uint64_t index) except -1
    cdef int load_apply(self, uint64_t end) except -1
    cdef int begin_at(self, uint64_t mark) noexcept
    cdef int advance_rings(self, uint64_t base) noexcept
    cdef object emit(self)
    cdef int greet(self, Link link) except -1
    cdef int on_founded(self) except -1
    cdef int on_read(self, uint64_t link_id, uint64_t first, uint64_t end, bint ok, object data) except -1
    cdef int own_promise(self, bytes data) except -1
    cdef int start_timers(self) except -1
    cdef int on_ping_due(self) except -1
    cdef int on_scout_due(self) except -1
