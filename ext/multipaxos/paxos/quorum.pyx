"""Quorum systems: which sets of acceptors may decide.

Theory. Paxos is safe if every phase-1 quorum meets every phase-2 quorum (Flexible Paxos: Howard, Malkhi, Spiegelman
2016); two quorums of one phase need not meet. There are three systems, over n acceptors:

* majority: any n // 2 + 1 acceptors, for both phases (the system of PMMC);
* sizes: any `phase1` acceptors and any `phase2` acceptors, with phase1 + phase2 > n;
* grid: the acceptors in rows x columns; a phase-1 quorum holds a full row, a phase-2 quorum a full column, and a row
  and a column always share one acceptor.

Rules.
- Votes are a 64-bit mask, bit i for node id i; bits of nodes that are no acceptors are ignored.
- A system whose quorums need not intersect cannot be made: the classmethods refuse it, and an object that was made
  without them holds no quorum at all.
"""

from libc.stdint cimport uint64_t
from libc.stdlib cimport calloc, free

from multipaxos.paxos.limits cimport ACCEPTORS_MAX

from multipaxos.errors import ConfigurationError

cdef enum:
    NONE = 0
    SIZES = 1
    GRID = 2

globals().update(ACCEPTORS_MAX=ACCEPTORS_MAX)


cdef inline bint has_bits(uint64_t mask, int count) noexcept nogil:
    """Has the mask at least `count` bits, 1 or more? Quorums are small, and a processor's own instruction for this may
    not be assumed."""
    cdef int _
    for _ in range(count - 1):
        mask &= mask - 1                 # without its lowest bit
    return mask != 0


cdef class QuorumSystem:
    """Phase-1 and phase-2 quorums that always intersect. Made by `majority`, `sizes` or `grid`."""

    def __init__(self):
        raise TypeError("make a QuorumSystem with majority(), sizes() or grid()")

    def __dealloc__(self):
        free(self.row_masks)
        free(self.column_masks)

    @classmethod
    def majority(cls, acceptors):
        """Any n // 2 + 1 of the acceptors, for both phases."""
        ids = _checked_ids(acceptors)
        return _sizes(ids, len(ids) // 2 + 1, len(ids) // 2 + 1)

    @classmethod
    def sizes(cls, acceptors, phase1, phase2):
        """Any `phase1` acceptors for phase 1 and any `phase2` for phase 2; phase1 + phase2 must exceed n."""
        ids = _checked_ids(acceptors)
        n = len(ids)
        for name, size in (("phase1", phase1), ("phase2", phase2)):
            _check_count(name, size)
            if size > n:
                raise ConfigurationError(f"quorum: {name} = {size}, but there are only {n} acceptors")
        if phase1 + phase2 <= n:
            raise ConfigurationError(
                f"quorum: phase1 = {phase1} and phase2 = {phase2} of {n} acceptors need not intersect: "
                f"their sum must be at least {n + 1}"
            )
        return _sizes(ids, phase1, phase2)

    @classmethod
    def grid(cls, acceptors, rows, columns):
        """Acceptors, in the order given, fill the grid row by row; phase 1 is a row, phase 2 a column."""
        ids = _checked_ids(acceptors)
        _check_count("rows", rows)
        _check_count("columns", columns)
        if rows * columns != len(ids):
            raise ConfigurationError(
                f"quorum: a grid of {rows} x {columns} needs {rows * columns} acceptors, there are {len(ids)}"
            )
        return _grid(ids, rows, columns)

    cdef bint is_phase1(self, uint64_t votes) noexcept:
        votes &= self.acceptors
        if self.kind == SIZES:
            return has_bits(votes, self.size1)
        return _holds_one(votes, self.row_masks, self.rows)

    cdef bint is_phase2(self, uint64_t votes) noexcept:
        votes &= self.acceptors
        if self.kind == SIZES:
            return has_bits(votes, self.size2)
        return _holds_one(votes, self.column_masks, self.columns)

    def is_phase1_quorum(self, votes):
        """Does the mask `votes` hold a phase-1 quorum?"""
        return bool(self.is_phase1(votes))

    def is_phase2_quorum(self, votes):
        """Does the mask `votes` hold a phase-2 quorum?"""
        return bool(self.is_phase2(votes))

    def describe(self):
        """The whole system in words: two systems with the same description have the same quorums."""
        if self.kind == SIZES:
            members = _names(self.acceptors)
            return f"phase 1: any {self.size1}, phase 2: any {self.size2} of {members}"
        rows = " ".join([_names(self.row_masks[i]) for i in range(self.rows)])
        columns = " ".join([_names(self.column_masks[i]) for i in range(self.columns)])
        return f"phase 1: a row of {rows}, phase 2: a column of {columns}"

    def __repr__(self):
        return f"<QuorumSystem {self.describe()}>"

    def __eq__(self, other):
        if not isinstance(other, QuorumSystem):
            return NotImplemented
        return self.describe() == other.describe()

    def __hash__(self):
        return hash(self.describe())


cdef bint _holds_one(uint64_t votes, const uint64_t* masks, int count) noexcept:
    """Are all bits of one of the masks in `votes`?"""
    cdef int i
    for i in range(count):
        if votes & masks[i] == masks[i]:
            return True
    return False


cdef QuorumSystem _sizes(list ids, int size1, int size2):
    cdef QuorumSystem system = QuorumSystem.__new__(QuorumSystem)
    system.size1, system.size2 = size1, size2
    system.acceptors = _mask(ids)
    system.kind = SIZES
    return system


cdef QuorumSystem _grid(list ids, int rows, int columns):
    cdef QuorumSystem system = QuorumSystem.__new__(QuorumSystem)
    system.row_masks = <uint64_t*>calloc(rows, sizeof(uint64_t))
    system.column_masks = <uint64_t*>calloc(columns, sizeof(uint64_t))
    if system.row_masks == NULL or system.column_masks == NULL:
        raise MemoryError("no memory for a quorum system")
    cdef int i
    for i in range(rows):
        system.row_masks[i] = _mask(ids[i * columns:(i + 1) * columns])
    for i in range(columns):
        system.column_masks[i] = _mask(ids[i::columns])
    system.rows, system.columns = rows, columns
    system.acceptors = _mask(ids)
    system.kind = GRID
    return system


cdef uint64_t _mask(list ids):
    cdef uint64_t mask = 0
    cdef int node
    for node in ids:
        mask |= <uint64_t>1 << node
    return mask


cdef str _names(uint64_t mask):
    return "{" + ", ".join([str(node) for node in range(64) if mask >> <int>node & 1]) + "}"


cdef list _checked_ids(object acceptors):
    """The ids as a list: at least one, each an int of 0 to 63, none twice."""
    ids = list(acceptors)
    if not ids:
        raise ConfigurationError("quorum: there are no acceptors: give at least one node the role acceptor")
    for node in ids:
        if isinstance(node, bool) or not isinstance(node, int) or not 0 <= node < ACCEPTORS_MAX:
            raise ConfigurationError(f"quorum: {node!r} is no acceptor id: ids are 0 to {ACCEPTORS_MAX - 1}")
    if len(set(ids)) != len(ids):
        twice = [node for node in ids if ids.count(node) > 1][0]
        raise ConfigurationError(f"quorum: acceptor {twice} is listed twice")
    return ids


cdef object _check_count(str name, object value):
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise ConfigurationError(f"quorum: {name} = {value!r} must be a whole number of at least 1")
