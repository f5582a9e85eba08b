# The hashes of the core: 64 bits, with no seed except the one that is given, the same in every process.
#
# Theory. There are three, because the results of each are part of a state hash that replicas of different versions
# compare (`state_hash` of `multipaxos status`): `hash_word` for the chain of the session table, `hash_chained` for the
# chain of a user's machine, `hash_bytes` for the contents of the key-value machine. Their results must not change.
from libc.stdint cimport uint8_t, uint64_t
from libc.string cimport memcpy

cdef extern from *:
    ctypedef unsigned long long uint128_t "unsigned __int128"


# One word, going on from `hash`.
cdef inline uint64_t hash_word(uint64_t hash, uint64_t word) noexcept:
    hash = (hash ^ word) * <uint64_t>0x9E3779B97F4A7C15
    return hash ^ (hash >> 29)


# Bytes, going on from `hash`.
cdef inline uint64_t hash_chained(uint64_t hash, const uint8_t* data, size_t size) noexcept:
    cdef uint64_t word
    cdef size_t at = 0
    hash ^= <uint64_t>size * <uint64_t>0x9E3779B97F4A7C15
    while at < size:
        word = 0
        memcpy(&word, data + at, min(<size_t>8, size - at))
        hash = (hash ^ word) * <uint64_t>0xD6E8FEB86659FD93
        hash ^= hash >> 32
        at += 8
    return hash


# The two halves of a 128-bit product, folded.
cdef inline uint64_t fold(uint64_t a, uint64_t b) noexcept:
    cdef uint128_t product = <uint128_t>a * b
    return <uint64_t>product ^ <uint64_t>(product >> 64)


# Bytes, going on from `hash`: fast for short ones, and with a secret seed hard to make collide.
cdef inline uint64_t hash_bytes(uint64_t hash, const uint8_t* data, size_t size) noexcept:
    cdef uint64_t word
    cdef size_t left = size
    hash = fold(hash ^ <uint64_t>0xA0761D6478BD642F, <uint64_t>size ^ <uint64_t>0xE7037ED1A0B428DB)
    while left >= 8:
        memcpy(&word, data, 8)
        hash = fold(hash ^ word, <uint64_t>0x8EBC6AF09C88C6E3)
        data += 8
        left -= 8
    if left:
        word = 0
        memcpy(&word, data, left)
        hash = fold(hash ^ word, <uint64_t>0x589965CC75374CC3)
    return hash ^ (hash >> 29)
