"""Report: facts about a node, for `multipaxos status`.

Rules. It only reads. Names of fields are part of what users see: a field is added, and never gets another meaning.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.agreement cimport Agreement
from multipaxos.node.comparing cimport Comparing
from multipaxos.node.context cimport Context
from multipaxos.node.foreign cimport Foreign
from multipaxos.node.joining cimport Joining
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.ballot cimport ballot_leader
from multipaxos.paxos.leader cimport ACTIVE, Leader
from multipaxos.paxos.replica cimport Replica

from multipaxos.paxos.ballot import describe


@cython.final
cdef class Report:

    def __cinit__(self, Context context not None, Links links not None, Foreign foreign not None,
                  Joining joining not None,
                  Leading leading not None, Comparing comparing not None, Acceptor acceptor not None,
                  Leader leader not None, Replica replica not None):
        self.context = context
        self.links = links
        self.foreign = foreign
        self.joining = joining
        self.leading = leading
        self.comparing = comparing
        self.acceptor = acceptor
        self.leader = leader
        self.replica = replica

    cdef dict status(self):
        cdef Link link
        cdef uint64_t leading_ballot = self.leading.leading_ballot
        cdef Agreement agreement = self.comparing.agreement
        state_hash = None
        if self.context.is_replica:
            state_hash = f"{self.replica.state_hash():016x}"
        return {
            "id": self.context.node_id,
            "leading": self.leader.state == ACTIVE,
            "ballot": describe(self.acceptor.ballot_num if self.context.is_acceptor else self.leading.known_ballot),
            "leader": int(ballot_leader(leading_ballot)) if leading_ballot else None,
            "slot_in": self.replica.slot_in,
            "slot_out": self.replica.slot_out,
            "unapplied": self.replica.undecided - self.replica.slot_out,
            "mark": self.acceptor.mark,
            "holes": self.acceptor.holes.slots(),
            "voting": bool(self.acceptor.voting),
            "state_hash": state_hash,
            "state_slot": agreement.slot,
            "differs": "minority" if agreement.differs else "no majority" if agreement.divided else None,
            "differs_from": [i for i in range(self.context.nodes) if agreement.unlike >> i & 1],
            "machine_version": self.replica.settings.machine_version,
            "machine_known": self.replica.settings.machine_known,
            "semantics": self.replica.settings.semantics,
            "semantics_known": self.replica.settings.semantics_known,
            "incarnation": f"{self.context.incarnation:016x}",
            "cluster_id": f"{self.joining.cluster_id:016x}",
            "refused_slots": list(self.joining.refused_slots),
            "founded": not self.joining.founding.fresh,
            "requests": len(self.replica.requests),
            "overloaded": self.replica.requests.overloaded,
            "void_commands": self.replica.requests.void_commands,
            "refused_openings": self.replica.requests.refused_openings,
            "refused_repeats": self.replica.requests.refused_repeats,
            "reproposals": self.replica.reproposals,
            "sessions": self.replica.sessions.count,
            "fresh_sessions": self.replica.sessions.fresh,
            "kept_bytes": self.replica.sessions.kept_bytes,
            "memory_bytes": (self.acceptor.accepted.bytes + self.leading.journal.waiting()
                             + self.replica.requests.queue.bytes),
            "undurable_bytes": self.leading.journal.waiting(),
            "unsent_bytes": sum([link.unsent for link in self.links.peers if link is not None]),
            "repeated_runs": self.leading.delivery.repeated,
            "missed_by_nodes": self.leading.delivery.missed,
            "dropped_runs": self.acceptor.dropped_runs,
            "in_flight_bytes": self.leading.commanders.proposals.bytes,
            "flight_window_bytes": self.leading.delivery.flight.window,
            "partial_bytes": self.links.partial_bytes,
            "withheld_answers": self.replica.answers.withheld,
            "status_waiting": len(self.links.status_requests),
            "foreign_frames": self.foreign.frames,
            "late_links": len(self.foreign.late),
            "bad_frames": self.links.bad_frames,
            "peers": [link.node_id for link in self.links.peers if link is not None],
        }
