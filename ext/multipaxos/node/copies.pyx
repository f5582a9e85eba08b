"""Copies: do two processes run on copies of one data directory?

Theory. Such processes are one acceptor that votes twice. Where both meet one peer, the handshake refuses the second.
Where each peer meets only one of them, the peers have to compare: every process draws a random number when it starts,
and every ping tells, for each node, the number of the process that its sender is linked with and that lived lately.
Whoever is linked with another process of that node hears a contradiction.

A contradiction is normal for a short time after a restart: the peer still tells the process that is gone. It is not
normal when it stays, because a peer tells a process only if it has answered a ping that the peer sent lately. (When a
message arrives would say less: what a process has sent may arrive long after its end.)

Rules.
- Only processes of founders are told and compared, so both have the same incarnation, and that means one directory.
- A contradiction counts when it has been told in at least PINGS_MIN pings, over more than `patience_ns` by our clock
  and by the peer's: pings that were held up on their way, and arrive all at once, do not make it old.
- A peer that tells nothing of a node neither adds to a contradiction nor ends it; the same process on both sides, or
  another one on either side, ends it.
- A process that was found to be a copy is refused as long as this process lives. Each side of a contradiction refuses
  the process that it is linked with, so in the end both are out, and the operator has to end one of them.
- Who is first to refuse a process goes on telling it for `patience_ns`, or the other side would never hear enough. Not
  longer: then no contradiction that begins after the refusal can become old enough.
"""

cimport cython

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from multipaxos.errors import InvariantViolation

cdef enum:
    PINGS_MIN = 2


@cython.final
cdef class Copies:
    """What the peers of a cluster of `nodes` tell. `patience_ns`: how long a contradiction may last."""

    def __cinit__(self, int nodes, uint64_t patience_ns):
        self.nodes = nodes
        self.patience_ns = patience_ns
        self.refused = set()
        self.claims = <Claim*>calloc(nodes * nodes, sizeof(Claim))
        self.newest_ns = <uint64_t*>calloc(nodes, sizeof(uint64_t))
        self.refusals = <Refusal*>calloc(nodes, sizeof(Refusal))
        if self.claims == NULL or self.newest_ns == NULL or self.refusals == NULL:
            raise MemoryError("no memory for what peers tell of processes")

    def __dealloc__(self):
        free(self.claims)
        free(self.newest_ns)
        free(self.refusals)

    cdef bint is_new(self, int peer, uint64_t their_ns) noexcept:
        """A ping that the peer sent at `their_ns`: is it newer than all before?"""
        if their_ns <= self.newest_ns[peer]:
            return False
        self.newest_ns[peer] = their_ns
        return True

    cdef bint hear(self, int peer, int node, uint64_t theirs, uint64_t ours, uint64_t now_ns,
                   uint64_t their_ns) except -1:
        """In a new ping a peer tells that it is linked with the process `theirs` of a node, we are with `ours` (0:
        none, or none that lived lately). True: both run on copies, and ours is refused from now on."""
        cdef Claim* claim = &self.claims[peer * self.nodes + node]
        if theirs == 0 or ours == 0:
            return False
        if theirs == ours:
            claim.pings = 0
            return False
        if claim.pings == 0 or claim.theirs != theirs or claim.ours != ours:
            claim[0] = Claim(theirs, ours, now_ns, their_ns, 0)
        claim.pings += 1
        if (claim.pings < PINGS_MIN or now_ns - claim.since_ns <= self.patience_ns
                or their_ns - claim.their_since_ns <= self.patience_ns):
            return False
        claim.pings = 0
        self.refused.add(ours)
        self.refusals[node] = Refusal(ours, now_ns + self.patience_ns)
        return True

    cdef uint64_t refused_lately(self, int node, uint64_t now_ns) noexcept:
        """The process of a node that is still told because it was refused lately; 0: none."""
        return self.refusals[node].process if now_ns < self.refusals[node].until_ns else 0

    cdef bint is_refused(self, object process):
        return process in self.refused

    cdef void forget(self, int peer) noexcept:
        """The peer has a new link: its clock may be another one."""
        cdef int node
        self.newest_ns[peer] = 0
        for node in range(self.nodes):
            self.claims[peer * self.nodes + node].pings = 0

    # -- for tests
    def tell(self, int peer, int node, uint64_t theirs, uint64_t ours, uint64_t now_ns, uint64_t their_ns):
        """One node's part of a ping; True as `hear`. A ping that is not new counts for nothing."""
        return bool(self.is_new(peer, their_ns) and self.hear(peer, node, theirs, ours, now_ns, their_ns))

    def invariants(self):
        """Whoever is contradicted has a process."""
        cdef int i
        for i in range(self.nodes * self.nodes):
            if self.claims[i].pings and (self.claims[i].theirs == self.claims[i].ours or not self.claims[i].ours):
                raise InvariantViolation(f"process {self.claims[i].ours} of node {i % self.nodes} contradicts itself")
