"""What all organs of a node know: who it is, what time it is, and where events go.

Rules.
- Only `Node.tick` sets the time. It does not change while a verb runs, so all organs see one moment.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.output cimport NOTHING, Event
from multipaxos.paxos.roles cimport ACCEPTOR, LEADER, REPLICA


@cython.final
cdef class Context:
    """`cluster`: its name; `roles`: by node id, bits 1 replica, 2 leader, 4 acceptor; `incarnation`: of this node's
    data directory."""

    def __cinit__(self, str cluster not None, int node_id, roles, incarnation, uint64_t window):
        self.cluster = cluster
        self.node_id = node_id
        self.nodes = len(roles)
        self.roles = list(roles)
        self.incarnation = incarnation
        self.window = window
        self.is_replica = bool(roles[node_id] & REPLICA)
        self.is_leader = bool(roles[node_id] & LEADER)
        self.is_acceptor = bool(roles[node_id] & ACCEPTOR)
        self.events = []

    cdef int note(self, str kind, uint64_t ballot, uint64_t slot, str text) except -1:
        """Something happened: see `Event`."""
        self.events.append(Event(kind, ballot, slot, text))
        return 0

    cdef list take_events(self):
        """The events since the last call."""
        cdef list events = self.events
        if not events:
            return NOTHING
        self.events = []
        return events
