# xorshift64* (Marsaglia 2003; Vigna 2016): 64 random bits from a state that must not be 0, the same in every process.
from libc.stdint cimport uint64_t

cdef inline uint64_t random_bits(uint64_t* state) noexcept:
    state[0] ^= state[0] >> 12
    state[0] ^= state[0] << 25
    state[0] ^= state[0] >> 27
    return state[0] * <uint64_t>0x2545F4914F6CDD1D
