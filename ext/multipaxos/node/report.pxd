# Facts about a node: see report.pyx.
cimport cython

from multipaxos.node.comparing cimport Comparing
from multipaxos.node.context cimport Context
from multipaxos.node.foreign cimport Foreign
from multipaxos.node.joining cimport Joining
from multipaxos.node.leading cimport Leading
from multipaxos.node.links cimport Links
from multipaxos.paxos.acceptor cimport Acceptor
from multipaxos.paxos.leader cimport Leader
from multipaxos.paxos.replica cimport Replica


@cython.final
cdef class Report:
    cdef Context context
    cdef Links links
    cdef Foreign foreign
    cdef Joining joining
    cdef Leading leading
    cdef Comparing comparing
    cdef Acceptor acceptor
    cdef Leader leader
    cdef Replica replica

    cdef dict status(self)
