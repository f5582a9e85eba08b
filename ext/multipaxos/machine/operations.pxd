# The codes of the key-value machine's commands and answers; docs/encodings.md has what follows each. The Python side
# has them in multipaxos.commands; a test compares the two.
cdef enum:                           # operations
    CREATE = 1
    UPDATE = 2
    PUT = 3
    GET = 4
    REMOVE = 5
    CAS_VALUE = 6
    CAS_VERSION = 7
    SCAN = 8
    TRANSACT = 9

cdef enum:
    ANSWER_OK = 0
    ANSWER_EXISTS = 1
    ANSWER_NOT_FOUND = 2
    ANSWER_MISMATCH = 3
    ANSWER_ELSE = 4

cdef enum:                           # compares of a transaction
    IS_THERE = 1
    IS_MISSING = 2
    VALUE_EQUALS = 3
    VERSION_EQUALS = 4
