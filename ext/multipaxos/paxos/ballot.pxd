# Ballots: (round, leader), ordered, in one 64-bit integer. See ballot.pyx.
from libc.stdint cimport uint64_t

cpdef enum:                          # Python sees them in multipaxos.paxos.ballot
    BOTTOM = 0                       # below every ballot
    LEADER_BITS = 16

cdef inline uint64_t ballot_of(uint64_t round, uint64_t leader) noexcept nogil:
    return (round << LEADER_BITS) | leader

cdef inline uint64_t ballot_round(uint64_t ballot) noexcept nogil:
    return ballot >> LEADER_BITS

cdef inline uint64_t ballot_leader(uint64_t ballot) noexcept nogil:
    return ballot & ((1 << LEADER_BITS) - 1)

# May a frame name it? Only BOTTOM, which stands for none, and a ballot of the lower half of the rounds: `begin_scout`
# goes above every ballot that was seen, and must always find a round that does not overflow.
cdef inline bint is_ballot(uint64_t ballot) noexcept nogil:
    return ballot == BOTTOM or 0 < ballot_round(ballot) < <uint64_t>1 << 47
