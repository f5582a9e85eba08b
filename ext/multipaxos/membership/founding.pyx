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

Why a node that has learnt is not fresh. A node without a voter record that holds anything of a log is a witness that a
cluster was founded. If all founders were wiped, they would found another cluster together with this node, with other
commands in the slots that it has applied.

Rules.
- What a peer has reported counts only while the link on which it came is up, and only for that link's incarnation.
- A node that has learnt anything reports no view: no node founds with it, and it does not found from views.
- `founders` is set once. The node makes it durable, and only then calls the acceptor's `set_voting`.
"""

cimport cython

from libc.stdint cimport uint64_t

from multipaxos.errors import InvariantViolation


@cython.final
cdef class Founding:
    """The state of one node's founding. `founders`: the recovered voter record, or None."""

    def __init__(self, int node, int nodes, uint64_t incarnation, founders=None):
        self.node = node
        self.nodes = nodes
        self.incarnation = incarnation
        self.founders = founders
        self.fresh = founders is None
        self.view = [0] * nodes
        self.view[node] = incarnation
        self.reports = {}

    @property
    def may_found(self):
        """May this node found a cluster from views? (A founder's list that names it is enough in any case.)"""
        return self.fresh and not self.learnt

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
        return self.found()

    def found(self):
        """Founds if what was reported allows it: returns the founders the first time, else None."""
        if not self.fresh:
            return None
        for fresh, incarnations in self.reports.values():
            if not fresh and incarnations[self.node] == self.incarnation:
                return self.found_with(incarnations)
        if not self.may_found:
            return None
        view = tuple(self.view)
        if len(self.reports) == self.nodes - 1 and all([report == (True, view) for report in self.reports.values()]):
            return self.found_with(view)
        return None

    cdef tuple found_with(self, tuple founders):
        self.founders = founders
        self.fresh = False
        return founders

    def message(self):
        """What is sent to all peers: (incarnation, fresh, incarnations), the last being the founders, or while fresh
        the view, or nothing if this node has learnt anything."""
        if self.fresh and not self.may_found:
            return self.incarnation, True, []
        return self.incarnation, self.fresh, list(self.founders or self.view)

    def is_foreign(self, node):
        """Is that peer a founder of another cluster?"""
        fresh, incarnations = self.reports.get(node, (True, ()))
        return not self.fresh and not fresh and incarnations != self.founders

    def is_refused(self):
        """Does any peer belong to a cluster of which this incarnation is no founder?"""
        return self.fresh and any([not fresh for fresh, _ in self.reports.values()])

    def is_witness(self):
        """Has it learnt of a cluster that none of its peers knows, with all of them connected?"""
        return self.fresh and self.learnt and len(self.reports) == self.nodes - 1 and not self.is_refused()

    def invariants(self):
        """A node without founders is fresh, and its view names its own incarnation."""
        if self.fresh != (self.founders is None) or self.view[self.node] != self.incarnation:
            raise InvariantViolation(f"founding: fresh is {bool(self.fresh)} with founders {self.founders}, in view of "
                                     f"{self.view}")
