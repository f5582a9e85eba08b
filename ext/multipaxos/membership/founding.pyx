"""Founding: which incarnations may vote.

Theory. An acceptor that has forgotten must not vote as if it had not. A data directory gets a random incarnation when
it is made. Only a durable *voter record* - the list of the n incarnations that founded the cluster - lets a node vote
or lead. A fresh node reports its incarnation to all others, and which incarnations it knows (its *view*). When all n
nodes report to be fresh with one and the same complete view, that view is the list of founders. A node without a voter
record also becomes a voter when a founder's list names its present incarnation. Any other node - one with a wiped
disk, or with memory storage after a restart - learns without voting.

Why the views must be equal, and "all fresh" is not enough. B answers A as fresh, is wiped, and comes back as B'. C,
which received A's answer before A founded {A, B, C}, must not found {A, B', C}. A's answer named B in its view, C's
view names B', so they differ. Two different lists could be founded only if some node reported one view, later the
other, and then the first one again. That node would have received from a dead incarnation after its successor, and
links do not come up in that order (the transport's handshake sees to that).

The cluster id. A list of founders has an id: 64 bits of a hash over the cluster's name and the list. Every node keeps
the id of its cluster: a founder with its voter record, any other node when it meets the first founder. 0 is none yet.
A node without an id learns nothing of a log (`node.joining`), so whoever holds something of a log knows whose it is.

Why a node with an id does not found from views. It is a witness that a cluster was founded. If all founders were
wiped, they would found another cluster together with this node, with other commands in the slots that it has applied.

Rules.
- What a peer has reported counts only while the link on which it came is up, and only for that link's incarnation.
- A node that has an id and no voter record reports no view: no node founds with it, and it does not found from views.
- The id is set once, from a founder's list only. Only a list of this id is believed after that.
- `founders` is set once. The node makes it durable, and only then calls the acceptor's `set_voting`.
"""

cimport cython

import hashlib

from libc.stdint cimport uint64_t

from multipaxos.errors import InvariantViolation


def cluster_id_of(str name not None, founders):
    """The id of the cluster of that name which these incarnations founded, by node id; never 0."""
    data = name.encode() + bytes(1) + b"".join([incarnation.to_bytes(8, "little") for incarnation in founders])
    return int.from_bytes(hashlib.sha256(data).digest()[:8], "big") or 1


@cython.final
cdef class Founding:
    """The state of one node's founding. `name`: of the cluster. `founders`: the recovered voter record, or None.
    `cluster_id`: the recovered id, 0: none."""

    def __init__(self, str name not None, int node, int nodes, uint64_t incarnation, founders=None,
                 uint64_t cluster_id=0):
        self.name = name
        self.node = node
        self.nodes = nodes
        self.incarnation = incarnation
        self.founders = self.known = founders
        self.cluster_id = cluster_id
        self.fresh = founders is None
        self.view = [0] * nodes
        self.view[node] = incarnation
        self.reports = {}

    @property
    def may_found(self):
        """May this node found a cluster from views? (A founder's list that names it is enough in any case.)"""
        return self.fresh and not self.cluster_id

    def on_link_up(self, int node, incarnation):
        """A link to a living process is up; True if our view changed, so that it should be sent to all peers."""
        self.reports.pop(node, None)
        changed = self.view[node] != incarnation
        self.view[node] = incarnation
        return changed

    def on_link_down(self, int node):
        """A link is gone: what the peer has reported no longer counts."""
        self.reports.pop(node, None)

    def on_founding(self, int node, incarnation, fresh, incarnations):
        """A peer reports; returns the list of founders if the report completes the founding, else None."""
        if incarnation != self.view[node]:
            return None
        if len(incarnations) != self.nodes:
            self.reports.pop(node, None)
            return None
        self.reports[node] = (bool(fresh), tuple(incarnations))
        founders = self.found()
        if founders is None and not fresh:
            self.meet(tuple(incarnations))
        return founders

    cdef int meet(self, tuple founders) except -1:
        """A founder's list that does not name this incarnation: of the cluster that this node belongs to from now on,
        or does already, or of another one."""
        cdef uint64_t cluster_id = cluster_id_of(self.name, founders)
        if not self.cluster_id:
            self.cluster_id = cluster_id
        if cluster_id == self.cluster_id:
            self.known = founders
        return 0

    def found(self):
        """Founds if what was reported allows it: returns the founders the first time, else None."""
        if not self.fresh:
            return None
        for fresh, incarnations in self.reports.values():
            if not fresh and incarnations[self.node] == self.incarnation and not self.is_other(incarnations):
                return self.found_with(incarnations)
        if not self.may_found:
            return None
        view = tuple(self.view)
        if len(self.reports) == self.nodes - 1 and all([report == (True, view) for report in self.reports.values()]):
            return self.found_with(view)
        return None

    cdef tuple found_with(self, tuple founders):
        self.founders = self.known = founders
        self.cluster_id = cluster_id_of(self.name, founders)
        self.fresh = False
        return founders

    cdef bint is_other(self, tuple founders) except -1:
        """Is this the list of another cluster than this node's?"""
        return self.cluster_id != 0 and cluster_id_of(self.name, founders) != self.cluster_id

    def message(self):
        """What is sent to all peers: (incarnation, fresh, incarnations), the last being the founders, or while fresh
        the view, or nothing if this node has an id."""
        if self.fresh and not self.may_found:
            return self.incarnation, True, []
        return self.incarnation, self.fresh, list(self.founders or self.view)

    def is_foreign(self, node):
        """Is that peer a founder of another cluster?"""
        fresh, incarnations = self.reports.get(node, (True, ()))
        return not fresh and self.is_other(incarnations)

    def is_witness(self):
        """Does it belong to a cluster of which none of its peers is a founder, with all of them connected?"""
        return (self.fresh and self.cluster_id != 0 and len(self.reports) == self.nodes - 1
                and all([fresh for fresh, _ in self.reports.values()]))

    def invariants(self):
        """A node without founders is fresh, its view names its own incarnation, and the id is that of the founders."""
        if self.fresh != (self.founders is None) or self.view[self.node] != self.incarnation:
            raise InvariantViolation(f"founding: fresh is {bool(self.fresh)} with founders {self.founders}, in view of "
                                     f"{self.view}")
        if self.known is not None and cluster_id_of(self.name, self.known) != self.cluster_id:
            raise InvariantViolation(f"founding: the cluster's id is {self.cluster_id}, not that of {self.known}")
