"""Founding: which incarnations may vote.

Theory. An acceptor that has forgotten must not vote as if it had not. A data directory gets a random incarnation when
it is made; only a durable *voter record* - the list of the n incarnations that founded the cluster - lets a node vote
or lead. A fresh node tells all others its incarnation and which incarnations it knows (its *view*). When all n report
to be fresh with one and the same complete view, that view is the list of founders; and a node without a voter record
becomes a voter too when a founder's list names its present incarnation. Anything else - a wiped disk, memory that
restarted - learns without voting.

Why the views must be equal, not only "all fresh". B answers A as fresh, is wiped, and comes back as B'. C, which took
A's answer before A founded {A, B, C}, must not found {A, B', C}. A's answer named B in its view, C's view names B', so
they differ. For two different lists to be founded, some node must report one view and later the other, and go back: it
would have to hear a dead incarnation after its successor, and links do not come up in that order (the transport's
handshake).

Why who has learnt is not fresh. A node without a voter record that holds anything of a log is a witness that a cluster
was founded. Were all founders wiped, they and it would found another one, with other commands in the slots that it
applied.

Rules.
- What a peer said counts only while the link on which it said it is up, and only for that link's incarnation.
- Who has learnt anything reports no view, so nobody founds with it, and does not found by views itself.
- `founders` is set once. It is durable before the node votes: the node makes it so and then calls `set_voting`.
"""

cimport cython

from libc.stdint cimport uint64_t


@cython.final
cdef class Founding:
    """The state of one node's founding. `founders`: the recovered voter record, or None."""

    cdef readonly int node
    cdef readonly int nodes
    cdef readonly uint64_t incarnation
    cdef readonly tuple founders
    cdef public bint learnt          # it holds something of a log
    cdef list view                   # by node: the incarnation on the live link or last seen; 0 unknown
    cdef dict reports                # node -> (fresh, incarnations), of live links

    def __init__(self, int node, int nodes, uint64_t incarnation, founders=None):
        self.node = node
        self.nodes = nodes
        self.incarnation = incarnation
        self.founders = founders
        self.view = [0] * nodes
        self.view[node] = incarnation
        self.reports = {}

    @property
    def fresh(self):
        """No voter record: nothing was promised."""
        return self.founders is None

    @property
    def may_found(self):
        """By views; not by a list that names it."""
        return self.fresh and not self.learnt

    def on_link_up(self, int node, incarnation):
        """A living process speaks; True if our view changed, so that all should hear of it."""
        self.reports.pop(node, None)
        changed = self.view[node] != incarnation
        self.view[node] = incarnation
        return changed

    def on_link_down(self, int node):
        """What it said no longer counts."""
        self.reports.pop(node, None)

    def on_founding(self, int node, incarnation, fresh, incarnations):
        """A peer's report; returns the list of founders if that decides it for us, else None."""
        if incarnation != self.view[node]:
            return None
        if len(incarnations) != self.nodes:
            self.reports.pop(node, None)
            return None
        self.reports[node] = (bool(fresh), tuple(incarnations))
        return self.found()

    def found(self):
        """The founders, if what was heard allows to found now (and then it is done); else None."""
        if self.founders is not None:
            return None
        for fresh, incarnations in self.reports.values():
            if not fresh and incarnations[self.node] == self.incarnation:
                self.founders = incarnations
                return incarnations
        if not self.may_found:
            return None
        view = tuple(self.view)
        if len(self.reports) == self.nodes - 1 and all(report == (True, view) for report in self.reports.values()):
            self.founders = view
            return view
        return None

    def message(self):
        """(incarnation, fresh, incarnations) to tell the others: the founders, or while fresh the view, or nothing
        where anything was learnt."""
        if self.fresh and not self.may_found:
            return self.incarnation, True, []
        return self.incarnation, self.fresh, list(self.founders or self.view)

    def is_foreign(self, node):
        """Is that peer a founder of another cluster?"""
        fresh, incarnations = self.reports.get(node, (True, ()))
        return not self.fresh and not fresh and incarnations != self.founders

    def is_refused(self):
        """Is there a cluster of which this incarnation is no founder?"""
        return self.fresh and any(not fresh for fresh, _ in self.reports.values())

    def is_witness(self):
        """Has it learnt of a cluster of which nobody else that it hears knows?"""
        return self.fresh and self.learnt and len(self.reports) == self.nodes - 1 and not self.is_refused()
