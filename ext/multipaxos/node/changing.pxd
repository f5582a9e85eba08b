# Whether a setting may be decided: see changing.pyx.
cimport cython

from libc.stdint cimport uint64_t

from multipaxos.node.context cimport Context
from multipaxos.node.links cimport Link, Links
from multipaxos.paxos.replica cimport Replica
from multipaxos.paxos.settings cimport Setting
from multipaxos.wire.messages cimport Command, Commands


@cython.final
cdef class Changing:
    cdef Context context
    cdef Links links
    cdef Replica replica

    cdef bytes judge(self, const Commands* commands)
    cdef str judge_one(self, const Command* command)
    cdef str judge_known(self, const Setting* setting, str what)
