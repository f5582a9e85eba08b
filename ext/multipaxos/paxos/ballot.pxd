# Ballots: (round, leader), ordered, in one 64-bit integer. See ballot.pyx.
from libc.stdint cimport uint64_t

cdef extern from *:
    """
    #define ROUND_MAX ((UINT64_C(1) << 40) - 1)
    #define LEAP_MAX (UINT64_C(1) << 32)
    """
    const uint64_t ROUND_MAX         # of the 40 bits; an enumerator of Cython has no more than 32
    const uint64_t LEAP_MAX          # rounds from the highest known ballot to one that is believed

cpdef enum:                          # Python sees them in multipaxos.paxos.ballot
    BOTTOM = 0                       # below every ballot
    LEADER_BITS = 24
    LEADER_MAX = 0xff_ffff

cdef inline uint64_t ballot_of(uint64_t round, uint64_t leader) noexcept nogil:
    return (round << LEADER_BITS) | leader

cdef inline uint64_t ballot_round(uint64_t ballot) noexcept nogil:
    return ballot >> LEADER_BITS

cdef inline uint64_t ballot_leader(uint64_t ballot) noexcept nogil:
    return ballot & LEADER_MAX

# Is it what our own rules make: BOTTOM, which stands for none, or a ballot of round 1 to ROUND_MAX?
cdef inline bint is_ballot(uint64_t ballot) noexcept nogil:
    return ballot == BOTTOM or ballot_round(ballot) != 0
