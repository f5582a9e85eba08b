"""The roles of a node, as Python sees them.

A node may have several roles (PMMC section 1: "it is common to collocate them"): its mask adds up their bits. The
configuration names the roles; the core and the simulator use the masks.
"""

ALL_ROLES = REPLICA | LEADER | ACCEPTOR
ROLE_BITS = {"replica": REPLICA, "leader": LEADER, "acceptor": ACCEPTOR}
