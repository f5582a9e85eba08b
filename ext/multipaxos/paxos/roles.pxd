# The roles of a node, as bits of its mask: see roles.pyx.
cpdef enum:                          # Python sees them in multipaxos.paxos.roles
    REPLICA = 1
    LEADER = 2
    ACCEPTOR = 4
