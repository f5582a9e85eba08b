"""CRC32C (Castagnoli), the sum over every record and over the keys of a data directory.

Theory. A sum of 32 bits that differs for every burst of up to 32 flipped bits, and for all but one in 2^32 of the other
changes. The instruction of SSE4.2 computes it eight bytes at a time; a processor without it takes a table for each
byte. Which of the two is used is asked once, when the module is loaded. Both give the same sum.

The instruction answers after three cycles and may be given again in each, so three neighbouring stretches are summed at
once. The register is linear in what it held before: to go on from one stretch over the next is to take the register
over as many zeros, which four tables do at once, and to add what the next stretch alone gives.

Rules. The sum is that of RFC 3720 (iSCSI): the register begins and ends inverted, so leading zeros count.
"""

from libc.stdint cimport uint8_t, uint32_t

cdef extern from *:
    """
    #include <stdint.h>
    #include <string.h>

    static uint32_t crc_table[256];

    static void crc_make_table(void) {
        for (uint32_t byte = 0; byte < 256; byte++) {
            uint32_t sum = byte;
            for (int bit = 0; bit < 8; bit++)
                sum = sum >> 1 ^ (sum & 1 ? 0x82f63b78u : 0);
            crc_table[byte] = sum;
        }
    }

    static uint32_t crc_by_table(const uint8_t *data, size_t size) {
        uint32_t sum = 0xffffffffu;
        for (size_t at = 0; at < size; at++)
            sum = sum >> 8 ^ crc_table[(sum ^ data[at]) & 0xff];
        return ~sum;
    }

    #define CRC_STRETCH 512
    static uint32_t crc_zeros[4][256]; /* by byte of the register: what CRC_STRETCH bytes of zeros make of it */

    static void crc_make_zeros(void) {
        for (int byte = 0; byte < 4; byte++)
            for (int bits = 1; bits < 256; bits++) {
                uint32_t sum = (uint32_t)bits << 8 * byte;
                if (bits & (bits - 1))
                    sum = crc_zeros[byte][bits & (bits - 1)] ^ crc_zeros[byte][bits & -bits];
                else
                    for (int at = 0; at < CRC_STRETCH; at++)
                        sum = sum >> 8 ^ crc_table[sum & 0xff];
                crc_zeros[byte][bits] = sum;
            }
    }

    static uint32_t crc_over_zeros(uint32_t sum) {
        return crc_zeros[0][sum & 0xff] ^ crc_zeros[1][sum >> 8 & 0xff] ^ crc_zeros[2][sum >> 16 & 0xff]
               ^ crc_zeros[3][sum >> 24];
    }

    #if defined(__x86_64__)
    __attribute__((target("sse4.2")))
    static uint32_t crc_by_instruction(const uint8_t *data, size_t size) {
        uint64_t sum = 0xffffffffu, word;
        while (size >= 3 * CRC_STRETCH) {
            uint64_t second = 0, third = 0;
            for (const uint8_t *end = data + CRC_STRETCH; data < end; data += 8) {
                memcpy(&word, data, 8);
                sum = __builtin_ia32_crc32di(sum, word);
                memcpy(&word, data + CRC_STRETCH, 8);
                second = __builtin_ia32_crc32di(second, word);
                memcpy(&word, data + 2 * CRC_STRETCH, 8);
                third = __builtin_ia32_crc32di(third, word);
            }
            sum = crc_over_zeros((uint32_t)sum) ^ second;
            sum = crc_over_zeros((uint32_t)sum) ^ third;
            data += 2 * CRC_STRETCH;
            size -= 3 * CRC_STRETCH;
        }
        while (size >= 8) {
            memcpy(&word, data, 8);
            sum = __builtin_ia32_crc32di(sum, word);
            data += 8;
            size -= 8;
        }
        while (size--)
            sum = __builtin_ia32_crc32qi((uint32_t)sum, *data++);
        return ~(uint32_t)sum;
    }
    static int crc_has_instruction(void) {
        __builtin_cpu_init();
        return __builtin_cpu_supports("sse4.2") != 0;
    }
    #else
    #define crc_by_instruction crc_by_table
    static int crc_has_instruction(void) { return 0; }
    #endif
    """
    void crc_make_table() noexcept
    void crc_make_zeros() noexcept
    uint32_t crc_by_table(const uint8_t* data, size_t size) noexcept
    uint32_t crc_by_instruction(const uint8_t* data, size_t size) noexcept
    bint crc_has_instruction() noexcept

crc_make_table()
crc_make_zeros()
cdef bint has_instruction = crc_has_instruction()


cdef uint32_t crc32c(const uint8_t* data, size_t size) noexcept:
    """The sum of `size` bytes."""
    return crc_by_instruction(data, size) if has_instruction else crc_by_table(data, size)


def sum_of(const uint8_t[::1] data not None, bint table=False):
    """The sum of some bytes; `table`: by the table, also where the processor has the instruction."""
    cdef const uint8_t* start = &data[0] if data.shape[0] else NULL
    return crc_by_table(start, data.shape[0]) if table else crc32c(start, data.shape[0])
