"""CRC32C (Castagnoli), the sum over every record and over the keys of a data directory.

Theory. A sum of 32 bits that differs for every burst of up to 32 flipped bits, and for all but one in 2^32 of the other
changes. The instruction of SSE4.2 computes it eight bytes at a time; a processor without it takes a table for each
byte. Which of the two is used is asked once, when the module is loaded. Both give the same sum.

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

    #if defined(__x86_64__)
    __attribute__((target("sse4.2")))
    static uint32_t crc_by_instruction(const uint8_t *data, size_t size) {
        uint64_t sum = 0xffffffffu, word;
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
    uint32_t crc_by_table(const uint8_t* data, size_t size) noexcept
    uint32_t crc_by_instruction(const uint8_t* data, size_t size) noexcept
    bint crc_has_instruction() noexcept

crc_make_table()
cdef bint has_instruction = crc_has_instruction()


cdef uint32_t crc32c(const uint8_t* data, size_t size) noexcept:
    """The sum of `size` bytes."""
    return crc_by_instruction(data, size) if has_instruction else crc_by_table(data, size)


def sum_of(const uint8_t[::1] data not None, bint table=False):
    """The sum of some bytes; `table`: by the table, also where the processor has the instruction."""
    cdef const uint8_t* start = &data[0] if data.shape[0] else NULL
    return crc_by_table(start, data.shape[0]) if table else crc32c(start, data.shape[0])
