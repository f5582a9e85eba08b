# What the disk held: see recovery.pyx.
from libc.stdint cimport uint64_t

from multipaxos.node.journal cimport Journal

cdef uint64_t number_of(object meta, bytes key, uint64_t default)
cdef tuple founders_of(object meta)
cdef int recover(Journal journal, object records) except -1
