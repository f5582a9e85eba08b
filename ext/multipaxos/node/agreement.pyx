"""Do the replicas hold one state? The pure rule; `pings` carries the reports, `node` acts on the verdict.

Theory. Replicas that apply one log hold one state, unless a machine is not deterministic or memory has failed. Then two
clients read different things, and no vote shows it: the log is the same everywhere. So each replica tells the others in
its pings (slot, hash of its state after that slot), for slots that all of them choose alike (`paxos.landmark`). A
replica keeps its own newest PAIRS_MAX pairs and those of each other replica, and judges at the slots of its own.

With three replicas or more, one that is alone with its state can be told from the others: a majority of *all* replicas
has one other hash at a slot. Two different majorities cannot have one hash each, so a majority is never told so.
The replica that is told is not asked whether it is right: it may be that the majority has the wrong state. But answers
of one state are linearizable, and answers of two states are not.

Rules.
- Only hashes of one slot are compared.
- `differs`: a majority of all replicas of the cluster, silent ones counted, has one hash that is not ours. It stays
  until the process ends, because a state that was wrong once may have the right hash by chance, and its answers are
  wrong all the same. A node that differs does not lead and answers no client. It votes and learns, because votes and
  the log do not depend on the state.
- `divided`: no hash can have a majority, whatever the silent replicas would tell. Nobody can say who is wrong: all
  replicas say that, and go on. It is over when a majority agrees at a later slot.
- What a replica told is forgotten when its process may have changed (`forget`).
"""

cimport cython

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from multipaxos.paxos.limits cimport ACCEPTORS_MAX


@cython.final
cdef class Agreement:
    """`replicas`: the ids of all nodes with the replica's role, at most ACCEPTORS_MAX."""

    def __cinit__(self, int node_id, replicas):
        cdef int replica
        self.node_id = node_id
        self.majority = len(replicas) // 2 + 1
        for replica in replicas:
            self.replicas |= <uint64_t>1 << replica
        self.told = <Told*>calloc(ACCEPTORS_MAX, sizeof(Told))
        if self.told == NULL:
            raise MemoryError("no memory for the hashes of replicas")

    def __dealloc__(self):
        free(self.told)

    # -- reports
    cpdef bint tell(self, uint64_t slot, uint64_t hash) noexcept:
        """This replica tells the hash of its state after `slot`; 0: nothing is applied yet. True if the verdict
        changed."""
        if slot <= self.slot:
            return False
        self.slot, self.hash = slot, hash
        self.put(self.node_id, slot, hash)
        return self.judge(slot)

    cpdef bint hear(self, int node_id, uint64_t slot, uint64_t hash) noexcept:
        """Another node tells this; slot 0: nothing. True if the verdict changed."""
        if not self.replicas >> node_id & 1 or not slot or not self.put(node_id, slot, hash):
            return False
        return self.judge(slot)

    cpdef void forget(self, int node_id) noexcept:
        """There is a new link to this node: it may be another process, whose state is another one."""
        self.told[node_id].count = 0
        self.unlike &= ~(<uint64_t>1 << node_id)

    # -- the pairs
    cdef const Pair* find(self, int node_id, uint64_t slot) noexcept:
        """What the node told of the slot; NULL if it told nothing, or so long ago that it is not kept."""
        cdef const Told* told = &self.told[node_id]
        cdef uint64_t i
        for i in range(min(told.count, <uint64_t>PAIRS_MAX)):
            if told.pairs[i].slot == slot:
                return &told.pairs[i]
        return NULL

    cdef bint put(self, int node_id, uint64_t slot, uint64_t hash) noexcept:
        """The node tells this pair. False if it is no news: pings repeat a pair until there is a newer one."""
        cdef Told* told = &self.told[node_id]
        if told.count and told.pairs[(told.count - 1) % PAIRS_MAX].slot == slot:
            return False
        told.pairs[told.count % PAIRS_MAX] = Pair(slot, hash)
        told.count += 1
        return True

    # -- the verdict
    cdef bint judge(self, uint64_t slot) noexcept:
        """Compares what was told of one slot. True if the verdict changed."""
        cdef bint differed = self.differs, divided = self.divided
        cdef uint64_t unlike = self.unlike
        cdef const Pair* own = self.find(self.node_id, slot)
        cdef const Pair* one
        cdef const Pair* other
        cdef int i, k, alike, most = 0, silent = 0
        if own == NULL:
            return False
        for i in range(ACCEPTORS_MAX):
            if not self.replicas >> i & 1:
                continue
            one = self.find(i, slot)
            if one == NULL:
                silent += 1
                continue
            alike = 0
            for k in range(ACCEPTORS_MAX):
                other = self.find(k, slot) if self.replicas >> k & 1 else NULL
                alike += other != NULL and other.hash == one.hash
            most = max(most, alike)
            if one.hash != own.hash:
                self.unlike |= <uint64_t>1 << i
                self.differs = self.differs or alike >= self.majority
        self.conclude(slot, most, silent)
        return differed != self.differs or divided != self.divided or unlike != self.unlike

    cdef void conclude(self, uint64_t slot, int most, int silent) noexcept:
        """The hash that most replicas have at the slot is that of `most`; `silent` ones told nothing of it."""
        if slot < self.judged or most < self.majority <= most + silent:
            return
        self.judged = slot
        self.divided = most < self.majority
